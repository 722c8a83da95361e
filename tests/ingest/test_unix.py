"""Unix streams: every frame whole wherever it was cut, nobody made to wait who did not ask for it.

Invariant: however a stream is cut into chunks, the same packets come out of it.
"""

import json
import socket
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cbor2
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import (
    MemoryReceiveStream,
    MemorySendStream,
    MockClock,
    memory_stream_one_way_pair,
    wait_all_tasks_blocked,
)

from tests.ingest.rig import NOW_MS, Rig, frame, hello, packet
from trace_agent.core.counts import Carrier
from trace_agent.core.errors import Reason
from trace_agent.core.frames import FRAME_LIMIT_BYTES
from trace_agent.ingest import unix
from trace_agent.ingest.unix import UnixConnection, serve_unix
from trace_agent.ingest.unix_listener import UnixListener, bind_unix


class Client:
    """A client on a memory stream, and the connection that reads it."""

    def __init__(self, rig: Rig) -> None:
        self.stream: MemorySendStream
        self._receive: MemoryReceiveStream
        self.stream, self._receive = memory_stream_one_way_pair()
        self.connection = UnixConnection(rig.inbox, rig.counts, rig.now_ms)
        self.ended = False

    async def serve(self) -> None:
        """Read the stream as the service does."""
        try:
            await self.connection.read(self._receive)
        finally:
            self.connection.close()
        self.ended = True

    async def send(self, *chunks: bytes) -> None:
        """Send chunks, each of which is read by itself."""
        for chunk in chunks:
            await self.stream.send_all(chunk)
            await wait_all_tasks_blocked()


async def connected(rig: Rig, nursery: trio.Nursery) -> Client:
    """Connect a client."""
    client = Client(rig)
    nursery.start_soon(client.serve)
    return client


def read_stream(chunks: list[bytes]) -> Rig:
    """Return a rig that has read a stream of these chunks to its end."""
    rig = Rig(limit_bytes=20_000_000)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            client = await connected(rig, nursery)
            for chunk in chunks:
                await client.stream.send_all(chunk)
                await wait_all_tasks_blocked()
            await client.stream.aclose()
            await wait_all_tasks_blocked()
            nursery.start_soon(rig.inbox.run)
            await rig.inbox.drained()
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert rig.broken() == []
    assert rig.budget.used_bytes == 0
    return rig


@given(
    names=st.lists(st.integers(0, 999), max_size=5),
    greeting=st.sampled_from([b"", hello(), hello(flow=True), hello(flow=False, dropped=2)]),
    places=st.lists(st.integers(1, 400), max_size=8),
)
def test_frames_cut_anywhere(names: list[int], greeting: bytes, places: list[int]) -> None:
    """Frames come out whole and in order wherever the stream is cut, after a hello or without one."""
    stream = greeting + b"".join(frame(packet(f"{name}")) for name in names)
    edges = [0, *sorted(place for place in places if place < len(stream)), len(stream)]
    rig = read_stream([stream[a:b] for a, b in pairwise(edges) if a < b])

    assert rig.names == [f"{name}" for name in names]
    assert rig.fate(Carrier.UNIX) == (
        len(names) + bool(greeting),
        len(names) + bool(greeting),
        Counter(),
        Counter(),
    )


def test_text() -> None:
    """A stream whose first four bytes can be no length is StatsD text, its last line without newline too."""
    rig = read_stream([b"a", b":1", b"|c\nb:2|", b"c\n_e{1,0}:x|\nc:3|c"])

    assert rig.names == ["x"]
    assert sorted(series.name for series in rig.rollup.series()) == ["a", "b", "c"]
    assert rig.fate(Carrier.UNIX)[1:] == (3, Counter(), Counter())


@pytest.mark.parametrize(
    ("text", "reason"), [(b"a", Reason.BAD_LINE), (b"a:1", Reason.BAD_LINE), (b"{}", Reason.UNKNOWN_TYPE)]
)
def test_very_short_text(text: bytes, reason: Reason) -> None:
    """Fewer than four bytes in all can be no frame, and are read for what they are."""
    rig = read_stream([text])

    assert rig.fate(Carrier.UNIX) == (1, 0, {reason: 1}, Counter())


