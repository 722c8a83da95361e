"""Samples find their windows, windows their rows, and neither can be made to pile up.

Invariant: whatever samples come and whenever windows are drained, the newest rows of all ids add up to the
samples, and series and windows stay within their bounds.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.core.events import Metric, MetricKind
from trace_agent.core.rollup import OTHER, Rollup, Series, Window

HOUR_MS: Final = 3_600_000


def ids() -> Callable[[float], str]:
    """Return a maker of ids that tell the order in which they were made."""
    numbers = itertools.count(1)
    return lambda ts_ms: f"{ts_ms:.0f}-{next(numbers)}"


def rollup_of(*, max_series: int = 100, window_ms: int = 10_000) -> Rollup:
    """Return a new rollup."""
    return Rollup(max_series=max_series, window_ms=window_ms, new_id=ids())


def count(name: str, ts_ms: float, value: float = 1.0, tags: tuple[str, ...] = ()) -> Metric:
    """Return a sample of a counter."""
    return Metric(name, MetricKind.COUNTER, value, tags, 1.0, ts_ms)


def gauge(name: str, ts_ms: float, value: float, *, delta: bool = False) -> Metric:
    """Return a sample of a gauge."""
    return Metric(name, MetricKind.GAUGE, value, (), 1.0, ts_ms, delta=delta)


def brief(windows: list[Window]) -> list[tuple[str, str, float, float | None]]:
    """Return id, name, start and sum of each window."""
    return [(window.id, window.name, window.ts_ms, window.sum) for window in windows]


def by_name(rollup: Rollup) -> dict[str, Series]:
    """Return the series of a rollup in which each name is used once, least recently used first."""
    return {series.name: series for series in rollup.series()}


def test_window_of_a_sample() -> None:
    """A sample belongs to the window that its time lies in: the start is in, the end is out."""
    rollup = rollup_of()
    for ts_ms in (20_000.0, 29_999.999, 30_000.0):
        rollup.add(count("a", ts_ms))

    assert brief(rollup.drain(35_000.0)) == [("20000-1", "a", 20_000.0, 2.0), ("30000-2", "a", 30_000.0, 1.0)]


def test_open_window_keeps_its_id() -> None:
    """The open window is emitted as it stands at each drain that finds it changed, under one id."""
    rollup = rollup_of()
    rollup.add(count("a", 20_000.0))
    first = rollup.drain(21_000.0)
    quiet = rollup.drain(22_000.0)
    rollup.add(count("a", 22_500.0))
    second = rollup.drain(23_000.0)

    assert brief(first) == [("20000-1", "a", 20_000.0, 1.0)]
    assert quiet == []
    assert brief(second) == [("20000-1", "a", 20_000.0, 2.0)]
    assert [window.received_ms for window in first + second] == [21_000, 23_000]


def test_late_sample_opens_another_instance() -> None:
    """A window that was seen closed is forgotten: a later sample gets a row of its own that adds up."""
    rollup = rollup_of()
    rollup.add(count("a", 20_000.0, 5.0))
    first = rollup.drain(30_000.0)
    rollup.add(count("a", 20_500.0, 2.0))
    second = rollup.drain(31_000.0)

    assert brief(first + second) == [("20000-1", "a", 20_000.0, 5.0), ("20000-2", "a", 20_000.0, 2.0)]
    assert rollup.windows == 0
    assert by_name(rollup)["a"].total_sum == 7.0


def test_samples_of_the_far_past() -> None:
    """Times from 1970 on have their windows like any other."""
    rollup = rollup_of()
    for ts_ms in (0.0, 9_999.0, 1.8e12):
        rollup.add(count("a", ts_ms))

    assert [window.ts_ms for window in rollup.drain(1.8e12)] == [0.0, 1.8e12]


def test_windows_of_one_series_in_turns() -> None:
    """Samples that alternate between windows go on in the same two rows."""
    rollup = rollup_of()
    for _ in range(3):
        rollup.add(count("a", 9_999.0))
        rollup.add(count("a", 10_000.0))

    assert brief(rollup.drain(10_001.0)) == [("0-1", "a", 0.0, 3.0), ("10000-2", "a", 10_000.0, 3.0)]
    assert rollup.windows == 1


def test_resting_window_of_the_future_is_forgotten() -> None:
    """A sender whose clock runs ahead does not pile up windows until they end."""
    rollup = rollup_of()
    rollup.add(count("a", 500_000.0))
    first = rollup.drain(10_000.0)
    rollup.add(count("a", 500_001.0))
    second = rollup.drain(11_000.0)
    third = rollup.drain(12_000.0)

    assert brief(first + second + third) == [
        ("500000-1", "a", 500_000.0, 1.0),
        ("500000-1", "a", 500_000.0, 2.0),
    ]
    assert rollup.windows == 0


def test_series_differ_by_kind_name_and_tags() -> None:
    """Each combination is a series of its own."""
    rollup = rollup_of()
    rollup.add(count("a", 0.0))
    rollup.add(count("a", 0.0, tags=("x:1",)))
    rollup.add(evolve(count("a", 0.0), kind=MetricKind.TIMER))
    rollup.add(count("b", 0.0))

    assert len(rollup.drain(1.0)) == 4
    assert len(list(rollup.series())) == 4


@pytest.mark.parametrize("name", ["__proto__", "constructor", "toString", "", "\u2603", OTHER])
def test_names_are_only_names(name: str) -> None:
    """No name means anything to us, of any kind."""
    rollup = rollup_of()
    for kind in MetricKind:
        value = "7" if kind is MetricKind.SET else 7.0
        rollup.add(Metric(name, kind, value, (), 1.0, 0.0))

    assert {window.kind for window in rollup.drain(1.0) if window.name == name} == set(MetricKind)


def test_overflow_folds_into_other() -> None:
    """Beyond `max_series` samples go to `__other__` of their kind, without tags, and are counted."""
    rollup = rollup_of(max_series=2)
    for name in ("a", "b", "c", "d", "a"):
        rollup.add(evolve(count(name, 0.0, tags=("x:1",)), times=2))
    rollup.add(gauge("g", 0.0, 3.0))
    windows = rollup.drain(1.0)

    assert {(window.kind.value, window.name, window.tags): window.sum for window in windows} == {
        ("counter", "a", ("x:1",)): 4.0,
        ("counter", "b", ("x:1",)): 2.0,
        ("counter", OTHER, ()): 4.0,
        ("gauge", OTHER, ()): 3.0,
    }
    assert rollup.overflowed == 5


def test_samples_named_other_share_its_series() -> None:
    """A sender's own `__other__` is the same series, so Prometheus never sees it twice."""
    rollup = rollup_of(max_series=1)
    for name in (OTHER, "a", "b"):
        rollup.add(count(name, 0.0))

    assert [(series.name, series.total_sum) for series in rollup.series()] == [(OTHER, 3.0)]


