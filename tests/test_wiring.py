"""The whole agent: three ways in, one store, and a stop that loses nothing."""

import logging
import os
import signal
import socket
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import cbor2
import pytest
import trio
from attrs import evolve
from trio.testing import wait_all_tasks_blocked

from tests.agent import Place, packet, place_of, program, started
from trace_agent import wiring
from trace_agent.core import settings_net
from trace_agent.core.counts import Carrier
from trace_agent.core.errors import ListenError, Reason, StoreError
from trace_agent.core.settings import Address, Settings
from trace_agent.ingest import http_service
from trace_agent.wiring import Agent

POST = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
async def agent(settings: Settings) -> AsyncIterator[Agent]:
    """Run an agent; the laws hold when it has stopped."""
    async with started(settings) as agent:
        yield agent


@pytest.fixture
def place(agent: Agent) -> Place:
    """Return where that agent is reached."""
    return place_of(agent)


async def test_three_ways_in(settings: Settings) -> None:
    """What came over any carrier is stored when the agent has stopped, and the laws are exact."""
    async with started(settings) as agent:
        place = place_of(agent)
        place.send_udp(*(packet(f"udp {number}") for number in range(50)), b"m:1|c", b"", b"\x01")
        place.send_unix(*(packet(f"unix {number}") for number in range(50)), b"{")
        answer = await place.ask("POST", "/v1/events", packet(*(f"http {number}" for number in range(50))))
    counts = agent.counts

    assert answer.status == 202
    assert sorted(place.names()) == sorted(
        f"{carrier} {number}" for carrier in ("udp", "unix", "http") for number in range(50)
    )
    assert counts.packets[Carrier.UDP].accepted == 51
    assert counts.packets[Carrier.UDP].refused == {Reason.EMPTY: 1, Reason.NOT_TEXT: 1}
    assert counts.packets[Carrier.UNIX].refused == {Reason.BAD_JSON: 1}
    assert (counts.events.accepted, counts.events.stored, counts.events.folded) == (151, 150, 1)


async def test_order_of_arrival(settings: Settings) -> None:
    """Events of one sender are stored in the order in which it sent them, whatever reads them."""
    async with started(settings) as agent:
        place = place_of(agent)
        place.send_unix(*(packet(*range(n, n + 100)) for n in range(0, 5000, 100)))

    assert place.names() == [f"{number}" for number in range(5000)]


async def test_sync(place: Place) -> None:
    """With `sync=1` the rows are there when the answer is."""
    answer = await place.ask("POST", "/v1/events?sync=1", packet("a"))
    names = place.names()
    stats = await place.get("/v1/stats")

    assert answer.status == 200
    assert names == ["a"]
    assert stats["laws"] == {"packets": True, "events": True, "rows": True, "broken": []}


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/health", 200, None),
        ("HEAD", "/health", 200, None),
        ("GET", "/v1/events", 200, None),
        ("GET", "/v1/nothing", 404, None),
        ("POST", "/", 404, None),
        ("OPTIONS", "*", 404, None),
        ("PUT", "/v1/events", 405, "GET, HEAD, POST"),
        ("OPTIONS", "/v1/traces", 405, "GET, HEAD, POST"),
        ("DELETE", "/v1/traces/id", 405, "GET, HEAD"),
        ("POST", "/v1/metrics", 405, "GET, HEAD"),
        ("POST", "/health", 405, "GET, HEAD"),
        ("POST", "/v1/events/", 404, None),
        ("POST", "/v1/events", 415, None),
    ],
)
async def test_routes(place: Place, method: str, path: str, status: int, allow: str | None) -> None:
    """Each path takes its methods; others hear which, and what there is not is not found."""
    answer = await place.ask(method, path)

    assert answer.status == status
    assert answer.headers.get("allow") == allow


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:9090"},
        {"Host": "localhost."},
        {"Host": ""},
    ],
)
async def test_web_pages(agent: Agent, place: Place, headers: dict[str, str]) -> None:
    """No web page can write or read, not by rebinding its name to our address either; tries are counted."""
    read = await place.ask("GET", "/v1/events", headers=headers)
    wrote = await place.ask("POST", "/v1/events", packet("a"), headers=headers)
    asked = await place.ask(
        "OPTIONS", "/v1/events", headers={"Access-Control-Request-Private-Network": "true"} | headers
    )

    assert [read.status, wrote.status, asked.status] == [403] * 3
    assert not any("access-control" in name for answer in (read, wrote, asked) for name in answer.headers)
    assert agent.counts.packets[Carrier.HTTP].refused == {Reason.FORBIDDEN: 1}
    assert agent.counts.packets[Carrier.HTTP].received == 1


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9090", "127.0.0.1:1", "[::1]", "[::1]:9090"])
async def test_hosts(place: Place, host: str) -> None:
    """Programs of this machine call us by any name of the loopback interface."""
    answer = await place.ask("GET", "/health", headers={"Host": host, "Sec-Fetch-Mode": "cors"})

    assert answer.status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://evil.example/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/events HTTP/1.0\r\n\r\n",
    ],
)
async def test_hosts_of_raw_heads(place: Place, head: bytes) -> None:
    """A foreign name in the target is foreign too, and no name at all is none of ours."""
    async with await trio.open_tcp_stream(place.host, place.port) as stream:
        await stream.send_all(head)
        received = await stream.receive_some()

    assert received.startswith(b"HTTP/1.1 403 ")