def test_json_lines_are_no_text() -> None:
    """On a stream of lines each is StatsD, whatever it begins with: the framing was told for all of it."""
    rig = read_stream([packet("a") + b"\n"])

    assert rig.fate(Carrier.UNIX) == (1, 0, {Reason.BAD_LINE: 1}, Counter())


def test_frames_of_every_form() -> None:
    """A frame holds what a packet may hold: JSON, CBOR, a batch, StatsD."""
    forms = [packet("a"), cbor2.dumps(json.loads(packet("b"))), packet("c", "d"), b"e:1|c", b""]
    rig = read_stream([b"".join(map(frame, forms))])

    assert rig.names == ["a", "b", "c", "d"]
    assert rig.counts.events.folded == 1
    assert rig.fate(Carrier.UNIX) == (5, 4, {Reason.EMPTY: 1}, Counter())


def test_largest_frame() -> None:
    """A frame of 4 MiB is taken."""
    rig = read_stream([frame(packet("a") + b" " * (FRAME_LIMIT_BYTES - len(packet("a"))))])

    assert rig.names == ["a"]


async def test_frame_too_large(rig: Rig, nursery: trio.Nursery) -> None:
    """A larger frame ends the connection and is counted; what came before it is kept."""
    client = await connected(rig, nursery)
    await client.send(frame(packet("a")) + (FRAME_LIMIT_BYTES + 1).to_bytes(4, "little") + b"x" * 100)

    assert client.ended
    assert rig.inbox.waiting[Carrier.UNIX] == 1
    assert rig.fate(Carrier.UNIX) == (2, 0, {Reason.TOO_LARGE: 1}, Counter())


async def test_line_too_long(rig: Rig, nursery: trio.Nursery) -> None:
    """A line that never ends does not fill the memory."""
    client = await connected(rig, nursery)
    await client.send(b"a:1|c\n", *[b"x" * 30_000] * 3)

    assert client.ended
    assert rig.fate(Carrier.UNIX)[2] == {Reason.TOO_LARGE: 1}


async def test_claimed_length_takes_no_memory(rig: Rig, nursery: trio.Nursery) -> None:
    """Of an unfinished frame the ring holds what has come, not what was claimed, and nothing afterwards."""
    client = await connected(rig, nursery)
    await client.send((1_000_000).to_bytes(4, "little"), b"x" * 96)
    held_bytes = rig.budget.used_bytes
    await client.stream.aclose()
    await wait_all_tasks_blocked()

    assert held_bytes == 100
    assert rig.budget.used_bytes == 0
    assert rig.fate(Carrier.UNIX) == (1, 0, {Reason.TRUNCATED: 1}, Counter())


async def test_gone_in_mid_frame(rig: Rig, nursery: trio.Nursery) -> None:
    """A client that dies within a frame costs that frame; those before it are kept."""
    client = await connected(rig, nursery)
    await client.send(frame(packet("a")) + frame(packet("b"))[:-1])
    await client.stream.aclose()
    await wait_all_tasks_blocked()

    assert client.ended
    assert rig.inbox.waiting[Carrier.UNIX] == 1
    assert rig.fate(Carrier.UNIX) == (2, 0, {Reason.TRUNCATED: 1}, Counter())


