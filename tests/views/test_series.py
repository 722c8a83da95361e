"""Users' metrics for Prometheus. Invariant: whatever clients name them, a scrape is valid.

Valid means: no two samples with the same name and labels, one type per name, each family in one piece,
names and labels of the right alphabet; and no series is lost.
"""

import re
from itertools import count
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from trace_agent.core.events import MetricKind
from trace_agent.core.rollup import Series
from trace_agent.views.exposition import render
from trace_agent.views.series import OWN_PREFIX, series_families


def one(name: str, kind: MetricKind, tags: tuple[str, ...] = (), **figures: Any) -> Series:  # noqa: ANN401 - any field
    """Return a series with the figures that its kind has."""
    known: dict[str, Any] = {"last": None, "total_sum": None, "members": None}
    if kind is MetricKind.GAUGE:
        known["last"] = 4.0
    elif kind is MetricKind.SET:
        known["members"] = 5
    elif kind is MetricKind.COUNTER:
        known["total_sum"] = 30.0
    else:
        known |= {"total_sum": 3000.0, "p50": 100.0, "p95": 200.0, "p99": 300.0}
    bare = Series(
        name=name,
        kind=kind,
        tags=tags,
        total_count=10.0,
        total_sum=None,
        total_decrease=0.0,
        last=None,
        p50=None,
        p95=None,
        p99=None,
        members=None,
    )
    return evolve(bare, **known | figures)


def lines(*series: Series) -> list[str]:
    """Return the sample lines."""
    return [line for line in render(series_families(series)).splitlines() if not line.startswith("#")]


def test_each_kind_has_its_type() -> None:
    """Counters end in _total, gauges and sets are gauges, the rest are summaries."""
    text = render(series_families(one(f"a.{kind}", kind) for kind in MetricKind))
    types = dict(re.findall(r"# TYPE (\S+) (\S+)", text))

    assert types == {
        "a_counter_total": "counter",
        "a_gauge": "gauge",
        "a_set": "gauge",
        "a_timer_seconds": "summary",
        "a_histogram": "summary",
        "a_distribution": "summary",
    }


def test_a_counter_keeps_its_total() -> None:
    """A name that ends in _total already is left as it is."""
    assert lines(one("hits_total", MetricKind.COUNTER), one("seen", MetricKind.COUNTER)) == [
        "hits_total 30",
        "seen_total 30",
    ]


@pytest.mark.parametrize("name", ["db.query", "db.query_ms", "db.query_seconds", "db_query.milliseconds"])
def test_timers_are_seconds(name: str) -> None:
    """StatsD's milliseconds become Prometheus' base unit, in name and value."""
    assert lines(one(name, MetricKind.TIMER)) == [
        'db_query_seconds{quantile="0.5"} 0.1',
        'db_query_seconds{quantile="0.95"} 0.2',
        'db_query_seconds{quantile="0.99"} 0.3',
        "db_query_seconds_sum 3",
        "db_query_seconds_count 10",
    ]


def test_histograms_keep_their_unit() -> None:
    """Nobody knows what a histogram measures, so its values stay."""
    assert lines(one("size", MetricKind.HISTOGRAM, p50=None)) == [
        'size{quantile="0.95"} 200',
        'size{quantile="0.99"} 300',
        "size_sum 3000",
        "size_count 10",
    ]


@pytest.mark.parametrize(
    ("tags", "labels"),
    [
        (("env:prod", "zone:a:b"), '{env="prod",zone="a:b"}'),
        (("canary",), '{canary="true"}'),
        (("env:",), ""),
        (("a.b:1", "a-b:2"), '{a_b="1,2"}'),
        (("quantile:x", "le:y"), '{tag_le="y",tag_quantile="x"}'),
        (("__name__:evil",), '{name__="evil"}'),
        (("9lives:yes",), '{_9lives="yes"}'),
        (('q:"\\\n',), '{q="\\"\\\\\\n"}'),
        (("größe:1",), '{gr__e="1"}'),
    ],
)
def test_tags_become_labels(tags: tuple[str, ...], labels: str) -> None:
    """Tags are labels of valid names; what Prometheus reserves is moved aside."""
    assert lines(one("x", MetricKind.GAUGE, tags)) == [f"x{labels} 4"]


def test_labels_that_meet_are_told_apart() -> None:
    """Names or tags that are the same to Prometheus get a label that says which is which."""
    assert lines(
        one("a.b", MetricKind.GAUGE), one("a-b", MetricKind.GAUGE), one("a_b", MetricKind.GAUGE, ("k:",))
    ) == [
        'a_b{statsd_series="[\\"a-b\\"]"} 4',
        'a_b{statsd_series="[\\"a.b\\"]"} 4',
        'a_b{statsd_series="[\\"a_b\\", \\"k:\\"]"} 4',
    ]


