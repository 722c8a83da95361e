"""Listings: wire form, order, filters, pages."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.views.building import NOW_MS, StoreBuilder
from trace_agent.core.errors import StoreError
from trace_agent.views import queries
from trace_agent.views.params import ERRORS, EVENTS, LLM, METRICS, Table, read_query
from trace_agent.views.queries import (
    call_by_id,
    ids_present,
    list_rows,
    newest_change,
    newest_row,
    rows_after,
)
from trace_agent.views.readonly import snapshot

MESSAGES = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def listed(store: StoreBuilder, table: Table, **params: str) -> list[dict[str, Any]]:
    """Return the items of a page."""
    with snapshot(store.path) as connection:
        return list_rows(connection, read_query(table, params, NOW_MS)).items


def test_a_full_call_has_every_field(store: StoreBuilder) -> None:
    """All that is known of a call goes out under the names it came in by."""
    store.call(
        id="c1", rev=3, ts_ms=NOW_MS + 0.5, received_ms=NOW_MS + 1, agent="a", session="s", run="r",
        trace_id="t", span_id="p", attributes='{"deep":{"x":[1]}}', provider="openai", model="m",
        response_model="m-1", tokens={"input": 1, "cache_read": 2, "cache_write": 3, "cache_write_1h": 4,
        "output": 5, "reasoning": 6, "total": 15}, usage='{"prompt_tokens":1}', reported_nusd=1_800_000,
        computed_nusd=2_000_000, cost_basis="reported", price_version="2026-11", latency_ms=1200.0,
        ttft_ms=80.25, status="error", error_kind="timeout", error_code=504, error_message="slow",
        finish_reason="stop", request_id="q", sources="udp,otlp", input=MESSAGES, output="bye",
    )  # fmt: skip
    (item,) = listed(store, LLM)

    assert item == {
        "type": "llm", "id": "c1", "rev": 3, "ts": NOW_MS + 0.5, "received_ts": NOW_MS + 1,
        "agent": "a", "session": "s", "run": "r", "trace_id": "t", "span_id": "p",
        "provider": "openai", "model": "m", "response_model": "m-1", "operation": "chat",
        "tokens": {"input": 1, "cache_read": 2, "cache_write": 3, "cache_write_1h": 4, "output": 5,
        "reasoning": 6, "total": 15}, "usage": {"prompt_tokens": 1},
        "cost_usd": 0.0018, "computed_cost_usd": 0.002, "cost_basis": "reported", "price_version": "2026-11",
        "latency_ms": 1200, "ttft_ms": 80.25, "status": "error",
        "error": {"kind": "timeout", "code": 504, "message": "slow"},
        "finish_reason": "stop", "request_id": "q", "attributes": {"deep": {"x": [1]}},
        "sources": ["udp", "otlp"],
    }  # fmt: skip


def test_an_empty_call_has_no_invented_fields(store: StoreBuilder) -> None:
    """What is not known is absent, but an unknown price is null, and there is always a map of tokens."""
    store.call(id="c1")
    (item,) = listed(store, LLM)

    assert item == {
        "type": "llm", "id": "c1", "rev": 1, "ts": NOW_MS, "received_ts": NOW_MS, "operation": "chat",
        "tokens": {}, "cost_usd": None, "computed_cost_usd": None, "cost_basis": "unknown", "status": "ok",
        "sources": ["udp"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reported", "computed", "expected"),
    [(None, None, None), (None, 5, 5e-9), (0, 5, 0), (7, None, 7e-9), (1_800_000, 2, 0.0018)],
)
def test_reported_cost_beats_computed(
    store: StoreBuilder, reported: int | None, computed: int | None, expected: float | None
) -> None:
    """A cost of zero is a report; only nothing at all is unknown."""
    store.call(reported_nusd=reported, computed_nusd=computed)
    (item,) = listed(store, LLM)

    assert item["cost_usd"] == expected
    assert (item["cost_usd"] is None) == (expected is None)


def test_whole_numbers_have_no_fraction(store: StoreBuilder) -> None:
    """Times and durations are integers in JSON when they are whole, and stay exact when they are huge."""
    store.event(ts_ms=float(NOW_MS), duration_ms=12.0)
    store.event(ts_ms=NOW_MS + 0.25, duration_ms=1e300)
    newest, oldest = listed(store, EVENTS)

    assert json.dumps([oldest["ts"], oldest["duration_ms"]]) == f"[{NOW_MS}, 12]"
    assert json.dumps([newest["ts"], newest["duration_ms"]]) == f"[{NOW_MS}.25, 1e+300]"


def test_events_and_errors(store: StoreBuilder) -> None:
    """Both have their own fields beside the common ones."""
    store.event(id="e", name="n", severity="warning", duration_ms=2.5, attributes='{"a":1}')
    store.error(id="x", kind="k.d", message="m", severity="fatal", stack="s", source="w")

    assert listed(store, EVENTS) == [
        {"type": "event", "id": "e", "rev": 1, "ts": NOW_MS, "received_ts": NOW_MS, "name": "n",
         "duration_ms": 2.5, "severity": "warning", "attributes": {"a": 1}},
    ]  # fmt: skip
    assert listed(store, ERRORS) == [
        {"type": "error", "id": "x", "rev": 1, "ts": NOW_MS, "received_ts": NOW_MS, "kind": "k.d",
         "message": "m", "severity": "fatal", "stack": "s", "source": "w"},
    ]  # fmt: skip


def test_metrics_have_the_figures_of_their_kind(store: StoreBuilder) -> None:
    """Only counters have a rate, only sets a number of members, only timers quantiles."""
    store.metric(name="c", kind="counter", count=4.0, sum=30.0, tags=("env:prod", "word"))
    store.metric(name="g", kind="gauge", count=2.0, sum=5.0, min=1.0, max=4.0, last=4.0)
    store.metric(name="t", kind="timer", count=2.0, sum=5.0, min=1.0, max=4.0, p50=1.0, p95=4.0, p99=4.0)
    store.metric(name="s", kind="set", count=9.0, members=3)
    common = {"tags": [], "ts": NOW_MS, "window_s": 10}

    assert listed(store, METRICS) == [
        {"name": "s", "kind": "set", "count": 9, "unique": 3, **common},
        {"name": "t", "kind": "timer", "count": 2, "sum": 5, "min": 1, "max": 4, "p50": 1, "p95": 4,
         "p99": 4, **common},
        {"name": "g", "kind": "gauge", "count": 2, "sum": 5, "min": 1, "max": 4, "last": 4, **common},
        {"name": "c", "kind": "counter", "count": 4, "sum": 30, "rate": 3, **common,
         "tags": ["env:prod", "word"]},
    ]  # fmt: skip


def test_order_is_order_of_arrival(store: StoreBuilder) -> None:
    """A late event of long ago stands first: no clock is trusted with the order."""
    store.event(name="first", ts_ms=NOW_MS)
    store.event(name="second", ts_ms=NOW_MS - 86_400_000)

    assert [item["name"] for item in listed(store, EVENTS)] == ["second", "first"]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"agent": "a1"}, {"1", "3"}),
        ({"session": "s1"}, {"1"}),
        ({"run": "r2"}, {"2"}),
        ({"model": "m1", "agent": "a1"}, {"1"}),
        ({"provider": "p2"}, {"2", "3"}),
        ({"status": "error"}, {"3"}),
        ({"kind": "timeout"}, {"3"}),
        ({"kind": "auth"}, set()),
        ({"agent": "' OR 1=1 --"}, set()),
        ({"since": "10m"}, {"2", "3"}),
        ({"until": "10m"}, {"1"}),
        ({"since": "1h", "until": "1m"}, {"1", "2"}),
        ({"since": str(NOW_MS - 300_000), "until": str(NOW_MS)}, {"2"}),
    ],
)
def test_filters_select(store: StoreBuilder, params: dict[str, str], expected: set[str]) -> None:
    """Filters are equalities, all of which must hold; `since` is within the range and `until` is not."""
    store.call(
        id="1", agent="a1", session="s1", run="r1", model="m1", provider="p1", ts_ms=NOW_MS - 3_000_000
    )
    store.call(id="2", agent="a2", session="s2", run="r2", model="m1", provider="p2", ts_ms=NOW_MS - 300_000)
    store.call(
        id="3", agent="a1", model="m2", provider="p2", status="error", error_kind="timeout", ts_ms=NOW_MS
    )

    assert {item["id"] for item in listed(store, LLM, **params)} == expected


def test_names_and_kinds_select(store: StoreBuilder) -> None:
    """`name` and `kind` mean what they mean in each listing."""
    store.event(name="a")
    store.error(kind="k")
    store.metric(name="n", kind="counter", sum=1.0)

    assert [len(listed(store, EVENTS, name=name)) for name in ("a", "b")] == [1, 0]
    assert [len(listed(store, ERRORS, kind=kind)) for kind in ("k", "l")] == [1, 0]
    assert [len(listed(store, METRICS, name="n", kind=kind)) for kind in ("counter", "gauge")] == [1, 0]


def test_pages_stay_the_same_while_rows_arrive(store: StoreBuilder) -> None:
    """Following cursors gives each row once, whatever is added meanwhile; the last page has no cursor."""
    for number in range(5):
        store.event(id=str(number))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "2"} | ({} if cursor is None else {"cursor": cursor})
        with snapshot(store.path) as connection:
            page = list_rows(connection, read_query(EVENTS, params, NOW_MS))
        seen += [str(item["id"]) for item in page.items]
        cursor = page.next
        if cursor is None:
            break
        store.event(id=f"late-{cursor}")

    assert seen == ["4", "3", "2", "1", "0"]


def test_a_page_that_is_just_full_is_the_last(store: StoreBuilder) -> None:
    """A cursor is only given where there is more."""
    store.event()
    store.event()
    with snapshot(store.path) as connection:
        page = list_rows(connection, read_query(EVENTS, {"limit": "2"}, NOW_MS))

    assert (len(page.items), page.next, page.json()["next"]) == (2, None, None)


@pytest.mark.parametrize("value", ["plain words", MESSAGES, {"any": ["json", 1, None]}, [1, "two"]])
def test_texts_come_back_as_they_were(store: StoreBuilder, value: object) -> None:
    """Text, lists of messages and any other JSON value are what was sent, and only given when asked for."""
    store.call(input=value, output=value)
    (with_text,) = listed(store, LLM, text="1")
    (without,) = listed(store, LLM)

    assert (with_text["input"], with_text["output"]) == (value, value)
    assert without.keys() & {"input", "output"} == set()


def test_a_page_with_texts_is_bounded(store: StoreBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page ends early rather than carrying any amount of words, and the rest is on the next one."""
    monkeypatch.setattr(queries, "_PAGE_TEXT_CHARS", 100)
    for number in range(4):
        store.call(id=str(number), input="x" * 60)
    with snapshot(store.path) as connection:
        first = list_rows(connection, read_query(LLM, {"text": "1"}, NOW_MS))
        assert first.next is not None
        rest = list_rows(connection, read_query(LLM, {"text": "1", "cursor": first.next}, NOW_MS))
        ahead = rows_after(connection, read_query(LLM, {"text": "1"}, NOW_MS), 0)

    assert [item["id"] for item in first.items + rest.items] == ["3", "2", "1", "0"]
    assert (len(first.items), rest.next) == (2, None)
    assert [item["id"] for _, item in ahead] == ["0", "1"]


