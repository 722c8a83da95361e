"""Speak HTTP/1.1 over one stream: its bytes in, requests out; responses in, their bytes out.

h11 does the parsing and holds its own bounds; this shell adds time and size. A peer that is slow with a
head (slow loris), slow with a body, idle, or slow in reading is let go.
"""

from collections.abc import Mapping
from typing import Final, Protocol
from urllib.parse import parse_qsl

import h11
import trio

from trace_agent import __version__
from trace_agent.core.errors import PacketError, Reason
from trace_agent.core.http import Request, Response, error_response
from trace_agent.ingest.inflate import Inflater

__all__ = ["BODY_LIMIT_BYTES", "HEAD_TIMEOUT_S", "ClosedError", "HttpConnection", "Reservations"]

BODY_LIMIT_BYTES: Final = 16 * 1024 * 1024
HEAD_TIMEOUT_S: Final = 10.0
_HEAD_LIMIT_BYTES: Final = 16 * 1024
_QUERY_FIELDS: Final = 100
_READ_BYTES: Final = 64 * 1024
_BODY_TIMEOUT_S: Final = 30.0
_WRITE_TIMEOUT_S: Final = 30.0
# How long a body may wait for room in the ring, all in all (CONTRACT section 1).
_ROOM_TIMEOUT_S: Final = 5.0
# A body that nobody wants is read to its end when little is left, to keep the connection usable.
_UNWANTED_BYTES: Final = 64 * 1024
_SKIP_TIMEOUT_S: Final = 2.0
# What a peer may go on sending after its answer: who sends all of a body before it reads needs to get
# through with one that is somewhat too large.
_LINGER_BYTES: Final = 2 * BODY_LIMIT_BYTES
_SERVER: Final = f"trace-agent/{__version__}"


class Reservations(Protocol):
    """Counts the bytes of bodies into the ring while they arrive; the inbox, in the agent."""

    @property
    def limit_bytes(self) -> int:
        """Return how much can ever fit."""

    async def reserve(self, size_bytes: int) -> None:
        """Wait until so many bytes fit, and count them in."""

    def release(self, size_bytes: int) -> None:
        """Give bytes back."""


class ClosedError(Exception):
    """The peer is gone, or was let go; nothing can be answered any more."""