def test_only_those_that_meet_get_the_label() -> None:
    """Other series of the family stay as they are."""
    assert (
        lines(
            one("a.b", MetricKind.GAUGE), one("a-b", MetricKind.GAUGE), one("a.b", MetricKind.GAUGE, ("k:v",))
        )[0]
        == 'a_b{k="v"} 4'
    )


def test_kinds_that_want_one_name_are_told_apart() -> None:
    """One name never has two types: later kinds get a word appended, in an order of their own."""
    series = [one("hits", kind) for kind in reversed(MetricKind)]
    names = [family.name for family in series_families(series)]

    assert sorted(names) == sorted(
        ["hits", "hits_distributed", "hits_observed", "hits_seconds", "hits_total", "hits_unique"]
    )


def test_a_gauge_cannot_pose_as_part_of_a_summary() -> None:
    """`x_sum` beside a summary `x` would be the same sample twice."""
    text = render(series_families([one("x", MetricKind.HISTOGRAM), one("x_sum", MetricKind.GAUGE)]))

    assert "\nx_sum 3000\n" in text
    assert "\nx_sum_level 4\n" in text


def test_users_cannot_write_our_names() -> None:
    """A metric named like one of ours is moved out of the way."""
    assert lines(one("trace-agent.info", MetricKind.GAUGE)) == ["user_trace_agent_info 4"]


def test_what_is_not_known_makes_no_sample() -> None:
    """A gauge that only has changed by deltas, or a set before its first drain, has no value to show."""
    assert lines(one("g", MetricKind.GAUGE, last=None), one("s", MetricKind.SET, members=None)) == []


def test_order_does_not_depend_on_arrival() -> None:
    """Scrapes of the same series are the same text."""
    series = [one(name, kind, tags) for name in "ab" for kind in MetricKind for tags in ((), ("t:1",))]

    assert render(series_families(series)) == render(series_families(series[::-1]))


names = st.one_of(
    st.text(max_size=8),
    st.sampled_from([
        "a", "a.b", "a-b", "a_total", "a_sum", "a_count", "a_seconds", "a_ms", "a_level", "__other__",
        "trace_agent_info", "__proto__", "a_total_total", "A", "", "a_decrease_total",
    ]),
)  # fmt: skip
tags = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            ["k:v", "k:", "k", "k.x:v", "k-x:w", "quantile:1", "le:2", "statsd_series:x", ":", "__a:b"]
        ),
    ),
    max_size=4,
).map(lambda words: tuple(sorted(set(words))))


@given(st.sets(st.tuples(names, st.sampled_from(MetricKind), tags), max_size=25), st.booleans())
def test_no_name_breaks_a_scrape(keys: set[tuple[str, MetricKind, tuple[str, ...]]], shrunk: bool) -> None:
    """Every series comes out once, under a name of one type, and the parser reads the same values."""
    values = count(1)
    series = [
        one(
            name,
            kind,
            tags,
            total_count=next(values),
            last=float(next(values)),
            members=next(values),
            total_decrease=float(shrunk),
        )
        for name, kind, tags in sorted(keys)
    ]
    families = series_families(series)
    text = render(families)
    read = list(text_string_to_metric_families(text))
    seen = [
        (sample.name, tuple(sorted((k, v) for k, v in sample.labels.items() if v)))
        for family in read
        for sample in family.samples
    ]

    assert len(seen) == len(set(seen))
    assert len(re.findall(r"^# TYPE ", text, re.MULTILINE)) == len({family.name for family in families})
    assert not any(name.startswith(OWN_PREFIX) for name, _ in seen)
    figures = {
        one: {MetricKind.GAUGE: one.last, MetricKind.SET: one.members}.get(one.kind, one.total_count)
        for one in series
        if one.kind is not MetricKind.COUNTER
    }
    got = sorted(
        sample.value
        for family in read
        for sample in family.samples
        if family.type == "gauge" or (family.type == "summary" and sample.name == f"{family.name}_count")
    )
    assert got == sorted(figure for figure in figures.values() if figure is not None)
    totals = [sample.value for family in read for sample in family.samples if family.type == "counter"]
    assert len(totals) == (1 + shrunk) * sum(one.kind is MetricKind.COUNTER for one in series)


def test_what_a_counter_lost_is_not_mixed_up() -> None:
    """A counter that a user calls decrease stays apart from what another one lost."""
    text = lines(one("a", MetricKind.COUNTER, total_decrease=7.0), one("a.decrease", MetricKind.COUNTER))

    assert text == ["a_decrease_total 30", "a_decrease_counted_total 7", "a_total 30"]


def test_what_a_counter_lost_is_a_counter_of_its_own() -> None:
    """Prometheus takes a counter that falls for a restart, so it never falls."""
    assert lines(one("hits", MetricKind.COUNTER, total_decrease=7.0)) == [
        "hits_decrease_total 7",
        "hits_total 30",
    ]
