"""Carry what waits into SQLite: the ring of events and the metric windows in, committed rows out.

One task on the loop decides when, one thread at a time does the work, one transaction holds at most
`ROWS` rows. Trouble with the disk is waited out with the batch in hand and shown by `trouble`; while it
lasts, waiting calls give up their words before any event is dropped (DESIGN 4). A bug of ours is not
waited out: it ends the program.
"""

import logging
import math
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

import trio
from attrs import define, evolve

from trace_agent.core.counts import EventCounts
from trace_agent.core.errors import Reason
from trace_agent.core.events import Event, Failure, Llm
from trace_agent.core.ring import Ring
from trace_agent.core.rollup import Rollup, Window
from trace_agent.store.database import Database, is_damage, quick_check
from trace_agent.store.tables import Outcome, Tables

__all__ = ["Stored", "Writer", "WriterState"]

log = logging.getLogger(__name__)

Stored = Llm | Event | Failure

# 200 to 1,000 rows a transaction is where SQLite is fast and a commit still short (7 to 40 ms).
ROWS: Final = 1000
# What an event costs in memory beside the bytes it came in.
EVENT_BYTES: Final = 1024
_RETRY_FIRST_S: Final = 0.1
_RETRY_MOST_S: Final = 5.0
# A commit that takes longer than this is a disk that hangs.
_STUCK_S: Final = 10.0
_STUCK_POLL_S: Final = 0.25
_SHED_MARK: Final = '{"trace_agent.text_shed":true}'


@define
class WriterState:
    """How the writer fares, for health and statistics.

    Attributes:
        last_commit_ms: Unix milliseconds.
        in_flight: events handed to SQLite, not committed yet.
        error: what SQLite says at present, or None.
        commits: transactions so far.
        dead_windows: metric windows that SQLite refused.
        damaged: damaged databases set aside so far.
    """

    last_commit_ms: int | None = None
    in_flight: int = 0
    error: str | None = None
    commits: int = 0
    dead_windows: int = 0
    damaged: int = 0