def test_one_call_by_id(store: StoreBuilder) -> None:
    """A call is found by its id, whatever characters are in it, with its words if wanted."""
    store.call(id="a/b 'c'%", output="words")
    with snapshot(store.path) as connection:
        found = call_by_id(connection, "a/b 'c'%", text=True)
        bare = call_by_id(connection, "a/b 'c'%", text=False)
        missing = call_by_id(connection, "other", text=True)

    assert found is not None
    assert bare is not None
    assert (found["output"], "output" in bare, missing) == ("words", False, None)


def test_rows_after_go_forward_to_an_end(store: StoreBuilder) -> None:
    """What follows a row comes in order of arrival, up to a limit and a last row."""
    rows = [store.event(id=str(number)) for number in range(5)]
    with snapshot(store.path) as connection:
        query = read_query(EVENTS, {"limit": "3"}, NOW_MS)
        found = rows_after(connection, query, rows[0])
        bounded = rows_after(connection, query, rows[0], until_row=rows[2])

    assert [item["id"] for _, item in found] == ["1", "2", "3"]
    assert [row for row, _ in found] == rows[1:4]
    assert [item["id"] for _, item in bounded] == ["1", "2"]


def test_small_questions(store: StoreBuilder) -> None:
    """The newest row, the newest change and the presence of ids are told."""
    with snapshot(store.path) as connection:
        empty = (newest_row(connection, EVENTS), newest_change(connection))
    row = store.event(id="here")
    with snapshot(store.path) as connection:
        full = (newest_row(connection, EVENTS), newest_change(connection))
        present = ids_present(connection, EVENTS, ["here", "gone", "'"])

    assert (empty, full, present) == ((0, 0), (row, 1), {"here"})


def test_damaged_json_is_a_store_error(store: StoreBuilder) -> None:
    """What SQLite cannot notice, bytes changed within a row, is told apart from a bug of ours."""
    store.event(attributes='{"a":')

    with pytest.raises(StoreError, match=r"row 1 .* attributes"):
        listed(store, EVENTS)


@given(words=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), max_size=5))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_any_words_go_in_and_out(store: StoreBuilder, words: list[str]) -> None:
    """Names of any characters are listed and found again by their filter."""
    for word in words:
        store.event(name=word, attributes=json.dumps({word: word}))
        items = listed(store, EVENTS, name=word)

        assert items
        assert all(item["name"] == word and item["attributes"] == {word: word} for item in items)
