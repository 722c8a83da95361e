"""Speaking to an agent, or to nobody."""

import socket
import struct
import threading
from pathlib import Path

import pytest

from tests.views.serving import answering
from trace_agent.core.settings import Address
from trace_agent.views.client import Reply, UnreachableError, ask, send_udp, send_unix


def free_port(kind: socket.SocketKind) -> int:
    """Return a port that nobody listens on."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_request_names_the_loopback_and_bears_the_token() -> None:
    """The Host is one that is always served, and the token goes in the header alone."""
    with answering({"/a?b=1": (200, {"x": [1]})}) as server:
        reply = ask(server.address, "secret", "POST", "/a?b=1", b"{}")
        ask(server.address, None, "GET", "/other")
    (method, path, headers, body), (_, _, bare, _) = server.requests

    assert reply == Reply(200, {"x": [1]})
    assert (method, path, body) == ("POST", "/a?b=1", b"{}")
    assert (headers["Host"], headers["Authorization"]) == ("localhost", "Bearer secret")
    assert headers["Content-Type"] == "application/json"
    assert "Authorization" not in bare


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(401, {"error": {"code": "c", "message": "send a token"}}), "send a token"),
        (Reply(500, None), "HTTP status 500"),
        (Reply(400, {"error": "words"}), "HTTP status 400"),
        (Reply(400, {"error": {"message": 5}}), "HTTP status 400"),
        (Reply(418, [1]), "HTTP status 418"),
    ],
)
def test_any_answer_has_a_message(reply: Reply, message: str) -> None:
    """What others answer is told by its status."""
    assert reply.message == message


def test_an_answer_that_is_no_json_has_no_body() -> None:
    """Pages of other programs are none of ours."""
    with answering({"/": (200, b"<html>")}) as server:
        assert ask(server.address, None, "GET", "/") == Reply(200, None)


def test_nobody_there_is_unreachable() -> None:
    """All addresses of a name are tried, and the message says where and why."""
    address = Address("localhost", free_port(socket.SOCK_STREAM))

    with pytest.raises(UnreachableError, match=rf"HTTP on localhost:{address.port}: Connection refused"):
        ask(address, None, "GET", "/health")


def test_what_does_not_speak_http_is_unreachable() -> None:
    """Another protocol on the port is no bug of ours."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        address = Address("127.0.0.1", server.getsockname()[1])
        with pytest.raises(UnreachableError, match="nothing answers HTTP"):
            ask(address, None, "GET", "/health")
        thread.join()


def test_a_datagram_arrives_whole() -> None:
    """One packet is one datagram, also for an address that stands for all."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        send_udp(Address("0.0.0.0", sock.getsockname()[1]), b"x:1|c")

        assert sock.recv(100) == b"x:1|c"


def test_a_datagram_to_nobody_is_noticed() -> None:
    """On this machine the kernel says so at once."""
    with pytest.raises(UnreachableError, match="was not taken: Connection refused"):
        send_udp(Address("127.0.0.1", free_port(socket.SOCK_DGRAM)), b"x:1|c")


def test_a_datagram_that_is_too_large_is_noticed() -> None:
    """A packet beyond a datagram cannot go by UDP, and says why."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(UnreachableError, match="Message too long"):
            send_udp(Address("127.0.0.1", sock.getsockname()[1]), b"x" * 70_000)


def test_a_frame_has_its_length_before_it(tmp_path: Path) -> None:
    """Unix stream frames are a little-endian u32 and the packet."""
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)
        send_unix(path, b"hello")
        peer, _ = server.accept()
        with peer:
            received = peer.recv(100)

    assert received == struct.pack("<I", 5) + b"hello"


@pytest.mark.parametrize("kind", ["missing", "stale", "file"])
def test_a_socket_that_is_dead_is_noticed(tmp_path: Path, kind: str) -> None:
    """No socket, one that nobody listens on any more, or no socket at all: the path is named."""
    path = tmp_path / "s.sock"
    if kind == "stale":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "file":
        path.write_text("")

    with pytest.raises(UnreachableError, match=r"s\.sock was not to be used"):
        send_unix(path, b"x")