def test_idle_series_make_room() -> None:
    """A series unused for an hour gives way to a new one, the least recently used first."""
    rollup = rollup_of(max_series=2)
    drains = itertools.count(0, 300_000)
    rollup.add(count("a", 0.0))
    rollup.add(count("b", 0.0))
    rollup.drain(next(drains))
    while (now_ms := next(drains)) <= HOUR_MS:
        rollup.add(count("a", now_ms))
        rollup.drain(now_ms)
    rollup.add(count("c", now_ms))
    rollup.add(count("d", now_ms))

    assert list(by_name(rollup)) == ["a", "c", OTHER]
    assert rollup.overflowed == 1


def test_series_used_just_now_keeps_its_place() -> None:
    """A series idle for an hour that got a sample since the last drain is not idle."""
    rollup = rollup_of(max_series=1)
    rollup.add(count("a", 0.0))
    for now_ms in range(0, 2 * HOUR_MS, 300_000):
        rollup.drain(now_ms)
    rollup.add(count("a", 2.0 * HOUR_MS))
    rollup.add(count("b", 2.0 * HOUR_MS))
    rollup.add(count("c", 2.0 * HOUR_MS))

    assert by_name(rollup)["a"].total_sum == 2.0
    assert rollup.overflowed == 2


def test_a_jump_of_the_clock_makes_nobody_idle() -> None:
    """A wall clock that jumps by a year does not empty the house."""
    rollup = rollup_of(max_series=1)
    rollup.add(count("a", 0.0))
    rollup.drain(1_000.0)
    rollup.drain(365 * 24.0 * HOUR_MS)
    rollup.drain(0.0)
    rollup.add(count("b", 0.0))

    assert list(by_name(rollup)) == ["a", OTHER]


