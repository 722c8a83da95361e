"""Fold the samples of one series: a metric into a window, a window into its row, a series into its totals.

Which series and window a sample belongs to, and what happens when there are too many, is `rollup`'s.
"""

import math
from collections.abc import Callable
from typing import Final, TypeAlias

from attrs import Factory, define, field, frozen

from trace_agent.core.events import Metric, MetricKind
from trace_agent.core.sketch import Distinct, QuantileSketch

__all__ = ["Cell", "Series", "SeriesKey", "SeriesState", "Window"]

SeriesKey: TypeAlias = tuple[MetricKind, str, tuple[str, ...]]
# p50, p95, p99 of a window, members of a set's.
_Figures: TypeAlias = tuple[float | None, float | None, float | None, int | None]

# HyperLogLog takes 4 KiB, so only few members are worth their hashes.
_BUCKETS_PER_MEMBER: Final = 4
# Sums of values up to here, each weighing up to 2^53, stay finite; greater ones are taken as this.
_VALUE_LIMIT: Final = 1e200
_WEIGHT_LIMIT: Final = 2**53


@frozen
class Window:
    """The samples of one series in one window: a row of `metrics`. None where the kind has no such figure.

    Attributes:
        ts_ms: start of the window, Unix milliseconds.
        received_ms: the drain that emitted it.
        count: samples; one sent at a sample rate stands for 1/rate.
        members: how many different ones, for a set.
        sketch: a `QuantileSketch`, or a `Distinct` for a set, as bytes.
    """

    id: str
    ts_ms: float
    window_ms: int
    received_ms: int
    name: str
    kind: MetricKind
    tags: tuple[str, ...]
    count: float
    sum: float | None = None
    min: float | None = None
    max: float | None = None
    last: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    members: int | None = None
    sketch: bytes | None = None


@frozen
class Series:
    """What a series has come to since it is known. None where the kind has no such figure.

    Attributes:
        total_count: samples, as in `Window.count`.
        total_sum: their sum; a counter's negative samples are left out, so it never goes down.
        total_decrease: what a counter's negative samples come to, as a positive number.
        last: of a gauge.
        p50: of the newest window as of the last drain, like `p95`, `p99` and `members`.
    """

    name: str
    kind: MetricKind
    tags: tuple[str, ...]
    total_count: float
    total_sum: float | None
    total_decrease: float
    last: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    members: int | None


@define(eq=False)
class SeriesState:
    """A series: its totals, and the cell it used last.

    Attributes:
        size_bytes: of its name and tags.
        used_ms: the rollup's age when a drain last saw it changed.
        fold: puts a sample into a cell of the series, in the way of its kind.
        last_ms: start of the window that `last` is from.
        newest: figures of the newest window, which begins at `newest_ms`.
    """

    key: SeriesKey
    size_bytes: int
    used_ms: float
    fold: "Callable[[Cell, Metric], None]" = field(
        init=False, default=Factory(lambda self: _FOLDS[self.key[0]], takes_self=True)
    )
    cell: "Cell | None" = None
    total_count: float = 0
    total_sum: float = 0.0
    total_decrease: float = 0.0
    last: float | None = None
    last_ms: float = -math.inf
    newest: _Figures = (None, None, None, None)
    newest_ms: float = -math.inf

    @property
    def sketched(self) -> bool:
        """Return whether cells of the series have a sketch."""
        return self.fold is _fold_number or self.fold is _fold_member

    def series(self) -> Series:
        """Return what the series has come to."""
        kind, name, tags = self.key
        summed = self.fold is _fold_counter or self.fold is _fold_number
        total_sum = self.total_sum if summed else None
        return Series(
            name,
            kind,
            tags,
            float(self.total_count),
            total_sum,
            self.total_decrease,
            self.last,
            *self.newest,
        )


