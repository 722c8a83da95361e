"""The file is made private, judged before it is touched, and replaced when it is ours and damaged."""

import errno
import fcntl
import logging
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tests.store.building import NOW_MS, beside, column, looking, meta, overwrite
from trace_agent.core.errors import NotOursError, StoreError
from trace_agent.store import database as module
from trace_agent.store.database import Database, is_damage, open_database, quick_check
from trace_agent.store.schema import APPLICATION_ID, VERSION

ASIDE: Final = f"traces.db.corrupt.{NOW_MS}"
MANY: Final = 2000

# A trace-agent that is killed at some point of its start.
KILLED: Final = """
import os, signal, sqlite3, sys
from pathlib import Path
from trace_agent.store import database, schema

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

whole = schema._MIGRATIONS[0]
point = sys.argv[2]
if point == "created":
    schema._MIGRATIONS = (kill,)
elif point == "half":
    schema._MIGRATIONS = (lambda connection: (whole(connection), kill()),)
elif point == "unmarked":
    mark = database._mark
    database._mark = lambda fd, inode: mark(fd, inode) if inode is None else kill()
opened = database.open_database(Path(sys.argv[1]), 0)
if point == "written":
    for name in range(400):
        opened.connection.execute("INSERT INTO upstreams VALUES (?, 0)", (f"{name:0500}",))
kill()
"""

# A trace-agent that runs until its input ends.
RUNNING: Final = """
import sys
from pathlib import Path
from trace_agent.store.database import open_database

opened = open_database(Path(sys.argv[1]), 0)
print("open", flush=True)
sys.stdin.read()
opened.close()
"""


def killed(path: Path, point: str) -> None:
    """Start a trace-agent that is killed at a point."""
    done = subprocess.run([sys.executable, "-c", KILLED, path, point], check=False)
    assert done.returncode == -signal.SIGKILL


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def fill(path: Path) -> None:
    """Make a database of ours with enough in it to be damaged, and leave nothing of it in the log."""
    opened = open_database(path, NOW_MS)
    opened.connection.execute("BEGIN")
    opened.connection.executemany(
        "INSERT INTO upstreams VALUES (?, 0)", [(f"{number:0500}",) for number in range(MANY)]
    )
    opened.connection.execute("COMMIT")
    opened.close()


def foreign(path: Path, journal: str) -> None:
    """Make a database of another program."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE things (x)")
        connection.execute("PRAGMA user_version = 3")
        connection.commit()


def refused(path: Path) -> str:
    """Try to open what is not ours; return what is said about it, once nothing is found to be touched."""
    before = beside(path)
    times = path.stat().st_mtime_ns, path.stat().st_ino
    with pytest.raises(NotOursError) as caught:
        open_database(path, NOW_MS)

    assert before == beside(path)
    assert times == (path.stat().st_mtime_ns, path.stat().st_ino)
    return str(caught.value)


def test_files_are_private(path: Path) -> None:
    """Database, log, index and lock are readable for their owner alone, whatever the umask says."""
    before = os.umask(0)
    try:
        opened = open_database(path, NOW_MS)
    finally:
        os.umask(before)
    opened.connection.execute("INSERT INTO upstreams VALUES ('a', 0)")
    found = {file.name: oct(mode(file)) for file in path.parent.iterdir()}
    opened.close()

    names = ("traces.db", "traces.db-wal", "traces.db-shm", "traces.db.lock")
    assert found == dict.fromkeys(names, "0o600")
    assert oct(mode(path.parent)) == "0o700"


def test_settings_of_file(database: Database) -> None:
    """Pages, vacuum, journal and syncing are what retention and the writer count on."""
    settings = {
        name: column(database.connection, f"PRAGMA {name}")[0]
        for name in ("page_size", "auto_vacuum", "journal_mode", "synchronous")
    }

    incremental, normal = 2, 1
    assert settings == {
        "page_size": 8192, "auto_vacuum": incremental, "journal_mode": "wal", "synchronous": normal,
    }  # fmt: skip


def test_reopen(path: Path) -> None:
    """What was stored is there the next time, and closing leaves one file and its lock."""
    fill(path)
    names = sorted(beside(path))
    opened = open_database(path, NOW_MS)
    stored = len(column(opened.connection, "SELECT name FROM upstreams"))
    opened.close()

    assert names == ["traces.db", "traces.db.lock"]
    assert opened.set_aside is None
    assert stored == MANY


@pytest.mark.parametrize("point", ["created", "half", "unmarked", "opened", "written"])
def test_kill(path: Path, point: str) -> None:
    """A kill at any point of the start leaves a file that is used as if nothing had been."""
    killed(path, point)
    assert path.exists()
    opened = open_database(path, NOW_MS)
    known = column(opened.connection, "SELECT name FROM upstreams")
    opened.close()

    assert opened.set_aside is None
    assert len(known) == (400 if point == "written" else 0)


def test_empty_file(path: Path) -> None:
    """A file without a byte in it, as `touch` makes it, is taken as new."""
    path.parent.mkdir()
    path.touch()
    opened = open_database(path, NOW_MS)
    opened.close()

    assert opened.set_aside is None
    assert looking(path, lambda c: column(c, "PRAGMA user_version")) == [VERSION]


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_future(path: Path, journal: str) -> None:
    """A database of a newer trace-agent is refused and not touched, in whatever mode it is."""
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.commit()
    # The lock file names who looked last.
    (path.parent / "traces.db.lock").unlink()

    assert f"version {VERSION + 1}" in refused(path)


def test_future_in_log(path: Path) -> None:
    """A database whose newer version stands in the log alone is refused, and its log not merged."""
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
        connection.commit()
        before = path.read_bytes(), path.with_name("traces.db-wal").read_bytes()
        with pytest.raises(NotOursError, match="use a newer trace-agent"):
            open_database(path, NOW_MS)

        assert before == (path.read_bytes(), path.with_name("traces.db-wal").read_bytes())


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_foreign_database(path: Path, journal: str) -> None:
    """A database of another program is refused and not touched, and nothing is left beside it."""
    foreign(path, journal)

    assert "a database of another program" in refused(path)


def test_foreign_id(path: Path) -> None:
    """A database that another program has only marked as its own is refused."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 1")
        connection.execute("PRAGMA user_version = 1")

    assert "a database of another program" in refused(path)


