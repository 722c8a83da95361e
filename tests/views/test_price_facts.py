"""What is known of prices, for programs: of a name, of a stored call, and of calls without a price."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.views.building import NOW_MS, StoreBuilder
from trace_agent.store.price_table import Source, build
from trace_agent.store.prices import Prices
from trace_agent.views.costs import costs_json
from trace_agent.views.params import LLM, read_cost_query, read_query
from trace_agent.views.price_facts import explain_json, missing_json, show_json
from trace_agent.views.readonly import snapshot

SONNET = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def prices() -> Iterator[Prices]:
    """Yield the shipped price table."""
    with Prices() as shipped:
        yield shipped


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Prices]:
    """Yield a table of one provider, `acme`, with a model for each way of pricing."""
    models = [
        {
            "id": "timed",
            "match": {"equals": "timed"},
            "prices": [
                {"prices": {"input_mtok": 1, "output_mtok": 2}},
                {"prices": {"input_mtok": 3}, "constraint": {"start_date": "2026-01-01"}},
            ],
        },
        {
            "id": "nightly",
            "match": {"equals": "nightly"},
            "prices": [
                {"prices": {"input_mtok": 8}},
                {
                    "prices": {"input_mtok": 4, "requests_kcount": 1.5},
                    "constraint": {"start_time": "16:30:00Z", "end_time": "00:30:00Z"},
                },
            ],
        },
        {"id": "images", "match": {"equals": "images"}, "prices": {"input_audio_mtok": 7}},
        {"id": "halved", "match": {"equals": "halved"}, "prices": {"input_mtok": 5}},
    ]
    provider: dict[str, object] = {"id": "acme", "name": "Acme", "api_pattern": "https://acme"}
    build(Source([provider | {"models": models}], "small-1"), tmp_path / "small.sqlite")
    with Prices(tmp_path / "small.sqlite") as table:
        yield table


def explain(store: StoreBuilder, prices: Prices, **columns: Any) -> Any:  # noqa: ANN401 - columns, JSON
    """Store a call and explain it."""
    store.call(id="c", **columns)
    with snapshot(store.path) as connection:
        explained = explain_json(connection, prices, "c")
    assert explained is not None
    # What is told must be JSON.
    return json.loads(json.dumps(explained))


def missing(store: StoreBuilder, prices: Prices, **params: str) -> Any:  # noqa: ANN401 - JSON
    """Ask for what has no price."""
    with snapshot(store.path) as connection:
        return missing_json(connection, prices, read_query(LLM, params, NOW_MS))


def test_show_names_what_a_model_is_priced_as(prices: Prices) -> None:
    """The name of an agent leads to the list's name, and its prices by size of request and way of serving."""
    shown: Any = show_json(prices, None, "anthropic/claude-sonnet-4.5", NOW_MS)

    assert shown["priced_as"] == {
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "cost_basis": "list",
        "price_version": prices.version,
    }
    assert shown["why"] is None
    assert shown["prices"][:2] == [
        {
            "in_effect": True,
            "usd_per_million": {
                "input": 3, "cache_read": 0.3, "cache_write": 3.75, "cache_write_1h": 6, "output": 15,
            },
        },
        {
            "in_effect": True,
            "above_tokens": 200_000,
            "usd_per_million": {
                "input": 6, "cache_read": 0.6, "cache_write": 7.5, "cache_write_1h": 12, "output": 22.5,
            },
        },
    ]  # fmt: skip
    assert [price["served"] for price in shown["prices"][2:]] == [{"processing": "batch"}] * 2


def test_show_says_what_is_in_effect(small: Prices) -> None:
    """Of several times, the one that holds now is marked, as calls are priced by it."""
    timed: Any = show_json(small, "acme", "timed", NOW_MS)["prices"]
    noon, night = (
        [price["in_effect"] for price in cast_list(show_json(small, "acme", "nightly", at_ms)["prices"])]
        for at_ms in (NOW_MS, NOW_MS + 8 * 3_600_000)
    )
    nightly: Any = show_json(small, "acme", "nightly", NOW_MS)["prices"]

    assert [(price["in_effect"], price.get("from_ts")) for price in timed] == [
        (False, None), (True, 1_767_225_600_000),
    ]  # fmt: skip
    assert (noon, night) == ([True, False], [False, True])
    # 1.50 USD for a thousand requests.
    assert nightly[1] == {
        "in_effect": False,
        "daily_ms": [59_400_000, 1_800_000],
        "usd_per_million": {"input": 4},
        "usd_per_call": 0.0015,
    }


