"""Serve HTTP on a listener: connections in, each of their requests to `handle`, its responses back.

There are never more than `CONNECTIONS` of them being served; further ones hear so, up to as many again.
"""

import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import trio

from trace_agent.core.counts import Carrier
from trace_agent.core.http import Request, Response, error_response
from trace_agent.ingest.complaints import Complaints
from trace_agent.ingest.http1 import HEAD_TIMEOUT_S, ClosedError, HttpConnection, Reservations

__all__ = ["CONNECTIONS", "bind_http", "serve_connection", "serve_http"]

log = logging.getLogger(__name__)

CONNECTIONS: Final = 64
_IDLE_TIMEOUT_S: Final = 75.0
# One that has waited for less may have its request on the way.
_IDLE_AT_LEAST_S: Final = 1.0
_BACKLOG: Final = 128
# How long requests that are being answered may go on after the order to stop.
_GRACE_S: Final = 2.0

Handle = Callable[[Request], Awaitable[Response]]

_CROWDED: Final = error_response(
    503, "too_many_connections", f"{CONNECTIONS} connections are open", (("Retry-After", "1"),)
)
_BUG: Final = error_response(
    500, "internal_error", "trace-agent has a bug here; its log says where, please report it"
)
# The peer is gone, or was let go.
_GONE: Final = (ClosedError, trio.BrokenResourceError, trio.ClosedResourceError)


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
    listener: trio.abc.Listener[trio.SocketStream],
    handle: Handle,
    reservations: Reservations,
    complaints: Complaints,
    stopping: trio.Event,
) -> None:
    """Serve connections until `stopping` is set, and those that are being answered to their end.

    Resource handling: closes the listener and every connection.
    Error handling: a peer's faults end its connection. What `handle` raises beyond that is a bug of ours:
    it is logged, answered with 500, and ends the connection too.
    """
    idle = _Idle()

    async def serve_one(stream: trio.SocketStream) -> None:
        idle.connections += 1
        try:
            async with stream:
                if idle.connections <= 2 * CONNECTIONS:
                    crowded = idle.connections > CONNECTIONS and not idle.close_one()
                    await serve_connection(stream, handle, reservations, complaints, idle, crowded=crowded)
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
    listener: trio.abc.Listener[trio.SocketStream],
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
        # Since when each waits (trio's clock, seconds), the longest first.
        self._waiting: dict[trio.CancelScope, float] = {}

    def stop(self) -> None:
        """Close what is idle; what is being answered closes with its answer."""
        self.stopping = True
        for scope in self._waiting:
            scope.cancel()

    def close_one(self) -> bool:
        """Close the connection that has been idle for longest; return False where none has been for long."""
        for scope, since_s in self._waiting.items():
            if not scope.cancel_called:
                if trio.current_time() - since_s < _IDLE_AT_LEAST_S:
                    return False
                scope.cancel()
                return True
        return False

    async def wait(self, request: Callable[[], Awaitable[Request | None]]) -> Request | None:
        """Wait for a request; None when the peer is done or we are stopping."""
        if self.stopping:
            return None
        with trio.CancelScope() as scope:
            self._waiting[scope] = trio.current_time()
            try:
                return await request()
            finally:
                del self._waiting[scope]
        return None


async def serve_connection(
    stream: trio.abc.HalfCloseableStream,
    handle: Handle,
    reservations: Reservations,
    complaints: Complaints,
    idle: _Idle | None = None,
    *,
    crowded: bool = False,
) -> None:
    """Serve one connection to its end; with `crowded`, answer once with 503."""
    idle = idle or _Idle()
    connection = HttpConnection(stream, reservations)
    timeout_s = HEAD_TIMEOUT_S
    try:
        while True:
            request = await idle.wait(partial(connection.next_request, timeout_s))
            if request is None:
                return
            response = _CROWDED if crowded else await _answer(request, handle, complaints)
            close = crowded or response is _BUG or idle.stopping
            if not await connection.send(response, request.method, close=close):
                return
            timeout_s = _IDLE_TIMEOUT_S
    except _GONE:
        return
    except Exception as error:  # noqa: BLE001 - whatever a peer sends, it ends its own connection (DESIGN 11)
        complaints.bug(Carrier.HTTP, error)


async def _answer(request: Request, handle: Handle, complaints: Complaints) -> Response:
    try:
        return await handle(request)
    except _GONE:
        raise
    except Exception as error:  # noqa: BLE001 - as above, while there is somebody to be told
        complaints.bug(Carrier.HTTP, error)
        return _BUG
