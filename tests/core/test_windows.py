"""What the samples of one series come to in a window and in total, kind by kind."""

import math
from typing import Final

import pytest
from attrs import evolve

from trace_agent.core.events import Metric, MetricKind
from trace_agent.core.sketch import Distinct, QuantileSketch
from trace_agent.core.windows import Cell, Series, SeriesState, Window

WINDOW_MS: Final = 10_000


def folded(*samples: Metric, late: bool = False) -> tuple[Window, Series]:
    """Fold samples of one series into a window; return its row and what the series has come to."""
    state = SeriesState((samples[0].kind, samples[0].name, samples[0].tags), size_bytes=0, used_ms=0)
    cell = Cell(state, 0.0, WINDOW_MS, late=late)
    if state.sketched:
        cell.sketch(buckets=512)
    for sample in samples:
        state.fold(cell, sample)
    return cell.window(received_ms=5), state.series()


def sample(kind: MetricKind, value: float | str, *, times: int = 1, rate: float = 1.0) -> Metric:
    """Return a sample of one and the same series."""
    return Metric("requests", kind, value, ("a:b",), rate, 1234.5, times=times)


def delta(value: float, times: int = 1) -> Metric:
    """Return a change of a gauge."""
    return evolve(sample(MetricKind.GAUGE, value, times=times), delta=True)


def test_counter() -> None:
    """A counter has count and sum, scaled by its sample rate, and nothing else."""
    window, series = folded(
        sample(MetricKind.COUNTER, 2.0, times=3), sample(MetricKind.COUNTER, 1.0, times=2, rate=0.25)
    )
    expected = Window("", 0.0, WINDOW_MS, 5, "requests", MetricKind.COUNTER, ("a:b",), count=11.0, sum=14.0)

    assert expected == window
    assert (
        Series("requests", MetricKind.COUNTER, ("a:b",), 11.0, 14.0, 0.0, None, None, None, None, None)
        == series
    )


def test_counter_never_goes_down() -> None:
    """A negative sample lowers the window's sum, not the total for Prometheus; it has a total of its own."""
    window, series = folded(*(sample(MetricKind.COUNTER, value) for value in (5.0, -3.0)))

    assert (window.count, window.sum) == (2.0, 2.0)
    assert (series.total_count, series.total_sum, series.total_decrease) == (2.0, 5.0, 3.0)


def test_gauge() -> None:
    """A gauge has its last value and its range; a sample rate means nothing to it."""
    window, series = folded(sample(MetricKind.GAUGE, 70.0, times=2, rate=0.5), sample(MetricKind.GAUGE, -1.0))

    assert (window.count, window.sum, window.min, window.max, window.last) == (3.0, 139.0, -1.0, 70.0, -1.0)
    assert (window.p50, window.members, window.sketch) == (None, None, None)
    assert (series.last, series.total_sum, series.total_count) == (-1.0, None, 3.0)


@pytest.mark.parametrize(
    ("samples", "last", "total", "least", "greatest"),
    [
        ([sample(MetricKind.GAUGE, 70.0), delta(5.0), delta(-3.0)], 72.0, 217.0, 70.0, 75.0),
        ([delta(-12.0)], -12.0, -12.0, -12.0, -12.0),
        ([sample(MetricKind.GAUGE, 10.0), delta(2.0, times=3)], 16.0, 10.0 + 12 + 14 + 16, 10.0, 16.0),
        ([sample(MetricKind.GAUGE, 10.0), delta(-4.0, times=2)], 2.0, 18.0, 2.0, 10.0),
        ([delta(1.0), sample(MetricKind.GAUGE, 5.0), delta(1.0)], 6.0, 12.0, 1.0, 6.0),
    ],
)
def test_gauge_deltas(
    samples: list[Metric], last: float, total: float, least: float, greatest: float
) -> None:
    """Changes add to the last value known, from zero where there is none; equal ones each in turn."""
    window, series = folded(*samples)

    assert (window.last, window.sum, window.min, window.max) == (last, total, least, greatest)
    assert series.last == last


