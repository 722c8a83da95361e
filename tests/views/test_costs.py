"""Sums over calls. Invariant: what is added up is exact, and what is unknown is never taken for 0."""

import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.views.building import NOW_MS, StoreBuilder
from tests.views.test_api import ask, ask_json, made
from tests.views.test_openapi import DOCUMENT, resolved, validator
from trace_agent.core.errors import PeerError, Reason, StoreError
from trace_agent.store.schema import migrate
from trace_agent.views.costs import TOKEN_BUCKETS, costs_json
from trace_agent.views.params import COST_PARAMETERS, GROUPINGS, read_cost_query
from trace_agent.views.readonly import snapshot

DAY_MS = 86_400_000
MIDNIGHT_MS = NOW_MS - DAY_MS // 2


def costs(store: StoreBuilder, **params: str) -> Any:  # noqa: ANN401 - JSON
    """Ask for sums."""
    with snapshot(store.path) as connection:
        return costs_json(connection, read_cost_query(params, NOW_MS))


def by_name(answer: Any, name: str) -> dict[Any, Any]:  # noqa: ANN401 - JSON
    """Return items by the field that they are grouped by."""
    return {item[name]: item for item in answer["items"]}


def fill(store: StoreBuilder) -> None:
    """Add calls whose sums are worked out in `test_hand_worked`."""
    store.call(
        model="priced", agent="a", status="ok", reported_nusd=1_000_000, computed_nusd=1_200_000,
        tokens={"input": 100, "cache_read": 300, "output": 10, "reasoning": 4, "total": 410},
    )  # fmt: skip
    store.call(
        model="priced",
        agent="b",
        computed_nusd=500_000,
        tokens={"input": 50, "cache_write": 9, "output": 5, "total": 64},
    )
    store.call(model="priced", agent="a", status="error", error_kind="rate_limit")
    store.call(model="other", agent="a", tokens={"input": 7, "output": 1, "total": 8})
    store.call(agent="b", computed_nusd=0, cost_basis="local", tokens={"input": 3, "cache_write_1h": 2})


def test_hand_worked(store: StoreBuilder) -> None:
    """Sums of each group and of all are what adding them up by hand gives."""
    fill(store)
    answer = costs(store, by="model")
    items = by_name(answer, "model")

    assert items["priced"] == {
        "model": "priced",
        "calls": 3,
        "errors": 1,
        "tokens": {
            "input": 150, "cache_read": 300, "cache_write": 9, "output": 15, "reasoning": 4, "total": 474,
        },
        # 300 of 100 + 300: the second call does not tell of a cache.
        "cache_hit_share": 0.75,
        # As reported, 0.001, where it is; else as computed, 0.0005.
        "cost_usd": 0.0015,
        "reported_usd": 0.001,
        "computed_usd": 0.0017,
        "unpriced": 1,
        "compared": {"calls": 1, "reported_usd": 0.001, "computed_usd": 0.0012},
    }  # fmt: skip
    assert answer["total"] == {
        "calls": 5,
        "errors": 1,
        "tokens": {
            "input": 160, "cache_read": 300, "cache_write": 9, "cache_write_1h": 2,
            "output": 16, "reasoning": 4, "total": 482,
        },
        "cache_hit_share": 0.75,
        "cost_usd": 0.0015,
        "reported_usd": 0.001,
        "computed_usd": 0.0017,
        "unpriced": 2,
        "compared": {"calls": 1, "reported_usd": 0.001, "computed_usd": 0.0012},
    }  # fmt: skip
    assert answer["omitted"] == 0


def test_unknown_is_null_and_free_is_0(store: StoreBuilder) -> None:
    """A group of calls without a price has no cost; a local model's is known to be 0."""
    fill(store)
    items = by_name(costs(store), "model")

    assert [items["other"][name] for name in ("cost_usd", "reported_usd", "computed_usd")] == [None] * 3
    assert (items["other"]["unpriced"], items["other"]["cache_hit_share"]) == (1, None)
    assert (items[None]["cost_usd"], items[None]["computed_usd"], items[None]["unpriced"]) == (0, 0, 0)


def test_nothing_costs_nothing(store: StoreBuilder) -> None:
    """Without calls there is no item, and a total that is known to be 0."""
    answer = costs(store)

    assert (answer["items"], answer["omitted"]) == ([], 0)
    assert (answer["total"]["calls"], answer["total"]["cost_usd"], answer["total"]["tokens"]) == (0, 0, {})