@define(eq=False)
class Cell:
    """A window of a series while it is held.

    Attributes:
        late: it had ended when its first sample came.
        changed: since the last drain.
        last: of a gauge, as `min` and `max`.
        numbers: of a timer, histogram or distribution.
        members: of a set.
    """

    state: SeriesState
    start_ms: float
    window_ms: int
    late: bool
    end_ms: float = field(init=False)
    id: str | None = None
    changed: bool = False
    count: float = 0
    sum: float = 0.0
    min: float = math.inf
    max: float = -math.inf
    last: float | None = None
    numbers: QuantileSketch | None = None
    members: Distinct | None = None

    def __attrs_post_init__(self) -> None:
        self.end_ms = self.start_ms + self.window_ms

    def sketch(self, buckets: int) -> None:
        """Give the cell the sketch that its kind needs, of the size that `buckets` buckets have."""
        if self.state.fold is _fold_number:
            self.numbers = QuantileSketch(buckets)
        else:
            self.members = Distinct(buckets // _BUCKETS_PER_MEMBER)

    def window(self, received_ms: int) -> Window:
        """Return the state so far as a row."""
        kind, name, tags = self.state.key
        extent = self if self.numbers is None else self.numbers
        sketch = self.numbers or self.members
        p50, p95, p99, members = self._figures()
        return Window(
            id=self.id or "",
            ts_ms=self.start_ms,
            window_ms=self.window_ms,
            received_ms=received_ms,
            name=name,
            kind=kind,
            tags=tags,
            count=float(self.count),
            sum=self.sum if self.members is None else None,
            min=extent.min if extent.min <= extent.max else None,
            max=extent.max if extent.min <= extent.max else None,
            last=self.last,
            p50=p50,
            p95=p95,
            p99=p99,
            members=members,
            sketch=None if sketch is None else sketch.to_bytes(),
        )

    def _figures(self) -> _Figures:
        """Return what takes long to find, and leave it with the series if that has nothing newer."""
        figures: _Figures = (None, None, None, None)
        if self.numbers is not None:
            p50, p95, p99 = self.numbers.quantiles(0.5, 0.95, 0.99)
            figures = (p50, p95, p99, None)
        elif self.members is not None:
            figures = (None, None, None, self.members.count())
        if self.start_ms >= self.state.newest_ms:
            self.state.newest_ms = self.start_ms
            self.state.newest = figures
        return figures


def _fold_counter(cell: Cell, metric: Metric) -> None:
    weight = metric.times if metric.rate == 1 else _weight(metric)
    amount = weight * _number(metric)
    cell.count += weight
    cell.sum += amount
    cell.changed = True
    state = cell.state
    state.total_count += weight
    if amount > 0:
        state.total_sum += amount
    else:
        state.total_decrease -= amount


def _fold_gauge(cell: Cell, metric: Metric) -> None:
    times, value, state = metric.times, _number(metric), cell.state
    first = last = value
    if metric.delta:
        base = state.last or 0.0
        first = base + value
        last = base + value * times
    cell.count += times
    cell.sum += (first + last) / 2 * times  # equal steps
    cell.min = min(cell.min, first, last)
    cell.max = max(cell.max, first, last)
    cell.last = last
    cell.changed = True
    state.total_count += times
    # An old value that comes late says nothing about now.
    if metric.delta or not cell.late or cell.start_ms >= state.last_ms:
        state.last = last
        state.last_ms = cell.start_ms


def _fold_number(cell: Cell, metric: Metric) -> None:
    assert cell.numbers is not None
    weight = metric.times if metric.rate == 1 else _weight(metric)
    value = _number(metric)
    amount = weight * value
    cell.numbers.add(value, weight)
    cell.count += weight
    cell.sum += amount
    cell.changed = True
    state = cell.state
    state.total_count += weight
    state.total_sum += amount


def _fold_member(cell: Cell, metric: Metric) -> None:
    assert cell.members is not None
    cell.members.add(str(metric.value))
    cell.count += metric.times
    cell.changed = True
    cell.state.total_count += metric.times


_FOLDS: Final[dict[MetricKind, Callable[[Cell, Metric], None]]] = {
    MetricKind.COUNTER: _fold_counter,
    MetricKind.GAUGE: _fold_gauge,
    MetricKind.TIMER: _fold_number,
    MetricKind.HISTOGRAM: _fold_number,
    MetricKind.DISTRIBUTION: _fold_number,
    MetricKind.SET: _fold_member,
}


def _number(metric: Metric) -> float:
    value = metric.value
    assert not isinstance(value, str)  # only sets have members
    if -_VALUE_LIMIT < value < _VALUE_LIMIT:
        return value
    return math.copysign(_VALUE_LIMIT, value)


def _weight(metric: Metric) -> float:
    return min(metric.times / metric.rate, _WEIGHT_LIMIT)
