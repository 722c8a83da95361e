"""Trouble is shown while it lasts, waited out or mended, and no batch is lost to it."""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tests.store.building import (
    NOW_MS,
    beside,
    call,
    column,
    event,
    fill_disk,
    ids,
    looking,
    meta,
    new_id,
    noise,
    overwrite,
    row_count,
    rows,
    window,
)
from trace_agent.core.errors import StoreError
from trace_agent.store.committer import Committer, WriterState
from trace_agent.store.database import Database, open_database, quick_check
from trace_agent.store.tables import Outcome, Stored

ASIDE: Final = f"traces.db.corrupt.{NOW_MS}"


@pytest.fixture
def state() -> WriterState:
    """How the writer fares, as the committer says."""
    return WriterState()


@pytest.fixture
def committer(database: Database, state: WriterState) -> Committer:
    """A committer with a new database, which waits for nobody's lock."""
    database.connection.execute("PRAGMA busy_timeout = 0")
    return committer_of(database, state)


def committer_of(database: Database, state: WriterState) -> Committer:
    """Return a committer whose clock stands."""
    return Committer(database, state, lambda: NOW_MS, new_id)


def large_calls(count: int) -> list[Stored]:
    """Return calls of 60 kB each."""
    return [call(f"large-{number}", input=noise(number, 60_000)) for number in range(count)]


def damage(database: Database) -> None:
    """Overwrite all of the file but its header, and drop what is held in memory of it."""
    database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    overwrite(database.path, 100, b"\xff" * (database.path.stat().st_size - 100))
    database.connection.execute("PRAGMA shrink_memory")


def corrupt_reports(database: Database) -> list[dict[str, object]]:
    """Return the errors that report damage."""
    return [{**row} for row in rows(database.connection, "errors") if row["kind"] == "store.corrupt"]


def test_commit(database: Database, state: WriterState, committer: Committer) -> None:
    """A batch is there for every other connection once it is committed."""
    outcome = committer.commit([call("a"), call("a")], [window()])

    assert outcome == Outcome(stored=1, repeated=1)
    assert looking(database.path, lambda other: ids(other, "llm")) == ["a"]
    assert state == WriterState()


def test_locked(
    database: Database, state: WriterState, committer: Committer, caplog: pytest.LogCaptureFixture
) -> None:
    """While another process writes, a batch is to be tried again; begin and end of it are logged once."""
    caplog.set_level(logging.INFO)
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        tried = [committer.commit([call("a")], []) for _ in range(3)]
        error = state.error
        other.execute("ROLLBACK")
    outcome = committer.commit([call("a")], [])

    assert tried == [None, None, None]
    assert error == "database is locked"
    assert outcome == Outcome(stored=1)
    assert state.error is None
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "the store takes nothing: database is locked; trying again until it does"),
        (logging.INFO, "the store takes events again"),
    ]


def test_page_limit(database: Database, state: WriterState, committer: Committer) -> None:
    """A database that may not grow takes nothing, says so, and takes all of it when it may."""
    database.connection.execute("PRAGMA max_page_count = 50")
    batch = large_calls(10)
    tried = [committer.commit(batch, [window("m")]) for _ in range(2)]
    error, stored = state.error, row_count(database.connection)
    database.connection.execute("PRAGMA max_page_count = 5000")
    outcome = committer.commit(batch, [window("m")])

    assert tried == [None, None]
    assert (error, stored) == ("database or disk is full", 0)
    assert outcome == Outcome(stored=10)
    assert state.error is None
    assert meta(database.connection, "rows_stored") == row_count(database.connection) == 11


def test_disk_full(small_disk: Path, state: WriterState) -> None:
    """A full disk takes nothing, says so, and takes all of it when there is room again."""
    ballast = small_disk / "ballast"
    opened = open_database(small_disk / "traces.db", NOW_MS)
    with closing(opened):
        committer = committer_of(opened, state)
        first = committer.commit([call("a")], [])
        fill_disk(ballast)
        tried = [committer.commit(large_calls(2), []) for _ in range(2)]
        committer.checkpoint()
        error = state.error
        ballast.unlink()
        outcome = committer.commit(large_calls(2), [])
        committer.checkpoint()
        kept = ids(opened.connection, "llm")

    assert first == Outcome(stored=1)
    assert tried == [None, None]
    assert error == "database or disk is full"
    assert outcome == Outcome(stored=2)
    assert state == WriterState()
    assert kept == ["a", "large-0", "large-1"]
    assert quick_check(small_disk / "traces.db") is None


