"""Read packets: chunks of them in, events out to the store and the metric windows, each fate counted.

Reading goes in slices of about a millisecond, and sockets are drained between them: `PacketReader.read`
gives way to other tasks after each slice.
"""

from typing import Final, Protocol

import trio
from attrs import Factory, define

from trace_agent.core.counts import Carrier, Counts
from trace_agent.core.errors import PacketError, PeerError, Reason
from trace_agent.core.events import AnyEvent, Event, Failure, Llm, Metric
from trace_agent.core.fields import EventReader
from trace_agent.core.ring import Budget
from trace_agent.core.rollup import Rollup
from trace_agent.dialects.native import Form, form_of, hello_of, values
from trace_agent.dialects.statsd import Batch, read_packets
from trace_agent.ingest.complaints import Complaints

__all__ = ["PACKET_BYTES", "Chunk", "PacketReader", "Reply", "Sink", "greet"]

# What a small bytes object and its place in a list cost beside their content.
PACKET_BYTES: Final = 64
_SLICE_S: Final = 0.001
# Events read between two times that other tasks have their turn.
_STRIDE: Final = 32
# StatsD is read in helpings of this size: many lines to find equal ones among, and still a short slice.
_LINES_BYTES: Final = 32 * 1024
# Datagrams of big calls lose their words when packets and events fill this share of the ring.
_SHED_ABOVE: Final = 0.75
# How long a held chunk that found no room waits before it looks again.
_POLL_S: Final = 0.1
# A batch of wrong events shall not be answered with a book.
_REJECTED_SHOWN: Final = 1000
# The most that a client can have dropped: what JSON readers take for a whole number (RFC 8259, section 6).
_MOST_DROPPED: Final = 2**53


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
        rejected: index in the batch and why, for the first events refused. Text, because an exception
            keeps its traceback, and a body can hold millions of wrong events.
        reason: why the first of them was refused.
        error: why nothing of the packet could be read.
        read: events looked at so far, accepted or rejected.
        abandoned: set by the one who waits when it has given up; nothing is accepted after that.
        done: set when the packet has met its fate.
    """

    accepted: int = 0
    rejected: list[tuple[int, str]] = Factory(list)
    reason: Reason | None = None
    error: PeerError | None = None
    read: int = 0
    abandoned: bool = False
    done: trio.Event = Factory(trio.Event)

    def reject(self, error: PeerError) -> None:
        """Take note that the event at `read` was refused."""
        self.reason = self.reason or error.reason
        if len(self.rejected) < _REJECTED_SHOWN:
            self.rejected.append((self.read, str(error)))


@define(eq=False)
class Chunk:
    """Packets that one look at a socket brought.

    Attributes:
        payload_bytes: size of all packets.
        form: how to read the packets; None goes by their first byte.
        implied_type: type of events that name none.
        reply: who waits for the fate of the (single) packet.
        held: its sender can wait, so it is never read into a full ring.
        settled: packets that have met their fate.
    """

    carrier: Carrier
    packets: list[bytes]
    payload_bytes: int
    received_ms: int
    form: Form | None = None
    implied_type: str | None = None
    reply: Reply | None = None
    held: bool = False
    settled: int = 0

    @property
    def size_bytes(self) -> int:
        """Return what the chunk costs in memory."""
        return self.payload_bytes + len(self.packets) * PACKET_BYTES

    @property
    def unsettled(self) -> int:
        """Return how many packets have yet to meet their fate."""
        return len(self.packets) - self.settled


def greet(counts: Counts, hello: dict[str, object]) -> None:
    """Take note of what a client says about itself: how many events it dropped since it last said."""
    dropped = hello.get("dropped")
    if isinstance(dropped, int) and not isinstance(dropped, bool) and 0 < dropped <= _MOST_DROPPED:
        counts.client_dropped += dropped


class PacketReader:
    """Turns packets into events.

    Args:
        budget: what packets and events share; read only.
        counts: where the fates are tallied.
        reader: builds events out of decoded maps.
        rollup: takes metrics.
        sink: takes all other events.
        complaints: is told what was refused.
    """

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
        self._budget = budget
        self._counts = counts
        self._reader = reader
        self._rollup = rollup
        self._sink = sink
        self._complaints = complaints

    async def read(self, chunk: Chunk) -> None:
        """Read a chunk to its end; when cancelled, `chunk.unsettled` packets are left without a fate."""
        slice_end_s = trio.current_time() + _SLICE_S
        lines: list[bytes] = []
        for packet in chunk.packets:
            try:
                form = chunk.form or form_of(packet)
                if form is Form.LINES:
                    lines.append(packet)
                    continue
                items = values(packet, form)
            except Exception as error:  # noqa: BLE001 - a stranger's bytes must not stop us (DESIGN 11)
                self._refuse(chunk, self._verdict(chunk, error), len(packet))
                continue
            await self._read_events(chunk, packet, items)
            if trio.current_time() > slice_end_s:
                await trio.lowlevel.checkpoint()
                slice_end_s = trio.current_time() + _SLICE_S
        if lines:
            await self._read_lines(chunk, lines)
        # However small the chunk: many of them may wait, and sockets want their turn between them.
        await trio.lowlevel.checkpoint()

    async def _read_events(self, chunk: Chunk, packet: bytes, items: list[object]) -> None:
        """Read the events of one packet, a stride at a time, and settle the packet's fate."""
        share_bytes = len(packet) // (len(items) or 1)
        reply = chunk.reply or Reply()
        try:
            while reply.read < len(items):
                if not self._sink.has_room:
                    await self._room(chunk, reply)
                if reply.abandoned:
                    break
                self._read_stride(chunk, items, share_bytes, reply)
                if len(items) > _STRIDE:
                    await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            if reply.accepted:  # else nobody has looked at it
                self._settle(chunk, packet, reply, empty=False)
            raise
        self._settle(chunk, packet, reply, empty=not items)

    def _read_stride(self, chunk: Chunk, items: list[object], share_bytes: int, reply: Reply) -> None:
        """Read some events, as far as there is room, and one at least."""
        for item in items[reply.read : reply.read + _STRIDE]:
            try:
                self._read_one(chunk, item, share_bytes)
            except Exception as error:  # noqa: BLE001 - as above, for one event
                verdict = self._verdict(chunk, error)
                self._counts.events.refused[verdict.reason] += 1
                reply.reject(verdict)
            else:
                reply.accepted += 1
            reply.read += 1
            if not self._sink.has_room:
                break

    def _settle(self, chunk: Chunk, packet: bytes, reply: Reply, *, empty: bool) -> None:
        chunk.settled += 1
        counts = self._counts.packets[chunk.carrier]
        if reply.accepted or empty:
            counts.accepted += 1
            counts.last_ms = chunk.received_ms
        elif reply.abandoned:
            counts.dropped[Reason.RING_FULL] += 1
        else:
            reason = reply.reason or Reason.NOT_AN_EVENT
            counts.refused[reason] += 1
            self._complaints.note(chunk.carrier, reason, len(packet))
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
            greet(self._counts, hello)
            return
        event = self._reader.read(item, chunk.received_ms, chunk.carrier, chunk.implied_type)
        self._take(chunk, event, share_bytes)

    def _take(self, chunk: Chunk, event: AnyEvent, share_bytes: int) -> None:
        if isinstance(event, Metric):
            self._rollup.add(event)
            self._counts.events.accepted += event.times
            self._counts.events.folded += event.times
            return
        if chunk.carrier is Carrier.UDP and self._budget.used_bytes > self._budget.limit_bytes * _SHED_ABOVE:
            event = self._sink.shed_words(event)
        self._sink.add(event, share_bytes)

    async def _read_lines(self, chunk: Chunk, packets: list[bytes]) -> None:
        """Read StatsD packets, many at a time so that equal lines are parsed once."""
        start = 0
        while start < len(packets):
            stop, size_bytes = start, 0
            while stop < len(packets) and size_bytes < _LINES_BYTES:
                size_bytes += len(packets[stop])
                stop += 1
            helping = packets[start:stop]
            start = stop
            try:
                batch = read_packets(helping, chunk.received_ms, self._reader, chunk.carrier)
            except Exception as error:  # noqa: BLE001 - as above, for all that were read together
                verdict = self._verdict(chunk, error)
                for packet in helping:
                    self._refuse(chunk, verdict, len(packet))
            else:
                await self._take_batch(chunk, helping, batch, size_bytes)
            await trio.lowlevel.checkpoint()

    async def _take_batch(self, chunk: Chunk, packets: list[bytes], batch: Batch, size_bytes: int) -> None:
        share_bytes = size_bytes // (len(batch.events) or 1)
        for event in batch.events:
            if not (isinstance(event, Metric) or self._sink.has_room):
                await self._room(chunk, Reply())
            try:
                self._take(chunk, event, share_bytes)
            except Exception as error:  # noqa: BLE001 - as above, for one event
                self._counts.events.refused[self._verdict(chunk, error).reason] += 1
        self._counts.events.refused.update(batch.bad_lines)
        chunk.settled += len(packets)
        counts = self._counts.packets[chunk.carrier]
        counts.accepted += len(packets) - len(batch.refused)
        if len(batch.refused) < len(packets):
            counts.last_ms = chunk.received_ms
        for index, reason in batch.refused.items():
            counts.refused[reason] += 1
            self._complaints.note(chunk.carrier, reason, len(packets[index]))

    def _refuse(self, chunk: Chunk, error: PeerError, size_bytes: int) -> None:
        chunk.settled += 1
        self._counts.packets[chunk.carrier].refused[error.reason] += 1
        self._complaints.note(chunk.carrier, error.reason, size_bytes)
        if chunk.reply is not None:
            chunk.reply.error = error
            chunk.reply.done.set()

    def _verdict(self, chunk: Chunk, error: Exception) -> PeerError:
        """Return why something is refused: the peer's fault, or a bug of ours that it brought to light."""
        if isinstance(error, PeerError):
            return error
        self._complaints.bug(chunk.carrier, error)
        return PacketError(Reason.INTERNAL, "trace-agent has a bug here; its log says where")
