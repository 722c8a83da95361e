"""Hold packets until they can be read: chunks in, chunks to the one who reads them out.

Receiving comes first, so sources only put chunks here, and two tasks hand them on to be read.

- *Lossy* chunks come from senders that are never made to wait (UDP, plain Unix): where there is no
  room the oldest of them are dropped and counted.
- *Held* chunks come from senders that can be told (HTTP) or asked to wait (Unix with flow control):
  they make room by pushing out lossy ones, else wait.

A lane each, so that a flood on one does not delay an answer on the other.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from trace_agent.core.counts import Carrier, Counts
from trace_agent.core.errors import Reason
from trace_agent.core.ring import Budget, Ring
from trace_agent.ingest.complaints import Complaints
from trace_agent.ingest.reading import Chunk, Sink

__all__ = ["Inbox"]

# How long one who found no room waits before looking again.
_POLL_S: Final = 0.1


class Inbox:
    """The two lanes of chunks.

    Args:
        budget: what packets and events share.
        counts: where packets are tallied.
        sink: makes room in the ring by storing events.
        complaints: is told what was dropped.
        read: reads one chunk to its end, and counts in it which packets have met their fate.
    """

    def __init__(
        self,
        *,
        budget: Budget,
        counts: Counts,
        sink: Sink,
        complaints: Complaints,
        read: Callable[[Chunk], Awaitable[None]],
    ) -> None:
        self.complaints = complaints
        self._budget = budget
        self._counts = counts
        self._sink = sink
        self._read = read
        self._lossy: Ring[Chunk] = Ring(budget)
        self._held: Ring[Chunk] = Ring(budget)
        self._arrived = {id(self._lossy): trio.Event(), id(self._held): trio.Event()}
        self._idle = trio.Event()
        self._in_hand: list[Chunk] = []
        # Kept apart from the tallies, so that the law about them says something.
        self._queued: Counter[Carrier] = Counter()

    @property
    def limit_bytes(self) -> int:
        """Return how much fits when nothing else waits."""
        return self._budget.limit_bytes

    @property
    def lossy_share(self) -> float:
        """Return how much of the ring lossy packets fill, 0 to 1."""
        return self._lossy.used_bytes / self._budget.limit_bytes

    @property
    def is_empty(self) -> bool:
        """Return whether every packet received has met its fate."""
        return not (self._in_hand or len(self._lossy) or len(self._held))

    @property
    def waiting(self) -> dict[Carrier, int]:
        """Return how many packets wait to be read, by carrier; those in hand are included."""
        waiting = {carrier: self._queued[carrier] for carrier in Carrier}
        for chunk in self._in_hand:
            waiting[chunk.carrier] += chunk.unsettled
        return waiting

    def put_nowait(self, chunk: Chunk) -> None:
        """Add a lossy chunk; the oldest lossy ones make room, or it is dropped itself."""
        self._make_room(chunk.size_bytes)
        if self._budget.fits(chunk.size_bytes):
            self._push(self._lossy, chunk)
        else:
            self._receive(chunk)
            self._drop(chunk, Reason.RING_FULL)

    async def put(self, chunk: Chunk) -> None:
        """Add a held chunk, waiting for room as long as it takes."""
        await self.reserve(chunk.size_bytes)
        self._budget.give(chunk.size_bytes)
        self._push(self._held, chunk)

    def put_reserved(self, chunk: Chunk) -> None:
        """Add a held chunk for whose payload `reserve` was called, in one go or in pieces."""
        self._budget.give(chunk.payload_bytes)
        self._push(self._held, chunk)

    async def reserve(self, size_bytes: int) -> None:
        """Wait until so many bytes fit the ring, and count them in; the caller gives them back."""
        self._make_room(size_bytes)
        while not self._budget.fits(size_bytes):
            await self._sink.wait_for_room()
            await trio.sleep(_POLL_S)
            self._make_room(size_bytes)
        self._budget.take(size_bytes)

    def reserve_nowait(self, size_bytes: int) -> bool:
        """Count so many bytes in if they fit, pushing out lossy chunks for them."""
        self._make_room(size_bytes)
        if not self._budget.fits(size_bytes):
            return False
        self._budget.take(size_bytes)
        return True

    def release(self, size_bytes: int) -> None:
        """Give reserved bytes back that were not used."""
        self._budget.give(size_bytes)

    async def run(self) -> None:
        """Hand on the chunks of both lanes until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve_lane, self._lossy)
            nursery.start_soon(self._serve_lane, self._held)

    async def drained(self) -> None:
        """Wait until every packet received has met its fate; sources must have been stopped."""
        while not self.is_empty:
            self._idle = trio.Event()
            await self._idle.wait()

    def abandon(self) -> None:
        """Drop by name what was not read, at the end of a shutdown that could not wait any longer."""
        for begun in self._in_hand:
            if begun.unsettled:
                self._drop(begun, Reason.SHUTDOWN)
        self._in_hand.clear()
        for lane in (self._lossy, self._held):
            while (chunk := self._pop(lane)) is not None:
                self._drop(chunk, Reason.SHUTDOWN)

    async def _serve_lane(self, lane: Ring[Chunk]) -> None:
        while True:
            chunk = self._pop(lane)
            if chunk is None:
                self._idle.set()
                self._arrived[id(lane)] = arrived = trio.Event()
                await arrived.wait()
                continue
            self._in_hand.append(chunk)
            await self._read(chunk)
            self._in_hand.remove(chunk)

    def _make_room(self, size_bytes: int) -> None:
        for chunk in self._lossy.evict(size_bytes):
            self._queued[chunk.carrier] -= len(chunk.packets)
            self._drop(chunk, Reason.RING_FULL)

    def _push(self, lane: Ring[Chunk], chunk: Chunk) -> None:
        self._receive(chunk)
        self._queued[chunk.carrier] += len(chunk.packets)
        chunk.held = lane is self._held
        lane.push(chunk, chunk.size_bytes)
        self._arrived[id(lane)].set()

    def _pop(self, lane: Ring[Chunk]) -> Chunk | None:
        chunk = lane.pop()
        if chunk is not None:
            self._queued[chunk.carrier] -= len(chunk.packets)
        return chunk

    def _receive(self, chunk: Chunk) -> None:
        counts = self._counts.packets[chunk.carrier]
        counts.received += len(chunk.packets)
        counts.received_bytes += chunk.payload_bytes

    def _drop(self, chunk: Chunk, reason: Reason) -> None:
        """Settle what is left of a chunk."""
        self._counts.packets[chunk.carrier].dropped[reason] += chunk.unsettled
        chunk.settled = len(chunk.packets)
        self.complaints.note(chunk.carrier, reason, chunk.payload_bytes)