class Writer:
    """Owns the ring of events, the metric windows and the database."""

    def __init__(
        self,
        *,
        database: Database,
        ring: Ring[Stored],
        rollup: Rollup,
        counts: EventCounts,
        flush_interval_s: float,
        now_ms: Callable[[], int],
        new_id: Callable[[float], str],
    ) -> None:
        self.state = WriterState()
        self._database = database
        self._tables = Tables(database.connection)
        self._ring = ring
        self._rollup = rollup
        self._counts = counts
        self._interval_s = flush_interval_s
        self._now_ms = now_ms
        self._new_id = new_id
        self._thread = trio.CapacityLimiter(1)
        self._kick = trio.Event()
        self._room = trio.Event()
        self._rounds_begun = 0
        self._rounds_done = 0
        self._round_done = trio.Event()
        self._commit_began_s = math.inf
        # Half of the budget is for events, so that packets can still be received while they wait.
        self._events_limit_bytes = ring.budget.limit_bytes // 2
        self._kick_bytes = ring.budget.limit_bytes // 4
        self._in_flight_bytes = 0

    @property
    def waiting(self) -> int:
        """Return how many accepted events have not met their fate."""
        return len(self._ring) + self.state.in_flight

    @property
    def stuck(self) -> str | None:
        """Return why nothing is being stored at present, or None."""
        if self.state.error is not None:
            return self.state.error
        if trio.current_time() - self._commit_began_s > _STUCK_S:
            return f"a commit takes longer than {_STUCK_S:g} s"
        return None

    @property
    def has_room(self) -> bool:
        """Return whether `add` would neither wait nor drop."""
        return self._ring.used_bytes + self._in_flight_bytes < self._events_limit_bytes

    def add(self, event: Stored, packet_bytes: int) -> None:
        """Take an accepted event; never blocks.

        Callers that can wait ask `has_room` and `wait_for_room` before. Where there is none, the
        oldest events are dropped and counted.

        Args:
            event: to be stored at the next flush.
            packet_bytes: its share of the packet it came in.
        """
        self._counts.accepted += 1
        if not self.has_room:
            event, packet_bytes = self._make_room(event, packet_bytes)
        self._ring.push(event, packet_bytes + EVENT_BYTES)
        if self._ring.used_bytes >= self._kick_bytes:
            self._kick.set()

    async def wait_for_room(self) -> None:
        """Wait until `has_room`, or until waiting makes no sense because the writer is stuck."""
        while not self.has_room and self.stuck is None:
            self._kick.set()
            with trio.move_on_after(_STUCK_POLL_S):
                await self._room.wait()

    async def flush(self) -> None:
        """Wait until everything accepted before this call is committed."""
        target = self._rounds_begun + 1
        while self._rounds_done < target:
            self._kick.set()
            await self._round_done.wait()

    async def run(self) -> None:
        """Flush until cancelled; call `flush` before, and `close` after.

        Error handling: SQLite's troubles are waited out; anything else escapes.
        """
        while True:
            with trio.move_on_after(self._interval_s):
                await self._kick.wait()
            self._kick = trio.Event()
            await self._round()

    async def check_file(self) -> None:
        """Look through the whole file once, beside everything else, and replace it when it is damaged."""
        trouble = await trio.to_thread.run_sync(quick_check, self._database.path, abandon_on_cancel=True)
        if trouble is not None:
            await trio.to_thread.run_sync(self._begin_anew, trouble, limiter=self._thread)

    def close(self) -> None:
        """Close the database, and drop by name what could not be stored."""
        lost, size_bytes = self._ring.take(len(self._ring))
        self._counts.dropped[Reason.SHUTDOWN] += len(lost)
        self._ring.budget.give(size_bytes)
        self._database.close()

    async def _round(self) -> None:
        self._rounds_begun += 1
        left = len(self._ring)
        windows = self._rollup.drain(self._now_ms())
        wrote = bool(left or windows)
        while left > 0 or windows:
            events, size_bytes = self._ring.take(min(left, ROWS))
            left = min(left - len(events), len(self._ring))
            await self._commit(events, windows, size_bytes)
            windows = []
        if wrote:
            await self._in_thread(self._checkpoint)
        self._rounds_done = self._rounds_begun
        self._round_done.set()
        self._round_done = trio.Event()

    async def _commit(self, events: list[Stored], windows: list[Window], size_bytes: int) -> None:
        """Store one batch, however long the disk makes it wait."""
        delay_s = _RETRY_FIRST_S
        self.state.in_flight = len(events)
        self._in_flight_bytes = size_bytes
        try:
            while True:
                outcome = await self._in_thread(self._write, events, windows)
                if outcome is not None:
                    break
                self._shed_waiting()
                await trio.sleep(delay_s)
                delay_s = min(delay_s * 2, _RETRY_MOST_S)
        except trio.Cancelled:
            self._counts.dropped[Reason.SHUTDOWN] += len(events)
            raise
        finally:
            self.state.in_flight = 0
            self._in_flight_bytes = 0
            self._ring.budget.give(size_bytes)
        self._counts.stored += outcome.stored
        self._counts.repeated += outcome.repeated
        self._counts.dead += outcome.dead
        self.state.dead_windows += outcome.dead_windows
        self.state.commits += 1
        self.state.last_commit_ms = self._now_ms()
        self._room.set()
        self._room = trio.Event()

    async def _in_thread(
        self, work: Callable[..., Outcome | None], *arguments: Sequence[Stored] | Sequence[Window]
    ) -> Outcome | None:
        self._commit_began_s = trio.current_time()
        try:
            return await trio.to_thread.run_sync(work, *arguments, limiter=self._thread)
        finally:
            self._commit_began_s = math.inf

    def _write(self, events: Sequence[Stored], windows: Sequence[Window]) -> Outcome | None:
        """Write in the thread; return None when it has to be tried again."""
        try:
            outcome = self._tables.write(events, windows, self._now_ms())
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                self._begin_anew(str(error))
            elif _is_environment(error):
                self._trouble(str(error))
            else:
                raise
            return None
        if self.state.error is not None:
            log.info("the store takes events again")
            self.state.error = None
        return outcome

    def _trouble(self, error: str) -> None:
        if self.state.error is None:
            log.error("the store takes nothing: %s; trying again until it does", error)
        self.state.error = error

    def _checkpoint(self) -> None:
        # PASSIVE never waits for readers; what they hold back is moved by a later one.
        try:
            self._database.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.OperationalError as error:
            # The rows are safe in the WAL; the next commit meets the same disk and reports it.
            log.debug("checkpoint: %s", error)

    def _begin_anew(self, trouble: str) -> None:
        """Replace the damaged database; called in the thread that owns the connection."""
        now_ms = self._now_ms()
        target = self._database.begin_anew(now_ms)
        self._tables = Tables(self._database.connection)
        self.state.damaged += 1
        self._tables.write([damage_report(self._new_id(now_ms), now_ms, trouble, target.name)], [], now_ms)

    def _make_room(self, event: Stored, packet_bytes: int) -> tuple[Stored, int]:
        """Drop words while the writer is stuck, then the oldest events."""
        if self.stuck is not None:
            self._shed_waiting()
            event, packet_bytes = self._shed(event, packet_bytes)
        while len(self._ring) and not self.has_room:
            self._ring.pop()
            self._counts.dropped[Reason.RING_FULL] += 1
        return event, packet_bytes

    def _shed_waiting(self) -> None:
        """Take the words of waiting calls: their tokens, cost, latency and status outlive them."""
        if self._ring.used_bytes < self._kick_bytes:
            return
        for index, (event, size_bytes) in enumerate(list(self._ring)):
            shorter, _ = self._shed(event, 0)
            if shorter is not event:
                words = sum(len(part) for part in _words(event))
                self._ring.replace(index, shorter, max(EVENT_BYTES, size_bytes - words))

    def shed_words(self, event: Stored) -> Stored:
        """Return a call without its words, marked and counted; any other event as it is."""
        return self._shed(event, 0)[0]

    def _shed(self, event: Stored, packet_bytes: int) -> tuple[Stored, int]:
        if not isinstance(event, Llm) or (event.input is None and event.output is None):
            return event, packet_bytes
        self._counts.text_shed += 1
        words = sum(len(part) for part in _words(event))
        attributes = _SHED_MARK if event.attributes is None else f"{_SHED_MARK[:-1]},{event.attributes[1:]}"
        shorter = evolve(event, input=None, output=None, attributes=attributes)
        return shorter, max(0, packet_bytes - words)


def _is_environment(error: sqlite3.DatabaseError) -> bool:
    """Return whether the disk, a lock or the file system is to blame, rather than our SQL."""
    return (
        isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_ERROR
    )


def damage_report(id_: str, now_ms: int, trouble: str, target: str) -> Failure:
    """Build the error that says the database was damaged, for the new one to begin with."""
    return Failure(
        id_, True, now_ms, now_ms, None, None, None, None, None, None,
        kind="store.corrupt",
        message=f"the database was damaged ({trouble}); it is kept as {target}",
        source="trace-agent",
    )  # fmt: skip


def _words(event: Stored) -> tuple[str, ...]:
    if not isinstance(event, Llm):
        return ()
    return (event.input.parts if event.input else ()) + (event.output.parts if event.output else ())
