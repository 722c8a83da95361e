"""Packets become events, each with one fate, in slices that leave the event loop to others."""

import json
import logging
from collections import Counter

import cbor2
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.ingest.rig import NOW_MS, Rig, chunk_of, named, packet
from trace_agent.core.counts import Carrier
from trace_agent.core.errors import Reason
from trace_agent.core.events import Event, Failure, Llm
from trace_agent.dialects.native import Form
from trace_agent.ingest.reading import Reply, greet


class TickingClock(trio.abc.Clock):
    """A clock that goes on by a fifth of a millisecond at each look, so that time passes while tasks work."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def start_clock(self) -> None:
        """Need nothing."""

    def current_time(self) -> float:
        """Return a time later than all before."""
        self.now_s += 0.0002
        return self.now_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Return how long to the deadline."""
        return max(0.0, deadline - self.now_s)


@pytest.fixture
def ticking_clock() -> TickingClock:
    """Return the clock of a test in which looking at the time makes it pass."""
    return TickingClock()


class Turns:
    """Counts how often other tasks have their turn."""

    def __init__(self) -> None:
        self.number = 0

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            self.number += 1
            await trio.lowlevel.checkpoint()


async def turns_while(nursery: trio.Nursery, rig: Rig, packets: list[bytes]) -> int:
    """Return how often other tasks have their turn while packets are read."""
    turns = Turns()
    nursery.start_soon(turns.run)
    await trio.lowlevel.checkpoint()
    before = turns.number
    await rig.reader.read(chunk_of(packets))
    return turns.number - before


@pytest.mark.parametrize(
    ("payload", "form"),
    [
        (json.dumps(named("a")).encode(), None),
        (b" \n" + json.dumps([named("a")]).encode(), None),
        (json.dumps({"events": [named("a")]}).encode(), Form.JSON),
        (cbor2.dumps(named("a")), None),
        (cbor2.dumps([named("a")]), Form.CBOR),
        (json.dumps(named("a")).encode() + b"\n\n", Form.NDJSON),
        (b"_e{1,0}:a|", None),
        (b"_e{1,0}:a|\n", Form.LINES),
    ],
)
async def test_forms(rig: Rig, payload: bytes, form: Form | None) -> None:
    """A packet is read by its first byte, or as its sender says."""
    await rig.reader.read(chunk := chunk_of([payload], form=form))

    assert rig.names == ["a"]
    assert chunk.unsettled == 0
    assert rig.counts.packets[Carrier.UDP].accepted == 1
    rig.counts.packets[Carrier.UDP].received += 1


async def read(rig: Rig, *packets: bytes, carrier: Carrier = Carrier.UDP) -> None:
    """Read packets as if the inbox had handed them on."""
    rig.counts.packets[carrier].received += len(packets)
    await rig.reader.read(chunk_of(packets, carrier))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.EMPTY),
        (b" \n", Reason.EMPTY),
        (b"\n", Reason.EMPTY),
        (b"\x01\x02", Reason.NOT_TEXT),
        (b"{", Reason.BAD_JSON),
        (b"[1]", Reason.NOT_AN_EVENT),
        (b'{"type":"x"}', Reason.UNKNOWN_TYPE),
        (b'{"type":"event"}', Reason.MISSING_FIELD),
        (b"\xa1", Reason.BAD_CBOR),
        (cbor2.dumps({"type": "event", "name": "a"}) + b"\0", Reason.TRAILING_BYTES),
        (b"no statsd", Reason.BAD_LINE),
    ],
)
async def test_refused(rig: Rig, payload: bytes, reason: Reason) -> None:
    """A packet without anything of use is refused under one reason, and does not count as life."""
    await read(rig, payload)

    assert rig.fate(Carrier.UDP) == (1, 0, {reason: 1}, Counter())
    assert rig.counts.packets[Carrier.UDP].last_ms is None
    assert rig.sink.events == []


