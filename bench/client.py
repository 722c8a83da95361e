"""Speak HTTP/1.1 to trace-agent over one kept connection: a request in, a status and a body out.

Smaller and faster than `http.client`, and it lets a request be any bytes, which a load generator
(requests encoded once, ids patched in place) and a fuzzer (requests that are none) both need.
"""

import json
import socket
from collections.abc import Mapping
from typing import cast

from attrs import define, field, frozen

__all__ = ["Answer", "Client", "encode_request", "read_answer"]

_HEAD_LIMIT = 64 * 1024
_BODY_LIMIT = 64 * 1024 * 1024


@frozen
class Answer:
    """One HTTP response.

    Attributes:
        closes: the server said or showed that it will close the connection.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    closes: bool

    def json(self) -> dict[str, object]:
        """Decode the body as a JSON object.

        Raises:
            ValueError: it is none.
        """
        value: object = json.loads(self.body)
        if not isinstance(value, dict):
            raise ValueError("the body is no JSON object")  # noqa: TRY004 - a wrong answer, not a wrong type
        return cast("dict[str, object]", value)


@define
class Client:
    """A keep-alive connection, opened when first needed and again after the server closed it."""

    host: str
    port: int
    timeout_s: float = 10.0
    _socket: socket.socket | None = field(default=None, init=False, repr=False)

    def get(self, path: str) -> Answer:
        """Send a GET and wait for the answer.

        Raises:
            OSError: no connection, a time-out, or an answer that is no HTTP.
        """
        return self.ask(encode_request("GET", path, self.port))

    def post(self, path: str, body: bytes, content_type: str) -> Answer:
        """Send a POST and wait for the answer; raises as `get`."""
        return self.ask(encode_request("POST", path, self.port, body, content_type))

    def ask(self, request: bytes | bytearray | memoryview) -> Answer:
        """Send a whole encoded request and wait for the answer; raises as `get`."""
        self.send(request)
        return self.read()

    def send(self, request: bytes | bytearray | memoryview) -> None:
        """Send a whole encoded request; raises as `get`."""
        fresh = self._socket is None
        try:
            self._connected().sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            # A kept connection may have been closed while idle (RFC 9112, section 9.3.1): once more.
            self.close()
            if fresh:
                raise
            self._connected().sendall(request)

    def read(self) -> Answer:
        """Wait for the answer to the request sent last; raises as `get`."""
        try:
            answer = read_answer(self._connected())
        except BaseException:
            self.close()
            raise
        if answer.closes:
            self.close()
        return answer

    def close(self) -> None:
        """Close the connection if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection((self.host, self.port), self.timeout_s)
            # Head and body leave in one write, so waiting for more (Nagle) could only delay.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket


def encode_request(
    method: str, path: str, port: int, body: bytes | None = None, content_type: str = "application/json"
) -> bytes:
    """Build a request as it goes over the wire."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    if body is not None:
        head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return head.encode("latin-1") + b"\r\n" + (body or b"")


def read_answer(connection: socket.socket) -> Answer:
    """Read one response.

    Raises:
        OSError: it does not come whole, or is no HTTP response with a Content-Length.
    """
    received = b""
    while b"\r\n\r\n" not in received:
        if len(received) > _HEAD_LIMIT:
            raise OSError("the head of the answer does not end")
        received += _receive(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdecimal():
        raise OSError(f"no HTTP answer: {first[:80]!r}")
    headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    length = headers.get("content-length", "0" if parts[1] in {"204", "304"} else "")
    if not length.isdecimal() or int(length) > _BODY_LIMIT:
        raise OSError(f"an answer {parts[1]} without a usable Content-Length: {length[:20]!r}")
    chunks, have = [body], len(body)
    while have < int(length):
        chunks.append(_receive(connection))
        have += len(chunks[-1])
    closes = headers.get("connection", "").lower() == "close"
    return Answer(int(parts[1]), headers, b"".join(chunks), closes)


def _receive(connection: socket.socket) -> bytes:
    chunk = connection.recv(256 * 1024)
    if not chunk:
        raise ConnectionResetError("the connection was closed before the answer was whole")
    return chunk
