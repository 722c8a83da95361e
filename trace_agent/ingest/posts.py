"""Take events over HTTP: a POST in, its packet through the inbox, and the fate of each event out.

Unlike the other carriers HTTP can be told: what was refused and why, or to come again later.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from trace_agent.core.counts import Carrier, Counts, PacketCounts
from trace_agent.core.errors import PacketError, PeerError, Reason
from trace_agent.core.events import Json
from trace_agent.core.http import Request, Response, error_response, json_response
from trace_agent.dialects.native import Form
from trace_agent.ingest.inbox import Inbox
from trace_agent.ingest.reading import Chunk, Reply

__all__ = ["POST_TYPES", "Posts"]

# Which type events have that name none, by path.
POST_TYPES: Final = {"/v1/traces": "llm", "/v1/events": "event", "/v1/errors": "error"}

_FORMS: Final = {
    "application/json": Form.JSON,
    "application/x-ndjson": Form.NDJSON,
    "application/cbor": Form.CBOR,
}
# How long a body may wait for room before the sender is told to come again (CONTRACT section 1).
_ROOM_TIMEOUT_S: Final = 5.0
_RETRY_AFTER: Final = (("Retry-After", "1"),)
_STATUS_OF: Final = {
    Reason.TOO_LARGE: 413,
    Reason.MEDIA_TYPE: 415,
    Reason.RING_FULL: 503,
    Reason.SLOW: 408,
    Reason.INTERNAL: 500,
}


_NO_ROOM: Final = PacketError(Reason.RING_FULL, "this event and those after it found no room in time")


class Posts:
    """Answers the POST routes."""

    def __init__(
        self, inbox: Inbox, counts: Counts, flush: Callable[[], Awaitable[None]], now_ms: Callable[[], int]
    ) -> None:
        self._inbox = inbox
        self._counts: PacketCounts = counts.packets[Carrier.HTTP]
        self._flush = flush
        self._now_ms = now_ms

    async def answer(self, request: Request) -> Response:
        """Take the events of one request."""
        try:
            form = _form(request)
            body = await request.read_body()
        except PacketError as error:
            return self._refused(error)
        except BaseException:
            # The peer went away, or we are stopping: a packet that never became whole.
            self._refused(PacketError(Reason.TRUNCATED))
            raise
        if not body.strip():
            self._inbox.release(len(body))
            return self._refused(PacketError(Reason.EMPTY, "the body is empty"))
        reply = Reply()
        self._inbox.put_reserved(
            Chunk(
                Carrier.HTTP,
                [body],
                len(body),
                self._now_ms(),
                form=form,
                implied_type=POST_TYPES[request.path],
                reply=reply,
            )
        )
        with trio.move_on_after(_ROOM_TIMEOUT_S):
            await reply.done.wait()
        # From here on no further event of this body is accepted, so the answer is exact.
        reply.abandoned = not reply.done.is_set()
        if reply.error is not None:
            return _error(reply.error)
        return await self._verdict(reply, sync=request.query.get("sync") == "1")

    async def _verdict(self, reply: Reply, *, sync: bool) -> Response:
        if reply.abandoned:
            if not reply.accepted:
                return error_response(503, "ring_full", "no room at present; send it again", _RETRY_AFTER)
            # Always told, however many were refused before: it says where to go on.
            reply.rejected.append((reply.read, str(_NO_ROOM)))
        rejected: list[Json] = [{"index": index, "reason": reason} for index, reason in reply.rejected]
        result: Json = {"accepted": reply.accepted, "rejected": rejected}
        if reply.rejected and not reply.accepted:
            return json_response(400, result)
        if not sync:
            return json_response(202, result)
        with trio.move_on_after(_ROOM_TIMEOUT_S) as waiting:
            await self._flush()
        if waiting.cancelled_caught:
            return error_response(
                503, "not_committed", "accepted, but not stored yet: the store is busy or stuck", _RETRY_AFTER
            )
        return json_response(200, result)

    def _refused(self, error: PacketError) -> Response:
        self._counts.received += 1
        # No room is our trouble, not the peer's fault.
        tally = self._counts.dropped if error.reason is Reason.RING_FULL else self._counts.refused
        tally[error.reason] += 1
        self._inbox.complaints.note(Carrier.HTTP, error.reason, 0)
        return _error(error)


def _form(request: Request) -> Form:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    form = _FORMS.get(media_type)
    if form is None:
        # Also what stops a web page: these types are not "simple", so a browser has to ask before.
        raise PacketError(Reason.MEDIA_TYPE, f"Content-Type must be one of {', '.join(_FORMS)}")
    return form


def _error(error: PeerError) -> Response:
    status = _STATUS_OF.get(error.reason, 400)
    message = error.detail or str(error.reason)
    headers = _RETRY_AFTER if status == 503 else ()
    return error_response(status, str(error.reason), message, headers)
