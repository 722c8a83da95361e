"""The writer decides when batches go to its thread, and what gives way while they cannot.

Invariant, checked after each scenario: accepted = stored + repeated + dead + dropped + waiting, rows are what
was stored, and the budget counts exactly what waits.

The thread is real, so no test has a virtual clock; what takes its time is awaited by what it brings about.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final

import pytest
import trio
import trio.testing

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
)
from trace_agent.core.counts import Counts
from trace_agent.core.errors import Reason
from trace_agent.core.events import Metric, MetricKind, Tokens
from trace_agent.core.ring import Budget, Ring
from trace_agent.core.rollup import Rollup
from trace_agent.store import writer as module
from trace_agent.store.database import Database, open_database, quick_check
from trace_agent.store.shedding import shed
from trace_agent.store.tables import Stored
from trace_agent.store.writer import EVENT_BYTES, ROWS, Writer

# So long that no test meets it: what is flushed is flushed by a kick.
NEVER_S: Final = 3600.0
RING_BYTES: Final = 1024 * 1024
# What an event takes of the ring when its share of a packet is this.
SHARE_BYTES: Final = 1024
EACH_BYTES: Final = SHARE_BYTES + EVENT_BYTES


class Rig:
    """A writer with all it works on."""

    def __init__(
        self, database: Database, *, interval_s: float = NEVER_S, ring_bytes: int = RING_BYTES
    ) -> None:
        self.database = database
        self.counts = Counts()
        self.budget = Budget(ring_bytes)
        self.ring: Ring[Stored] = Ring(self.budget)
        self.rollup = Rollup(max_series=10_000, new_id=new_id)
        self.writer = Writer(
            database=database,
            ring=self.ring,
            rollup=self.rollup,
            counts=self.counts.events,
            flush_interval_s=interval_s,
            now_ms=lambda: NOW_MS,
            new_id=new_id,
        )

    def add(self, *events: Stored, share_bytes: int = SHARE_BYTES) -> None:
        """Add events that took so much of a packet each."""
        for each in events:
            self.writer.add(each, share_bytes)

    def add_calls(self, count: int, prefix: str = "call") -> None:
        """Add calls with words that fill their share, and tokens."""
        for number in range(count):
            self.add(
                call(f"{prefix}-{number}", input=noise(number, SHARE_BYTES), tokens=Tokens(input=number))
            )

    def fill(self) -> int:
        """Add events until there is no room; return how many were accepted in all."""
        while self.writer.has_room:
            self.add(event())
        return self.counts.events.accepted

    def stored_ids(self, table: str = "llm") -> list[object]:
        """Return what another connection sees."""
        return [*looking(self.database.path, lambda other: ids(other, table))]

    def check(self) -> None:
        """Assert the laws."""
        assert self.counts.laws_broken({}, self.writer.waiting) == []
        assert self.budget.used_bytes == self.ring.used_bytes + self.writer._in_flight_bytes


@pytest.fixture
def rig(database: Database) -> Rig:
    """A writer of a new database, that does not run."""
    return Rig(database)


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[None]:
    """Run a writer for as long as the block lasts, and check the laws at its end."""
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.writer.run)
            yield
            nursery.cancel_scope.cancel()
    rig.check()


async def until(condition: Callable[[], object]) -> None:
    """Let everything else run until a condition holds."""
    with trio.fail_after(30):
        while not condition():
            await trio.lowlevel.checkpoint()


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that tries again at once."""
    monkeypatch.setattr(module, "_RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(module, "_RETRY_MOST_S", 0.001)


@asynccontextmanager
async def locked(rig: Rig, *, busy_timeout_ms: int) -> AsyncIterator[None]:
    """Keep the writer from writing, for as long as the block lasts."""
    rig.database.connection.execute(f"PRAGMA busy_timeout = {busy_timeout_ms}")
    with closing(sqlite3.connect(rig.database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


async def test_flush(rig: Rig) -> None:
    """Everything accepted before a flush is committed after it, windows of metrics as well."""
    async with running(rig):
        for number in range(5):
            rig.add(event(f"event-{number}"))
            rig.rollup.add(Metric(f"m{number}", MetricKind.COUNTER, 1.0, (), 1.0, NOW_MS))
            await rig.writer.flush()

            assert rig.stored_ids("events")[-1] == f"event-{number}"
            assert len(rig.stored_ids("metrics")) == number + 1

    assert rig.counts.events.stored == 5
    assert b"event-4" in rig.database.path.read_bytes()  # out of the log, into the file itself
    assert rig.writer.state.last_commit_ms == NOW_MS
    assert meta(rig.database.connection, "rows_stored") == row_count(rig.database.connection) == 10


async def test_flush_of_nothing(rig: Rig) -> None:
    """A flush with nothing to store returns, and makes no transaction."""
    async with running(rig):
        await rig.writer.flush()

    assert rig.writer.state.commits == 0


async def test_flush_while_committing(rig: Rig) -> None:
    """A flush asked for during a commit also waits for what that commit does not hold."""
    async with running(rig), trio.open_nursery() as nursery:
        async with locked(rig, busy_timeout_ms=20_000):
            rig.add(event("first"))
            nursery.start_soon(rig.writer.flush)
            await until(lambda: rig.writer.state.in_flight)
            rig.add(event("second"))
            flushed = trio.Event()

            async def flush() -> None:
                await rig.writer.flush()
                assert rig.stored_ids("events") == ["first", "second"]
                flushed.set()

            nursery.start_soon(flush)
            await trio.testing.wait_all_tasks_blocked()
            assert not flushed.is_set()
        await flushed.wait()


async def test_many_flushes(rig: Rig) -> None:
    """Any number of tasks may wait for the same flush."""
    async with running(rig):
        rig.add(event())
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(rig.writer.flush)

        assert len(rig.stored_ids("events")) == 1

    assert rig.writer.state.commits == 1


async def test_interval(database: Database) -> None:
    """Without any flush an event is committed when the interval is over."""
    rig = Rig(database, interval_s=0.01)
    async with running(rig):
        rig.add(event("a"))
        await until(lambda: rig.counts.events.stored)

    assert rig.stored_ids("events") == ["a"]


async def test_quarter_full(rig: Rig) -> None:
    """A ring that is a quarter full is flushed at once, one that is not waits."""
    async with running(rig):
        quarter = RING_BYTES // 4 // EACH_BYTES
        rig.add(*(event() for _ in range(quarter - 1)))
        await trio.testing.wait_all_tasks_blocked()
        before = rig.writer.state.commits
        rig.add(event())
        await until(lambda: rig.counts.events.stored == quarter)

    assert before == 0


async def test_rows_of_a_transaction(database: Database) -> None:
    """A transaction holds so many rows at most, of events and windows together."""
    rig = Rig(database, ring_bytes=64 * RING_BYTES)
    async with running(rig):
        rig.add(*(event() for _ in range(ROWS + 10)))
        for number in range(ROWS + 10):
            rig.rollup.add(Metric(f"m{number}", MetricKind.COUNTER, 1.0, (), 1.0, NOW_MS))
        await rig.writer.flush()

    assert rig.writer.state.commits == 3
    assert rig.counts.events.stored == len(rig.stored_ids("metrics")) == ROWS + 10
    assert {row["rev"] for row in rows(database.connection, "metrics")} == {1}


async def test_fates(rig: Rig) -> None:
    """Repeated events and dead letters are counted as such, refused windows apart."""
    async with running(rig):
        rig.add(event("a"), event("a"), event("b", name=None), event("c"))
        rig.rollup.add(Metric("m\ud800", MetricKind.COUNTER, 1.0, (), 1.0, NOW_MS))
        await rig.writer.flush()

    counts = rig.counts.events
    assert (counts.stored, counts.repeated, counts.dead) == (2, 1, 1)
    assert rig.writer.state.dead_windows == 1
    assert [row["type"] for row in rows(rig.database.connection, "dead_letters")] == ["event", "metric"]


async def test_has_room(rig: Rig) -> None:
    """There is room until waiting events fill half of the budget; the rest is for packets."""
    half = RING_BYTES // 2 // EACH_BYTES
    rig.add(*(event() for _ in range(half - 1)))
    before = rig.writer.has_room
    rig.add(event())

    assert before
    assert not rig.writer.has_room
    rig.check()


async def test_wait_for_room(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for room gets it as soon as a batch is committed, and loses nothing."""
    monkeypatch.setattr(module, "_STUCK_POLL_S", NEVER_S)
    async with running(rig):
        filled = rig.fill()
        await rig.writer.wait_for_room()

        assert rig.writer.has_room

    assert rig.counts.events.stored == filled
    assert rig.counts.events.dropped.total() == 0


async def test_room_with_room(rig: Rig) -> None:
    """Where there is room nobody waits."""
    with trio.fail_after(5):
        await rig.writer.wait_for_room()

    rig.check()


async def test_in_flight_takes_room(rig: Rig) -> None:
    """Events in the hands of the thread still take room, and still wait."""
    async with running(rig):
        async with locked(rig, busy_timeout_ms=20_000):
            filled = rig.fill()
            await until(lambda: rig.writer.state.in_flight)

            assert not rig.writer.has_room
            assert rig.writer.waiting == rig.writer.state.in_flight == filled
            rig.check()
        await rig.writer.flush()

    assert rig.counts.events.stored == filled


async def test_full_ring(rig: Rig) -> None:
    """Events added where there is no room push out the oldest, which are counted; no words are shed."""
    half = RING_BYTES // 2 // EACH_BYTES
    rig.add_calls(half + 10)
    async with running(rig):
        await rig.writer.flush()

    counts = rig.counts.events
    assert counts.dropped == {Reason.RING_FULL: 10}
    assert rig.stored_ids() == [f"call-{number}" for number in range(10, half + 10)]
    assert counts.text_shed == 0


async def test_shed_words(rig: Rig) -> None:
    """A caller under pressure may take a call's words, which is counted; other events stay as they are."""
    other = event()
    shorter = rig.writer.shed_words(call("a", input=noise(1, 10)))

    assert shorter == call("a", attributes='{"trace_agent.text_shed":true}')
    assert rig.writer.shed_words(shorter) is shorter
    assert rig.writer.shed_words(other) is other
    assert rig.counts.events.text_shed == 1


async def test_large_event(rig: Rig) -> None:
    """An event that is larger than all the room there is pushes everything out, and is stored."""
    rig.add(event("small"))
    rig.add(event("large"), share_bytes=RING_BYTES)
    rig.add(event("last"))
    async with running(rig):
        await rig.writer.flush()

    assert rig.stored_ids("events") == ["last"]
    assert rig.counts.events.dropped == {Reason.RING_FULL: 2}


@pytest.mark.usefixtures("quick_retries")
async def test_locked(rig: Rig) -> None:
    """A database that another process writes to is waited for; it is shown, and nothing is lost."""
    async with running(rig), trio.open_nursery() as nursery, locked(rig, busy_timeout_ms=0):
        rig.add_calls(5)
        nursery.start_soon(rig.writer.flush)
        await until(lambda: rig.writer.stuck)
        stuck = rig.writer.stuck
        with trio.fail_after(5):
            await rig.writer.wait_for_room()

    assert stuck == "database is locked"
    assert rig.writer.stuck is None
    assert rig.stored_ids() == [f"call-{number}" for number in range(5)]
    assert rig.counts.events.text_shed == 0


@pytest.mark.usefixtures("quick_retries")
async def test_stuck_sheds_words(rig: Rig) -> None:
    """While nothing can be stored, calls give up their words once they fill a quarter of the ring."""
    quarter = RING_BYTES // 4 // EACH_BYTES
    async with running(rig), trio.open_nursery() as nursery, locked(rig, busy_timeout_ms=0):
        rig.add_calls(1, "batch")
        nursery.start_soon(rig.writer.flush)
        await until(lambda: rig.writer.stuck)
        rig.add_calls(quarter - 1, "waiting")
        before = rig.counts.events.text_shed
        rig.add_calls(1, "last")
        await until(lambda: rig.counts.events.text_shed)
        used_bytes = rig.ring.used_bytes
        rig.add_calls(50, "later")
        rig.check()

    calls = {row["id"]: row for row in rows(rig.database.connection, "llm")}
    assert before == 0
    assert used_bytes == quarter * EVENT_BYTES
    assert rig.counts.events.dropped.total() == 0
    assert len(calls) == rig.counts.events.accepted == 1 + quarter + 50
    assert calls["batch-0"]["input_ref"] is not None
    assert calls["waiting-3"]["input_ref"] is None
    assert calls["waiting-3"]["attributes"] == '{"trace_agent.text_shed":true}'
    assert calls["waiting-3"]["tokens_input"] == 3
    # A ring that shedding took below a quarter keeps the words of what comes next.
    assert rig.counts.events.text_shed == quarter
    assert calls["later-49"]["input_ref"] is not None


@pytest.mark.usefixtures("quick_retries")
async def test_stuck_drops_last(rig: Rig) -> None:
    """Only when calls without words fill the ring are the oldest dropped, each counted once."""
    most = RING_BYTES // 2 // EVENT_BYTES
    async with running(rig), trio.open_nursery() as nursery, locked(rig, busy_timeout_ms=0):
        rig.add_calls(1, "batch")
        nursery.start_soon(rig.writer.flush)
        await until(lambda: rig.writer.stuck)
        rig.add_calls(3 * most)
        rig.check()
        held = len(rig.ring)

    counts = rig.counts.events
    assert most - 4 <= held <= most
    assert counts.dropped == {Reason.RING_FULL: 3 * most - held}
    assert counts.stored == held + 1
    assert rig.stored_ids()[1:] == [f"call-{number}" for number in range(3 * most - held, 3 * most)]
    assert counts.text_shed == 3 * most
    with closing(sqlite3.connect(rig.database.path)) as other:
        kept = column(other, "SELECT tokens_input FROM llm WHERE id != 'batch-0' AND input_ref IS NULL")
    assert len(kept) == held
    assert None not in kept


@pytest.mark.usefixtures("quick_retries")
async def test_shedding_looks_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has given up its words is not looked at again for each event that comes."""
    looks = 0

    def counted(event: Stored) -> tuple[Stored, int]:
        nonlocal looks
        looks += 1
        return shed(event)

    async with running(rig), trio.open_nursery() as nursery, locked(rig, busy_timeout_ms=0):
        rig.add_calls(1, "batch")
        nursery.start_soon(rig.writer.flush)
        await until(lambda: rig.writer.stuck)
        rig.add_calls(1000)
        monkeypatch.setattr(module, "shed", counted)
        rig.add_calls(1000, "more")

    assert looks <= 1000 + len(rig.ring)


async def test_hanging_commit(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that does not come back makes the writer stuck, and is no longer waited for."""
    async with running(rig):
        async with locked(rig, busy_timeout_ms=20_000):
            rig.add(event("a"))
            rig.writer._kick.set()
            await until(lambda: rig.writer.state.in_flight)
            before = rig.writer.stuck
            monkeypatch.setattr(module, "_STUCK_S", 0.0)
            await until(lambda: rig.writer.stuck)
            stuck = rig.writer.stuck
            rig.fill()
            with trio.fail_after(5):
                await rig.writer.wait_for_room()
        await rig.writer.flush()

    assert before is None
    assert stuck == "a commit takes longer than 0 s"
    assert rig.writer.stuck is None


@pytest.mark.usefixtures("quick_retries")
async def test_full_database(rig: Rig) -> None:
    """A full database loses nothing: it is shown, tried again, and taken up when there is room."""
    rig.database.connection.execute("PRAGMA max_page_count = 40")
    async with running(rig), trio.open_nursery() as nursery:
        for number in range(20):
            rig.add(call(f"call-{number}", input=noise(number, 30_000)), share_bytes=100)
        nursery.start_soon(rig.writer.flush)
        await until(lambda: rig.writer.stuck)
        stuck, waiting = rig.writer.stuck, rig.writer.waiting
        rig.check()
        rig.database.connection.execute("PRAGMA max_page_count = 10000")

    assert (stuck, waiting) == ("database or disk is full", 20)
    assert rig.stored_ids() == [f"call-{number}" for number in range(20)]
    assert rig.counts.events.stored == 20


@pytest.mark.usefixtures("quick_retries")
async def test_full_disk(small_disk: Path) -> None:
    """The same on a volume that is really full, metrics included."""
    with closing(open_database(small_disk / "traces.db", NOW_MS)) as database:
        rig = Rig(database)
        async with running(rig), trio.open_nursery() as nursery:
            fill_disk(small_disk / "ballast")
            rig.add_calls(50)
            rig.rollup.add(Metric("m", MetricKind.COUNTER, 1.0, (), 1.0, NOW_MS))
            nursery.start_soon(rig.writer.flush)
            await until(lambda: rig.writer.stuck)
            stuck = rig.writer.stuck
            rig.check()
            (small_disk / "ballast").unlink()

        assert stuck == "database or disk is full"
        assert len(rig.stored_ids()) == rig.counts.events.stored == 50
        assert len(rig.stored_ids("metrics")) == 1


@pytest.mark.usefixtures("quick_retries")
async def test_stop_while_stuck(path: Path) -> None:
    """A writer that is stopped while nothing can be stored counts what it had to drop, by its reason."""
    rig = Rig(open_database(path, NOW_MS))
    async with locked(rig, busy_timeout_ms=0):
        async with running(rig), trio.open_nursery() as nursery:
            rig.add_calls(3)
            nursery.start_soon(rig.writer.flush)
            await until(lambda: rig.writer.stuck)
            rig.add_calls(2, "waiting")
            nursery.cancel_scope.cancel()
        in_hand = dict(rig.counts.events.dropped)
        rig.writer.close()

    assert in_hand == {Reason.SHUTDOWN: 3}
    assert rig.counts.events.dropped == {Reason.SHUTDOWN: 5}
    assert rig.writer.waiting == 0
    assert rig.budget.used_bytes == 0
    rig.check()


async def test_stop_while_committing(path: Path) -> None:
    """A batch that the thread has in its hands when the writer is stopped is stored and counted."""
    rig = Rig(open_database(path, NOW_MS))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.writer.run)
            rig.add_calls(3)
            rig.writer._kick.set()
            await until(lambda: rig.writer.state.in_flight)
            nursery.cancel_scope.cancel()
            other.execute("ROLLBACK")
    rig.add_calls(1, "late")
    rig.writer.close()

    assert rig.counts.events.stored == 3
    assert rig.counts.events.dropped == {Reason.SHUTDOWN: 1}
    assert rig.stored_ids() == ["call-0", "call-1", "call-2"]
    rig.check()


async def test_close(path: Path) -> None:
    """Closing leaves one file, all in it, and the lock free for the next."""
    rig = Rig(open_database(path, NOW_MS))
    async with running(rig):
        rig.add_calls(3)
        await rig.writer.flush()
    rig.writer.close()
    open_database(path, NOW_MS).close()

    assert sorted(beside(path)) == ["traces.db", "traces.db.lock"]
    assert len(rig.stored_ids()) == 3


async def test_our_bug(rig: Rig) -> None:
    """A statement that does not fit the tables ends the writer."""
    rig.database.connection.execute("DROP TABLE events")
    with pytest.RaisesGroup(pytest.RaisesExc(sqlite3.OperationalError, match="no such table")):
        async with trio.open_nursery() as nursery:
            rig.add(event())
            nursery.start_soon(rig.writer.run)
            await rig.writer.flush()

    assert rig.writer.stuck is None


@pytest.mark.usefixtures("quick_retries")
async def test_damage_at_run_time(rig: Rig) -> None:
    """When the database turns out damaged the batch goes into a new one, and the laws hold."""
    async with running(rig):
        rig.add_calls(50, "lost")
        await rig.writer.flush()
        rig.database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        overwrite(rig.database.path, 100, b"\xff" * (rig.database.path.stat().st_size - 100))
        rig.database.connection.execute("PRAGMA shrink_memory")
        rig.add_calls(3)
        await rig.writer.flush()

    assert rig.stored_ids() == ["call-0", "call-1", "call-2"]
    assert rig.stored_ids("errors") != []
    assert rig.writer.state.damaged == 1
    assert rig.counts.events.stored == 53


async def test_check_file_sound(rig: Rig) -> None:
    """A sound file stays, whatever is written meanwhile."""
    async with running(rig), trio.open_nursery() as nursery:
        nursery.start_soon(rig.writer.check_file)
        rig.add_calls(20)
        await rig.writer.flush()

    assert rig.writer.state.damaged == 0
    assert len(rig.stored_ids()) == 20


def with_garbage(path: Path) -> Database:
    """Open a database whose middle is garbage, which opening does not meet."""
    opened = open_database(path, NOW_MS)
    opened.connection.execute("BEGIN")
    names = [(f"{number:0500}",) for number in range(2000)]
    opened.connection.executemany("INSERT INTO upstreams VALUES (?, 0)", names)
    opened.connection.execute("COMMIT")
    opened.close()
    overwrite(path, path.stat().st_size // 2, b"\xff" * 20_000)
    return open_database(path, NOW_MS)


async def test_check_file_damaged(path: Path) -> None:
    """Garbage in the middle of the file is found in the background, and the file replaced."""
    with closing(with_garbage(path)) as database:
        rig = Rig(database)
        async with running(rig):
            rig.add(event("before"))
            await rig.writer.flush()
            await rig.writer.check_file()
            rig.add(event("after"))
            await rig.writer.flush()

        assert rig.stored_ids("events") == ["after"]
        assert len(rig.stored_ids("errors")) == 1
        assert rig.writer.state.damaged == 1
        aside = path.with_name(f"traces.db.corrupt.{NOW_MS}")
        assert looking(aside, lambda other: ids(other, "events")) == ["before"]


async def test_check_file_too_late(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict on a file that has been replaced meanwhile does not replace the new one."""
    with closing(with_garbage(path)) as database:
        rig = Rig(database)

        def slow_check(path: Path) -> str | None:
            verdict = quick_check(path)
            rig.writer._committer.replace("somebody was faster")
            return verdict

        monkeypatch.setattr(module, "quick_check", slow_check)
        await rig.writer.check_file()

    assert rig.writer.state.damaged == 1
    assert [name for name in beside(path) if "corrupt" in name] == [f"traces.db.corrupt.{NOW_MS}"]
