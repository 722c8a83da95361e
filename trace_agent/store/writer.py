"""Carry what waits into SQLite: the ring of events and the metric windows in, committed rows out.

One task on the loop decides when, one thread at a time does the work, one transaction holds at most
`ROWS` rows. Trouble with the disk is waited out with the batch in hand and shown by `stuck`; while it
lasts, waiting calls give up their words before any event is dropped (DESIGN 4). A bug of ours is not
waited out: it ends the program.
"""

import math
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

import trio

from trace_agent.core.counts import EventCounts
from trace_agent.core.errors import Reason
from trace_agent.core.ring import Ring
from trace_agent.core.rollup import Rollup, Window
from trace_agent.store.committer import Committer, WriterState
from trace_agent.store.database import Database, quick_check
from trace_agent.store.preparation import AS_IT_CAME, Preparation, Stored
from trace_agent.store.shedding import shed

__all__ = ["Stored", "Writer", "WriterState"]

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

# 200 to 1,000 rows a transaction is where SQLite is fast and a commit still short (7 to 40 ms).
ROWS: Final = 1000
# What an event costs in memory beside the bytes it came in.
EVENT_BYTES: Final = 1024
_RETRY_FIRST_S: Final = 0.1
_RETRY_MOST_S: Final = 5.0
# A commit that takes longer than this is a disk that hangs.
_STUCK_S: Final = 10.0
_STUCK_POLL_S: Final = 0.25


class Writer:
    """Owns the ring of events, the metric windows and the database."""

    def __init__(  # noqa: PLR0913 - by keyword only, and each a part of its own
        self,
        *,
        database: Database,
        ring: Ring[Stored],
        rollup: Rollup,
        counts: EventCounts,
        flush_interval_s: float,
        now_ms: Callable[[], int],
        new_id: Callable[[float], str],
        preparation: Preparation = AS_IT_CAME,
    ) -> None:
        self.state = WriterState()
        self._database = database
        self._committer = Committer(database, self.state, now_ms, new_id, preparation)
        self._ring = ring
        self._rollup = rollup
        self._counts = counts
        self._interval_s = flush_interval_s
        self._now_ms = now_ms
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
        # Whether a waiting call may still have words to shed.
        self._has_words = False

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
        oldest events are dropped and counted; a writer that is stuck sheds words first.

        Args:
            event: to be stored at the next flush.
            packet_bytes: its share of the packet it came in.
        """
        self._counts.accepted += 1
        if self._ring.used_bytes >= self._kick_bytes and self.stuck is not None:
            self._shed_waiting()
            event, chars = self._shed(event)
            packet_bytes = max(0, packet_bytes - chars)
        else:
            self._has_words = True
        while len(self._ring) and not self.has_room:
            self._ring.pop()
            self._counts.dropped[Reason.RING_FULL] += 1
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

    def shed_words(self, event: Stored) -> Stored:
        """Return a call without its words, marked and counted; any other event as it is."""
        return self._shed(event)[0]

    async def check_file(self) -> None:
        """Look through the whole file once, beside everything else, and replace it when it is damaged."""
        damaged = self.state.damaged
        trouble = await trio.to_thread.run_sync(quick_check, self._database.path, abandon_on_cancel=True)
        if trouble is not None and damaged == self.state.damaged:  # else it is replaced already
            await self._in_thread(self._committer.replace, trouble)

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
            room = ROWS - len(events)
            await self._commit(events, windows[:room], size_bytes)
            windows = windows[room:]
        if wrote:
            await self._in_thread(self._committer.checkpoint)
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
                outcome = await self._in_thread(self._committer.commit, events, windows)
                if outcome is not None:
                    break
                if self.stuck is not None:
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

    async def _in_thread(self, work: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        self._commit_began_s = trio.current_time()
        try:
            return await trio.to_thread.run_sync(work, *arguments, limiter=self._thread)
        finally:
            self._commit_began_s = math.inf

    def _shed_waiting(self) -> None:
        """Take the words of waiting calls: their tokens, cost, latency and status outlive them."""
        if not self._has_words or self._ring.used_bytes < self._kick_bytes:
            return
        self._has_words = False
        for index, (event, size_bytes) in enumerate(list(self._ring)):
            shorter, chars = self._shed(event)
            if shorter is not event:
                self._ring.replace(index, shorter, max(EVENT_BYTES, size_bytes - chars))

    def _shed(self, event: Stored) -> tuple[Stored, int]:
        shorter, chars = shed(event)
        self._counts.text_shed += shorter is not event
        return shorter, chars
