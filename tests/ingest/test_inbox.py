"""Packets wait in two lanes within one bound: who can be told to wait waits, the oldest others give way.

Invariant: whatever is put, read, reserved and given back, every packet received has one fate or waits, and
the ring's bytes are those of what waits.
"""

from collections import Counter

import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.ingest.rig import Rig, chunk_of, packet
from trace_agent.core.counts import Carrier
from trace_agent.core.errors import Reason
from trace_agent.ingest.reading import PACKET_BYTES, Reply

PACKET = packet("a")
EACH_BYTES = len(PACKET) + PACKET_BYTES


def small(packets: int, **more: int) -> Rig:
    """Return a rig whose ring holds so many packets."""
    return Rig(limit_bytes=packets * EACH_BYTES, **more)


def test_oldest_lossy_chunks_make_room() -> None:
    """A full ring drops the oldest chunk whose sender cannot wait, whole, and counts its packets."""
    rig = small(5)
    for packets in (2, 1, 2, 3):
        rig.inbox.put_nowait(chunk_of([PACKET] * packets))

    assert rig.fate(Carrier.UDP) == (8, 0, Counter(), {Reason.RING_FULL: 3})
    assert rig.inbox.waiting[Carrier.UDP] == 5
    assert rig.budget.used_bytes == 5 * EACH_BYTES
    assert rig.broken() == []