def test_sums_are_exact_beyond_64_bits(store: StoreBuilder) -> None:
    """Thousands of the largest counts add up without overflow, and no nano-dollar is rounded away."""
    most_tokens, most_nusd = 2**53, 2**63 - 1
    for _ in range(1100):
        store.call(model="m", tokens={"input": most_tokens, "total": most_tokens}, computed_nusd=most_nusd)
    store.call(model="m", tokens={"input": 1, "total": 1}, computed_nusd=1)
    (item,) = costs(store)["items"]

    assert item["tokens"] == {"input": 1100 * 2**53 + 1, "total": 1100 * 2**53 + 1}
    assert item["tokens"]["input"] > 2**63
    assert item["cost_usd"] == (1100 * (2**63 - 1) + 1) / 10**9


@pytest.mark.parametrize("name", ["model", "agent", "session", "run", "provider"])
def test_names_group_as_they_came(store: StoreBuilder, name: str) -> None:
    """Calls that do not tell a name are a group of their own, with null for it."""
    for value in ("x", "X", "x", None):
        store.call(**{name: value})
    items = by_name(costs(store, by=name), name)

    assert {value: item["calls"] for value, item in items.items()} == {"x": 2, "X": 1, None: 1}


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu"])
def test_days_and_hours_are_those_of_utc(
    monkeypatch: pytest.MonkeyPatch, store: StoreBuilder, zone: str
) -> None:
    """A day begins at midnight of UTC, wherever the machine stands."""
    import time  # noqa: PLC0415 - for this test only

    for ts_ms in (MIDNIGHT_MS - 0.5, MIDNIGHT_MS, MIDNIGHT_MS + 3_599_999.9, MIDNIGHT_MS + 3_600_000, 0):
        store.call(ts_ms=ts_ms)
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        days, hours = costs(store, by="day")["items"], costs(store, by="hour")["items"]
    time.tzset()

    assert [(item["day"], item["calls"]) for item in days] == [
        ("1970-01-01", 1), ("2026-11-21", 1), ("2026-11-22", 3),
    ]  # fmt: skip
    assert [(item["hour"], item["calls"]) for item in hours] == [
        ("1970-01-01T00:00:00Z", 1), ("2026-11-21T23:00:00Z", 1),
        ("2026-11-22T00:00:00Z", 2), ("2026-11-22T01:00:00Z", 1),
    ]  # fmt: skip


def test_a_damaged_time_is_told(store: StoreBuilder) -> None:
    """A row with a time that we would never write is damage, named, and no crash."""
    store.call(ts_ms=1e300)

    with pytest.raises(StoreError, match="damaged"):
        costs(store, by="day")


def test_several_fields(store: StoreBuilder) -> None:
    """Any list of fields can be grouped by: time comes first, then cost."""
    store.call(model="cheap", agent="a", computed_nusd=1, ts_ms=MIDNIGHT_MS)
    store.call(model="dear", agent="a", computed_nusd=2, ts_ms=MIDNIGHT_MS)
    store.call(model="dear", agent="a", computed_nusd=9, ts_ms=MIDNIGHT_MS - 1)
    store.call(model="dear", agent="b", computed_nusd=3, ts_ms=MIDNIGHT_MS)
    store.call(model="dear", agent="b", computed_nusd=3, ts_ms=MIDNIGHT_MS)
    items = costs(store, by="model, day,agent,model")["items"]

    assert [(item["day"], item["model"], item["agent"], item["calls"]) for item in items] == [
        ("2026-11-21", "dear", "a", 1),
        ("2026-11-22", "dear", "b", 2),
        ("2026-11-22", "dear", "a", 1),
        ("2026-11-22", "cheap", "a", 1),
    ]


def test_the_limit_leaves_out_the_cheapest_or_oldest(store: StoreBuilder) -> None:
    """Groups beyond the limit are counted, and part of the total."""
    for number in range(5):
        store.call(model=f"m{number}", computed_nusd=number, ts_ms=MIDNIGHT_MS - number * DAY_MS)
    dearest, newest = costs(store, limit="2"), costs(store, limit="2", by="day")

    assert [item["model"] for item in dearest["items"]] == ["m4", "m3"]
    assert [item["day"] for item in newest["items"]] == ["2026-11-21", "2026-11-22"]
    for answer in (dearest, newest):
        assert (answer["omitted"], answer["total"]["calls"], answer["total"]["cost_usd"]) == (3, 5, 1e-8)


