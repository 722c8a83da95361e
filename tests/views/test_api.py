"""The routes that read, asked as the server asks them."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from tests.views.building import NOW_MS, StoreBuilder
from tests.views.living import live
from tests.views.test_series import one
from trace_agent.core.events import MetricKind
from trace_agent.core.http import Request, Response
from trace_agent.core.rollup import Series
from trace_agent.views import api as api_module
from trace_agent.views.api import Api, serves
from trace_agent.views.stats import Live

LISTINGS = ("/v1/traces", "/v1/events", "/v1/errors", "/v1/metrics")
EVERYTHING = (
    *LISTINGS,
    "/v1/costs",
    "/v1/traces/x",
    "/v1/stats",
    "/openapi.json",
    "/health",
    "/healthz",
    "/metrics",
)


async def no_body() -> bytes:
    """Fail: what reads has no use for a body."""
    raise AssertionError("a read route took the body")


def made(
    db: Path, *, has_token: bool = False, figures: Callable[[], Live] = live, series: tuple[Series, ...] = ()
) -> Api:
    """Build the routes over a database."""
    return Api(db=db, has_token=has_token, now_ms=lambda: NOW_MS, live=figures, series=lambda: iter(series))


async def ask(api: Api, path: str, method: str = "GET", **query: str) -> Response:
    """Ask one route."""
    return await api.answer(Request(method, path, query, {}, frozenset(), no_body))


async def ask_json(api: Api, path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
    """Ask one route and decode its answer."""
    return json.loads((await ask(api, path, **query)).body)


async def test_each_listing_answers(store: StoreBuilder) -> None:
    """The four listings give their own rows, newest first, with a cursor that leads on."""
    store.call(id="c")
    store.error(id="x")
    store.metric(name="m")
    for number in range(3):
        store.event(id=f"e{number}")
    api = made(store.path)
    first = await ask_json(api, "/v1/events", limit="2")
    second = await ask_json(api, "/v1/events", limit="2", cursor=first["next"])

    assert [item["id"] for item in first["items"] + second["items"]] == ["e2", "e1", "e0"]
    assert second["next"] is None
    assert [item["id"] for item in (await ask_json(api, "/v1/traces"))["items"]] == ["c"]
    assert [item["id"] for item in (await ask_json(api, "/v1/errors"))["items"]] == ["x"]
    assert [item["name"] for item in (await ask_json(api, "/v1/metrics"))["items"]] == ["m"]


@pytest.mark.parametrize("path", LISTINGS)
async def test_bad_parameters_are_answered_with_their_name(store: StoreBuilder, path: str) -> None:
    """What cannot be read is a 400 in the form of all errors; `sync` is taken and has no effect."""
    api = made(store.path)
    refused = await ask(api, path, limit="many")
    taken = await ask(api, path, sync="1")

    error = json.loads(refused.body)["error"]
    assert (refused.status, error["code"], taken.status) == (400, "bad_request", 200)
    assert "limit" in error["message"]


async def test_text_needs_a_token(store: StoreBuilder) -> None:
    """Without a token set, nobody gets words over HTTP, and the answer names the command that reads them."""
    store.call(id="c", input="secret words")
    api = made(store.path)
    refusals = [await ask(api, "/v1/traces", text="1"), await ask(api, "/v1/traces/c")]
    bare = [await ask_json(api, "/v1/traces/c", text="0"), *(await ask_json(api, "/v1/traces"))["items"]]

    for refusal in refusals:
        assert refusal.status == 403
        assert b"trace-agent traces --text" in refusal.body
        assert b"secret words" not in refusal.body
    assert [(item["id"], "input" in item) for item in bare] == [("c", False), ("c", False)]


async def test_text_is_given_where_a_token_is_set(store: StoreBuilder) -> None:
    """The single call has its words, and a listing when asked."""
    store.call(id="c", input="words", output=[{"role": "assistant"}])
    api = made(store.path, has_token=True)
    call = await ask_json(api, "/v1/traces/c")
    (item,) = (await ask_json(api, "/v1/traces", text="1"))["items"]

    assert call == item
    assert (call["input"], call["output"]) == ("words", [{"role": "assistant"}])


@pytest.mark.parametrize("call_id", ["plain", "a/b", "ä ö", "50%", "a?b#c", "+"])
async def test_ids_are_percent_decoded(store: StoreBuilder, call_id: str) -> None:
    """Any id can be asked for."""
    from urllib.parse import quote  # noqa: PLC0415 - for this test only

    store.call(id=call_id)
    found = await ask_json(made(store.path, has_token=True), f"/v1/traces/{quote(call_id, safe='')}")

    assert found["id"] == call_id


async def test_what_is_not_there_is_404(store: StoreBuilder) -> None:
    """A call that is not stored and a path that is not served are told in the form of all errors."""
    api = made(store.path, has_token=True)
    for path in ("/v1/traces/none", "/v1/traces/", "/v1/nothing", "/", "/v1/traces/%ff%00"):
        response = await ask(api, path)

        assert (response.status, json.loads(response.body)["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", EVERYTHING)
async def test_only_reading_methods(store: StoreBuilder, path: str) -> None:
    """HEAD is answered like GET; anything else says what is allowed."""
    api = made(store.path, has_token=True)
    statuses = [(await ask(api, path, method)).status for method in ("GET", "HEAD")]
    refused = await ask(api, path, "DELETE")

    assert statuses[0] == statuses[1]
    assert (refused.status, refused.headers) == (405, (("Allow", "GET, HEAD"),))


def test_the_router_is_told_what_is_served() -> None:
    """Each path of the contract is served, and nothing beside it."""
    assert all(serves(path) for path in EVERYTHING)
    assert not any(serves(path) for path in ("/", "/v1", "/v1/traces/", "/v1/logs", "/v1/stats/", "/METRICS"))


async def test_stats_count_rows_by_sql(store: StoreBuilder) -> None:
    """The running agent's counters and the rows of the database stand together."""
    store.event()
    stats = await ask_json(made(store.path), "/v1/stats")

    assert (stats["rows"]["stored"], stats["events"]["accepted"], stats["laws"]["broken"]) == (1, 20, [])