class ResetStream(trio.abc.ReceiveStream):
    """Delivers one chunk, then breaks."""

    def __init__(self, chunk: bytes) -> None:
        self.chunks = [chunk]

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Deliver it."""
        await trio.lowlevel.checkpoint()
        if not self.chunks:
            raise trio.BrokenResourceError
        return self.chunks.pop()[:max_bytes]

    async def aclose(self) -> None:
        """Need nothing."""


@pytest.mark.parametrize("begun", [False, True])
async def test_connection_reset(rig: Rig, begun: bool) -> None:
    """A connection that breaks is no error of ours; only a frame that had begun is counted."""
    connection = UnixConnection(rig.inbox, rig.counts, rig.now_ms)
    await connection.read(ResetStream(frame(packet("a")) + b"x" * begun))
    connection.close()

    assert rig.inbox.waiting[Carrier.UNIX] == 1
    assert rig.fate(Carrier.UNIX)[2] == ({Reason.TRUNCATED: 1} if begun else {})


@pytest.mark.parametrize("text", [False, True])
async def test_partial_frame_times_out(
    rig: Rig, nursery: trio.Nursery, autojump_clock: MockClock, text: bool
) -> None:
    """A frame or line that is not whole after 30 s never will be, and the connection is closed."""
    client = await connected(rig, nursery)
    await client.send(b"a:1|" if text else frame(packet("a"))[:-1])
    await trio.sleep(29.9)
    patient = not client.ended
    await trio.sleep(0.2)

    assert patient
    assert client.ended
    assert rig.fate(Carrier.UNIX) == (1, 0, {Reason.SLOW: 1}, Counter())


async def test_dripping_frame_times_out(rig: Rig, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """The time runs from the beginning of the frame: a byte now and then does not hold memory for ever."""
    client = await connected(rig, nursery)
    await client.send(b"\xff\xff\x00\x00")
    for _ in range(2):
        await trio.sleep(14)
        await client.send(b"x")
    patient = not client.ended
    await trio.sleep(2.1)

    assert patient
    assert client.ended
    assert rig.fate(Carrier.UNIX)[2] == {Reason.SLOW: 1}


async def test_each_frame_has_its_own_time(
    rig: Rig, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """A slow client that finishes a frame in time may begin the next one; an idle one may wait for ever."""
    client = await connected(rig, nursery)
    whole = frame(packet("a"))
    await client.send(whole[:5])
    for _ in range(5):
        await trio.sleep(25)
        await client.send(whole[5:] + whole[:5])
    await client.send(whole[5:])
    await trio.sleep(86_400)

    assert not client.ended
    assert rig.inbox.waiting[Carrier.UNIX] == 6


async def test_ring_full_drops(nursery: trio.Nursery) -> None:
    """A client that asked for nothing is never made to wait: a full ring drops the oldest and counts."""
    rig = Rig(limit_bytes=1000)
    client = await connected(rig, nursery)
    for number in range(100):
        await client.send(frame(packet(f"{number}")))
    received, _, _, dropped = rig.fate(Carrier.UNIX)

    assert received == 100
    assert dropped == {Reason.RING_FULL: 100 - rig.inbox.waiting[Carrier.UNIX]}
    assert rig.broken() == []


async def test_flow_pauses(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A client that asked for flow control is not read while there is no room, and loses nothing."""
    rig = Rig(limit_bytes=1000, limit_events=2)
    rig.sink.stuck = True
    client = await connected(rig, nursery)
    nursery.start_soon(rig.inbox.run)
    sent = 0
    await client.send(hello(flow=True))
    with trio.move_on_after(600) as stopped:
        while True:
            await client.send(frame(packet(f"{sent:03}")))
            sent += 1
            if sent - len(rig.names) > 40:
                break
            await trio.sleep(1)
    paused = rig.fate(Carrier.UNIX)
    seen = rig.names
    rig.sink.stuck = False
    while len(seen) < sent:
        rig.sink.store()
        await trio.sleep(1)
        seen = seen + rig.names

    assert not stopped.cancelled_caught
    assert 3 < paused[0] < 20
    assert seen == [f"{number:03}" for number in range(sent)]
    assert rig.counts.events.dropped == {}
    assert rig.fate(Carrier.UNIX) == (sent + 1, sent + 1, Counter(), Counter())
    assert rig.broken() == []