@pytest.mark.parametrize(
    ("params", "calls"),
    [
        ({}, 5),
        ({"since": "1h"}, 3),
        ({"until": "1h"}, 2),
        ({"since": "5h", "until": "3h"}, 1),
        ({"agent": "a"}, 1),
        ({"session": "s"}, 1),
        ({"run": "r"}, 1),
        ({"model": "m"}, 1),
        ({"provider": "p"}, 1),
        ({"status": "error"}, 1),
        ({"kind": "timeout"}, 1),
        ({"agent": "a", "model": "m"}, 0),
        ({"sync": "1"}, 5),
    ],
)
def test_filters(store: StoreBuilder, params: dict[str, str], calls: int) -> None:
    """Times and filters are those of listings, and hold for items and total alike."""
    hour_ms = 3_600_000
    store.call(agent="a", provider="p", ts_ms=NOW_MS)
    store.call(session="s", run="r", ts_ms=NOW_MS - hour_ms + 1)
    store.call(model="m", ts_ms=NOW_MS - hour_ms)
    store.call(ts_ms=NOW_MS - 4 * hour_ms)
    store.call(status="error", error_kind="timeout", ts_ms=NOW_MS - 9 * hour_ms)
    answer = costs(store, **params)

    assert answer["total"]["calls"] == calls
    assert sum(item["calls"] for item in answer["items"]) == calls


@pytest.mark.parametrize("by", ["", ",", "model,", "cost", "model;day", "MODEL", "day day", "x" * 9000])
def test_what_cannot_be_grouped_by_is_refused(by: str) -> None:
    """The refusal says what there is."""
    with pytest.raises(PeerError, match="by must be a comma list of model, agent") as caught:
        read_cost_query({"by": by}, NOW_MS)

    assert caught.value.reason is Reason.BAD_REQUEST


@pytest.mark.parametrize("params", [{"cursor": "1"}, {"text": "1"}, {"limit": "1001"}, {"nonsense": "1"}])
def test_parameters_of_listings_alone_are_refused(params: dict[str, str]) -> None:
    """There are no pages and no texts here."""
    with pytest.raises(PeerError) as caught:
        read_cost_query(params, NOW_MS)

    assert next(iter(params)) in caught.value.detail


@given(
    st.dictionaries(
        st.sampled_from(COST_PARAMETERS) | st.text(max_size=10),
        st.text(max_size=40)
        | st.lists(st.sampled_from((*GROUPINGS, "", "cost")), max_size=4).map(",".join)
        | st.sampled_from(["7", "24h", "ok"]),
        max_size=4,
    )
)
def test_any_parameters_are_a_query_or_a_refusal(params: dict[str, str]) -> None:
    """Whatever is asked, the answer is a query with groups that there are, none twice, or a bad request."""
    try:
        query = read_cost_query(params, NOW_MS)
    except PeerError as error:
        assert error.reason is Reason.BAD_REQUEST  # noqa: PT017 - a refusal is one of two good outcomes
    else:
        assert {*query.by} <= {*GROUPINGS}
        assert len(query.by) == len({*query.by}) > 0


MONEY = st.none() | st.integers(0, 10**15)
COUNT = st.none() | st.integers(0, 2**53)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "model": st.sampled_from([None, "a", "b"]),
            "ts_ms": st.floats(MIDNIGHT_MS - DAY_MS, MIDNIGHT_MS + DAY_MS),
            "status": st.sampled_from(["ok", "error"]),
            "reported_nusd": MONEY,
            "computed_nusd": MONEY,
            **{f"tokens_{bucket}": COUNT for bucket in TOKEN_BUCKETS},
        }
    ),
    max_size=12,
)