async def test_health_is_200_while_all_is_well(store: StoreBuilder) -> None:
    """Both names of the route answer, whatever parameters a prober adds."""
    api = made(store.path)

    for path in ("/health", "/healthz"):
        response = await ask(api, path, t="123")
        assert (response.status, json.loads(response.body)["status"]) == (200, "ok")


async def test_health_is_503_while_nothing_is_stored(store: StoreBuilder) -> None:
    """A stuck writer is named, with when to ask again."""
    response = await ask(made(store.path, figures=lambda: live(stuck="disk I/O error")), "/health")

    assert response.status == 503
    assert ("Retry-After", "5") in response.headers
    assert json.loads(response.body)["error"]["code"] == "writer_stuck"


async def test_health_notices_a_store_that_is_gone_and_comes_back(store: StoreBuilder) -> None:
    """Each look decides anew, also that of another route."""
    api = made(store.path)
    away = store.path.with_name("away.db")
    store.path.rename(away)
    gone = await ask(api, "/health")
    listing = await ask(api, "/v1/events")
    stats = await ask_json(api, "/v1/stats")
    scrape = await ask(api, "/metrics")
    away.rename(store.path)
    back = await ask(api, "/health")

    assert (gone.status, json.loads(gone.body)["error"]["code"]) == (503, "store_unreadable")
    assert (listing.status, json.loads(listing.body)["error"]["code"]) == (503, "store_unreadable")
    assert stats["rows"] is None
    assert b"trace_agent_store_up 0" in scrape.body
    assert back.status == 200


async def test_health_does_not_wait_for_a_slow_store(
    store: StoreBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a look takes long, the last one counts: the answer is there within a tenth of a second."""
    hold = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def slow(_connection: object) -> int:
        trio.from_thread.run(hold.wait, trio_token=token)
        return 0

    api = made(store.path)
    await ask(api, "/health")
    monkeypatch.setattr(api_module, "newest_change", slow)
    began_s = time.monotonic()
    response = await ask(api, "/health")
    took_s = time.monotonic() - began_s
    hold.set()

    assert response.status == 200
    assert took_s < 0.5


async def test_metrics_are_prometheus_text(store: StoreBuilder) -> None:
    """The scrape has the type that Prometheus asks for, our own figures and the users'."""
    api = made(store.path, series=(one("jobs", MetricKind.COUNTER, ("q:a",)),))
    response = await ask(api, "/metrics", **{"name[]": "x"})
    names = {family.name for family in text_string_to_metric_families(response.body.decode())}

    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert {"jobs", "trace_agent_store_up", "trace_agent_events_accepted"} <= names


async def test_the_document_is_served(store: StoreBuilder) -> None:
    """`/openapi.json` is the file of the package."""
    document = await ask_json(made(store.path), "/openapi.json")

    assert document["openapi"].startswith("3.1")


async def test_a_damaged_row_is_no_bug(store: StoreBuilder) -> None:
    """Bytes that changed within a row are a 503 for who asks for that row, and no more."""
    store.event(attributes="{broken")
    api = made(store.path)
    response = await ask(api, "/v1/events")

    assert response.status == 503
    assert (await ask(api, "/v1/traces")).status == 200


async def test_slow_readers_do_not_hold_up_the_loop(store: StoreBuilder) -> None:
    """Many questions at once are all answered, a few at a time."""
    for _ in range(200):
        store.event()
    api = made(store.path)
    statuses: list[int] = []

    async def reader() -> None:
        statuses.append((await ask(api, "/v1/events", limit="1000")).status)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(reader)

    assert statuses == [200] * 20
