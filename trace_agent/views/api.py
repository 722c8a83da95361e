"""Answer GET requests: a `Request` in, a `Response` out, SQL in a thread.

Who may ask at all (Host, Origin, token) is decided before this, and so is which methods a path has:
`serves` tells the router which paths are read here. HEAD is answered as GET; the server leaves the body
out. Reads run in threads of their own limit, so that slow ones never take those of the writer.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import unquote

import trio

from trace_agent.core.errors import PeerError, StoreError
from trace_agent.core.http import Request, Response, error_response, json_response
from trace_agent.core.rollup import Series
from trace_agent.views.costs import costs_json
from trace_agent.views.exposition import CONTENT_TYPE
from trace_agent.views.figures import StoreFigures, read_figures
from trace_agent.views.params import (
    ERRORS,
    EVENTS,
    LLM,
    METRICS,
    CostQuery,
    Query,
    read_call_params,
    read_cost_query,
    read_query,
)
from trace_agent.views.prometheus import prometheus_text
from trace_agent.views.queries import call_by_id, list_rows, newest_change
from trace_agent.views.readonly import snapshot
from trace_agent.views.stats import Live, health_json, problems_of, stats_json

__all__ = ["METHODS", "Api", "serves"]

T = TypeVar("T")

METHODS: Final = ("GET", "HEAD")

_LISTINGS: Final = {
    "/v1/traces": LLM,
    "/v1/events": EVENTS,
    "/v1/errors": ERRORS,
    "/v1/metrics": METRICS,
}
_CALL: Final = "/v1/traces/"
_COSTS: Final = "/v1/costs"
_PLAIN: Final = frozenset({"/v1/stats", "/openapi.json", "/health", "/healthz", "/metrics"})

# Two readers at a time: more would only wait for the same disk and interpreter lock.
_READERS: Final = 2
# `/health` must answer fast while the machine is busy: then the last look into the store counts.
_HEALTH_LOOK_S: Final = 0.05
_RETRY_AFTER: Final = (("Retry-After", "5"),)
_OPENAPI: Final = Path(__file__).with_name("openapi.json")


def serves(path: str) -> bool:
    """Return whether `Api.answer` knows the path, as it stands in the request."""
    known = path in _LISTINGS or path in _PLAIN or path == _COSTS
    return known or (path.startswith(_CALL) and path != _CALL)


class Api:
    """Answers requests that read.

    Args:
        db: the database.
        has_token: whether HTTP demands one; without, it gives out no texts.
        now_ms: the wall clock, Unix milliseconds.
        live: takes the figures of the running agent; called on the event loop, like `series`.
        series: the users' metrics.
    """

    def __init__(
        self,
        *,
        db: Path,
        has_token: bool,
        now_ms: Callable[[], int],
        live: Callable[[], Live],
        series: Callable[[], Iterable[Series]],
    ) -> None:
        self._db = db
        self._has_token = has_token
        self._now_ms = now_ms
        self._live = live
        self._series = series
        self._readers = trio.CapacityLimiter(_READERS)
        self._health_reader = trio.CapacityLimiter(1)
        # Why the last look into the store failed; set by whichever thread looked last.
        self._store_error: str | None = None
        self._plain: dict[str, Callable[[], Awaitable[Response]]] = {
            "/v1/stats": self._stats,
            "/openapi.json": self._openapi,
            "/health": self._health,
            "/healthz": self._health,
            "/metrics": self._metrics,
        }

    async def answer(self, request: Request) -> Response:
        """Answer one request; never raises for what a peer sent or for a store that cannot be read."""
        if request.method not in METHODS:
            return error_response(
                405, "method_not_allowed", "this path is read only", (("Allow", ", ".join(METHODS)),)
            )
        try:
            return await self._route(request)
        except PeerError as error:
            return error_response(400, error.reason.value, error.detail)
        except StoreError as error:
            return error_response(503, "store_unreadable", str(error), _RETRY_AFTER)

    async def _route(self, request: Request) -> Response:
        path = request.path
        if path in _LISTINGS:
            return await self._listing(read_query(_LISTINGS[path], request.query, self._now_ms()))
        if path == _COSTS:
            return await self._costs(read_cost_query(request.query, self._now_ms()))
        if path in self._plain:
            return await self._plain[path]()
        if serves(path):
            return await self._call(unquote(path.removeprefix(_CALL)), request.query)
        return error_response(404, "not_found", "there is no such path; /openapi.json lists those there are")

    async def _listing(self, query: Query) -> Response:
        if query.text and not self._has_token:
            return _text_refusal("trace-agent traces --text --json")

        def read() -> Response:
            return json_response(200, self._look(lambda connection: list_rows(connection, query)).json())

        return await self._in_thread(read)

    async def _call(self, call_id: str, params: Mapping[str, str]) -> Response:
        text = read_call_params(params)
        if text and not self._has_token:
            return _text_refusal("trace-agent traces --text --id ID")

        def read() -> Response:
            call = self._look(lambda connection: call_by_id(connection, call_id, text=text))
            if call is None:
                return error_response(404, "not_found", "there is no call with this id")
            return json_response(200, call)

        return await self._in_thread(read)

    async def _costs(self, query: CostQuery) -> Response:
        def read() -> Response:
            return json_response(200, self._look(lambda connection: costs_json(connection, query)))

        return await self._in_thread(read)

    async def _stats(self) -> Response:
        figures = await self._figures()
        return json_response(200, stats_json(self._live(), figures, self._store_error))

    async def _health(self) -> Response:
        with trio.move_on_after(_HEALTH_LOOK_S), suppress(StoreError):
            await trio.to_thread.run_sync(
                self._look, newest_change, limiter=self._health_reader, abandon_on_cancel=True
            )
        live = self._live()
        problems = problems_of(live, self._store_error)
        if not problems:
            return json_response(200, health_json(live, problems))
        return json_response(503, health_json(live, problems), _RETRY_AFTER)

    async def _metrics(self) -> Response:
        figures = await self._figures()
        # Taken here, where the rollup lives; written in a thread, since ten thousand series take a while.
        live, series = self._live(), list(self._series())
        text = await self._in_thread(lambda: prometheus_text(live, figures, series))
        return Response(200, text.encode(), CONTENT_TYPE)

    async def _openapi(self) -> Response:
        return Response(200, await self._in_thread(_OPENAPI.read_bytes))

    async def _figures(self) -> StoreFigures | None:
        try:
            return await self._in_thread(lambda: self._look(read_figures))
        except StoreError:
            return None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._readers, abandon_on_cancel=True)

    def _look(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Read within one snapshot, in a thread, and remember whether it could be done."""
        try:
            with snapshot(self._db) as connection:
                found = read(connection)
        except StoreError as error:
            self._store_error = str(error)
            raise
        self._store_error = None
        return found


def _text_refusal(command: str) -> Response:
    return error_response(
        403,
        "text_needs_token",
        f"HTTP gives out texts only when a `token` is set; `{command}` reads them without,"
        " and `text=0` asks for the rest",
    )