@given(CALLS, st.lists(st.sampled_from(GROUPINGS), min_size=1, max_size=3))
def test_sums_are_those_of_plain_adding(calls: list[dict[str, Any]], by: list[str]) -> None:
    """Whatever calls there are, items are a partition of them, and every figure is that of plain adding."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    connection.row_factory = sqlite3.Row
    for number, call in enumerate(calls):
        row = call | {
            "id": str(number), "change_seq": number, "received_ms": 0,
            "operation": "chat", "cost_basis": "unknown", "sources": "udp",
        }  # fmt: skip
        connection.execute(f"INSERT INTO llm ({', '.join(row)}) VALUES (:{', :'.join(row)})", row)
    answer: Any = costs_json(connection, read_cost_query({"by": ",".join(by)}, NOW_MS))
    connection.close()

    def fits(call: dict[str, Any], item: dict[str, Any]) -> bool:
        hour = int(call["ts_ms"] // 3_600_000)
        told = {
            "model": call["model"],
            "day": f"2026-11-{21 + (hour - MIDNIGHT_MS // 3_600_000 + 24) // 24:02}",
            "hour": f"2026-11-{21 + (hour - MIDNIGHT_MS // 3_600_000 + 24) // 24:02}T{hour % 24:02}:00:00Z",
        }
        return all(told.get(name) == item[name] for name in by)

    for item in [*answer["items"], answer["total"]]:
        own = [call for call in calls if item is answer["total"] or fits(call, item)]
        both = [c for c in own if c["reported_nusd"] is not None and c["computed_nusd"] is not None]
        known = [
            c["computed_nusd"] if c["reported_nusd"] is None else c["reported_nusd"]
            for c in own
            if c["reported_nusd"] is not None or c["computed_nusd"] is not None
        ]
        tells = [c for c in own if c["tokens_input"] is not None and c["tokens_cache_read"] is not None]
        prompt = sum(
            c["tokens_input"] + c["tokens_cache_read"] + (c["tokens_cache_write"] or 0)
            + (c["tokens_cache_write_1h"] or 0) for c in tells
        )  # fmt: skip
        assert own or item is answer["total"]
        assert item["calls"] == len(own)
        assert item["errors"] == sum(call["status"] == "error" for call in own)
        assert item["tokens"] == {
            bucket: sum(counts)
            for bucket in TOKEN_BUCKETS
            if (counts := [c[f"tokens_{bucket}"] for c in own if c[f"tokens_{bucket}"] is not None])
        }
        assert item["cost_usd"] == (sum(known) / 10**9 if known else None if own else 0)
        assert item["unpriced"] == len(own) - len(known)
        assert item["compared"]["calls"] == len(both)
        for name in ("reported", "computed"):
            told = [c[f"{name}_nusd"] for c in own if c[f"{name}_nusd"] is not None]
            assert item[f"{name}_usd"] == (sum(told) / 10**9 if told else None)
            compared = sum(c[f"{name}_nusd"] for c in both) / 10**9 if both else None
            assert item["compared"][f"{name}_usd"] == compared
        expected = sum(c["tokens_cache_read"] for c in tells) / prompt if prompt else None
        assert item["cache_hit_share"] == expected
    assert sum(item["calls"] for item in answer["items"]) == len(calls)


async def test_http_answers(store: StoreBuilder) -> None:
    """`/v1/costs` gives the same; what cannot be read is a 400 that says why."""
    fill(store)
    api = made(store.path)
    answer = await ask_json(api, "/v1/costs", by="agent,model", since="1h")
    refused = await ask(api, "/v1/costs", by="cost")

    assert answer == costs(store, by="agent,model", since="1h")
    assert refused.status == 400
    assert b"by must be a comma list" in refused.body
    assert (await ask(api, "/v1/costs", "POST")).status == 405
    assert (await ask(api, "/v1/costs/")).status == 404


async def test_http_without_a_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A database that is not there is a 503, as for every read."""
    refused = await ask(made(tmp_path_factory.mktemp("none") / "x.db"), "/v1/costs")

    assert refused.status == 503


def test_answers_are_as_described(store: StoreBuilder) -> None:
    """Answers fit their schema, which takes no other fields, and the parameters described are those read."""
    fill(store)
    empty = costs(store, model="nothing")
    described = DOCUMENT["paths"]["/v1/costs"]["get"]["parameters"]
    for answer in (empty, costs(store, by=",".join(GROUPINGS)), costs(store, by="day", limit="1")):
        validator("Costs").validate(answer)

    assert not validator("Costs").is_valid(empty | {"next": None})
    assert not validator("CostItem").is_valid(costs(store)["items"][0] | {"cost": 1})
    assert tuple(resolved(parameter)["name"] for parameter in described) == COST_PARAMETERS
