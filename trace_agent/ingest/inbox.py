"""Hold packets until they can be read, and read them: chunks of raw packets in, events out.

Receiving comes first, so sources only put chunks here. Two tasks read them in slices of about a
millisecond, and the sockets are drained between slices.

- *Lossy* chunks come from senders that are never made to wait (UDP, plain Unix): where there is no
  room the oldest of them are dropped and counted.
- *Held* chunks come from senders that can be told (HTTP) or asked to wait (Unix with flow control):
  they make room by pushing out lossy ones, else wait.

A lane each, so that a flood on one does not delay an answer on the other.
"""

from typing import Final, Protocol

import trio
from attrs import Factory, define

from trace_agent.core.counts import Carrier, Counts
from trace_agent.core.errors import EventError, PacketError, PeerError, Reason
from trace_agent.core.events import Event, Failure, Llm, Metric
from trace_agent.core.fields import EventReader
from trace_agent.core.ring import Budget, Ring
from trace_agent.core.rollup import Rollup
from trace_agent.dialects.native import Form, form_of, hello_of, values
from trace_agent.dialects.statsd import read_packets
from trace_agent.ingest.complaints import Complaints

__all__ = ["PACKET_BYTES", "Chunk", "Inbox", "Reply", "Sink"]

# What a small bytes object and its place in a list cost beside their content.
PACKET_BYTES: Final = 64
_SLICE_S: Final = 0.001
# Events read between two looks at the clock and at the room left.
_STRIDE: Final = 32
# StatsD is read in helpings of this size: many lines to find equal ones among, and still a short slice.
_LINES_BYTES: Final = 32 * 1024
# Datagrams of big calls lose their words when packets and events fill this share of the ring.
_SHED_ABOVE: Final = 0.75
# How long a held chunk that found no room waits before it looks again.
_POLL_S: Final = 0.1


class Sink(Protocol):
    """Where events go: the store's writer, handed in because it stands below this package."""

    @property
    def has_room(self) -> bool:
        """Return whether `add` would neither wait nor drop."""

    def add(self, event: Llm | Event | Failure, packet_bytes: int) -> None:
        """Take an event, dropping the oldest where there is no room."""

    async def wait_for_room(self) -> None:
        """Wait until there is room, or no hope for it."""

    def shed_words(self, event: Llm | Event | Failure) -> Llm | Event | Failure:
        """Return a call without its words, marked and counted."""


@define
class Reply:
    """What a waiting HTTP request is told.

    Attributes:
        accepted: events taken.
        rejected: index in the batch and why, for each event refused.
        error: why nothing of the packet could be read.
        read: events looked at so far, accepted or rejected.
        abandoned: set by the one who waits when it has given up; nothing is accepted after that.
        done: set when the packet has met its fate.
    """

    accepted: int = 0
    rejected: list[tuple[int, PeerError]] = Factory(list)
    error: PeerError | None = None
    read: int = 0
    abandoned: bool = False
    done: trio.Event = Factory(trio.Event)


@define
class Chunk:
    """Packets that one look at a socket brought.

    Attributes:
        payload_bytes: size of all packets.
        form: how to read the packets; None goes by their first byte.
        implied_type: type of events that name none.
        reply: who waits for the fate of the (single) packet.
        held: its sender can wait, so it is never read into a full ring.
    """

    carrier: Carrier
    packets: list[bytes]
    payload_bytes: int
    received_ms: int
    form: Form | None = None
    implied_type: str | None = None
    reply: Reply | None = None
    held: bool = False

    @property
    def size_bytes(self) -> int:
        """Return what the chunk costs in memory."""
        return self.payload_bytes + len(self.packets) * PACKET_BYTES


