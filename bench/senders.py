"""Send a load: a plan in, what was sent and how it felt out. Each sender is a process of its own.

UDP goes out by sendmmsg(2), Unix frames by large writes, HTTP over kept connections. Neither carrier's
sender encodes anything, so a sender costs less than the receiving end (see `blocks`).
"""

import contextlib
import multiprocessing
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

import cbor2
from attrs import Factory, define, frozen

from bench.blocks import Block, Recipe, build_block
from bench.client import Client
from bench.datagrams import DatagramSender

__all__ = ["Plan", "Sent", "send_load"]

# Never run away, whatever was asked for.
_SECONDS_LIMIT = 600.0
_SHORTEST_SLEEP_S = 0.0005
_UDP_PACKETS = 64
_UNIX_BLOCK_BYTES = 64 * 1024
_WRITE_LIMIT_S = 30.0


@frozen
class Plan:
    """What one sender process does.

    Attributes:
        rate: packets a second, or None for as fast as they go.
        packets: how many at most.
        seconds: how long at most.
        flow: ask for flow control on Unix connections.
        connections: Unix or HTTP connections of this process.
    """

    carrier: str
    host: str
    port: int
    socket_path: str
    recipe: Recipe
    rate: float | None
    packets: int
    seconds: float
    flow: bool
    connections: int
    number: int = 0


@define
class Sent:
    """What a sender, or all of them together, did.

    Attributes:
        packets: packets that left whole; hellos and markers not included.
        hellos: Unix hello frames sent besides.
        seconds: from first to last packet; of several senders, the longest.
        late_s: how far the sender fell behind its rate at worst.
        waits: how often a write would have blocked (EAGAIN).
        longest_wait_s: the longest such wait.
        answers: HTTP answers by status.
        accepted: events that HTTP answers called accepted.
        rejected: and rejected.
        answer_s: HTTP answer times.
        failures: what ended a connection early.
    """

    packets: int = 0
    hellos: int = 0
    bytes: int = 0
    seconds: float = 0.0
    late_s: float = 0.0
    waits: int = 0
    waited_s: float = 0.0
    longest_wait_s: float = 0.0
    answers: Counter[int] = Factory(Counter)
    accepted: int = 0
    rejected: int = 0
    answer_s: list[float] = Factory(list)
    failures: list[str] = Factory(list)

    def add(self, other: "Sent") -> None:
        """Take in what another sender did at the same time."""
        self.packets += other.packets
        self.hellos += other.hellos
        self.bytes += other.bytes
        self.seconds = max(self.seconds, other.seconds)
        self.late_s = max(self.late_s, other.late_s)
        self.waits += other.waits
        self.waited_s += other.waited_s
        self.longest_wait_s = max(self.longest_wait_s, other.longest_wait_s)
        self.answers += other.answers
        self.accepted += other.accepted
        self.rejected += other.rejected
        self.answer_s += other.answer_s
        self.failures += other.failures