def test_room_is_measured_in_bytes_too() -> None:
    """Names and tags together are bounded, however few the series."""
    rollup = rollup_of(max_series=100)
    for number in range(200):
        rollup.add(count(f"{number}{'n' * 512}", 0.0, tags=("t" * 512, "u" * 512)))
    rollup.add(count("huge", 0.0, tags=tuple(f"tag-{number}" for number in range(5_000))))

    assert len(list(rollup.series())) < 70
    assert rollup.overflowed > 130


def test_idle_series_make_room_in_bytes() -> None:
    """The bytes of a series that gave way are free for others."""
    rollup = rollup_of(max_series=100)
    now_ms = 0.0
    for generation in range(4):
        for number in range(80):
            rollup.add(count(f"{generation}-{number}{'n' * 1024}", now_ms))
        for _ in range(10):
            now_ms += HOUR_MS / 8
            rollup.drain(now_ms)

    assert rollup.overflowed == 0


def test_a_gauge_is_known_while_it_lives() -> None:
    """Changes add to the value of windows long closed."""
    rollup = rollup_of()
    rollup.add(gauge("g", 0.0, 70.0))
    rollup.drain(20_000.0)
    rollup.add(gauge("g", 50_000.0, 5.0, delta=True))
    (window,) = rollup.drain(51_000.0)

    assert (window.last, window.min, window.max) == (75.0, 75.0, 75.0)
    assert by_name(rollup)["g"].last == 75.0


def test_late_gauge_is_not_the_last_value() -> None:
    """A value for a window that had ended at the last drain does not undo a newer one."""
    rollup = rollup_of()
    rollup.add(gauge("g", 50_000.0, 70.0))
    rollup.drain(51_000.0)
    rollup.add(gauge("g", 1_000.0, 5.0))
    (window,) = rollup.drain(52_000.0)

    assert (window.ts_ms, window.last) == (0.0, 5.0)
    assert by_name(rollup)["g"].last == 70.0


def test_totals_outlive_windows() -> None:
    """What Prometheus sees of a series goes on while its windows come and go."""
    rollup = rollup_of()
    for ts_ms, value in ((0.0, 4.0), (20_000.0, 6.0)):
        rollup.add(Metric("t", MetricKind.TIMER, value, (), 1.0, ts_ms))
        rollup.add(Metric("s", MetricKind.SET, str(value), (), 1.0, ts_ms))
        rollup.drain(ts_ms + 10_000)
    timer, members = by_name(rollup)["t"], by_name(rollup)["s"]

    assert (timer.total_count, timer.total_sum, timer.p50, timer.p99) == (2.0, 10.0, 6.0, 6.0)
    assert (members.total_count, members.members) == (2.0, 1)


def test_windows_are_bounded() -> None:
    """Samples with ever new times go to a window there is, once there are two for each series."""
    rollup = rollup_of(max_series=5)
    for number in range(1_000):
        rollup.add(count(f"n{number % 3}", number * 10_000.0))
        rollup.add(count(OTHER, number * 10_000.0))
    held = rollup.windows
    windows = rollup.drain(1e9)

    assert held <= 2 * 5 + len(MetricKind)
    assert sum(window.sum or 0 for window in windows) == 2_000.0
    assert rollup.windows == 0


def test_first_other_window_finds_room() -> None:
    """When all windows are taken by others, a kind's `__other__` still gets one."""
    rollup = rollup_of(max_series=1)
    for ts_ms in (0.0, 10_000.0):
        rollup.add(count("a", ts_ms))
    rollup.add(gauge("g", 0.0, 1.0))
    rollup.add(gauge("g", 90_000.0, 2.0))

    assert rollup.windows == 3
    assert [(window.name, window.last) for window in rollup.drain(1.0)][2:] == [(OTHER, 2.0)]