async def test_neighbours_are_kept(rig: Rig) -> None:
    """A bad event is refused alone, in its packet, and a bad packet alone in its chunk."""
    mixed = json.dumps([named("a"), {"type": "event"}, 7, named("b")]).encode()
    await read(rig, b"\x01", mixed, b"bad\n_e{1,0}:d|", b"{]", packet("c"))

    assert rig.names == ["a", "b", "c", "d"]
    assert rig.fate(Carrier.UDP) == (5, 3, {Reason.NOT_TEXT: 1, Reason.BAD_JSON: 1}, Counter())
    assert rig.counts.events.refused == {Reason.MISSING_FIELD: 1, Reason.NOT_AN_EVENT: 1, Reason.BAD_LINE: 1}
    assert rig.counts.packets[Carrier.UDP].last_ms == NOW_MS


async def test_size_is_shared(rig: Rig) -> None:
    """The events of a packet share its size, so that the ring's bound holds for what they bring."""
    batch, lines = packet("a", "b", "c"), b"_e{1,0}:a|\n_e{1,0}:b|"
    await read(rig, batch, lines)

    assert 0 <= len(batch + lines) - rig.sink.taken_bytes < 5


async def test_empty_batch(rig: Rig) -> None:
    """An empty batch is a packet that carries nothing by intent."""
    await read(rig, b"[]")

    assert rig.fate(Carrier.UDP) == (1, 1, Counter(), Counter())


async def test_metrics(rig: Rig) -> None:
    """Metrics go to their windows, lines and maps alike, and count as folded at once."""
    await read(rig, b"a:1|c\na:1|c\nb:2|g", b'{"type":"metric","name":"c","value":3}')
    events = rig.counts.events

    assert (events.accepted, events.folded) == (4, 4)
    assert sorted(series.name for series in rig.rollup.series()) == ["a", "b", "c"]


async def test_implied_type_and_reply(rig: Rig) -> None:
    """The one who waits hears what was accepted, what was not and why, and that the packet is settled."""
    reply = Reply()
    body = b'{"kind":"x.y"}\n{"kind":7}\n{\n{"type":"event","name":"a"}'
    rig.counts.packets[Carrier.HTTP].received += 1
    await rig.reader.read(chunk_of([body], Carrier.HTTP, Form.NDJSON, "error", reply))

    assert reply.done.is_set()
    assert (reply.accepted, reply.read, reply.error) == (3, 4, None)
    assert ([index for index, _ in reply.rejected], reply.reason) == ([2], Reason.BAD_JSON)
    assert [type(event) for event in rig.sink.events] == [Failure, Failure, Event]


async def test_many_wrong_events(rig: Rig) -> None:
    """Of wrong events a thousand are told, all are counted, and the first one names the packet's fate."""
    reply = Reply()
    rig.counts.packets[Carrier.HTTP].received += 1
    await rig.reader.read(chunk_of([b"[7" + b",{}" * 1999 + b"]"], Carrier.HTTP, Form.JSON, "event", reply))

    assert [index for index, _ in reply.rejected] == list(range(1000))
    assert reply.read == 2000
    assert rig.counts.events.refused == {Reason.NOT_AN_EVENT: 1, Reason.MISSING_FIELD: 1999}
    assert rig.fate(Carrier.HTTP)[2] == {Reason.NOT_AN_EVENT: 1}


async def test_unreadable_reply(rig: Rig) -> None:
    """The one who waits hears why nothing could be read."""
    reply = Reply()
    rig.counts.packets[Carrier.HTTP].received += 1
    await rig.reader.read(chunk_of([b"{"], Carrier.HTTP, Form.JSON, "event", reply))

    assert reply.done.is_set()
    assert reply.error is not None
    assert reply.error.reason is Reason.BAD_JSON


@pytest.mark.parametrize(
    ("dropped", "counted"),
    [
        (3, 3),
        (0, 0),
        (-1, 0),
        (True, 0),
        ("3", 0),
        (None, 0),
        (2**53, 2**53),
        (2**53 + 1, 0),
        # Python prints no integer of more than 4,300 digits, so one in the counts would break `/v1/stats`.
        pytest.param(10**5000, 0, id="5000 digits"),
    ],
)
async def test_hello(rig: Rig, dropped: object, counted: int) -> None:
    """A hello is no event; what its client says it dropped is added up, unless it can be no count."""
    await read(rig, cbor2.dumps({"type": "hello", "dropped": dropped}), carrier=Carrier.UNIX)
    greet(rig.counts, {"type": "hello", "dropped": 1})

    assert rig.counts.client_dropped == counted + 1
    assert rig.fate(Carrier.UNIX) == (1, 1, Counter(), Counter())
    assert rig.counts.events.accepted == 0