def test_foreign_in_our_place(path: Path) -> None:
    """A sound database of another program is refused even where ours was, in the very same inode."""
    fill(path)
    other = path.with_name("other.db")
    foreign(other, "DELETE")
    path.write_bytes(other.read_bytes())
    before = path.read_bytes()
    with pytest.raises(NotOursError, match="another program"):
        open_database(path, NOW_MS)

    assert before == path.read_bytes()


@pytest.mark.parametrize("content", [b"a line of text\n", b"SQLite format 3\0 and no more", b"\0" * 9000])
def test_foreign_file(path: Path, content: bytes) -> None:
    """A file of any other kind is refused and not touched."""
    path.parent.mkdir()
    path.write_bytes(content)

    assert "no database of trace-agent" in refused(path)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_no_file(path: Path, make: Callable[[Path], None]) -> None:
    """A directory or a pipe is refused; nobody waits for the pipe's other end."""
    path.parent.mkdir()
    make(path)

    assert "no regular file" in refused(path)


def test_broken_header_of_another(path: Path) -> None:
    """A damaged file is refused as long as nothing says that it was ours."""
    fill(path)
    shutil.copy(path, path.with_name("copy.db"))
    path = path.with_name("copy.db")
    overwrite(path, 0, b"\xff" * 100)

    assert "no database of trace-agent" in refused(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: overwrite(path, 0, b"\xff" * 100),
        lambda path: overwrite(path, 16, b"\0" * 84),
        lambda path: overwrite(path, 100, b"\xff" * 8092),
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: os.truncate(path, 50),
        lambda path: os.truncate(path, 0),
        lambda path: path.write_bytes(os.urandom(20_000)),
    ],
    ids=["header", "fields", "schema", "half", "stump", "nothing", "noise"],
)
def test_damaged(path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], object]) -> None:
    """A file that was ours and is damaged is kept under another name, and a new one is begun."""
    fill(path)
    damage(path)
    kept = path.read_bytes()
    opened = open_database(path, NOW_MS)
    stored = meta(opened.connection, "rows_stored")
    opened.close()

    assert stored == 0
    assert opened.set_aside == path.with_name(ASIDE)
    assert kept == beside(path)[ASIDE]
    assert [(logging.ERROR, ASIDE in record.message) for record in caplog.records] == [(logging.ERROR, True)]
    assert quick_check(path) is None


