"""A listener serves its connections, as many as it may, and ends with those that are being answered."""

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import h11
import pytest
import trio
from trio.testing import MockClock, open_stream_to_socket_listener, wait_all_tasks_blocked

from tests.ingest.peer import Answer, Bugs, Echo, receive_answer
from tests.ingest.rig import Rig
from trace_agent.core.http import Request, Response
from trace_agent.ingest import http_service
from trace_agent.ingest.http_service import bind_http, serve_http

GET = b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Service:
    """A listener on the loopback interface that is being served."""

    def __init__(self, rig: Rig) -> None:
        self.listener = bind_http("127.0.0.1", 0)
        self.echo = Echo(rig)
        self.bugs = Bugs()
        self.stopping = trio.Event()
        self.ended = trio.Event()
        self.handle: Callable[[Request], Awaitable[Response]] = self.echo
        self._rig = rig

    async def serve(self) -> None:
        """Serve until told to stop."""

        async def handle(request: Request) -> Response:
            return await self.handle(request)

        await serve_http(self.listener, handle, self._rig.inbox, self.bugs, self.stopping)
        self.ended.set()

    async def connect(self) -> trio.SocketStream:
        """Open a connection."""
        return await open_stream_to_socket_listener(self.listener)


async def ask(stream: trio.SocketStream, path: str = "/", body: bytes = b"") -> Answer:
    """Send one request and receive its answer."""
    await stream.send_all(
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )
    return await answer(stream)


async def answer(stream: trio.SocketStream) -> Answer:
    """Receive the answer to a request that was sent as bytes."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "localhost")]))
    return await receive_answer(stream, client)


@pytest.fixture
async def service(rig: Rig, nursery: trio.Nursery) -> AsyncIterator[Service]:
    """Return a service; no bug may come to light, and it has to stop when told."""
    service = Service(rig)
    nursery.start_soon(service.serve)
    await wait_all_tasks_blocked()
    yield service
    service.stopping.set()
    with trio.fail_after(5):
        await service.ended.wait()
    assert service.bugs.found == []


async def test_connections_are_served(service: Service) -> None:
    """Several connections are served side by side, each for request after request."""
    streams = [await service.connect() for _ in range(3)]
    answers = [
        await ask(stream, body=b"%d" % number) for _ in range(2) for number, stream in enumerate(streams)
    ]
    for stream in streams:
        await stream.aclose()

    assert [answer.body for answer in answers] == [b"0", b"1", b"2"] * 2


async def test_too_many_connections(
    service: Service, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those beyond the limit are told to come again, those beyond twice as many not even that."""
    monkeypatch.setattr(http_service, "CONNECTIONS", 2)
    streams = [await service.connect() for _ in range(5)]
    await wait_all_tasks_blocked()
    cut_off = await streams[4].receive_some()
    served = [(await ask(stream)).status for stream in streams[:2]]
    crowded = await ask(streams[2])
    end = await streams[2].receive_some()
    await streams[0].aclose()
    await streams[2].aclose()
    await streams[3].aclose()
    await wait_all_tasks_blocked()
    after = await service.connect()
    served.append((await ask(after)).status)
    for stream in (after, *streams):
        await stream.aclose()

    assert cut_off == b""
    assert served == [200, 200, 200]
    assert (crowded.status, crowded.headers["retry-after"]) == (503, "1")
    assert json.loads(crowded.body)["error"]["code"] == "too_many_connections"
    assert end == b""


