"""What HTTP asks and answers here, as data: the server makes requests, routes make responses."""

import json
from collections.abc import Awaitable, Callable, Mapping

from attrs import field, frozen

from trace_agent.core.events import Json

__all__ = ["JSON_TYPE", "BodyReader", "Request", "Response", "error_response", "json_response"]

JSON_TYPE = "application/json"

# Reads the whole body, inflated; raises PeerError when it is too large, slow or damaged.
BodyReader = Callable[[], Awaitable[bytes]]


@frozen
class Request:
    """One HTTP request whose head has arrived.

    Attributes:
        method: upper case.
        path: percent-encoded as it came, without the query.
        query: decoded; of a repeated name the last one counts.
        headers: lower-case names, values decoded as Latin-1; repeated ones are in `repeated`.
        repeated: names of headers that came more than once.
        read_body: reads the body when called, so that a refused request costs none of it.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    repeated: frozenset[str]
    read_body: BodyReader = field(repr=False)


@frozen
class Response:
    """What goes back.

    Attributes:
        headers: beside `Content-Type` and `Content-Length`, which the server writes.
    """

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()


def json_response(status: int, value: Json, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Build a response with a JSON body."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status, body, headers=headers)


def error_response(
    status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    """Build the error body that every failing request gets (CONTRACT section 3)."""
    return json_response(status, {"error": {"code": code, "message": message}}, headers)
