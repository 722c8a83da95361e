"""`/metrics` as a whole: valid, in base units, by the rules that promtool checks."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.views.building import NOW_MS, StoreBuilder
from tests.views.living import live
from tests.views.test_series import one
from trace_agent.core.events import MetricKind
from trace_agent.views.figures import read_figures
from trace_agent.views.prometheus import prometheus_text
from trace_agent.views.readonly import snapshot

# What `promtool check metrics` finds fault with in names (prometheus/client_golang, promlint).
UNITS = r"_(ms|milliseconds|us|minutes|hours|kb|kilobytes|mb|megabytes|bits)(_|$)"
RESERVED = r"(_count|_sum|_bucket|_info_total)$"


@pytest.fixture
def text(store: StoreBuilder) -> str:
    """A scrape of a busy agent with some metrics of users."""
    store.call()
    store.connection.execute("INSERT INTO upstreams VALUES ('up', 0)")
    with snapshot(store.path) as connection:
        figures = read_figures(connection)
    return prometheus_text(live(), figures, [one("hits", MetricKind.COUNTER), one("q", MetricKind.TIMER)])


def test_the_scrape_reads_back(text: str) -> None:
    """Counters by carrier and reason, times in seconds, and the users' metrics are there."""
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    assert found["trace_agent_info", (("version", "1.2.3"),)] == 1
    assert found["trace_agent_packets_received_total", (("carrier", "udp"),)] == 10
    assert found["trace_agent_packets_refused_total", (("carrier", "udp"), ("reason", "bad_json"))] == 2
    assert found["trace_agent_kernel_dropped_packets_total",
                 (("address", "127.0.0.1:9090"), ("carrier", "udp"))] == 3  # fmt: skip
    assert found["trace_agent_events_accepted_total", ()] == 20
    assert found["trace_agent_events_waiting", ()] == 2
    assert found["trace_agent_last_commit_timestamp_seconds", ()] == (NOW_MS - 400) / 1000
    assert found["trace_agent_loop_lag_max_seconds", ()] == 0.008
    assert found["trace_agent_writer_up", ()] == 1
    assert found["trace_agent_store_rows", (("table", "llm"),)] == 1
    assert found["trace_agent_upstream_pending_rows", (("upstream", "up"),)] == 1
    assert found["hits_total", ()] == 30
    assert found["q_seconds_count", ()] == 10


def test_families_keep_promtools_rules(text: str) -> None:
    """Help, snake_case, base units, _total for counters alone, no reserved endings, each family once."""
    types = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    helped = re.findall(r"^# HELP (\S+) \S.*\.$", text, re.MULTILINE)

    assert [name for name, _ in types] == helped
    assert len(set(helped)) == len(helped)
    for name, kind in types:
        assert re.fullmatch(r"[a-z_][a-z0-9_]*", name)
        assert (kind == "counter") == name.endswith("_total")
        assert not re.search(UNITS, name)
        assert not re.search(RESERVED, name)
        assert not re.search(r"_(counter|gauge|summary|histogram)$", name)


def test_what_cannot_be_told_is_absent() -> None:
    """Without a store only one family of it is there, and says so; unknown figures make no sample."""
    text = prometheus_text(live(loop_lag_p99_ms=None, stuck="disk is full"), None, [])

    assert "\ntrace_agent_store_up 0\n" in text
    assert "\ntrace_agent_writer_up 0\n" in text
    for name in ("store_rows", "private_memory_bytes", "loop_lag_p99_seconds", 'file="wal"'):
        assert name not in text