def test_checkpoint(database: Database, committer: Committer) -> None:
    """A checkpoint moves what is committed into the file itself, as far as readers let it."""
    with closing(sqlite3.connect(database.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        column(reader, "SELECT id FROM llm")
        committer.commit([call("seen-later")], [])
        committer.checkpoint()
        held_back = b"seen-later" in database.path.read_bytes()
    committer.checkpoint()

    assert not held_back
    assert b"seen-later" in database.path.read_bytes()


def test_wrong_statement(database: Database, state: WriterState, committer: Committer) -> None:
    """A statement that does not fit the tables is our bug: it escapes, and is not shown as trouble."""
    database.connection.execute("DROP TABLE events")
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        committer.commit([event()], [])

    assert state == WriterState()


def test_wrong_checkpoint(database: Database, state: WriterState, committer: Committer) -> None:
    """A checkpoint that may not be made is our bug too."""
    database.connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        committer.checkpoint()

    assert state == WriterState()


def test_damage_at_run_time(
    database: Database, state: WriterState, committer: Committer, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that turns out damaged is set aside, and a new one begins with a report and the batch."""
    committer.commit([call("lost"), *large_calls(20)], [])
    damage(database)
    first = committer.commit([call("a")], [window("m")])
    error = state.error
    outcome = committer.commit([call("a")], [window("m")])
    committer.commit([], [])
    (report,) = corrupt_reports(database)

    assert (first, error) == (None, None)
    assert outcome == Outcome(stored=1)
    assert (ids(database.connection, "llm"), ids(database.connection, "metrics")) == (["a"], ["m"])
    assert meta(database.connection, "rows_stored") == row_count(database.connection) == 3
    assert rows(database.connection, "dead_letters") == []
    assert state == WriterState(damaged=1)
    assert (
        report["message"]
        == f"the database was damaged (database disk image is malformed); it is kept as {ASIDE}"
    )
    assert (report["severity"], report["source"], report["change_seq"]) == ("error", "trace-agent", 1)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert ASIDE in beside(database.path)


def test_log_is_set_aside_too(database: Database, committer: Committer) -> None:
    """A log that somebody still reads, so that it cannot be merged, goes with the damaged database."""
    with closing(sqlite3.connect(database.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        column(reader, "SELECT id FROM events")
        committer.commit([event("in-the-log")], [])
        committer.replace("a test says so")

    assert f"{ASIDE}-wal" in beside(database.path)
    assert looking(database.path.with_name(ASIDE), lambda other: ids(other, "events")) == ["in-the-log"]
    assert ids(database.connection, "events") == []


def test_damage_found_by_checkpoint(database: Database, state: WriterState, committer: Committer) -> None:
    """Damage that a checkpoint comes upon is mended by the next commit."""
    committer.commit([call("lost")], [])
    healthy = database.connection
    database.connection = _Malformed(healthy)  # type: ignore[assignment]  # a fake of its one method
    committer.checkpoint()
    database.connection = healthy
    outcome = committer.commit([call("a")], [])

    assert outcome == Outcome(stored=1)
    assert state.damaged == 1
    assert ids(database.connection, "llm") == ["a"]


class _Malformed:
    """A connection whose every statement finds damage."""

    def __init__(self, real: sqlite3.Connection) -> None:
        self._real = real

    def execute(self, _statement: str) -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def test_damage_while_no_file_can_be_made(
    database: Database, state: WriterState, committer: Committer
) -> None:
    """Trouble in replacing a damaged database is waited out like any other."""
    obstacle = database.path.with_name("traces.db-journal")
    committer.commit(large_calls(20), [])
    damage(database)
    obstacle.mkdir()
    tried = [committer.commit([call("a")], []) for _ in range(4)]
    error, damaged = state.error, state.damaged
    obstacle.rmdir()
    outcome = committer.commit([call("a")], [])

    assert tried == [None] * 4
    assert error == f"{database.path}: unable to open database file"
    assert damaged == 0
    assert outcome == Outcome(stored=1)
    assert state == WriterState(damaged=1)
    assert len(corrupt_reports(database)) == 1
    assert [name for name in beside(database.path) if "corrupt" in name] == [ASIDE]


def test_damage_on_a_full_disk(small_disk: Path, state: WriterState) -> None:
    """Damage and a full disk together lose no event and take no second database for damaged."""
    opened = open_database(small_disk / "traces.db", NOW_MS)
    with closing(opened):
        committer = committer_of(opened, state)
        committer.commit(large_calls(2), [])
        damage(opened)
        ballast = small_disk / "ballast"
        fill_disk(ballast)
        tried = [committer.commit([call("a")], []) for _ in range(4)]
        error = state.error
        ballast.unlink()
        outcome = committer.commit([call("a")], [])
        reports = corrupt_reports(opened)

    assert tried == [None] * 4
    assert error is not None
    assert "disk is full" in error or "disk I/O error" in error
    assert outcome == Outcome(stored=1)
    assert len(reports) == state.damaged == 1
    assert [name for name in beside(opened.path) if "corrupt" in name] == [ASIDE]


def test_damage_at_open_is_reported(path: Path, state: WriterState) -> None:
    """A database that was set aside when it was opened is reported in the new one."""
    open_database(path, NOW_MS).close()
    overwrite(path, 0, b"\xff" * 100)
    opened = open_database(path, NOW_MS)
    with closing(opened):
        committer_of(opened, state)
        (report,) = corrupt_reports(opened)

    assert report["message"] == f"the database was damaged (found when it was opened); it is kept as {ASIDE}"
    assert state == WriterState(damaged=1)


def test_report_waits_for_the_disk(path: Path, state: WriterState) -> None:
    """The report of damage is not lost for want of room: it comes with the first batch there is room for."""
    open_database(path, NOW_MS).close()
    overwrite(path, 0, b"\xff" * 100)
    opened = open_database(path, NOW_MS)
    with closing(opened), closing(sqlite3.connect(path, isolation_level=None)) as other:
        opened.connection.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN IMMEDIATE")
        committer = committer_of(opened, state)
        error = state.error
        other.execute("ROLLBACK")
        outcome = committer.commit([event("a")], [])

        assert error == "database is locked"
        assert outcome == Outcome(stored=1)
        assert len(corrupt_reports(opened)) == 1


def test_replace(database: Database, state: WriterState, committer: Committer) -> None:
    """What the look through the whole file found begins a new one at once, without any batch."""
    committer.commit([call("lost")], [])
    committer.replace("page 7 is odd")
    (report,) = corrupt_reports(database)

    assert ids(database.connection, "llm") == []
    assert "(page 7 is odd)" in str(report["message"])
    assert state == WriterState(damaged=1)


def test_replaced_words(database: Database, committer: Committer) -> None:
    """Nothing that was known of the old database's words is believed of the new one's."""
    same = noise(1, 100)
    committer.commit([call("a", input=same)], [])
    committer.replace("a test says so")
    committer.commit([call("b", input=same)], [])

    assert [row["input_ref"] for row in rows(database.connection, "llm")] == [1]
    assert [row["id"] for row in rows(database.connection, "texts")] == [1]


def test_deleted_while_open(database: Database, state: WriterState, committer: Committer) -> None:
    """A file that somebody deleted is begun anew, and the batch is stored in the new one."""
    committer.commit([call("a")], [])
    for name in ("", "-wal", "-shm", ".lock"):
        database.path.with_name(database.path.name + name).unlink(missing_ok=True)

    outcome = committer.commit([call("b")], [])

    assert outcome == Outcome(stored=1)
    assert looking(database.path, lambda other: ids(other, "llm")) == ["b"]
    with pytest.raises(StoreError, match="served by another"):
        open_database(database.path, NOW_MS)
    assert "deleted while it was in use" in str(corrupt_reports(database)[0]["message"])
    assert state.damaged == 1


def test_replaced_while_open(database: Database, state: WriterState, committer: Committer) -> None:
    """Another file in the place of ours is not touched; nothing is stored, and health can say why."""
    committer.commit([call("a")], [])
    database.path.unlink()
    database.path.write_bytes(b"not ours")

    assert committer.commit([call("b")], []) is None
    assert "replaced by another file" in str(state.error)
    assert database.path.read_bytes() == b"not ours"
