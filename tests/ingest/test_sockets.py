"""All listeners are bound or none, and the message says who has what we wanted and what to do."""

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from trace_agent.core.errors import ListenError, SettingsError
from trace_agent.core.settings import Address, Settings
from trace_agent.ingest import sockets
from trace_agent.ingest.http_service import bind_http
from trace_agent.ingest.sockets import Sockets
from trace_agent.ingest.udp import bind_udp

Bind = Callable[..., Sockets]


def nobody(_: int) -> str | None:
    """Know nobody."""
    return None


@pytest.fixture
async def bind(settings: Settings) -> AsyncIterator[Bind]:
    """Return what binds sockets for the length of a test."""
    bound = []

    def bind(
        port_holder: Callable[[int], str | None] = nobody,
        **changes: Any,  # noqa: ANN401 - settings of any type
    ) -> Sockets:
        bound.append(Sockets(evolve(settings, **changes), port_holder))
        return bound[-1]

    yield bind
    for each in bound:
        each.close()


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """Return a TCP socket that listens on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def ports(bound: Sockets) -> list[tuple[str, int]]:
    """Return the addresses of UDP, then those of HTTP."""
    every = [sock for sock, _ in bound.udp] + [listener.socket for listener in bound.http]
    return [sock.getsockname()[:2] for sock in every]


async def test_port_zero(bind: Bind) -> None:
    """With port 0 the system chooses a number that is free for UDP and TCP."""
    (udp, http) = ports(bind())

    assert udp == http
    assert udp[1] > 0


async def test_pair_is_tried_again(bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that is free for TCP and not for UDP is let go, and another one tried, with an end."""
    tries = []

    def picky(host: str, port: int) -> object:
        tries.append(port)
        if len(tries) % 3:
            raise OSError(98, "Address already in use")
        return bind_udp(host, port)

    monkeypatch.setattr(sockets, "bind_udp", picky)
    (udp, http) = ports(bind())
    monkeypatch.setattr(sockets, "_PORT_TRIES", 2)

    assert udp == http == ("127.0.0.1", tries[2])
    with pytest.raises(ListenError, match="no port is free for both"):
        bind(socket=f"{os.devnull}")


async def test_localhost(bind: Bind) -> None:
    """`localhost` has the same port on both loopback addresses, where there are two."""
    bound = bind(listen=Address("localhost", 0))
    found = ports(bound)
    hosts = ["127.0.0.1", "::1"] if socket.has_ipv6 and len(found) == 4 else ["127.0.0.1"]

    assert [host for host, _ in found] == hosts * 2
    assert len({port for _, port in found}) == 1


@pytest.mark.parametrize("code", [97, 99])
async def test_machine_without_ipv6(bind: Bind, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Where there is no second loopback address, the first one is enough."""

    def without_ipv6(host: str, port: int) -> object:
        if ":" in host:
            raise OSError(code, "no IPv6")
        return bind_http(host, port)

    monkeypatch.setattr(sockets, "bind_http", without_ipv6)
    found = ports(bind(listen=Address("localhost", 0)))

    assert [host for host, _ in found] == ["127.0.0.1"] * 2


async def test_port_taken(bind: Bind, taken: socket.socket, tmp_path: Path) -> None:
    """A port in use says by whom, how to choose another one, and what to tell the clients."""
    port = taken.getsockname()[1]
    with pytest.raises(ListenError) as refused:
        bind({port: "prometheus (pid 7)"}.get, listen=Address("127.0.0.1", port))
    said = str(refused.value)

    assert f"127.0.0.1:{port}: prometheus (pid 7) has that port" in said
    assert f"TRACE_AGENT_LISTEN=127.0.0.1:{port + 1}" in said
    assert "TRACE_AGENT_PORT" in said
    assert not (tmp_path / "trace-agent.sock").exists()


async def test_port_taken_by_somebody(bind: Bind, taken: socket.socket) -> None:
    """Where nobody can tell who it is, it is another program."""
    with pytest.raises(ListenError, match="another program has that port"):
        bind(listen=Address("127.0.0.1", taken.getsockname()[1]))


async def test_udp_port_taken(bind: Bind) -> None:
    """A port of which the UDP half is in use is in use, and the TCP half is let go again."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(ListenError, match="has that port"):
            bind(listen=address)

    assert len(ports(bind(listen=address))) == 2


async def test_highest_port_taken(bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port that is proposed instead is always one that exists."""

    def refuse(*_: object) -> object:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(sockets, "bind_http", refuse)

    with pytest.raises(ListenError, match=r"TRACE_AGENT_LISTEN=127\.0\.0\.1:9091"):
        bind(listen=Address("127.0.0.1", 65_535))


async def test_address_of_another_machine(bind: Bind) -> None:
    """An address that this machine has not is named with its setting."""
    with pytest.raises(ListenError, match=r"cannot listen on 203\.0\.113\.7:9090: .* \(setting `listen`\)"):
        bind(listen=Address("203.0.113.7", 9090))


async def test_otlp_listener(bind: Bind) -> None:
    """A second HTTP address is bound for TCP alone."""
    bound = bind(otlp_listen=Address("127.0.0.1", 0))

    assert len(bound.udp) == 1
    assert len(bound.http) == 2


async def test_otlp_port_taken(bind: Bind, taken: socket.socket, tmp_path: Path) -> None:
    """When that one is taken, the message names the setting that helps."""
    port = taken.getsockname()[1]
    with pytest.raises(ListenError) as refused:
        bind(otlp_listen=Address("127.0.0.1", port))
    said = str(refused.value)

    assert f"TRACE_AGENT_OTLP_LISTEN=127.0.0.1:{port + 1}" in said
    assert "TRACE_AGENT_PORT" not in said


async def test_unix_socket_refused(bind: Bind, tmp_path: Path) -> None:
    """When the Unix socket cannot be had, nothing else stays open either."""
    (tmp_path / "file").write_text("")
    first = bind()
    address = Address("127.0.0.1", ports(first)[0][1])
    first.close()
    with pytest.raises(ListenError, match="is no socket"):
        bind(listen=address, socket=str(tmp_path / "file"))

    assert len(ports(bind(listen=address))) == 2


async def test_unknown_group(bind: Bind) -> None:
    """A group that does not exist is an error of the setting."""
    with pytest.raises(SettingsError) as refused:
        bind(socket_group="no-such-group")

    assert refused.value.key == "socket_group"


async def test_group(bind: Bind) -> None:
    """A group may be given by its number."""
    bound = bind(socket_group=f"{os.getegid()}")

    assert bound.unix.path.lstat().st_gid == os.getegid()


async def test_close(bind: Bind, tmp_path: Path) -> None:
    """Closing lets go of every address and of the Unix socket's file; closing again does nothing."""
    bound = bind()
    path = bound.unix.path
    before = path.exists()
    bound.close()
    bound.close()

    assert before
    assert not path.exists()
    assert ports(bound) == []