def test_damaged_copy(path: Path) -> None:
    """A damaged file that still says it is ours is set aside, though it lay elsewhere before."""
    fill(path)
    shutil.copy(path, path.with_name("copy.db"))
    path = path.with_name("copy.db")
    os.truncate(path, path.stat().st_size // 2)
    opened = open_database(path, NOW_MS)
    opened.close()

    assert opened.set_aside == path.with_name(f"copy.db.corrupt.{NOW_MS}")


def test_log_is_set_aside_too(path: Path) -> None:
    """What a killed trace-agent left in the log is kept beside the damaged database, under its name."""
    killed(path, "written")
    log = beside(path)["traces.db-wal"]
    overwrite(path, 0, b"\xff" * 100)
    opened = open_database(path, NOW_MS)
    known = column(opened.connection, "SELECT name FROM upstreams")
    opened.close()

    assert known == []
    assert log == beside(path)[f"{ASIDE}-wal"]
    assert sorted(beside(path)) == ["traces.db", ASIDE, f"{ASIDE}-wal", "traces.db.lock"]


def test_two_damaged_are_kept(path: Path) -> None:
    """Only the two newest damaged files are kept, each with its log."""
    for number in range(4):
        killed(path, "written")
        overwrite(path, 0, b"\xff" * 100)
        open_database(path, NOW_MS + number).close()
    kept = [name for name in beside(path) if "corrupt" in name]

    newest = [f"traces.db.corrupt.{NOW_MS + number}{suffix}" for number in (2, 3) for suffix in ("", "-wal")]
    assert newest == kept


def test_second_agent(path: Path) -> None:
    """A file that another trace-agent serves is refused, naming its pid and the remedy, until that ends."""
    running = subprocess.Popen(
        [sys.executable, "-c", RUNNING, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with running:
        assert running.stdout is not None
        running.stdout.readline()
        with pytest.raises(StoreError) as caught:
            open_database(path, NOW_MS)
        running.kill()
    open_database(path, NOW_MS).close()

    assert f"another trace-agent (pid {running.pid})" in str(caught.value)
    assert "setting `db`" in str(caught.value)
    assert not isinstance(caught.value, NotOursError)


def test_lock_is_given_back(path: Path) -> None:
    """A start that fails holds no lock: the next one says the same, not that somebody serves the file."""
    foreign(path, "DELETE")

    assert refused(path) == refused(path)


@pytest.mark.parametrize("mark", [b"", b'{"pi', b'{"pid": 1, "inode"'])
def test_broken_mark(path: Path, mark: bytes) -> None:
    """A lock file that a kill has cut short is no hindrance."""
    fill(path)
    path.with_name("traces.db.lock").write_bytes(mark)
    opened = open_database(path, NOW_MS)
    opened.close()

    assert opened.set_aside is None


@pytest.mark.parametrize("content", [b"[1]", b"\xff\xfe", b"somebody's notes"])
def test_lock_file_of_another_program(path: Path, content: bytes) -> None:
    """A file of the lock's name that is not ours is neither changed nor removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name("traces.db.lock")
    lock.write_bytes(content)

    with pytest.raises(NotOursError, match=r"traces\.db\.lock"):
        open_database(path, NOW_MS)

    assert lock.read_bytes() == content
    assert not path.exists()


@pytest.mark.parametrize("obstacle", ["parent", "lock", "journal"])
def test_no_place(path: Path, obstacle: str) -> None:
    """Where no database can be made, the message names the place, the reason and the setting."""
    if obstacle == "parent":
        path.parent.write_text("a file where the directory should be")
    else:
        path.with_name({"lock": "traces.db.lock", "journal": "traces.db-journal"}[obstacle]).mkdir(
            parents=True
        )
    with pytest.raises(StoreError) as caught:
        open_database(path, NOW_MS)

    reason = {"parent": "File exists", "lock": "Is a directory", "journal": "unable to open database file"}
    assert str(caught.value) == f"{path}: {reason[obstacle]}; choose another place (setting `db`)"


def test_locked_database(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that another program holds is not taken for damaged."""
    fill(path)
    monkeypatch.setattr(module, "_BUSY_TIMEOUT_S", 0.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("PRAGMA journal_mode = DELETE")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="database is locked"):
            open_database(path, NOW_MS)

    opened = open_database(path, NOW_MS)
    opened.close()
    assert opened.set_aside is None


def test_locked_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that another program holds with its log is not taken for damaged, nor for another's."""
    fill(path)
    monkeypatch.setattr(module, "_BUSY_TIMEOUT_S", 0.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("DELETE FROM upstreams")
        with pytest.raises(StoreError, match="database is locked") as caught:
            open_database(path, NOW_MS)

    assert not isinstance(caught.value, NotOursError)
    assert not [name for name in beside(path) if "corrupt" in name]


def test_no_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks is named as the reason, not another trace-agent."""

    def no_locks(_fd: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(StoreError, match=f"{os.strerror(errno.ENOLCK)}; choose another place"):
        open_database(path, NOW_MS)


def test_damage_met_late(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage that only the opening comes upon is treated like any other."""
    fill(path)
    overwrite(path, 16, b"\0" * 84)
    monkeypatch.setattr(module, "_looks_whole", lambda _path, _inode: True)
    opened = open_database(path, NOW_MS)
    opened.close()

    assert opened.set_aside == path.with_name(ASIDE)


def test_quick_check_sound(database: Database) -> None:
    """Nothing is found in a sound file, also while it is in use."""
    database.connection.execute("BEGIN IMMEDIATE")

    assert quick_check(database.path) is None


def test_quick_check_damage(path: Path) -> None:
    """Garbage in the middle of the file is found, though the file opens."""
    fill(path)
    overwrite(path, path.stat().st_size // 2, b"\xff" * 20_000)
    opened = open_database(path, NOW_MS)
    trouble = quick_check(path)
    opened.close()

    assert opened.set_aside is None
    assert trouble is not None
    assert trouble.startswith("*** in database main *** ")


def test_quick_check_cannot_look(tmp_path: Path) -> None:
    """A file that cannot be looked at is not thereby damaged; one that is no database is."""
    (tmp_path / "noise").write_bytes(b"\xff" * 10_000)

    assert quick_check(tmp_path / "missing") is None
    assert quick_check(tmp_path / "noise") == "file is not a database"


def test_begin_anew(database: Database) -> None:
    """A database that turns out damaged is replaced in place, and stays ours alone."""
    database.connection.execute("INSERT INTO upstreams VALUES ('a', 0)")
    target = database.begin_anew(NOW_MS)

    assert target == database.set_aside == database.path.with_name(ASIDE)
    assert column(database.connection, "SELECT name FROM upstreams") == []
    assert looking(target, lambda c: column(c, "SELECT name FROM upstreams")) == ["a"]
    with pytest.raises(StoreError, match="another trace-agent"):
        open_database(database.path, NOW_MS)


def test_begin_anew_twice(database: Database) -> None:
    """Should the new database be damaged too, it is set aside in its turn."""
    targets = [database.begin_anew(NOW_MS + number) for number in range(2)]

    assert targets == [database.path.with_name(f"traces.db.corrupt.{NOW_MS + number}") for number in range(2)]
    assert all(target.exists() for target in targets)


def test_begin_anew_is_known(path: Path) -> None:
    """The new file is the one that is known as ours: should its header be damaged, it is set aside."""
    opened = open_database(path, NOW_MS)
    opened.begin_anew(NOW_MS)
    opened.close()
    overwrite(path, 0, b"\xff" * 100)
    opened = open_database(path, NOW_MS + 1)
    opened.close()

    assert opened.set_aside == path.with_name(f"traces.db.corrupt.{NOW_MS + 1}")


def test_begin_anew_cannot_move(database: Database) -> None:
    """Where the damaged file cannot be moved it says so, and a later try does it."""
    obstacle = database.path.with_name(ASIDE)
    (obstacle / "something").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"traces\.db: Is a directory"):
        database.begin_anew(NOW_MS)
    shutil.rmtree(obstacle)

    assert database.begin_anew(NOW_MS) == obstacle
    assert column(database.connection, "PRAGMA user_version") == [VERSION]


def test_begin_anew_cannot_make(database: Database) -> None:
    """Where no new file can be made it says so, and later tries do not take their remains for damaged."""
    obstacle = database.path.with_name("traces.db-journal")
    obstacle.mkdir()
    for later_ms in range(3):
        with pytest.raises(StoreError, match="unable to open database file"):
            database.begin_anew(NOW_MS + later_ms)
    obstacle.rmdir()

    assert database.begin_anew(NOW_MS + 3) == database.path.with_name(ASIDE)
    assert column(database.connection, "PRAGMA application_id") == [APPLICATION_ID]
    assert [name for name in beside(database.path) if "corrupt" in name] == [ASIDE]


@pytest.mark.parametrize(
    ("code", "damage"),
    [
        (sqlite3.SQLITE_CORRUPT, True),
        (sqlite3.SQLITE_CORRUPT_INDEX, True),
        (sqlite3.SQLITE_NOTADB, True),
        (sqlite3.SQLITE_FULL, False),
        (sqlite3.SQLITE_IOERR_READ, False),
        (None, False),
    ],
)
def test_is_damage(code: int | None, damage: bool) -> None:
    """Only what SQLite says of the file itself is damage, whatever part of it."""
    error = sqlite3.DatabaseError()
    if code is not None:
        error.sqlite_errorcode = code

    assert is_damage(error) is damage
