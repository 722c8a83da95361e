"""An inbox with its reader and a sink that does as it is told, for tests of everything that feeds it."""

import itertools
import json
import struct
from collections import Counter
from collections.abc import Sequence

import trio
from attrs import evolve

from trace_agent.core.counts import Carrier, Counts
from trace_agent.core.errors import Reason
from trace_agent.core.events import Event, Failure, Llm
from trace_agent.core.fields import EventReader
from trace_agent.core.ring import Budget
from trace_agent.core.rollup import Rollup
from trace_agent.dialects.native import Form
from trace_agent.ingest.complaints import Complaints
from trace_agent.ingest.inbox import Inbox
from trace_agent.ingest.reading import Chunk, PacketReader, Reply

NOW_MS = 1_790_000_000_000

Stored = Llm | Event | Failure


class FakeSink:
    """Takes events until `limit` of them wait; `store` makes room, unless it is stuck."""

    def __init__(self, counts: Counts, limit: int) -> None:
        self.events: list[Stored] = []
        self.limit = limit
        self.stuck = False
        self.taken_bytes = 0
        self._counts = counts.events
        self._room = trio.Event()

    @property
    def has_room(self) -> bool:
        """Return whether `add` drops nothing."""
        return len(self.events) < self.limit

    def add(self, event: Stored, packet_bytes: int) -> None:
        """Take an event as the writer does: the oldest makes room."""
        self._counts.accepted += 1
        self.taken_bytes += packet_bytes
        if not self.has_room:
            self.events.pop(0)
            self._counts.dropped[Reason.RING_FULL] += 1
        self.events.append(event)

    async def wait_for_room(self) -> None:
        """Wait for `store`, unless there is no hope for it."""
        while not self.has_room and not self.stuck:
            await self._room.wait()

    def shed_words(self, event: Stored) -> Stored:
        """Return a call without its words."""
        return evolve(event, input=None, output=None) if isinstance(event, Llm) else event

    def store(self, number: int | None = None) -> None:
        """Store the oldest events, all of them by default."""
        stored = self.events[:number]
        self._counts.stored += len(stored)
        del self.events[:number]
        self._room.set()
        self._room = trio.Event()


class Rig:
    """An inbox and what belongs to it."""

    def __init__(self, *, limit_bytes: int = 1_000_000, limit_events: int = 1_000_000) -> None:
        numbers = itertools.count(1)

        def new_id(ts_ms: float) -> str:
            return f"{ts_ms:.0f}-{next(numbers)}"

        self.budget = Budget(limit_bytes)
        self.counts = Counts()
        self.sink = FakeSink(self.counts, limit_events)
        self.rollup = Rollup(max_series=1000, new_id=new_id)
        self.reader = PacketReader(
            budget=self.budget,
            counts=self.counts,
            reader=EventReader(new_id, lambda: None),
            rollup=self.rollup,
            sink=self.sink,
            complaints=Complaints(self.now_ms),
        )
        self.inbox = Inbox(
            budget=self.budget,
            counts=self.counts,
            sink=self.sink,
            complaints=Complaints(self.now_ms),
            read=self.reader.read,
        )

    @staticmethod
    def now_ms() -> int:
        """Return the same time always."""
        return NOW_MS

    @property
    def names(self) -> list[str]:
        """Return the names of the events in the sink, oldest first."""
        return [event.name for event in self.sink.events if isinstance(event, Event)]

    def broken(self) -> list[str]:
        """Return a sentence for each law that does not hold at this moment."""
        return self.counts.laws_broken(self.inbox.waiting, len(self.sink.events))

    def fate(self, carrier: Carrier) -> tuple[int, int, Counter[Reason], Counter[Reason]]:
        """Return received, accepted, refused and dropped of a carrier."""
        counts = self.counts.packets[carrier]
        return counts.received, counts.accepted, counts.refused, counts.dropped


def named(name: object) -> dict[str, object]:
    """Return an event."""
    return {"type": "event", "name": name}


def packet(*names: object) -> bytes:
    """Return a packet of one event, or a batch of several."""
    value = named(names[0]) if len(names) == 1 else [named(name) for name in names]
    return json.dumps(value).encode()


def frame(payload: bytes) -> bytes:
    """Return a frame of the Unix stream."""
    return struct.pack("<I", len(payload)) + payload


def hello(**more: object) -> bytes:
    """Return the frame that a client of ours begins with."""
    return frame(json.dumps({"type": "hello", "client": "test", "pid": 1} | more).encode())


def chunk_of(
    packets: Sequence[bytes],
    carrier: Carrier = Carrier.UDP,
    form: Form | None = None,
    implied_type: str | None = None,
    reply: Reply | None = None,
) -> Chunk:
    """Return a chunk as a source makes it."""
    return Chunk(
        carrier,
        list(packets),
        sum(map(len, packets)),
        NOW_MS,
        form=form,
        implied_type=implied_type,
        reply=reply,
    )