def flood(rollup: Rollup, kind: MetricKind, values: list[float | str], ts_ms: float) -> bytes:
    """Send `values` to one series and return the sketch of its window."""
    for value in values:
        rollup.add(Metric("flooded", kind, value, (), 1.0, ts_ms))
    return next(window.sketch or b"" for window in rollup.drain(ts_ms + 1) if window.name == "flooded")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (MetricKind.TIMER, [1.03**number for number in range(500)]),
        (MetricKind.SET, [f"m{number}" for number in range(100)]),
    ],
)
def test_sketches_share_their_room(kind: MetricKind, values: list[float | str]) -> None:
    """The more windows have a sketch, the less each may take; when they are gone it may take more."""
    rollup = rollup_of(max_series=3_000)
    for number in range(2_000):
        rollup.add(Metric(f"n{number}", kind, values[0], (), 1.0, 0.0))
    crowded = flood(rollup, kind, values, 0.0)
    rollup.drain(20_000.0)
    alone = flood(rollup, kind, values, 30_000.0)

    if kind is MetricKind.SET:
        assert (crowded[:2], alone[:2]) == (b"H1", b"D1")  # estimated, exact
    else:
        assert len(crowded) <= 30 + 3 * 131
        assert len(alone) >= 30 + 2 * 490


metrics = st.builds(
    Metric,
    name=st.sampled_from(["a", "b", "c", "d", OTHER]),
    kind=st.sampled_from(
        [MetricKind.COUNTER, MetricKind.TIMER, MetricKind.HISTOGRAM, MetricKind.DISTRIBUTION]
    ),
    value=st.floats(-1e6, 1e6),
    tags=st.sampled_from([(), ("x:1",), ("x:1", "y:2")]),
    rate=st.sampled_from([1.0, 0.5, 0.1]),
    ts_ms=st.floats(0, 200_000),
    times=st.integers(1, 100),
)
moments = st.integers(0, 250_000).map(float)


@given(st.lists(st.one_of(metrics, moments), max_size=80), st.integers(1, 12))
def test_nothing_is_lost(steps: list[Metric | float], max_series: int) -> None:
    """The newest row of each id adds up to the samples; bounds hold throughout."""
    rollup = rollup_of(max_series=max_series)
    rows: dict[str, Window] = {}
    samples = [step for step in steps if isinstance(step, Metric)]
    for step in [*steps, 1e9]:
        if isinstance(step, Metric):
            rollup.add(step)
        else:
            rows |= {window.id: window for window in rollup.drain(step)}

        assert rollup.windows <= 2 * max_series + len(MetricKind)
        assert len(list(rollup.series())) <= max_series + len(MetricKind)

    assert math.isclose(
        math.fsum(sample.times / sample.rate for sample in samples),
        math.fsum(row.count for row in rows.values()),
    )
    assert math.isclose(
        math.fsum(float(sample.value) * sample.times / sample.rate for sample in samples),
        math.fsum(row.sum or 0 for row in rows.values()),
        rel_tol=1e-9,
        abs_tol=1e-3,
    )
    assert rollup.windows == 0


@given(st.lists(st.one_of(metrics, moments), max_size=40))
def test_totals_never_go_down(steps: list[Metric | float]) -> None:
    """No sample and no drain lowers the total of a counter."""
    rollup = rollup_of()
    before: dict[tuple[str, tuple[str, ...]], float] = {}
    for step in steps:
        if isinstance(step, Metric):
            rollup.add(step)
        else:
            rollup.drain(step)
        after = {(series.name, series.tags): series.total_sum or 0 for series in _counters(rollup)}

        assert all(after[key] >= total for key, total in before.items())
        before = after


def _counters(rollup: Rollup) -> Iterator[Series]:
    return (series for series in rollup.series() if series.kind is MetricKind.COUNTER)