def cast_list(value: Any) -> list[Any]:  # noqa: ANN401 - JSON
    """Return a list of JSON as one."""
    assert isinstance(value, list)
    return value


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("images", "images is listed for acme, but without a price for tokens"),
        ("nobody-knows", "no price is known for this model"),
    ],
)
def test_show_says_why_there_is_no_price(small: Prices, model: str, why: str) -> None:
    """Unknown is told as unknown, and why."""
    shown = show_json(small, "acme", model, NOW_MS)

    assert (shown["priced_as"], shown["prices"], shown["why"]) == (None, [], why)


def test_show_local(prices: Prices) -> None:
    """A server on the user's own machine costs 0, which is no price of the list."""
    shown: Any = show_json(prices, "ollama", "llama3.3", NOW_MS)

    assert (shown["priced_as"]["cost_basis"], shown["priced_as"]["price_version"]) == ("local", None)
    assert shown["prices"] == [{"in_effect": True, "usd_per_million": {"input": 0, "output": 0}}]


def test_explain_hand_worked(store: StoreBuilder, prices: Prices) -> None:
    """Lines are tokens times prices, and add up to the cost: 234 x 3 + 1,000 x 0.3 + 56 x 15 a million."""
    explained = explain(
        store,
        prices,
        **SONNET,
        response_model="claude-sonnet-4-5-20250929",
        computed_nusd=1_842_000,
        cost_basis="list",
        price_version=prices.version,
        tokens={"input": 234, "cache_read": 1000, "output": 56, "total": 1290},
    )

    assert explained == {
        "id": "c",
        "ts": NOW_MS,
        **SONNET,
        "response_model": "claude-sonnet-4-5-20250929",
        "tokens": {"input": 234, "cache_read": 1000, "output": 56, "total": 1290},
        "stored": {
            "cost_usd": 0.001842,
            "cost_basis": "list",
            "reported_usd": None,
            "computed_usd": 0.001842,
            "price_version": prices.version,
        },
        "now": {
            "computed_usd": 0.001842,
            "priced_as": {
                "provider": "anthropic",
                "model": "claude-sonnet-4-5",
                "cost_basis": "list",
                "price_version": prices.version,
            },
            "prompt_tokens": 1234,
            "served": None,
            "notes": [],
            "lines": [
                {"bucket": "input", "count": 234, "usd_per_million": 3, "usd": 0.000702},
                {"bucket": "cache_read", "count": 1000, "usd_per_million": 0.3, "usd": 0.0003},
                {"bucket": "output", "count": 56, "usd_per_million": 15, "usd": 0.00084},
            ],
            "sum_usd": 0.001842,
            "why": None,
        },
    }


def test_explain_says_which_prices_of_several(store: StoreBuilder, prices: Prices) -> None:
    """Size and way of serving are noted where they chose other prices: 300,001 x 3 + 10 x 11.25 a million."""
    explained = explain(
        store, prices, **SONNET, tokens={"input": 300_001, "output": 10}, usage='{"service_tier": "batch"}'
    )
    now = explained["now"]

    assert now["notes"] == [
        "prices for requests of this size, 300,001 prompt tokens",
        "prices for calls served so: service_tier batch, processing batch",
    ]
    assert [line["usd_per_million"] for line in now["lines"]] == [3, 11.25]
    assert now["computed_usd"] == 0.9001155


def test_explain_a_way_of_serving_without_prices(store: StoreBuilder, prices: Prices) -> None:
    """What was served as everybody's is needs no note."""
    explained = explain(
        store, prices, **SONNET, tokens={"input": 1, "output": 1}, attributes='{"service_tier": "standard"}'
    )

    assert (explained["now"]["notes"], explained["now"]["served"]) == ([], {"service_tier": "standard"})


def test_explain_reported(store: StoreBuilder, prices: Prices) -> None:
    """The sender's cost and ours stand side by side."""
    stored = explain(
        store, prices, **SONNET, reported_nusd=2_000_000, computed_nusd=3_000_000, cost_basis="reported",
        tokens={"input": 1000, "output": 0},
    )["stored"]  # fmt: skip

    assert (stored["cost_usd"], stored["reported_usd"], stored["computed_usd"]) == (0.002, 0.002, 0.003)


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"model": "timed", "provider": "acme"}, "the sender told no tokens"),
        (
            {"model": "timed", "provider": "acme", "tokens": {"input": 1, "output": 2}},
            "timed has no price for output tokens, and a part of a cost is no cost",
        ),
        (
            {"model": "images", "provider": "acme", "tokens": {"input": 1, "output": 2}},
            "images is listed for acme, but without a price for tokens",
        ),
        ({"model": "nobody-knows", "tokens": {"input": 1}}, "no price is known for this model"),
        ({"tokens": {"input": 1}}, "the call names no model"),
    ],
)
def test_explain_says_why_the_cost_is_unknown(
    store: StoreBuilder, small: Prices, columns: dict[str, Any], why: str
) -> None:
    """An unknown cost has a reason and no sum."""
    now = explain(store, small, **columns)["now"]

    assert (now["why"], now["computed_usd"], now["sum_usd"]) == (why, None, None)