async def test_token(settings: Settings) -> None:
    """With a token set everything but health asks for it; posts without the right one are counted."""
    async with started(evolve(settings, token="secret")) as agent:
        place = place_of(agent)
        health = await place.ask("GET", "/health")
        without = await place.ask("GET", "/v1/events")
        wrong = await place.ask("POST", "/v1/events", packet("a"), {"Authorization": "Bearer wrong"})
        right = await place.ask("POST", "/v1/events", packet("b"), {"Authorization": "Bearer secret"})

    assert [health.status, without.status, wrong.status, right.status] == [200, 401, 401, 202]
    assert without.headers["www-authenticate"].startswith("Bearer")
    assert agent.counts.packets[Carrier.HTTP].refused == {Reason.UNAUTHORIZED: 1}
    assert place.names() == ["b"]


async def test_what_has_killed_servers(place: Place) -> None:
    """Nothing that a peer sends ends the agent or spoils its figures."""
    fields = await place.ask("GET", "/health?" + "a&" * 200)
    place.send_udp(cbor2.dumps({"type": "hello", "dropped": 10**5000}), b"__proto__:5|ms", b"[" * 60_000)
    place.send_unix(cbor2.dumps({"type": "hello", "dropped": 2**53}), b"\xc4\x82\x01\x02")
    await place.ask("POST", "/v1/events?sync=1", packet("last"))
    stats = await place.get("/v1/stats")
    metrics = await place.ask("GET", "/metrics")

    assert fields.status == 400
    assert stats["laws"] == {"packets": True, "events": True, "rows": True, "broken": []}
    assert metrics.status == 200


