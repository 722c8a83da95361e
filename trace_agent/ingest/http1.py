"""Speak HTTP/1.1 over one listener: requests to `handle`, its responses back to the peer.

h11 does the parsing and holds its own bounds; this shell adds time. A peer that is slow with a head
(slow loris), slow with a body, idle, or slow in reading is let go, and there are never more than
`CONNECTIONS` of them.
"""

import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol
from urllib.parse import parse_qsl

import h11
import trio

from trace_agent import __version__
from trace_agent.core.errors import PacketError, Reason
from trace_agent.core.http import Request, Response, error_response
from trace_agent.ingest.inflate import Inflater

__all__ = ["BODY_LIMIT_BYTES", "Reservations", "bind_http", "serve_http"]

log = logging.getLogger(__name__)

BODY_LIMIT_BYTES: Final = 16 * 1024 * 1024
CONNECTIONS: Final = 64
_HEAD_LIMIT_BYTES: Final = 16 * 1024
_READ_BYTES: Final = 64 * 1024
_HEAD_TIMEOUT_S: Final = 10.0
_IDLE_TIMEOUT_S: Final = 75.0
_BODY_TIMEOUT_S: Final = 30.0
_WRITE_TIMEOUT_S: Final = 30.0
# How long a body may wait for room in the ring (CONTRACT section 1).
_ROOM_TIMEOUT_S: Final = 5.0
_BACKLOG: Final = 128
# A body that nobody wants is read to its end when little is left, to keep the connection usable.
_UNWANTED_BYTES: Final = 64 * 1024
_SKIP_TIMEOUT_S: Final = 2.0
# How long requests that are being answered may go on after the order to stop.
_GRACE_S: Final = 2.0
_SERVER: Final = f"trace-agent/{__version__}"

Handle = Callable[[Request], Awaitable[Response]]


class Reservations(Protocol):
    """Counts the bytes of bodies into the ring while they arrive; the inbox, in the agent."""

    async def reserve(self, size_bytes: int) -> None:
        """Wait until so many bytes fit, and count them in."""

    def release(self, size_bytes: int) -> None:
        """Give bytes back."""


_CROWDED: Final = error_response(
    503, "too_many_connections", f"{CONNECTIONS} connections are open", (("Retry-After", "1"),)
)


class _Closed(Exception):  # noqa: N818 - the end of a connection is no error
    """The peer is gone, or was let go; nothing can be answered any more."""