async def test_held_packets_survive_a_flood(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """No flood of datagrams pushes out a packet whose sender was promised an answer."""
    rig = small(5)
    replies = [Reply() for _ in range(5)]
    for reply in replies:
        await rig.inbox.put(chunk_of([PACKET], Carrier.HTTP, reply=reply))
    for _ in range(1000):
        rig.inbox.put_nowait(chunk_of([PACKET]))
    flood = rig.fate(Carrier.UDP)
    nursery.start_soon(rig.inbox.run)
    await rig.inbox.drained()

    assert flood == (1000, 0, Counter(), {Reason.RING_FULL: 1000})
    assert [reply.accepted for reply in replies] == [1] * 5
    assert rig.fate(Carrier.HTTP) == (5, 5, Counter(), Counter())
    assert rig.broken() == []


async def test_held_packets_push_out_lossy_ones() -> None:
    """A packet whose sender can wait need not, as long as there are others to push out."""
    rig = small(3)
    rig.inbox.put_nowait(chunk_of([PACKET] * 3))
    await rig.inbox.put(chunk_of([PACKET], Carrier.UNIX))

    assert rig.fate(Carrier.UDP)[3] == {Reason.RING_FULL: 3}
    assert rig.inbox.waiting == {Carrier.UDP: 0, Carrier.UNIX: 1, Carrier.HTTP: 0}
    assert rig.broken() == []


async def test_put_waits_for_room(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Where everything that waits can wait, a held packet waits until one of them has been read."""
    rig = small(2)
    for _ in range(2):
        await rig.inbox.put(chunk_of([PACKET], Carrier.UNIX))
    nursery.start_soon(rig.inbox.put, chunk_of([PACKET], Carrier.UNIX))
    await trio.sleep(60)
    received = rig.fate(Carrier.UNIX)[0]
    nursery.start_soon(rig.inbox.run)
    await trio.sleep(1)

    assert received == 2
    assert rig.fate(Carrier.UNIX) == (3, 3, Counter(), Counter())
    assert rig.budget.used_bytes == 0


async def test_cancelled_put_takes_nothing(autojump_clock: MockClock) -> None:
    """Who gives up waiting for room leaves nothing behind."""
    rig = small(1)
    await rig.inbox.put(chunk_of([PACKET], Carrier.UNIX))
    with trio.move_on_after(5) as waiting:
        await rig.inbox.put(chunk_of([PACKET], Carrier.UNIX))
    with trio.move_on_after(5):
        await rig.inbox.reserve(1)

    assert waiting.cancelled_caught
    assert rig.fate(Carrier.UNIX)[0] == 1
    assert rig.budget.used_bytes == EACH_BYTES


async def test_reserved_bytes_become_the_chunk(rig: Rig) -> None:
    """What was reserved for a body while it arrived is its own when it is put."""
    await rig.inbox.reserve(10)
    await rig.inbox.reserve(len(PACKET) - 10)
    rig.inbox.put_reserved(chunk_of([PACKET], Carrier.HTTP))

    assert rig.budget.used_bytes == EACH_BYTES


def test_reserve_nowait() -> None:
    """Reserving pushes out lossy packets too, and says so when that is not enough."""
    rig = small(2)
    rig.inbox.put_nowait(chunk_of([PACKET]))
    most = rig.inbox.reserve_nowait(2 * EACH_BYTES)
    more = rig.inbox.reserve_nowait(1)
    rig.inbox.release(2 * EACH_BYTES)

    assert (most, more) == (True, False)
    assert rig.fate(Carrier.UDP)[3] == {Reason.RING_FULL: 1}
    assert rig.budget.used_bytes == 0


def test_larger_than_the_ring() -> None:
    """A chunk that is larger than the ring is taken when nothing else waits, so that it can be at all."""
    rig = small(1)
    rig.inbox.put_nowait(chunk_of([PACKET] * 3))
    waiting = rig.inbox.waiting[Carrier.UDP]
    rig.inbox.reserve_nowait(1)
    rig.inbox.put_nowait(chunk_of([PACKET] * 3))

    assert waiting == 3
    assert rig.fate(Carrier.UDP) == (6, 0, Counter(), {Reason.RING_FULL: 6})
    assert rig.broken() == []


def test_lossy_share() -> None:
    """The share of the ring that lossy packets fill counts those alone."""
    rig = small(4)
    rig.inbox.put_nowait(chunk_of([PACKET] * 2))
    rig.inbox.reserve_nowait(EACH_BYTES)

    assert rig.inbox.lossy_share == 0.5


async def test_lanes_do_not_delay_each_other(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """An answer does not wait for the datagrams that came before it, nor do these for a held packet."""
    rig = Rig(limit_events=1)
    await rig.inbox.put(chunk_of([packet("a", "b")], Carrier.UNIX))
    nursery.start_soon(rig.inbox.run)
    await wait_all_tasks_blocked()
    rig.inbox.put_nowait(chunk_of([b"x:1|c"] * 100))
    await wait_all_tasks_blocked()

    assert rig.inbox.waiting == {Carrier.UDP: 0, Carrier.UNIX: 1, Carrier.HTTP: 0}
    assert rig.counts.events.folded == 100


async def test_drained(rig: Rig, nursery: trio.Nursery) -> None:
    """Waiting for the end returns when both lanes are read, and at once when there is nothing."""
    with trio.fail_after(5):
        await rig.inbox.drained()
    for _ in range(20):
        rig.inbox.put_nowait(chunk_of([PACKET]))
        await rig.inbox.put(chunk_of([PACKET], Carrier.UNIX))
    nursery.start_soon(rig.inbox.run)
    with trio.fail_after(5):
        await rig.inbox.drained()

    assert len(rig.sink.events) == 40
    assert rig.inbox.is_empty


async def test_abandon() -> None:
    """What was not read in time is dropped by name, and gives its bytes back."""
    rig = small(10)
    rig.inbox.put_nowait(chunk_of([PACKET] * 2))
    await rig.inbox.put(chunk_of([PACKET] * 3, Carrier.UNIX))
    rig.inbox.abandon()

    assert rig.fate(Carrier.UDP)[3] == {Reason.SHUTDOWN: 2}
    assert rig.fate(Carrier.UNIX)[3] == {Reason.SHUTDOWN: 3}
    assert rig.budget.used_bytes == 0
    assert rig.broken() == []


class InboxMachine(RuleBasedStateMachine):
    """Puts, reads, reserves and gives back in any order; the laws hold after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = small(8, limit_events=10)
        self.reserved: list[int] = []

    @rule(
        packets=st.lists(st.sampled_from([PACKET, b"", b"x:1|c", packet("a", "b")]), min_size=1, max_size=4)
    )
    def put_lossy(self, packets: list[bytes]) -> None:
        """Put what a datagram socket brought."""
        self.rig.inbox.put_nowait(chunk_of(packets))

    @rule(size_bytes=st.integers(0, 3 * EACH_BYTES))
    def reserve(self, size_bytes: int) -> None:
        """Reserve bytes for a body."""
        if self.rig.inbox.reserve_nowait(size_bytes):
            self.reserved.append(size_bytes)

    @precondition(lambda self: self.reserved)
    @rule()
    def give_back(self) -> None:
        """Give reserved bytes back."""
        self.rig.inbox.release(self.reserved.pop())

    @precondition(lambda self: self.reserved)
    @rule()
    def put_held(self) -> None:
        """Put the body that bytes were reserved for."""
        body = b" " * self.reserved.pop()
        self.rig.inbox.put_reserved(chunk_of([body], Carrier.HTTP))

    @rule(number=st.integers(0, 10))
    def store(self, number: int) -> None:
        """Store some events."""
        self.rig.sink.store(number)

    @rule(jump_s=st.sampled_from([0.0, 0.01, 10.0]))
    def read(self, jump_s: float) -> None:
        """Let the readers run, and cut them off wherever they are, as a stop does."""

        async def some() -> None:
            with trio.move_on_after(jump_s):
                await self.rig.inbox.run()

        trio.run(some, clock=MockClock(autojump_threshold=0))
        if not jump_s or self.rig.inbox._in_hand:
            self.rig.inbox.abandon()

    @invariant()
    def laws(self) -> None:
        """Each packet has one fate or waits, and bytes in use are those of what waits."""
        inbox = self.rig.inbox

        assert self.rig.broken() == []
        assert self.rig.budget.used_bytes == (
            inbox._lossy.used_bytes + inbox._held.used_bytes + sum(self.reserved)
        )


TestInbox = InboxMachine.TestCase