async def test_big_batch_leaves_the_loop(rig: Rig, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """While a batch of 10,000 events is read, others have their turn at least every 32 events."""
    turns = await turns_while(nursery, rig, [packet(*range(10_000))])
    rig.counts.packets[Carrier.UDP].received += 1

    assert len(rig.sink.events) == 10_000
    assert turns >= 10_000 // 32


async def test_many_packets_leave_the_loop(
    rig: Rig, nursery: trio.Nursery, ticking_clock: TickingClock
) -> None:
    """While a chunk of a thousand packets is read, others have their turn each millisecond."""
    turns = await turns_while(nursery, rig, [packet("a")] * 1000)
    rig.counts.packets[Carrier.UDP].received += 1000

    assert turns >= 1000 // 6


async def test_many_lines_leave_the_loop(rig: Rig, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """While many lines are read, others have their turn after each 32 KiB."""
    turns = await turns_while(nursery, rig, [b"some.metric:1|c\n" * 64] * 1024)
    rig.counts.packets[Carrier.UDP].received += 1024

    assert rig.counts.events.folded == 65_536
    assert turns >= 32


async def test_many_small_chunks_leave_the_loop(
    rig: Rig, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """However small the chunks that wait: others have their turn between them."""
    turns = Turns()
    for number in range(300):
        rig.inbox.put_nowait(chunk_of([packet(number)]))
    nursery.start_soon(turns.run)
    nursery.start_soon(rig.inbox.run)
    await rig.inbox.drained()

    assert turns.number >= 300


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("form", ["batch", "lines"])
async def test_room_within_a_packet(
    nursery: trio.Nursery, autojump_clock: MockClock, held: bool, form: str
) -> None:
    """A packet that is larger than the room there is waits for more of it, and loses nothing."""
    rig = Rig(limit_events=5)
    names = [f"{number:03}" for number in range(40)]
    payload = (
        packet(*names) if form == "batch" else "\n".join(f"_e{{3,0}}:{name}|" for name in names).encode()
    )
    chunk = chunk_of([payload], Carrier.UNIX)
    if held:
        await rig.inbox.put(chunk)
    else:
        rig.inbox.put_nowait(chunk)
    nursery.start_soon(rig.inbox.run)
    seen = []
    while not rig.inbox.is_empty:
        await wait_all_tasks_blocked()
        seen += rig.names
        rig.sink.store()

    assert seen == names
    assert rig.counts.events.dropped == {}
    assert rig.broken() == []


async def test_lossy_packet_and_a_stuck_store(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """When the store is stuck, a packet whose sender cannot wait pushes out the oldest events."""
    rig = Rig(limit_events=5)
    rig.sink.stuck = True
    rig.inbox.put_nowait(chunk_of([packet(*range(40))], Carrier.UNIX))
    nursery.start_soon(rig.inbox.run)
    await rig.inbox.drained()

    assert rig.names == ["35", "36", "37", "38", "39"]
    assert rig.counts.events.dropped == {Reason.RING_FULL: 35}
    assert rig.broken() == []


async def test_metrics_need_no_room(autojump_clock: MockClock) -> None:
    """Metrics are folded though the ring of events is full."""
    rig = Rig(limit_events=0)
    chunk = chunk_of([b"a:1|c"], Carrier.UNIX)
    chunk.held = True
    with trio.fail_after(1):
        await rig.reader.read(chunk)

    assert rig.counts.events.folded == 1


async def test_held_packet_and_a_stuck_store(autojump_clock: MockClock) -> None:
    """A packet whose sender can wait is not read into a full ring; when given up, the rest is not taken."""
    rig = Rig(limit_events=5)
    rig.sink.stuck = True
    reply = Reply()
    await rig.inbox.put(chunk_of([packet(*range(40))], Carrier.HTTP, reply=reply))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.inbox.run)
        await trio.sleep(60)
        taken = list(rig.names)
        reply.abandoned = True
        await rig.inbox.drained()
        nursery.cancel_scope.cancel()

    assert taken == ["0", "1", "2", "3", "4"] == rig.names
    assert (reply.accepted, reply.read, reply.rejected) == (5, 5, [])
    assert rig.counts.events.dropped == {}
    assert rig.fate(Carrier.HTTP) == (1, 1, Counter(), Counter())
    assert rig.broken() == []


async def test_abandoned_before_it_was_read(rig: Rig) -> None:
    """Nothing of a packet is taken after its sender was told to come again."""
    reply = Reply(abandoned=True)
    rig.counts.packets[Carrier.HTTP].received += 1
    await rig.reader.read(chunk_of([packet("a")], Carrier.HTTP, reply=reply))

    assert rig.fate(Carrier.HTTP) == (1, 0, Counter(), {Reason.RING_FULL: 1})
    assert rig.sink.events == []


async def test_words_are_shed_over_udp(rig: Rig) -> None:
    """While the ring is nearly full, calls that come as datagrams lose their words, others keep them."""
    call = b'{"type":"llm","model":"m","input":"words","tokens":{"input":1,"output":2}}'
    rig.budget.take(800_000)
    await read(rig, call)
    await read(rig, call, carrier=Carrier.UNIX)
    rig.budget.give(100_000)
    await read(rig, call)
    rig.budget.give(700_000)
    inputs = [event.input is not None for event in rig.sink.events if isinstance(event, Llm)]

    assert inputs == [False, True, True]


@pytest.mark.parametrize("begun", [False, True])
async def test_cancelled(begun: bool, autojump_clock: MockClock) -> None:
    """When no time is left, a packet that was begun counts as accepted, the others are dropped by name."""
    rig = Rig(limit_events=3 if begun else 0)
    chunk = chunk_of([packet(*range(10)), packet("a"), b"_e{1,0}:b|"], Carrier.UNIX)
    await rig.inbox.put(chunk)
    with trio.move_on_after(1):
        await rig.inbox.run()
    in_hand = rig.inbox.waiting[Carrier.UNIX]
    before = rig.broken()
    rig.inbox.abandon()

    assert in_hand == (2 if begun else 3)
    assert before == []
    assert rig.fate(Carrier.UNIX) == (3, int(begun), Counter(), {Reason.SHUTDOWN: in_hand})
    assert rig.broken() == []


class Faulty:
    """Breaks on one name, as a bug of ours would."""

    def __init__(self, rig: Rig) -> None:
        self._add = rig.sink.add
        rig.sink.add = self.add  # type: ignore[method-assign]  # the bug is put in by hand

    def add(self, event: Event | Llm | Failure, packet_bytes: int) -> None:
        """Take an event unless its name is `bug`."""
        if isinstance(event, Event) and event.name == "bug":
            raise ZeroDivisionError(event.name)
        self._add(event, packet_bytes)


async def test_bug_of_ours(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """A bug that one event brings to light costs that event, is counted, and logged once."""
    Faulty(rig)
    await read(rig, packet("a", "bug", "b"), packet("bug"), b"_e{3,0}:bug|\n_e{1,0}:c|")

    assert rig.names == ["a", "b", "c"]
    assert rig.counts.events.refused == {Reason.INTERNAL: 3}
    assert rig.fate(Carrier.UDP) == (3, 2, {Reason.INTERNAL: 1}, Counter())
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert "ZeroDivisionError" in record.getMessage()


async def test_bug_in_a_decoder(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in reading a packet as a whole, or lines, costs what was read together and nothing else."""

    def broken(*_: object) -> object:
        raise ZeroDivisionError

    reply = Reply()
    with monkeypatch.context() as patch:
        patch.setattr("trace_agent.ingest.reading.values", broken)
        patch.setattr("trace_agent.ingest.reading.read_packets", broken)
        await read(rig, packet("a"), b"a:1|c", b"b:1|c")
        rig.counts.packets[Carrier.HTTP].received += 1
        await rig.reader.read(chunk_of([packet("b")], Carrier.HTTP, Form.JSON, "event", reply))
    await read(rig, packet("c"))

    assert rig.names == ["c"]
    assert rig.fate(Carrier.UDP) == (4, 1, {Reason.INTERNAL: 3}, Counter())
    assert reply.error is not None
    assert reply.error.reason is Reason.INTERNAL