def bind_http(host: str, port: int) -> trio.SocketListener:
    """Bind a TCP listener.

    Raises:
        OSError: the address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A restart must not wait for TIME_WAIT of its own old connections.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


async def serve_http(
    listener: trio.SocketListener, handle: Handle, reservations: Reservations, stopping: trio.Event
) -> None:
    """Serve connections until `stopping` is set, and those that are being answered to their end.

    Resource handling: closes the listener and every connection.
    Error handling: a peer's faults end its connection; what `handle` raises beyond that is our bug and
    escapes, which ends the program.
    """
    idle = _Idle()

    async def serve_one(stream: trio.SocketStream) -> None:
        idle.connections += 1
        try:
            async with stream:
                await serve_connection(
                    stream, handle, reservations, idle, crowded=idle.connections > CONNECTIONS
                )
        finally:
            idle.connections -= 1

    async with listener, trio.open_nursery() as connections:
        accepting = await connections.start(_accept, serve_one, listener, connections)
        await stopping.wait()
        accepting.cancel()
        idle.stop()
        connections.cancel_scope.deadline = trio.current_time() + _GRACE_S


async def _accept(
    serve_one: Callable[[trio.SocketStream], Awaitable[None]],
    listener: trio.SocketListener,
    connections: trio.Nursery,
    task_status: trio.TaskStatus[trio.CancelScope],
) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await trio.serve_listeners(serve_one, [listener], handler_nursery=connections)


class _Idle:
    """The connections of a listener, and which of them wait for a request and may be closed at once."""

    def __init__(self) -> None:
        self.connections = 0
        self.stopping = False
        self._waiting: set[trio.CancelScope] = set()

    def stop(self) -> None:
        """Close what is idle; what is being answered closes with its answer."""
        self.stopping = True
        for scope in self._waiting:
            scope.cancel()

    async def wait(self, request: Callable[[], Awaitable[Request | None]]) -> Request | None:
        """Wait for a request; None when the peer is done or we are stopping."""
        if self.stopping:
            return None
        with trio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                return await request()
            finally:
                self._waiting.discard(scope)
        return None


async def serve_connection(
    stream: trio.abc.HalfCloseableStream,
    handle: Handle,
    reservations: Reservations,
    idle: _Idle | None = None,
    *,
    crowded: bool = False,
) -> None:
    """Serve one connection to its end; with `crowded`, answer once with 503."""
    idle = idle or _Idle()
    connection = _Connection(stream, reservations)
    timeout_s = _HEAD_TIMEOUT_S
    try:
        while True:
            request = await idle.wait(partial(connection.next_request, timeout_s))
            if request is None:
                return
            response = _CROWDED if crowded else await handle(request)
            if not await connection.send(response, request.method, close=crowded or idle.stopping):
                return
            timeout_s = _IDLE_TIMEOUT_S
    except (_Closed, trio.BrokenResourceError, trio.ClosedResourceError):
        return


class _Connection:
    """One h11 connection over one stream."""

    def __init__(self, stream: trio.abc.HalfCloseableStream, reservations: Reservations) -> None:
        self._stream = stream
        self._reservations = reservations
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_LIMIT_BYTES)
        self._encoding = ""
        self._length: int | None = None

    async def next_request(self, idle_s: float) -> Request | None:
        """Return the next request, or None when the peer is done; a bad head is answered here."""
        try:
            head = await self._head(idle_s)
        except h11.RemoteProtocolError as error:
            code = error.error_status_hint
            await self._refuse(error_response(code, "bad_request", "the request cannot be read"))
            return None
        if head is None:
            return None
        headers: dict[str, str] = {}
        repeated = set()
        for name, value in head.headers:
            key = name.decode("ascii")
            if key in headers:
                repeated.add(key)
            headers[key] = value.decode("latin-1")
        path, _, query = head.target.decode("ascii").partition("?")
        if "://" in path:  # absolute form (RFC 9112, section 3.2.2): Host decides, as it does for all
            path = "/" + path.partition("://")[2].partition("/")[2]
        self._encoding = headers.get("content-encoding", "").strip().lower()
        length = headers.get("content-length")
        self._length = None if length is None else int(length)
        return Request(
            method=head.method.decode("ascii"),
            path=path,
            query=dict(parse_qsl(query, keep_blank_values=True, max_num_fields=100)) if query else {},
            headers=headers,
            repeated=frozenset(repeated),
            read_body=self.read_body,
        )

    async def read_body(self) -> bytes:
        """Read, inflate and return the body; its bytes are reserved in the ring for the caller.

        Raises:
            PacketError: too large, too slow, damaged, or no room in the ring in time.
        """
        if not Inflater.knows(self._encoding):
            raise PacketError(Reason.MEDIA_TYPE, "Content-Encoding must be gzip or deflate")
        if self._length is not None and self._length > BODY_LIMIT_BYTES:
            raise PacketError(Reason.TOO_LARGE)
        if self._h11.they_are_waiting_for_100_continue:
            await self._write(h11.InformationalResponse(status_code=100, headers=[]))
        inflater = Inflater(self._encoding)
        body = bytearray()
        reserved_bytes = 0
        try:
            with trio.move_on_after(_BODY_TIMEOUT_S):
                while (data := await self._body_data()) is not None:
                    plain = inflater.feed(data, BODY_LIMIT_BYTES - len(body))
                    with trio.move_on_after(_ROOM_TIMEOUT_S) as waiting:
                        await self._reservations.reserve(len(plain))
                        reserved_bytes += len(plain)
                    if waiting.cancelled_caught:
                        raise PacketError(Reason.RING_FULL)
                    body += plain
                inflater.finish()
                whole, reserved_bytes = bytes(body), 0
                return whole
            raise PacketError(Reason.SLOW, f"the body took longer than {_BODY_TIMEOUT_S:g} s")
        finally:
            if reserved_bytes:
                self._reservations.release(reserved_bytes)

    async def send(self, response: Response, method: str, *, close: bool) -> bool:
        """Send a response; return whether the connection can serve another request."""
        skipped = await self._skip_body()
        close = close or not skipped
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            ("Server", _SERVER),
            # Figures and texts of a moment ago must not come out of somebody's cache.
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *response.headers,
        ]
        if close:
            headers.append(("Connection", "close"))
        data = self._h11.send(h11.Response(status_code=response.status, headers=headers)) or b""
        if method != "HEAD":
            data += self._h11.send(h11.Data(data=response.body)) or b""
        data += self._h11.send(h11.EndOfMessage()) or b""
        await self._send_all(data)
        if self._h11.our_state is h11.MUST_CLOSE or self._h11.their_state is h11.ERROR:
            await self._linger()
            return False
        self._h11.start_next_cycle()
        return True

    async def _head(self, idle_s: float) -> h11.Request | None:
        with trio.move_on_after(idle_s):
            while True:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    data = await self._stream.receive_some(_READ_BYTES)
                    self._h11.receive_data(bytes(data))
                elif isinstance(event, h11.Request):
                    return event
                else:  # ConnectionClosed, or PAUSED after an upgrade that we do not do
                    return None
        return None

    async def _body_data(self) -> bytes | None:
        """Return the next piece of the body, or None at its end."""
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError:
                raise PacketError(Reason.BAD_REQUEST, "the body's framing is damaged") from None
            if event is h11.NEED_DATA:
                self._h11.receive_data(bytes(await self._stream.receive_some(_READ_BYTES)))
            elif isinstance(event, h11.Data):
                return bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return None
            else:  # the peer went away in the middle
                raise _Closed

    async def _skip_body(self) -> bool:
        """Read what nobody asked for; return False when that is too much, and the peer must be cut off."""
        left_bytes = _UNWANTED_BYTES
        with trio.move_on_after(_SKIP_TIMEOUT_S):
            while self._h11.their_state is h11.SEND_BODY and left_bytes > 0:
                # A client that waits for `100 Continue` sends nothing after another answer.
                if self._h11.they_are_waiting_for_100_continue:
                    return False
                try:
                    data = await self._body_data()
                except PacketError:
                    return False
                left_bytes -= len(data or b"")
        return self._h11.their_state is not h11.SEND_BODY

    async def _refuse(self, response: Response) -> None:
        """Answer a request that could not be read at all."""
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self.send(response, "GET", close=True)

    async def _write(self, event: h11.Event) -> None:
        await self._send_all(self._h11.send(event) or b"")

    async def _send_all(self, data: bytes) -> None:
        with trio.move_on_after(_WRITE_TIMEOUT_S) as writing:
            await self._stream.send_all(data)
        if writing.cancelled_caught:
            raise _Closed

    async def _linger(self) -> None:
        """Let the peer read our answer before the connection goes.

        Closing while it still sends makes the kernel answer with a reset, which can destroy the
        answer on its way (RFC 9112, section 9.6).
        """
        await self._stream.send_eof()
        left_bytes = _UNWANTED_BYTES * 16
        with trio.move_on_after(_SKIP_TIMEOUT_S):
            while left_bytes > 0:
                data = await self._stream.receive_some(_READ_BYTES)
                if not data:
                    return
                left_bytes -= len(data)