async def test_the_longest_idle_makes_room(
    service: Service, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that are open and idle do not keep a newcomer out: the longest idle one is closed."""
    monkeypatch.setattr(http_service, "CONNECTIONS", 2)
    first, second = await service.connect(), await service.connect()
    await ask(first)
    await trio.sleep(1.5)
    await ask(second)
    await trio.sleep(1.5)
    await ask(first)

    newcomer = await ask(third := await service.connect())
    end = await second.receive_some()
    still = await ask(first)
    for stream in (first, second, third):
        await stream.aclose()

    assert (newcomer.status, end, still.status) == (200, b"", 200)


async def test_each_newcomer_closes_another_one(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Newcomers at the same moment each make their own room, as long as somebody is idle."""
    idle = http_service._Idle()

    async def never() -> None:
        await trio.sleep_forever()

    for _ in range(2):
        nursery.start_soon(idle.wait, never)
    await trio.sleep(2)

    assert [idle.close_one() for _ in range(3)] == [True, True, False]


async def test_idle_connections_end_with_the_stop(service: Service, autojump_clock: MockClock) -> None:
    """At a stop idle connections are closed at once, used ones and fresh ones, and no more are taken."""
    used, fresh = await service.connect(), await service.connect()
    await ask(used)
    service.stopping.set()
    ends = [await used.receive_some(), await fresh.receive_some()]
    await service.ended.wait()

    assert ends == [b"", b""]
    assert trio.current_time() == 0
    assert service.listener.socket.fileno() == -1
    for stream in (used, fresh):
        await stream.aclose()


async def test_answers_during_the_stop(service: Service, autojump_clock: MockClock) -> None:
    """A request that is being answered gets its answer, and hears that the connection ends."""

    async def slowly(request: Request) -> Response:
        await trio.sleep(1.5)
        return await service.echo(request)

    service.handle = slowly
    stream = await service.connect()
    await stream.send_all(GET % 1)
    await wait_all_tasks_blocked()
    service.stopping.set()
    last = await answer(stream)
    await stream.aclose()
    await service.ended.wait()

    assert last.status == 200
    assert last.headers["connection"] == "close"
    assert trio.current_time() == pytest.approx(1.5)


async def test_stop_does_not_wait_for_ever(service: Service, autojump_clock: MockClock) -> None:
    """An answer that is not there 2 s after the order to stop is given up."""

    async def never(_: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    service.handle = never
    stream = await service.connect()
    await stream.send_all(GET % 1)
    await wait_all_tasks_blocked()
    service.stopping.set()
    end = await stream.receive_some()
    await stream.aclose()
    await service.ended.wait()

    assert end == b""
    assert trio.current_time() == pytest.approx(2)


async def test_bug_of_ours(service: Service) -> None:
    """A bug ends the connection that brought it to light, and no other."""
    first, second = await service.connect(), await service.connect()
    statuses = [(await ask(first, "/bug")).status, (await ask(second)).status]
    end = await first.receive_some()
    for stream in (first, second):
        await stream.aclose()

    assert statuses == [500, 200]
    assert end == b""
    assert len(service.bugs.found) == 1
    service.bugs.found.clear()


async def test_sender_that_reads_last(service: Service) -> None:
    """A client that sends all of a body that is too large, and only then reads, still gets its answer."""
    stream = await service.connect()
    refused = await ask(stream, body=bytes(20 * 1024 * 1024))
    await stream.aclose()

    assert refused.status == 400
    assert json.loads(refused.body)["error"]["code"] == "too_large"


async def test_bind_again(service: Service, autojump_clock: MockClock) -> None:
    """A restart need not wait until the connections of the one before are forgotten."""
    host, port = service.listener.socket.getsockname()
    stream = await service.connect()
    await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
    await answer(stream)
    service.stopping.set()
    await service.ended.wait()  # it closed first, so the connection stays in TIME_WAIT on its side
    await stream.aclose()
    again = bind_http(host, port)

    assert again.socket.getsockname() == (host, port)
    await again.aclose()


async def test_address_in_use(service: Service) -> None:
    """A second listener cannot have the same address."""
    with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
        bind_http(*service.listener.socket.getsockname())


async def test_ipv6() -> None:
    """An IPv6 listener leaves the same port of IPv4 to another one."""
    try:
        listener = bind_http("::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = listener.socket.getsockname()[1]
    beside = bind_http("127.0.0.1", port)

    assert beside.socket.family == socket.AF_INET
    await listener.aclose()
    await beside.aclose()