async def test_bug_of_ours(
    agent: Agent, place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in a route is answered with 500 and logged, and the agent goes on."""

    async def broken(_: object) -> object:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(agent._api, "answer", broken)
        answer = await place.ask("GET", "/v1/events")
    after = await place.ask("GET", "/v1/events")

    assert (answer.status, after.status) == (500, 200)
    assert "ZeroDivisionError" in caplog.text


async def test_listeners(agent: Agent) -> None:
    """The listeners are told with their real addresses: UDP and HTTP on the same number, and the path."""
    udp, http, unix = agent.listeners

    assert (udp.carrier, http.carrier, unix.carrier) == (Carrier.UDP, Carrier.HTTP, Carrier.UNIX)
    assert udp.address == http.address != "127.0.0.1:0"
    assert unix.address == agent.settings.socket
    assert (udp.receive_buffer_bytes or 0) > 0


def free_port() -> int:
    """Return a port that was free a moment ago, on both loopback addresses."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as six:
        port = int(six.getsockname()[1])
        with socket.create_server(("127.0.0.1", port)), socket.socket(type=socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", port))
            return port


async def test_default_address(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default address answers on both loopback addresses, for `localhost` resolves to either."""
    try:
        default = Address("127.0.0.1", free_port())
    except OSError:
        pytest.skip("this machine has no IPv6")
    monkeypatch.setattr(settings_net, "DEFAULT_LISTEN", default)
    async with started(evolve(settings, listen=default)) as agent:
        six = place_of(agent, "::1")
        six.send_udp(packet("udp"))
        answers = [
            await each.ask("POST", "/v1/events", packet("http"), {"Host": f"[::1]:{default.port}"})
            for each in (six, place_of(agent))
        ]

    assert [answer.status for answer in answers] == [202, 202]
    assert sorted(six.names()) == ["http", "http", "udp"]
    assert len(agent.settings.listen.hosts) == 2


async def test_port_taken(settings: Settings) -> None:
    """An agent that cannot listen lets go of its database, so that another try can have it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(ListenError):
            Agent(evolve(settings, listen=listen))
    async with started(evolve(settings, listen=listen)) as agent:
        assert agent.listeners[0].address == str(listen)


async def test_database_taken(settings: Settings, tmp_path: Path) -> None:
    """A second agent on the same database is refused before it takes an address."""
    async with started(settings):
        with pytest.raises(StoreError, match="served by another trace-agent"):
            Agent(evolve(settings, socket=str(tmp_path / "other.sock")))

        assert not (tmp_path / "other.sock").exists()


async def test_sources_close_first(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the last events are being stored nobody can send more: senders see that we are gone."""
    async with started(settings) as agent:
        place = place_of(agent)
        drained, seen = agent.inbox.drained, []

        async def look() -> None:
            await drained()
            seen.append(place.unix.exists())
            with socket.socket() as sock:
                seen.append(sock.connect_ex((place.host, place.port)) == 0)
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.connect((place.host, place.port))
                sock.settimeout(5)
                sock.send(b"a:1|c")
                with pytest.raises(ConnectionRefusedError):
                    sock.recv(1)

        monkeypatch.setattr(agent.inbox, "drained", look)

    assert seen == [False, False]


async def test_stop_with_a_full_disk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing can be stored, a stop ends in time, and what is lost is counted by name, to the last."""
    monkeypatch.setattr(wiring, "_DRAIN_TIMEOUT_S", 0.1)
    monkeypatch.setattr(wiring, "_COMMIT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(http_service, "_GRACE_S", 0.1)
    async with started(evolve(settings, ring_mb=1)) as agent:
        place = place_of(agent)
        agent.database.connection.execute("PRAGMA max_page_count = 1")  # full from now on
        body = packet(*range(2000))
        with place.send_http(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body):
            while agent.writer.has_room:
                await trio.lowlevel.checkpoint()
            place.send_udp(*[packet("late")] * 10)
            agent.stopping.set()
            await trio.sleep(0.3)
    http, events = agent.counts.packets[Carrier.HTTP], agent.counts.events

    assert http.received == http.accepted == 1
    assert 0 < events.accepted < 2010
    assert events.stored + events.dropped.total() == events.accepted
    assert events.dropped[Reason.SHUTDOWN] > 0


async def test_farewell(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """At the end the laws are told as they stand; one that does not hold is an error of the program."""
    caplog.set_level(logging.INFO)
    async with started(settings) as agent:
        place_of(agent).send_udp(packet("a"), b"\x01")
    right = wiring._farewell(agent)
    said = caplog.text
    agent.counts.packets[Carrier.UDP].received += 1
    wrong = wiring._farewell(agent)

    assert (right, wrong) == (0, 1)
    assert "udp packets: received 2 = accepted 1 + refused 1 + dropped 0" in said
    assert "events: accepted 1 = stored 1 + " in said
    assert "rows: stored 1 = acked 0 + pending 1 + pruned 0" in said
    assert "law broken" not in said
    assert "law broken, please report it: udp packets: received 3" in caplog.text


async def test_farewell_of_a_lost_database(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """A database that is gone at the end is told, and is no law that we broke."""
    async with started(settings) as agent:
        pass
    Path(settings.db).unlink()  # noqa: ASYNC240 - nothing else runs any more

    assert wiring._farewell(agent) == 0
    assert "there is no database" in caplog.text


async def test_broken_part_ends_the_agent(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours that no peer brought to light stops all parts and escapes, and everything is closed."""
    agent = Agent(settings)
    place = place_of(agent)

    async def broken() -> None:
        await wait_all_tasks_blocked()
        raise ZeroDivisionError

    monkeypatch.setattr(agent.lag, "run", broken)
    with trio.fail_after(5), pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        await agent.run()

    assert not place.unix.exists()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        agent.database.connection.execute("SELECT 1")


def test_sigterm_stores_everything(tmp_path: Path) -> None:
    """What was sent before SIGTERM is stored, over all three carriers, and the laws are printed."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        program(tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify")) as running,
    ):
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        place = running.place()
        told = [manager.recv(100)]
        body = packet(*(f"http {number}" for number in range(2000)))
        with place.send_http(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body) as http:
            answer = http.recv(1000)
            place.send_unix(*(packet(f"unix {number}") for number in range(2000)))
            place.send_udp(*(packet(f"udp {number}") for number in range(200)))
            code = running.end(signal.SIGTERM)
        told.append(manager.recv(100))
    stored = place.names()

    assert code == 0, running.log
    assert told == [b"READY=1", b"STOPPING=1"]
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert Counter(name.split()[0] for name in stored) == {"http": 2000, "unix": 2000, "udp": 200}
    assert "udp packets: received 200 = accepted 200 + refused 0 + dropped 0" in running.log
    assert "unix packets: received 2000 = accepted 2000 + refused 0 + dropped 0" in running.log
    assert "http packets: received 1 = accepted 1 + refused 0 + dropped 0" in running.log
    assert "events: accepted 4200 = stored 4200 + merged 0" in running.log
    assert "rows: stored 4200 = acked 0 + pending 4200 + pruned 0" in running.log
    assert not place.unix.exists()


def test_second_signal_ends_at_once(tmp_path: Path) -> None:
    """A second signal does not wait for what the first one made us finish."""
    with program(tmp_path) as running:
        place = running.place()
        with place.send_http(POST + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n") as unfinished:
            assert unfinished.recv(100).startswith(b"HTTP/1.1 100 ")  # from here on it is being answered
            running.process.send_signal(signal.SIGTERM)
            running.wait_for("SIGTERM: storing what was received")
            code = running.end(signal.SIGINT)
            unfinished.close()

    assert code == 128 + signal.SIGINT, running.log
    assert "SIGINT again: ending at once" in running.log
    assert "packets: received" not in running.log


def test_start_says_what_it_listens_on(tmp_path: Path) -> None:
    """The start tells each listener with its real address, and SIGINT stops as SIGTERM does."""
    with program(tmp_path) as running:
        place = running.place()
        code = running.end(signal.SIGINT)
    said = running.log

    assert code == 0, said
    assert f"listening: udp 127.0.0.1:{place.port}, receive queue " in said
    assert f"listening: http http://127.0.0.1:{place.port}\n" in said
    assert f"listening: unix {place.unix}\n" in said
    assert "Traceback" not in said


def test_port_taken_ends_the_start(tmp_path: Path) -> None:
    """A port that is taken ends the start with code 2 and a sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with program(tmp_path, TRACE_AGENT_LISTEN=f"127.0.0.1:{port}") as running:
            code = running.end()

    assert code == 2
    assert f"cannot listen on 127.0.0.1:{port}: " in running.log
    assert f"(pid {os.getpid()}) has that port" in running.log or sys.platform != "linux"
    assert "Traceback" not in running.log
    assert not (tmp_path / "agent.sock").exists()


def test_foreign_database_ends_the_start(tmp_path: Path) -> None:
    """A file that is not ours ends the start with code 3, and is not touched."""
    (tmp_path / "precious.txt").write_text("precious")
    with program(tmp_path, TRACE_AGENT_DB=str(tmp_path / "precious.txt")) as running:
        code = running.end()

    assert code == 3
    assert "choose another file (setting `db`)" in running.log
    assert (tmp_path / "precious.txt").read_text() == "precious"
