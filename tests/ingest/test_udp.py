"""Every datagram that the kernel took for us is received, and those it dropped are counted."""

import errno
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.ingest.rig import Rig, packet
from trace_agent.core.counts import Carrier
from trace_agent.core.errors import Reason
from trace_agent.ingest import udp
from trace_agent.ingest.udp import KernelDrops, bind_udp, queue_bytes, serve_udp

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


class Wire:
    """A bound socket, and one that sends to it."""

    def __init__(self, host: str) -> None:
        self.sock = bind_udp(host, 0)
        self.sender = socket.socket(self.sock.family, socket.SOCK_DGRAM)
        self.sender.connect(self.sock.getsockname()[:2])

    def send(self, *datagrams: bytes) -> None:
        """Send datagrams; on the loopback interface they are in the queue when this returns."""
        for datagram in datagrams:
            self.sender.send(datagram)

    def close(self) -> None:
        """Close both, trio being gone by then."""
        socket.close(self.sock.detach())
        self.sender.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Return a wire over IPv4."""
    wire = Wire("127.0.0.1")
    yield wire
    wire.close()


async def serve(wire: Wire, rig: Rig, *, leave_to_kernel: bool = True) -> None:
    """Receive until cancelled."""
    await serve_udp(wire.sock, rig.inbox, rig.counts, rig.now_ms, leave_to_kernel=leave_to_kernel)


def received(rig: Rig) -> int:
    """Return how many datagrams have been received."""
    return rig.fate(Carrier.UDP)[0]


async def test_burst_larger_than_a_drain(
    rig: Rig, wire: Wire, nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A burst that takes several drains is received whole and in order."""
    monkeypatch.setattr(udp, "_DRAIN_PACKETS", 16)
    wire.send(*(packet(f"{number}") for number in range(100)))
    nursery.start_soon(serve, wire, rig)
    nursery.start_soon(rig.inbox.run)
    await trio.sleep(1)

    assert rig.names == [f"{number}" for number in range(100)]
    assert rig.fate(Carrier.UDP) == (100, 100, Counter(), Counter())


