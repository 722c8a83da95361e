"""What trace-agent says of itself: its counters, its laws, its health."""

import json
from typing import Any

import pytest

from tests.views.building import NOW_MS, StoreBuilder
from tests.views.living import live
from trace_agent.core.counts import Carrier
from trace_agent.views.figures import read_figures
from trace_agent.views.readonly import snapshot
from trace_agent.views.rows import JsonMap
from trace_agent.views.stats import Problem, health_json, problems_of, stats_json


def read(value: JsonMap) -> Any:  # noqa: ANN401 - JSON
    """Return what a client decodes."""
    return json.loads(json.dumps(value))


def test_all_laws_hold_and_are_named(store: StoreBuilder) -> None:
    """The counters stand under the names of the laws, by carrier and reason, and each law is judged."""
    store.event()
    with snapshot(store.path) as connection:
        stats = read(stats_json(live(), read_figures(connection), None))

    assert stats["packets"]["udp"] == {
        "received": 10, "received_bytes": 0, "accepted": 5, "refused": {"bad_json": 2, "empty": 1},
        "dropped": {"ring_full": 1}, "waiting": 1, "kernel_drops": 3, "last_ms": NOW_MS - 1000,
    }  # fmt: skip
    assert stats["packets"].keys() == {"udp", "unix", "http"}
    assert stats["events"]["accepted"] == 20
    assert stats["events"]["dropped"] == {"ring_full": 1}
    assert stats["rows"]["pending"] == 1
    assert (stats["kernel_drops"], stats["dead_letters"], stats["upstreams"]) == (3, 0, [])
    assert stats["laws"] == {"packets": True, "events": True, "rows": True, "broken": []}


@pytest.mark.parametrize(
    ("changes", "broken"),
    [({"packets_waiting": {}}, "packets"), ({"events_waiting": 5}, "events")],
)
def test_a_broken_law_is_printed(store: StoreBuilder, changes: dict[str, Any], broken: str) -> None:
    """A law that does not hold says so with its numbers, and the others still hold."""
    with snapshot(store.path) as connection:
        laws = read(stats_json(live(**changes), read_figures(connection), None))["laws"]

    assert [law for law in ("packets", "events", "rows") if not laws[law]] == [broken]
    assert len(laws["broken"]) == 1
    assert broken in laws["broken"][0]


def test_rows_that_went_missing_break_the_third_law(store: StoreBuilder) -> None:
    """Rows that are gone without being counted as pruned are noticed."""
    store.event()
    store.connection.execute("DROP TRIGGER events_deleted")
    store.connection.execute("DELETE FROM events")
    with snapshot(store.path) as connection:
        laws = read(stats_json(live(), read_figures(connection), None))["laws"]

    assert laws["rows"] is False
    assert laws["broken"] == ["rows: stored 1 is not acked 0 + pending 0 + pruned 0"]


def test_stats_without_a_store_say_why() -> None:
    """Counters are told even when the database cannot be read."""
    stats = read(stats_json(live(), None, "it is gone"))

    assert (stats["rows"], stats["dead_letters"], stats["laws"]["rows"]) == (None, None, None)
    assert stats["self"]["store"]["error"] == "it is gone"
    assert stats["events"]["accepted"] == 20


def test_self_tells_memory_lag_ring_and_listeners() -> None:
    """What the machine cannot tell is null, not zero."""
    own = read(stats_json(live(), None, None))["self"]

    assert (own["rss_bytes"], own["private_bytes"], own["uptime_s"]) == (30_000_000, None, 90)
    assert own["loop_lag_ms"] == {"p99": 1.25, "max": 8.0}
    assert own["gc_collections"] == [30, 3, 0]
    assert own["ring"] == {"used_bytes": 100, "peak_bytes": 200, "limit_bytes": 16_000_000}
    assert [listener["kernel_drops"] for listener in own["listeners"]] == [3, None, None]
    assert own["writer"]["last_commit_ms"] == NOW_MS - 400
    assert own["store"]["path"] == "/data/traces.db"


def test_kernel_drops_add_up_by_carrier() -> None:
    """Several sockets of a carrier count together; those that cannot tell count nothing."""
    figures = live()

    assert [figures.kernel_drops(carrier) for carrier in (Carrier.UDP, Carrier.UNIX, None)] == [3, 0, 3]


def test_a_well_agent_is_ok() -> None:
    """Without a problem the answer is short and has no error."""
    health = read(health_json(live(), problems_of(live(), None)))

    assert health == {
        "status": "ok", "version": "1.2.3", "pid": 42, "uptime_s": 90, "events_waiting": 2,
        "last_commit_ms": NOW_MS - 400,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stuck", "store_error", "codes"),
    [
        ("a commit takes longer than 10 s", None, ["writer_stuck"]),
        ("database or disk is full", None, ["disk_full"]),
        (None, "cannot be read", ["store_unreadable"]),
        ("disk I/O error", "cannot be read", ["writer_stuck", "store_unreadable"]),
    ],
)
def test_each_trouble_has_its_name(stuck: str | None, store_error: str | None, codes: list[str]) -> None:
    """What is wrong is named for programs and told to people; the first problem is the error."""
    figures = live(stuck=stuck)
    problems = problems_of(figures, store_error)
    health = read(health_json(figures, problems))

    assert [problem.code for problem in problems] == codes
    assert health["status"] == "failing"
    assert health["error"] == health["problems"][0]
    assert (stuck or store_error) in health["error"]["message"]


def test_a_clock_set_back_gives_no_negative_uptime() -> None:
    """Uptime is measured by the wall clock, and stops at zero when that was set back."""
    assert live(now_ms=NOW_MS - 10**9).uptime_s == 0


def test_problems_are_data() -> None:
    """Two problems with the same words are the same."""
    assert Problem("a", "b") == Problem("a", "b")