class Inbox:
    """The two lanes of chunks and their readers."""

    def __init__(
        self,
        *,
        budget: Budget,
        counts: Counts,
        reader: EventReader,
        rollup: Rollup,
        sink: Sink,
        complaints: Complaints,
    ) -> None:
        self.complaints = complaints
        self._budget = budget
        self._counts = counts
        self._reader = reader
        self._rollup = rollup
        self._sink = sink
        self._lossy: Ring[Chunk] = Ring(budget)
        self._held: Ring[Chunk] = Ring(budget)
        self._arrived = {id(self._lossy): trio.Event(), id(self._held): trio.Event()}
        self._idle = trio.Event()
        self._reading = 0
        # Kept apart from the tallies, so that the law about them says something.
        self._waiting = dict.fromkeys(Carrier, 0)

    @property
    def lossy_share(self) -> float:
        """Return how much of the ring lossy packets fill, 0 to 1."""
        return self._lossy.used_bytes / self._budget.limit_bytes

    @property
    def is_empty(self) -> bool:
        """Return whether every packet received has met its fate."""
        return not (self._reading or len(self._lossy) or len(self._held))

    @property
    def waiting(self) -> dict[Carrier, int]:
        """Return how many packets wait to be read, by carrier; those in hand are included."""
        return dict(self._waiting)

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
        """Read both lanes until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_lane, self._lossy)
            nursery.start_soon(self._read_lane, self._held)

    def abandon(self) -> None:
        """Drop by name what was not read, at the end of a shutdown that could not wait any longer."""
        for lane in (self._lossy, self._held):
            while (chunk := lane.pop()) is not None:
                self._drop(chunk, Reason.SHUTDOWN)

    async def drained(self) -> None:
        """Wait until every packet received has met its fate; sources must have been stopped."""
        while not self.is_empty:
            self._idle = trio.Event()
            await self._idle.wait()

    def _make_room(self, size_bytes: int) -> None:
        for chunk in self._lossy.evict(size_bytes):
            self._drop(chunk, Reason.RING_FULL)

    def _push(self, lane: Ring[Chunk], chunk: Chunk) -> None:
        self._receive(chunk)
        chunk.held = lane is self._held
        lane.push(chunk, chunk.size_bytes)
        self._arrived[id(lane)].set()

    def _receive(self, chunk: Chunk) -> None:
        counts = self._counts.packets[chunk.carrier]
        counts.received += len(chunk.packets)
        counts.received_bytes += chunk.payload_bytes
        self._waiting[chunk.carrier] += len(chunk.packets)

    def _drop(self, chunk: Chunk, reason: Reason) -> None:
        self._waiting[chunk.carrier] -= len(chunk.packets)
        self._counts.packets[chunk.carrier].dropped[reason] += len(chunk.packets)
        self.complaints.note(chunk.carrier, reason, chunk.payload_bytes)

    async def _read_lane(self, lane: Ring[Chunk]) -> None:
        while True:
            chunk = lane.pop()
            if chunk is None:
                self._idle.set()
                self._arrived[id(lane)] = arrived = trio.Event()
                await arrived.wait()
                continue
            self._reading += 1
            await self._read(chunk)
            self._reading -= 1

    async def _read(self, chunk: Chunk) -> None:
        counts = self._counts.packets[chunk.carrier]
        slice_end_s = trio.current_time() + _SLICE_S
        lines: list[bytes] = []
        for packet in chunk.packets:
            try:
                form = chunk.form or form_of(packet)
                if form is Form.LINES:
                    lines.append(packet)
                    continue
                items = values(packet, form)
            except PacketError as error:
                self._refuse(chunk, error, len(packet))
                continue
            await self._read_events(chunk, packet, items)
            if trio.current_time() > slice_end_s:
                await trio.lowlevel.checkpoint()
                slice_end_s = trio.current_time() + _SLICE_S
        if lines:
            await self._read_lines(chunk, lines)
        counts.last_ms = chunk.received_ms

    async def _read_events(self, chunk: Chunk, packet: bytes, items: list[object]) -> None:
        """Read the events of one packet, a stride at a time, and settle the packet's fate."""
        share_bytes = len(packet) // (len(items) or 1)
        reply = chunk.reply or Reply()
        while reply.read < len(items):
            if not self._sink.has_room:
                await self._room(chunk, reply)
            if reply.abandoned:
                break
            for item in items[reply.read : reply.read + _STRIDE]:
                try:
                    self._read_one(chunk, item, share_bytes)
                except (EventError, PacketError) as error:
                    self._counts.events.refused[error.reason] += 1
                    reply.rejected.append((reply.read, error))
                else:
                    reply.accepted += 1
                reply.read += 1
            if len(items) > _STRIDE:  # let the sockets be drained between the strides of a batch
                await trio.lowlevel.checkpoint()
        self._settle(chunk, packet, reply, empty=not items)

    def _settle(self, chunk: Chunk, packet: bytes, reply: Reply, *, empty: bool) -> None:
        counts = self._counts.packets[chunk.carrier]
        self._waiting[chunk.carrier] -= 1
        if reply.accepted or empty:
            counts.accepted += 1
        elif reply.abandoned:
            counts.dropped[Reason.RING_FULL] += 1
        else:
            reason = reply.rejected[0][1].reason
            counts.refused[reason] += 1
            self.complaints.note(chunk.carrier, reason, len(packet))
        reply.done.set()

    async def _room(self, chunk: Chunk, reply: Reply) -> None:
        """Wait for room; a lossy chunk only while the store makes progress, since `add` drops the oldest."""
        await self._sink.wait_for_room()
        while chunk.held and not self._sink.has_room and not reply.abandoned:
            await trio.sleep(_POLL_S)
            await self._sink.wait_for_room()

    def _read_one(self, chunk: Chunk, item: object, share_bytes: int) -> None:
        if isinstance(item, PacketError):
            raise item
        hello = hello_of(item)
        if hello is not None:
            self.greet(hello)
            return
        event = self._reader.read(item, chunk.received_ms, chunk.carrier, chunk.implied_type)
        self._take(chunk, event, share_bytes)

    def _take(self, chunk: Chunk, event: Llm | Event | Failure | Metric, share_bytes: int) -> None:
        if isinstance(event, Metric):
            self._rollup.add(event)
            self._counts.events.accepted += event.times
            self._counts.events.folded += event.times
            return
        if chunk.carrier is Carrier.UDP and self._budget.used_bytes > self._budget.limit_bytes * _SHED_ABOVE:
            event = self._sink.shed_words(event)
        self._sink.add(event, share_bytes)

    def greet(self, hello: dict[str, object]) -> None:
        """Take note of what a client says about itself: how many events it dropped since it last said."""
        dropped = hello.get("dropped")
        if isinstance(dropped, int) and not isinstance(dropped, bool) and dropped > 0:
            self._counts.client_dropped += dropped

    async def _read_lines(self, chunk: Chunk, packets: list[bytes]) -> None:
        """Read StatsD packets, many at a time so that equal lines are parsed once."""
        start = 0
        while start < len(packets):
            stop, size_bytes = start, 0
            while stop < len(packets) and size_bytes < _LINES_BYTES:
                size_bytes += len(packets[stop])
                stop += 1
            if not self._sink.has_room:
                await self._room(chunk, Reply())
            self._read_statsd(chunk, packets[start:stop], size_bytes)
            start = stop
            await trio.lowlevel.checkpoint()

    def _read_statsd(self, chunk: Chunk, packets: list[bytes], size_bytes: int) -> None:
        batch = read_packets(packets, chunk.received_ms, self._reader, chunk.carrier)
        share_bytes = size_bytes // (len(batch.events) or 1)
        for event in batch.events:
            self._take(chunk, event, share_bytes)
        self._counts.events.refused.update(batch.bad_lines)
        counts = self._counts.packets[chunk.carrier]
        self._waiting[chunk.carrier] -= len(packets)
        counts.accepted += len(packets) - len(batch.refused)
        for index, reason in batch.refused.items():
            counts.refused[reason] += 1
            self.complaints.note(chunk.carrier, reason, len(packets[index]))

    def _refuse(self, chunk: Chunk, error: PacketError, size_bytes: int) -> None:
        self._waiting[chunk.carrier] -= 1
        self._counts.packets[chunk.carrier].refused[error.reason] += 1
        self.complaints.note(chunk.carrier, error.reason, size_bytes)
        if chunk.reply is not None:
            chunk.reply.error = error
            chunk.reply.done.set()