async def test_flow_pause_does_not_run_down_the_frame(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """The time during which we did not read is not held against the frame that had begun."""
    rig = Rig(limit_bytes=250)
    client = await connected(rig, nursery)
    whole = frame(packet("a"))
    await client.send(hello(flow=True), whole, whole, whole + whole[:5])
    await trio.sleep(100)
    paused = not client.ended
    nursery.start_soon(rig.inbox.run)
    await trio.sleep(29)
    await client.send(whole[5:])
    await trio.sleep(1)

    assert paused
    assert rig.names == ["a"] * 4
    assert not client.ended


async def test_waiting_for_room_is_not_the_frames_time(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """Nor is the time that an unfinished frame waited for room in the ring."""
    rig = Rig(limit_bytes=100)
    client = await connected(rig, nursery)
    whole = frame(packet("a"))
    await client.send(hello(flow=True), whole[:10])
    rig.inbox.reserve_nowait(85)
    await client.send(whole[10:-1])
    await trio.sleep(25)
    rig.inbox.release(85)
    await trio.sleep(25)
    await client.send(whole[-1:])

    assert not client.ended
    assert rig.inbox.waiting[Carrier.UNIX] == 1


@pytest.mark.parametrize(
    ("greeting", "flows"),
    [
        (hello(flow=True), True),
        (frame(cbor2.dumps({"type": "hello", "flow": True})), True),
        (hello(flow=False), False),
        (hello(), False),
        (hello(flow=1), False),
        (hello(flow="true"), False),
        (hello(flow=True, pad="x" * 4096), False),
        (frame(b"[]") + hello(flow=True), False),
        (frame(b"{") + hello(flow=True), False),
        (frame(b"") + hello(flow=True), False),
        (frame(b"a:1|c") + hello(flow=True), False),
    ],
)
async def test_hello(rig: Rig, nursery: trio.Nursery, greeting: bytes, flows: bool) -> None:
    """Flow control is for those who ask for it in so many words, in their first frame."""
    client = await connected(rig, nursery)
    await client.send(greeting)

    assert client.connection._flow is flows
    assert not client.ended


async def test_hello_is_counted(rig: Rig, nursery: trio.Nursery) -> None:
    """A hello is an accepted packet and a sign of life; what its client dropped is added up."""
    client = await connected(rig, nursery)
    await client.send(hello(flow=True, dropped=3))

    assert rig.counts.client_dropped == 3
    assert rig.fate(Carrier.UNIX) == (1, 1, Counter(), Counter())
    assert rig.counts.packets[Carrier.UNIX].last_ms == NOW_MS


@pytest.mark.parametrize("flow", [False, True])
async def test_no_room_for_an_unfinished_frame(
    nursery: trio.Nursery, autojump_clock: MockClock, flow: bool
) -> None:
    """Where the ring cannot hold an unfinished frame, the connection is closed and the frame dropped by name.

    With flow control that is waited for a while.
    """
    rig = Rig(limit_bytes=1000)
    rig.inbox.reserve_nowait(1000)
    client = await connected(rig, nursery)
    await client.send(hello(flow=flow), frame(packet("a"))[:20])
    at_once = client.ended
    await trio.sleep(31)

    assert at_once is not flow
    assert client.ended
    assert rig.fate(Carrier.UNIX) == (2, 1, Counter(), {Reason.RING_FULL: 1})
    assert rig.budget.used_bytes == 1000


async def test_no_room_and_nothing_unfinished(nursery: trio.Nursery) -> None:
    """A connection with nothing unfinished is not closed for a ring that is over-full."""
    rig = Rig(limit_bytes=100)
    rig.budget.take(200)
    client = await connected(rig, nursery)
    await client.send(frame(packet("a")))

    assert not client.ended
    assert rig.fate(Carrier.UNIX) == (1, 0, Counter(), {Reason.RING_FULL: 1})


async def test_bug_of_ours(
    rig: Rig, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug that a client brings to light ends its connection, is counted and logged."""

    def broken(*_: object) -> object:
        raise ZeroDivisionError

    monkeypatch.setattr(unix, "hello_of", broken)
    client = await connected(rig, nursery)
    await client.send(hello())

    assert client.ended
    assert rig.fate(Carrier.UNIX) == (1, 0, {Reason.INTERNAL: 1}, Counter())
    assert "ZeroDivisionError" in caplog.text


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[UnixListener]:
    """Return a listener in a directory of its own."""
    listener = bind_unix(tmp_path / "agent.sock", 0o600, None)
    yield listener
    socket.close(listener.socket.detach())


def connect(listener: UnixListener) -> socket.socket:
    """Connect to a listener."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(listener.path))
    return client


async def test_many_clients(
    rig: Rig, listener: UnixListener, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """Over real sockets, too, each client has its own stream, and one that vanishes harms no other."""
    nursery.start_soon(serve_unix, listener, rig.inbox, rig.counts, rig.now_ms)
    nursery.start_soon(rig.inbox.run)
    with connect(listener) as one, connect(listener) as other, connect(listener) as text:
        one.sendall(frame(packet("a"))[:10])
        text.sendall(b"b:1|c\n")
        other.sendall(frame(packet("c"))[:10])
        await trio.sleep(1)
        other.close()
        one.sendall(frame(packet("a"))[10:])
        await trio.sleep(1)

    assert rig.names == ["a"]
    assert rig.counts.events.folded == 1
    assert rig.fate(Carrier.UNIX) == (3, 2, {Reason.TRUNCATED: 1}, Counter())


async def test_what_was_sent_before_the_stop(
    rig: Rig, listener: UnixListener, autojump_clock: MockClock
) -> None:
    """At a stop all is read that clients had sent: on open connections, and on those not accepted yet."""
    clients = []
    async with trio.open_nursery() as serving:
        serving.start_soon(serve_unix, listener, rig.inbox, rig.counts, rig.now_ms)
        clients.append(connect(listener))
        await trio.sleep(1)
        clients += [connect(listener) for _ in range(3)]
        for number, client in enumerate(clients):
            client.sendall(b"".join(frame(packet(f"{number}")) for _ in range(2000)))
        clients[-1].close()
        serving.cancel_scope.cancel()
    waiting = rig.inbox.waiting[Carrier.UNIX]
    closed = [client.recv(1) for client in clients[:-1]]
    for client in clients:
        client.close()

    assert waiting == 8000
    assert closed == [b""] * 3


async def test_flow_at_the_stop(listener: UnixListener, autojump_clock: MockClock) -> None:
    """What has been received and found no room by the time of the stop is dropped by name, not forgotten."""
    rig = Rig(limit_bytes=200)
    with connect(listener) as client:
        async with trio.open_nursery() as serving:
            serving.start_soon(serve_unix, listener, rig.inbox, rig.counts, rig.now_ms)
            client.sendall(hello(flow=True))
            await trio.sleep(1)
            for packets in (1, 10):
                client.sendall(frame(packet("a")) * packets)
                await trio.sleep(1)
            before = rig.fate(Carrier.UNIX)[0]
            serving.cancel_scope.cancel()
    received, _, _, dropped = rig.fate(Carrier.UNIX)

    assert (before, received) == (2, 12)
    assert dropped == {Reason.RING_FULL: 10}
    assert rig.inbox.waiting[Carrier.UNIX] == 1
    assert rig.broken() == []


async def test_connections_are_bounded(
    rig: Rig,
    listener: UnixListener,
    nursery: trio.Nursery,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond the limit a connection is closed and counted, not left to fill its buffer and be stuck."""
    monkeypatch.setattr(unix, "_CONNECTIONS", 2)
    nursery.start_soon(serve_unix, listener, rig.inbox, rig.counts, rig.now_ms)
    first, second, third = (connect(listener) for _ in range(3))
    await trio.sleep(1)
    third_hears = third.recv(1)
    first.close()
    await trio.sleep(1)
    fourth = connect(listener)
    fourth.sendall(frame(packet("a")))
    await trio.sleep(1)
    for client in (second, third, fourth):
        client.close()

    assert third_hears == b""
    assert rig.counts.packets[Carrier.UNIX].refused == {Reason.CROWDED: 1}
    assert rig.inbox.waiting[Carrier.UNIX] == 1


async def test_out_of_file_descriptors(rig: Rig, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Being out of file descriptors is waited out; another error escapes."""

    class Failing:
        def __init__(self) -> None:
            self.codes = [24, 23, 9]

        async def accept(self) -> object:
            await trio.lowlevel.checkpoint()
            raise OSError(self.codes.pop(0), "no")

    failing = Failing()
    with pytest.raises(OSError, match="no") as escaped:
        await unix._accept(failing)  # type: ignore[arg-type]  # the one method that is used

    assert escaped.value.errno == 9
    assert trio.current_time() == pytest.approx(0.2)