def send_load(plans: list[Plan], started: Callable[[], None]) -> Sent:
    """Run a process for each plan, all beginning at once, and add up what they did.

    Args:
        plans: one for each process.
        started: called when all are ready and begin.

    Raises:
        RuntimeError: a process died without a result.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(plans) + 1)
    total = Sent()
    with contextlib.ExitStack() as stack:
        ends = []
        for plan in plans:
            ours, theirs = context.Pipe(duplex=False)
            # A daemon is terminated when this process exits, so none outlives it.
            process = context.Process(target=_run, args=(plan, barrier, theirs), daemon=True)
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(process.terminate)
            ends.append(ours)
        barrier.wait(30)
        started()
        for end in ends:
            if not end.poll(_SECONDS_LIMIT + 2 * _WRITE_LIMIT_S):
                raise RuntimeError("a sender did not end in time")
            try:
                result = end.recv()
            except EOFError:
                raise RuntimeError("a sender died; its error stands above") from None
            assert isinstance(result, Sent)
            total.add(result)
    return total


def _run(plan: Plan, barrier: Barrier, result: Connection) -> None:
    sent = Sent()
    open_carrier = {"udp": _udp, "unix": _unix, "http": _http}[plan.carrier]
    with open_carrier(plan, sent) as (block, send):
        barrier.wait(30)
        _drive(plan, block, send, sent)
    result.send(sent)


def _drive(plan: Plan, block: Block, send: Callable[[int], int], sent: Sent) -> None:
    """Call `send` with the number of packets that are due until the plan is done."""
    begun = now = time.monotonic()
    deadline = begun + min(plan.seconds, _SECONDS_LIMIT)
    while sent.packets < plan.packets and now < deadline and not sent.failures:
        due = plan.packets - sent.packets
        if plan.rate is not None:
            due = min(due, int((now - begun) * plan.rate) + 1 - sent.packets)
            if due <= 0:
                # Until the next packet's time, but no shorter than makes sense: a wake-up costs 50 us of
                # a core that trace-agent could use, and what became due meanwhile goes out at once.
                time.sleep(max(_SHORTEST_SLEEP_S, begun + sent.packets / plan.rate - now))
                now = time.monotonic()
                continue
            sent.late_s = max(sent.late_s, now - begun - sent.packets / plan.rate)
        block.stamp()
        done = send(min(due, len(block)))
        sent.packets += done
        sent.bytes += block.ends[done - 1] if done else 0
        now = time.monotonic()
    sent.seconds = now - begun


@contextlib.contextmanager
def _udp(plan: Plan, _sent: Sent) -> Iterator[tuple[Block, Callable[[int], int]]]:
    block = build_block(plan.recipe, "udp", _UDP_PACKETS, plan.number, plan.port)
    with contextlib.closing(DatagramSender(plan.host, plan.port, block.data, block.ends)) as sender:
        yield block, sender.send


@contextlib.contextmanager
def _unix(plan: Plan, sent: Sent) -> Iterator[tuple[Block, Callable[[int], int]]]:
    frame = len(build_block(plan.recipe, "unix", 1, plan.number, plan.port).data)
    # A pace is kept by small writes; a flood by writes as large as the socket's buffer takes well.
    packets = max(1, min(1024, _UNIX_BLOCK_BYTES // frame))
    block = build_block(plan.recipe, "unix", packets, plan.number, plan.port)
    with contextlib.ExitStack() as stack:
        sockets = []
        for _ in range(plan.connections):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            connection.connect(plan.socket_path)
            connection.setblocking(False)
            if plan.flow:
                hello = {"type": "hello", "client": "bench", "version": "1", "pid": 1, "flow": True}
                payload = cbor2.dumps(hello)
                _write(connection, memoryview(len(payload).to_bytes(4, "little") + payload), Sent())
                sent.hellos += 1
            sockets.append(connection)
        turn = 0

        def send(count: int) -> int:
            nonlocal turn
            turn = (turn + 1) % len(sockets)
            with memoryview(block.data) as view:
                return count if _write(sockets[turn], view[: block.ends[count - 1]], sent) else 0

        yield block, send


def _write(connection: socket.socket, data: memoryview, sent: Sent) -> bool:
    """Write all of `data` and note each time the socket made us wait; False if that failed."""
    at = 0
    try:
        while at < len(data):
            try:
                at += connection.send(data[at:])
            except BlockingIOError:
                begun = time.monotonic()
                ready = select.select((), (connection,), (), _WRITE_LIMIT_S)[1]
                waited = time.monotonic() - begun
                sent.waits += 1
                sent.waited_s += waited
                sent.longest_wait_s = max(sent.longest_wait_s, waited)
                if not ready:
                    sent.failures.append(f"no room to write for {_WRITE_LIMIT_S:g} s")
                    return False
    except OSError as error:
        sent.failures.append(f"{type(error).__name__}: {error}")
        return False
    return True


@contextlib.contextmanager
def _http(plan: Plan, sent: Sent) -> Iterator[tuple[Block, Callable[[int], int]]]:
    block = build_block(plan.recipe, "http", plan.connections, plan.number, plan.port)
    begins = (0, *block.ends)
    with contextlib.ExitStack() as stack:
        clients = [Client(plan.host, plan.port, _WRITE_LIMIT_S) for _ in range(plan.connections)]
        for client in clients:
            stack.callback(client.close)

        def send(count: int) -> int:
            asked = []
            for number, client in enumerate(clients[:count]):
                client.send(bytes(block.data[begins[number] : begins[number + 1]]))
                asked.append(time.monotonic())
            for client, begun in zip(clients, asked, strict=False):
                answer = client.read()
                sent.answer_s.append(time.monotonic() - begun)
                sent.answers[answer.status] += 1
                if answer.status in {202, 400}:
                    body = answer.json()
                    accepted, rejected = body.get("accepted", 0), body.get("rejected", [])
                    assert isinstance(accepted, int)
                    assert isinstance(rejected, list)
                    sent.accepted += accepted
                    sent.rejected += len(rejected)
            return count

        yield block, send
