"""A client of HTTP on one end of a stream in memory, and the server on the other."""

import h11
import trio
from attrs import frozen
from trio.testing import memory_stream_pair

from tests.ingest.rig import NOW_MS, Rig
from trace_agent.core.counts import Carrier
from trace_agent.core.errors import PacketError, Reason
from trace_agent.core.http import Request, Response, error_response, json_response
from trace_agent.ingest.complaints import Complaints
from trace_agent.ingest.http_service import Handle, serve_connection

BUG = "/bug"
BIG = "/big"
UNREAD = "/unread"
BIG_BYTES = 100_000


class Bugs(Complaints):
    """Remembers the bugs that came to light."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW_MS)
        self.found: list[Exception] = []

    def bug(self, carrier: Carrier, error: Exception) -> None:
        """Remember a bug."""
        super().bug(carrier, error)
        self.found.append(error)


class Echo:
    """Answers with the body, or as the path says, and remembers what it was asked."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.requests: list[Request] = []
        self.bodies: list[bytes] = []
        self.refused: list[Reason] = []

    async def __call__(self, request: Request) -> Response:
        """Answer."""
        self.requests.append(request)
        if request.path == BUG:
            raise ZeroDivisionError
        if request.path == UNREAD:
            return json_response(401, "unread")
        if request.path == BIG:
            return Response(200, b"x" * BIG_BYTES)
        try:
            body = await request.read_body()
        except PacketError as error:
            self.refused.append(error.reason)
            return error_response(400, str(error.reason), error.detail)
        self.rig.inbox.release(len(body))
        self.bodies.append(body)
        return Response(200, body, "application/octet-stream")

    @property
    def paths(self) -> list[str]:
        """Return the paths that were asked for."""
        return [request.path for request in self.requests]


@frozen
class Answer:
    """A response as the client sees it."""

    status: int
    headers: dict[str, str]
    body: bytes
    informed: bool = False


class Peer:
    """The client's side of a connection."""

    def __init__(
        self,
        rig: Rig,
        handle: Handle | None = None,
        streams: tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream] | None = None,
    ) -> None:
        self.stream, self._server = streams or memory_stream_pair()
        self.echo = Echo(rig)
        self.bugs = Bugs()
        self.ended = False
        self._rig = rig
        self._handle = handle or self.echo
        self._h11 = h11.Connection(h11.CLIENT)

    async def serve(self) -> None:
        """Serve the connection as the listener does."""
        async with self._server:
            await serve_connection(self._server, self._handle, self._rig.inbox, self.bugs)
        self.ended = True

    async def send(self, data: bytes) -> None:
        """Send raw bytes."""
        await self.stream.send_all(data)

    async def request(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a request through h11 and return its answer."""
        fields = {"Host": "localhost", "Content-Length": str(len(body))} | (headers or {})
        if "Transfer-Encoding" in fields:
            del fields["Content-Length"]
        head = h11.Request(method=method, target=target, headers=[*fields.items()])
        data = self._h11.send(head) or b""
        if body:
            data += self._h11.send(h11.Data(data=body)) or b""
        await self.send(data + (self._h11.send(h11.EndOfMessage()) or b""))
        return await self.answer()

    async def answer(self) -> Answer:
        """Receive one answer to what was sent through h11."""
        answer = await receive_answer(self.stream, self._h11)
        if self._h11.our_state is self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        return answer

    async def rest(self) -> bytes:
        """Receive all that comes until the server closes its side."""
        received = bytearray()
        while data := await self.stream.receive_some():
            received += data
        return bytes(received)


async def receive_answer(stream: trio.abc.ReceiveStream, connection: h11.Connection) -> Answer:
    """Receive one response, which has to be whole."""
    status, headers, body, informed = 0, {}, b"", False
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some()))
        elif isinstance(event, h11.InformationalResponse):
            informed = True
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            assert isinstance(event, h11.EndOfMessage)
            return Answer(status, headers, body, informed)