class HttpConnection:
    """One h11 connection over one stream.

    Args:
        stream: the caller closes it.
        reservations: finds room for bodies.
    """

    def __init__(self, stream: trio.abc.HalfCloseableStream, reservations: Reservations) -> None:
        self._stream = stream
        self._reservations = reservations
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_LIMIT_BYTES)
        self._encoding = ""
        self._length: int | None = None

    async def next_request(self, idle_s: float) -> Request | None:
        """Return the next request, or None when the peer is done; a bad head is answered here.

        Args:
            idle_s: how long the peer may take to begin.
        """
        try:
            head = await self._head(idle_s)
        except h11.RemoteProtocolError as error:
            await self._refuse("GET", error.error_status_hint, "the request cannot be read")
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
        if "://" in path and not path.startswith("/"):
            # Absolute form: what it names stands in for Host (RFC 9112, section 3.2.2).
            headers["host"], _, path = path.partition("://")[2].partition("/")
            path = f"/{path}"
        method = head.method.decode("ascii")
        try:
            fields = _fields(query)
        except ValueError:
            await self._refuse(method, 400, f"a query may have {_QUERY_FIELDS} fields")
            return None
        self._encoding = headers.get("content-encoding", "").strip().lower()
        length = headers.get("content-length")
        self._length = None if length is None else int(length)
        return Request(
            method=method,
            path=path,
            query=fields,
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
        if self._length is not None and self._length > self._limit_bytes:
            raise self._too_large()
        if self._h11.they_are_waiting_for_100_continue:
            await self._send_all(self._h11.send(h11.InformationalResponse(status_code=100, headers=[])))
        room = _Room(self._reservations)
        body = None
        try:
            with trio.move_on_after(_BODY_TIMEOUT_S):
                body = await self._inflated(room)
        finally:
            if body is None:
                room.give_back()
        if body is None:
            raise PacketError(Reason.SLOW, f"the body took longer than {_BODY_TIMEOUT_S:g} s")
        return body

    async def send(self, response: Response, method: str, *, close: bool) -> bool:
        """Send a response; return whether the connection can serve another request.

        Raises:
            ClosedError: the peer does not read it.
        """
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
        begun = False
        with trio.move_on_after(idle_s) as waiting:
            while True:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    data = await self._stream.receive_some(_READ_BYTES)
                    if not begun:  # from here on it has this long, however patient we were before
                        begun = True
                        waiting.deadline = trio.current_time() + HEAD_TIMEOUT_S
                    self._h11.receive_data(bytes(data))
                elif isinstance(event, h11.Request):
                    return event
                else:  # ConnectionClosed, or PAUSED after an upgrade that we do not do
                    return None
        return None

    @property
    def _limit_bytes(self) -> int:
        # What is larger than the whole ring would be told to come again for ever.
        return min(BODY_LIMIT_BYTES, self._reservations.limit_bytes)

    def _too_large(self) -> PacketError:
        return PacketError(Reason.TOO_LARGE, f"a body may have {self._limit_bytes} bytes, after inflation")

    async def _inflated(self, room: "_Room") -> bytes:
        inflater = Inflater(self._encoding)
        body = bytearray()
        while (data := await self._body_data()) is not None:
            for piece in inflater.feed(data):
                if len(body) + len(piece) > self._limit_bytes:
                    raise self._too_large()
                await room.take(len(piece))
                body += piece
                # One read may bring thousands of tiny chunks, or inflate to a thousand times its size:
                # other tasks want their turn.
                await trio.lowlevel.checkpoint()
        inflater.finish()
        return bytes(body)

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
                raise ClosedError

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
                await trio.lowlevel.checkpoint()  # as in `read_body`
        return self._h11.their_state is not h11.SEND_BODY

    async def _refuse(self, method: str, status: int, message: str) -> None:
        """Answer a request whose head cannot be used."""
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self.send(error_response(status, "bad_request", message), method, close=True)

    async def _send_all(self, data: bytes | None) -> None:
        with trio.move_on_after(_WRITE_TIMEOUT_S) as writing:
            await self._stream.send_all(data or b"")
        if writing.cancelled_caught:
            raise ClosedError

    async def _linger(self) -> None:
        """Let the peer read our answer before the connection goes.

        Closing while it still sends makes the kernel answer with a reset, which can destroy the
        answer on its way (RFC 9112, section 9.6).
        """
        await self._stream.send_eof()
        left_bytes = _LINGER_BYTES
        with trio.move_on_after(_SKIP_TIMEOUT_S):
            while left_bytes > 0:
                data = await self._stream.receive_some(_READ_BYTES)
                if not data:
                    return
                left_bytes -= len(data)


class _Room:
    """What one body has reserved so far, and how much longer it may wait for more."""

    def __init__(self, reservations: Reservations) -> None:
        self._reservations = reservations
        self._taken_bytes = 0
        self._left_s = _ROOM_TIMEOUT_S

    async def take(self, size_bytes: int) -> None:
        """Reserve so many bytes more.

        Raises:
            PacketError: there is no room in time.
        """
        began_s = trio.current_time()
        with trio.move_on_after(self._left_s) as waiting:
            await self._reservations.reserve(size_bytes)
            self._taken_bytes += size_bytes
        if waiting.cancelled_caught:
            raise PacketError(Reason.RING_FULL, "no room at present; send it again")
        self._left_s -= trio.current_time() - began_s

    def give_back(self) -> None:
        """Give all of it back."""
        self._reservations.release(self._taken_bytes)
        self._taken_bytes = 0


def _fields(query: str) -> Mapping[str, str]:
    """Decode a query; of a repeated name the last one counts.

    Raises:
        ValueError: it has too many fields.
    """
    return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_QUERY_FIELDS)) if query else {}
