"""Speak to the running agent from the command line: a packet or a request in, its fate or answer out.

Plain blocking sockets and `http.client`: a command sends one thing and ends.
"""

import http.client
import json
import socket
import struct
from pathlib import Path
from typing import Final, cast

from attrs import frozen

from trace_agent.core.errors import TraceAgentError
from trace_agent.core.events import Json
from trace_agent.core.http import JSON_TYPE
from trace_agent.core.settings import Address

__all__ = ["Reply", "UnreachableError", "ask", "send_udp", "send_unix"]

_TIMEOUT_S: Final = 5.0
# An ICMP "port unreachable" of the loopback interface is there before `send` returns; this is for slow ones.
_ICMP_WAIT_S: Final = 0.05
# CONTRACT section 1: frames are at most 4 MiB, datagrams what IPv4 lets through.
_LENGTH: Final = struct.Struct("<I")
_ANSWER_LIMIT_BYTES: Final = 64 * 1024 * 1024
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not bound


class UnreachableError(TraceAgentError):
    """Nobody takes what we send: exit code 3."""


@frozen
class Reply:
    """What the agent answered.

    Attributes:
        body: decoded JSON, or None if it is none.
    """

    status: int
    body: Json

    @property
    def message(self) -> str:
        """Return the sentence of an error answer, or its status."""
        error = self.body.get("error") if isinstance(self.body, dict) else None
        text = error.get("message") if isinstance(error, dict) else None
        return text if isinstance(text, str) else f"HTTP status {self.status}"


def ask(address: Address, token: str | None, method: str, path: str, body: bytes | None = None) -> Reply:
    """Send one HTTP request with a JSON body or none.

    Raises:
        UnreachableError: nobody answers there, or something that does not speak HTTP.
    """
    # The name of the loopback, whatever address we take: other names are refused as foreign.
    headers = {"Host": "localhost", "Accept": JSON_TYPE}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if body is not None:
        headers["Content-Type"] = JSON_TYPE
    trouble: Exception | None = None
    for host in _hosts(address):
        connection = http.client.HTTPConnection(host, address.port, timeout=_TIMEOUT_S)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return Reply(answer.status, _decoded(answer.read(_ANSWER_LIMIT_BYTES)))
        except (OSError, http.client.HTTPException) as error:
            trouble = trouble or error
        finally:
            connection.close()
    raise UnreachableError(f"nothing answers HTTP on {address}: {_words(trouble)}") from trouble


def send_udp(address: Address, packet: bytes) -> None:
    """Send one datagram; nobody says whether it arrived, only, on this machine, that nobody listens.

    Raises:
        UnreachableError: nobody listens, or the packet is larger than a datagram.
    """
    trouble: OSError | None = None
    for host in _hosts(address):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect((host, address.port))
                sock.send(packet)
                sock.settimeout(_ICMP_WAIT_S)
                sock.recv(1)
        except TimeoutError:
            return
        except OSError as error:
            trouble = trouble or error
    raise UnreachableError(f"the datagram to {address} was not taken: {_words(trouble)}") from trouble


def send_unix(path: Path, packet: bytes) -> None:
    """Send one frame over the Unix socket, whole.

    Raises:
        UnreachableError: nobody listens there, or we may not connect.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_TIMEOUT_S)
            sock.connect(str(path))
            sock.sendall(_LENGTH.pack(len(packet)) + packet)
    except OSError as error:
        raise UnreachableError(f"the socket {path} was not to be used: {_words(error)}") from error


def _hosts(address: Address) -> tuple[str, ...]:
    return tuple(_EVERYWHERE.get(host, host) for host in address.hosts)


def _decoded(body: bytes) -> Json:
    try:
        return cast("Json", json.loads(body))
    except (ValueError, RecursionError):
        return None


def _words(error: Exception | None) -> str:
    """Return what went wrong in words, where `str` of the exception may be empty."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