def test_explain_shows_the_line_without_a_price(store: StoreBuilder, small: Prices) -> None:
    """The bucket that has no price is a line, with null for what is unknown."""
    now = explain(store, small, model="timed", provider="acme", tokens={"input": 5, "output": 2})["now"]

    assert now["lines"] == [
        {"bucket": "input", "count": 5, "usd_per_million": 3, "usd": 0.000015},
        {"bucket": "output", "count": 2, "usd_per_million": None, "usd": None},
    ]


def test_explain_is_exact_for_the_largest_counts(store: StoreBuilder, prices: Prices) -> None:
    """The largest count that a sender may claim is neither rounded nor an error."""
    most = 2**53
    now = explain(store, prices, **SONNET, tokens={"input": most, "output": 1})["now"]

    # Above 200,000: 6 and 22.50 USD per million.
    assert now["sum_usd"] == (most * 6 + 22.5) / 10**6
    assert now["computed_usd"] == pytest.approx(now["sum_usd"], rel=1e-15)


def test_explain_nothing(store: StoreBuilder, prices: Prices) -> None:
    """An id that is not stored is None."""
    with snapshot(store.path) as connection:
        assert explain_json(connection, prices, "none") is None


def fill_missing(store: StoreBuilder) -> None:
    """Add priced calls and four kinds of unpriced ones."""
    tokens = {"input": 1, "output": 1}
    store.call(**SONNET, computed_nusd=18_000, tokens=tokens)
    store.call(model="unknown-model", reported_nusd=1, tokens=tokens)
    store.call(provider="ollama", model="llama3", computed_nusd=0, tokens=tokens)
    for number in range(3):
        store.call(
            id=f"unknown-{number}", model="unknown-model", agent="a", ts_ms=NOW_MS - number * DAY_MS,
            status="error" if number else "ok", tokens=tokens,
        )  # fmt: skip
    store.call(id="late", **SONNET, tokens=tokens, ts_ms=NOW_MS - 1)
    store.call(id="untold", **SONNET, ts_ms=NOW_MS - 2)
    store.call(id="nameless", ts_ms=NOW_MS - 3, tokens=tokens)


def test_missing_groups_by_name_and_says_why(store: StoreBuilder, prices: Prices) -> None:
    """The most used comes first, with its newest call as an example; calls that have a cost do not count."""
    fill_missing(store)
    answer = missing(store, prices)

    assert [
        (item["model"], item["calls"], item["errors"], item["example"], item["last_ts"], item["why"])
        for item in answer["items"]
    ] == [
        ("unknown-model", 3, 2, "unknown-0", NOW_MS, "no price is known for this model"),
        ("claude-sonnet-4-5", 1, 0, "late", NOW_MS - 1, "it has a price by now: the call was stored without"),
        ("claude-sonnet-4-5", 1, 0, "untold", NOW_MS - 2, "the sender told no tokens"),
        (None, 1, 0, "nameless", NOW_MS - 3, "the call names no model"),
    ]
    assert answer["omitted"] == 0


@pytest.mark.parametrize("params", [{}, {"since": "1h"}, {"agent": "a"}, {"model": "claude-sonnet-4-5"}])
def test_missing_agrees_with_costs(store: StoreBuilder, prices: Prices, params: dict[str, str]) -> None:
    """The calls listed are those that costs count as unpriced."""
    fill_missing(store)
    with snapshot(store.path) as connection:
        total: Any = costs_json(connection, read_cost_query(params, NOW_MS))["total"]

    assert total["unpriced"] > 0
    assert sum(item["calls"] for item in missing(store, prices, **params)["items"]) == total["unpriced"]


def test_missing_is_bounded(store: StoreBuilder, prices: Prices) -> None:
    """What is left out is counted."""
    fill_missing(store)
    answer = missing(store, prices, limit="1")

    assert [item["model"] for item in answer["items"]] == ["unknown-model"]
    assert answer["omitted"] == 3


def test_nothing_missing(store: StoreBuilder, prices: Prices) -> None:
    """Without such calls there is nothing to tell."""
    store.call(**SONNET, computed_nusd=1)

    assert missing(store, prices) == {"items": [], "omitted": 0}