async def test_drains_leave_the_loop(
    rig: Rig, wire: Wire, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the drains of a long burst other tasks have their turn, without a pause for the rest of it."""
    monkeypatch.setattr(udp, "_DRAIN_PACKETS", 10)
    wire.send(*[b"a:1|c"] * 35)
    nursery.start_soon(serve, wire, rig)
    seen = []
    while received(rig) < 35:
        await trio.lowlevel.checkpoint()
        seen.append(received(rig))

    assert {10, 20, 30} <= set(seen)


async def test_zero_length(rig: Rig, wire: Wire, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """An empty datagram is legal, no end of anything, and refused as empty."""
    wire.send(b"", packet("a"), b"")
    nursery.start_soon(serve, wire, rig)
    nursery.start_soon(rig.inbox.run)
    await trio.sleep(1)

    assert rig.names == ["a"]
    assert rig.fate(Carrier.UDP) == (3, 1, {Reason.EMPTY: 2}, Counter())


async def test_largest_datagram(
    rig: Rig, wire: Wire, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """A datagram of 65,507 bytes, the most that IPv4 carries, arrives whole."""
    wire.sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024 * 1024)
    name = "x" * (65_507 - len(packet("")))
    try:
        wire.send(packet(name))
    except OSError:
        pytest.skip("this machine sends no such datagrams")
    nursery.start_soon(serve, wire, rig)
    nursery.start_soon(rig.inbox.run)
    await trio.sleep(1)

    assert rig.counts.packets[Carrier.UDP].received_bytes == 65_507
    assert rig.fate(Carrier.UDP) == (1, 1, Counter(), Counter())


@linux_only
async def test_cut_datagram(
    rig: Rig, wire: Wire, nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A datagram larger than the buffer cannot pass for whole: it is counted as truncated."""
    monkeypatch.setattr(udp, "_DATAGRAM_BYTES", 100)
    wire.send(b"a:1|c\n" * 50, b"b:1|c")
    nursery.start_soon(serve, wire, rig)
    nursery.start_soon(rig.inbox.run)
    await trio.sleep(1)

    assert rig.fate(Carrier.UDP) == (2, 1, {Reason.TRUNCATED: 1}, Counter())
    assert rig.counts.events.folded == 1


@linux_only
async def test_kernel_drops(rig: Rig, wire: Wire, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Sent is received plus what the kernel says it dropped."""
    drops = KernelDrops(wire.sock)
    before = drops.read()
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    wire.send(*[b"a:1|c" * 100] * 200)
    nursery.start_soon(serve, wire, rig)
    nursery.start_soon(rig.inbox.run)
    await trio.sleep(1)
    dropped = drops.read()

    assert (drops.known, before) == (True, 0)
    assert dropped
    assert 0 < received(rig) == 200 - dropped
    assert drops.read() == dropped


class FakeMeminfo(socket.socket):
    """A socket whose drop counter is set by hand; None when it has none."""

    drops: int | None = 0

    def getsockopt(self, *_: object) -> bytes:  # type: ignore[override]  # the one form that is used
        """Answer SO_MEMINFO."""
        if self.drops is None:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        return struct.pack("=9I", *range(8), self.drops)


def test_kernel_drops_wrap() -> None:
    """The kernel's counter of 32 bits may wrap; the total goes on."""
    with FakeMeminfo() as sock:
        drops = KernelDrops(sock)
        totals = []
        for sock.drops in (5, 2**32 - 1, 3):
            totals.append(drops.read())

    assert totals == [5, 2**32 - 1, 2**32 + 3]


def test_kernel_that_does_not_tell() -> None:
    """Where the kernel does not tell, drops are unknown, not none."""
    with FakeMeminfo() as sock:
        sock.drops = None
        drops = KernelDrops(sock)

        assert not drops.known
        assert drops.read() is None


async def test_last_drain(
    rig: Rig, wire: Wire, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent before the order to stop is received, however many drains by size that takes."""
    monkeypatch.setattr(udp, "_DRAIN_BYTES", 5000)
    wire.send(*(packet(f"{number}") + b" " * 900 for number in range(100)))
    async with trio.open_nursery() as stopped:
        stopped.start_soon(serve, wire, rig)
        stopped.cancel_scope.cancel()
    async with trio.open_nursery() as reading:
        reading.start_soon(rig.inbox.run)
        await rig.inbox.drained()
        reading.cancel_scope.cancel()

    assert [int(name) for name in rig.names] == list(range(100))


async def test_last_drain_is_bounded(rig: Rig, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that goes on and on cannot keep us from stopping."""
    monkeypatch.setattr(udp, "_DRAIN_PACKETS", 1)
    wire.send(*[b"a:1|c"] * 100)
    async with trio.open_nursery() as stopped:
        stopped.start_soon(serve, wire, rig)
        stopped.cancel_scope.cancel()

    assert received(rig) == 40


async def test_socket_stays_open(rig: Rig, wire: Wire) -> None:
    """The socket is the caller's: it still works when receiving has ended."""
    async with trio.open_nursery() as stopped:
        stopped.start_soon(serve, wire, rig)
        await wait_all_tasks_blocked()
        stopped.cancel_scope.cancel()
    wire.send(b"a")

    assert await wire.sock.recv(10) == b"a"


async def test_rest_after_a_busy_drain(
    rig: Rig, wire: Wire, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """After a drain that found a lot it rests for 2 ms, the kernel's queue holding the rest; else not."""
    nursery.start_soon(serve, wire, rig)
    await wait_all_tasks_blocked()
    wire.send(*[b"a:1|c"] * 7)
    await wait_all_tasks_blocked()
    wire.send(*[b"a:1|c"] * 8)
    await wait_all_tasks_blocked()
    trickle = received(rig)
    wire.send(b"a:1|c")
    await wait_all_tasks_blocked()
    resting = received(rig)
    await trio.sleep(0.0021)

    assert (trickle, resting, received(rig)) == (15, 15, 16)


async def test_flood_is_left_to_the_kernel(
    wire: Wire, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """While unread datagrams fill half of the ring, more are left in the kernel's queue, which counts too."""
    rig = Rig(limit_bytes=2000)
    nursery.start_soon(serve, wire, rig)
    wire.send(*[b"a:1|c"] * 20)
    await trio.sleep(1)
    wire.send(*[b"a:1|c"] * 20)
    await trio.sleep(1)
    left = received(rig)
    nursery.start_soon(rig.inbox.run)
    await trio.sleep(1)

    assert left == 20
    assert rig.fate(Carrier.UDP) == (40, 40, Counter(), Counter())


async def test_flood_that_the_kernel_would_not_count(
    wire: Wire, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """Where the kernel does not count its drops, we receive all and count what finds no room."""
    rig = Rig(limit_bytes=2000)
    nursery.start_soon(partial(serve, wire, rig, leave_to_kernel=False))
    for _ in range(4):
        wire.send(*[b"a:1|c"] * 10)
        await trio.sleep(1)

    assert rig.fate(Carrier.UDP) == (40, 0, Counter(), {Reason.RING_FULL: 20})
    assert rig.broken() == []


class FailingSocket(socket.socket):
    """Delivers two datagrams, then an error."""

    code = errno.EBADF
    left = 2

    def recv_into(self, buffer: memoryview, *_: object) -> int:  # type: ignore[override]  # the form used
        """Deliver `b"ab"`."""
        if not self.left:
            raise OSError(self.code, "no")
        self.left -= 1
        buffer[:2] = b"ab"
        return 2


@pytest.mark.parametrize("code", [errno.ECONNREFUSED, errno.ENETDOWN, errno.ENOBUFS, errno.ENOMEM])
def test_passing_error(code: int) -> None:
    """Troubles that pass end a drain, and what came before them is kept."""
    rig = Rig()
    with FailingSocket() as sock:
        sock.code = code
        found = udp._drain(sock, memoryview(bytearray(10)), rig.inbox, rig.counts, 0)

    assert found == 2
    assert rig.inbox.waiting[Carrier.UDP] == 2


def test_broken_socket() -> None:
    """Any other error is no peer's doing and escapes."""
    rig = Rig()
    with FailingSocket() as sock, pytest.raises(OSError, match="no"):
        udp._drain(sock, memoryview(bytearray(10)), rig.inbox, rig.counts, 0)


async def test_ipv6(rig: Rig, autojump_clock: MockClock) -> None:
    """Over IPv6 it is the same, on a socket that leaves IPv4 to the other one."""
    try:
        wire = Wire("::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    bind_udp("127.0.0.1", wire.sock.getsockname()[1]).close()
    wire.send(packet("a"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, wire, rig)
        nursery.start_soon(rig.inbox.run)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    wire.close()

    assert rig.names == ["a"]


def test_address_in_use(wire: Wire) -> None:
    """A second one cannot bind the same address, so neither steals the other's datagrams."""
    with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
        bind_udp("127.0.0.1", wire.sock.getsockname()[1])


class FakeOptions(socket.socket):
    """Refuses some receive buffers, and remembers what was set."""

    def __init__(self, refused: set[tuple[int, int]]) -> None:
        super().__init__()
        self.refused = refused
        self.granted: list[tuple[int, int]] = []

    def setsockopt(self, _level: int, option: int, value: int) -> None:  # type: ignore[override]  # the form used
        """Grant or refuse."""
        if (option, value) in self.refused:
            raise OSError(errno.EPERM, "Operation not permitted")
        self.granted.append((option, value))


@pytest.mark.parametrize(
    ("refused", "granted"),
    [
        (set(), (33, 2**23)),
        ({(33, 2**23)}, (socket.SO_RCVBUF, 2**23)),
        ({(33, 2**23), (socket.SO_RCVBUF, 2**23)}, (socket.SO_RCVBUF, 2**20)),
    ],
)
@linux_only
def test_receive_queue(refused: set[tuple[int, int]], granted: tuple[int, int]) -> None:
    """The queue is made as large as we may make it."""
    with FakeOptions(refused) as sock:
        udp._ask_for_queue(sock)

        assert sock.granted == [granted]


def test_queue_is_what_was_granted(wire: Wire) -> None:
    """The size of the queue is what the kernel granted, not what was asked."""
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)

    assert queue_bytes(wire.sock) in (65_536, 131_072)