@pytest.mark.parametrize("kind", [MetricKind.TIMER, MetricKind.HISTOGRAM, MetricKind.DISTRIBUTION])
def test_numbers(kind: MetricKind) -> None:
    """Timers, histograms and distributions have count, sum, range, quantiles and the sketch of them."""
    window, series = folded(sample(kind, 100.0, times=98), sample(kind, 3000.0, rate=0.5))
    assert window.sketch is not None
    restored = QuantileSketch.from_bytes(window.sketch)

    assert (window.count, window.sum, window.min, window.max) == (100.0, 15_800.0, 100.0, 3000.0)
    assert (window.last, window.members) == (None, None)
    assert [window.p50, window.p95, window.p99] == restored.quantiles(0.5, 0.95, 0.99)
    assert math.isclose(100, window.p50 or 0, rel_tol=0.0101)
    assert math.isclose(3000, window.p99 or 0, rel_tol=0.0101)
    assert (series.p50, series.p95, series.p99) == (window.p50, window.p95, window.p99)
    assert (series.total_count, series.total_sum) == (100.0, 15_800.0)


def test_set() -> None:
    """A set has samples and different members; a sample rate means nothing to it."""
    window, series = folded(
        *(sample(MetricKind.SET, member, times=2, rate=0.5) for member in ("ann", "bob", "ann"))
    )
    assert window.sketch is not None

    assert (window.count, window.members, window.sum, window.min) == (6.0, 2, None, None)
    assert Distinct.from_bytes(window.sketch).count() == 2
    assert (series.members, series.total_count, series.total_sum) == (2, 6.0, None)


@pytest.mark.parametrize("kind", [MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.TIMER])
def test_sums_stay_finite(kind: MetricKind) -> None:
    """The greatest values at the least rates never make a sum that JSON and SQL cannot hold."""
    window, series = folded(
        *(sample(kind, value, times=10**9, rate=5e-324) for value in (1.7e308, 1.7e308, -1.7e308))
    )
    figures = (window.count, window.sum, window.min, window.max, window.last, window.p99, series.total_sum)

    assert all(math.isfinite(figure) for figure in figures if figure is not None)


def test_late_gauge_says_nothing_about_now() -> None:
    """An old value that comes late stands in its window but is not the last value known."""
    state = SeriesState((MetricKind.GAUGE, "requests", ("a:b",)), size_bytes=0, used_ms=0)
    live = Cell(state, 50_000.0, WINDOW_MS, late=False)
    late = Cell(state, 10_000.0, WINDOW_MS, late=True)
    state.fold(live, sample(MetricKind.GAUGE, 7.0))
    state.fold(late, sample(MetricKind.GAUGE, 3.0))

    assert late.window(received_ms=0).last == 3.0
    assert state.series().last == 7.0


def test_late_gauge_is_better_than_none() -> None:
    """Where nothing newer is known, late values are known values, and changes always apply."""
    state = SeriesState((MetricKind.GAUGE, "requests", ("a:b",)), size_bytes=0, used_ms=0)
    late = Cell(state, 10_000.0, WINDOW_MS, late=True)
    state.fold(late, sample(MetricKind.GAUGE, 3.0))
    state.fold(late, sample(MetricKind.GAUGE, 4.0))
    state.fold(Cell(state, 0.0, WINDOW_MS, late=True), delta(0.5))

    assert state.series().last == 4.5


def test_figures_of_the_newest_window_count() -> None:
    """A series shows the quantiles of its newest window, also when an older one is emitted after it."""
    state = SeriesState((MetricKind.TIMER, "requests", ()), size_bytes=0, used_ms=0)
    cells = [Cell(state, start_ms, WINDOW_MS, late=False) for start_ms in (20_000.0, 10_000.0)]
    for cell, value in zip(cells, (5.0, 9.0), strict=True):
        cell.sketch(buckets=512)
        state.fold(cell, sample(MetricKind.TIMER, value))
        cell.window(received_ms=0)

    assert state.series().p50 == 5.0
