"""Sort metric samples into series and windows: samples in, rows for `metrics` and Prometheus series out.

A series is a kind, a name and its tags. A window of a series holds the samples whose time lies in
[n * `window_ms`, (n + 1) * `window_ms`). A window is emitted by each drain that finds it changed, every
time under the same id, and is forgotten by the first drain after its end. A sample that comes later
opens another instance of its window with an id of its own: counts and sums of the instances add up.

What it may cost, whatever peers send:

- series: at most `max_series` and one `__other__` for each kind; names and tags may take 1 KiB on average.
  Those idle for an hour make room for new ones; a sample that finds none is folded into `__other__`.
- windows: at most two per series on average; beyond it samples fold into `__other__` too. A usual counter
  takes 0.7 kB with its window.
- a timer's window has a bucket of about 100 bytes per 2 % of difference between its values, a set's has
  70 bytes per member and at most 9 kB. A window may have 512 buckets or 128 exact members, fewer the more
  such windows there are, down to 32 and 8: at most 46 MB for 10,000 timers, 49 MB for 10,000 sets, in all.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from sys import getsizeof, intern
from typing import Final

from trace_agent.core.events import Metric
from trace_agent.core.windows import Cell, Series, SeriesKey, SeriesState, Window

__all__ = ["OTHER", "Rollup", "Series", "Window"]

# Where samples go that find no room.
OTHER: Final = "__other__"
_IDLE_MS: Final = 60 * 60 * 1000
# Idleness is the sum of the steps between drains, each at most this long: a wall clock that jumps must not
# make every series idle at once.
_LONGEST_STEP_MS: Final = 10 * 60 * 1000
_KEY_BYTES_PER_SERIES: Final = 1024
_WINDOWS_PER_SERIES: Final = 2
# Buckets of all sketches together, and the most and the least that one of them may have.
_BUCKETS: Final = 1 << 18
_MOST_BUCKETS: Final = 512
_LEAST_BUCKETS: Final = 32


class Rollup:
    """Folds samples into windows and keeps the totals of each series.

    Attributes:
        overflowed: samples that were folded into `__other__` for want of room.
    """

    def __init__(self, *, window_ms: int = 10_000, max_series: int, new_id: Callable[[float], str]) -> None:
        self.overflowed = 0
        self._window_ms = window_ms
        self._max_series = max_series
        self._new_id = new_id
        self._series: OrderedDict[SeriesKey, SeriesState] = OrderedDict()  # least recently used first
        self._key_bytes = 0
        self._cells: list[Cell] = []
        # The cells that are not the one their series used last.
        self._aside: dict[tuple[SeriesState, float], Cell] = {}
        self._sketches = 0
        self._drained_ms = 0.0
        self._age_ms = 0.0

    @property
    def windows(self) -> int:
        """Return how many windows are held."""
        return len(self._cells)

    def add(self, metric: Metric) -> None:
        """Fold `metric` into the window of its time."""
        state = self._series.get((metric.kind, metric.name, metric.tags))
        if state is None:
            state = self._admit(metric)
        cell = state.cell
        if cell is None or not cell.start_ms <= metric.ts_ms < cell.end_ms:
            cell = self._cell_at(state, metric)
        state.fold(cell, metric)

    def drain(self, now_ms: float) -> list[Window]:
        """Return the windows that changed since the last drain, and forget those that have ended.

        Args:
            now_ms: Unix milliseconds.
        """
        self._age_ms += min(max(now_ms - self._drained_ms, 0), _LONGEST_STEP_MS)
        self._drained_ms = now_ms
        windows = []
        kept = []
        for cell in self._cells:
            changed = cell.changed
            if changed:
                cell.changed = False
                cell.id = cell.id or self._new_id(cell.start_ms)
                windows.append(cell.window(int(now_ms)))
                cell.state.used_ms = self._age_ms
                self._series.move_to_end(cell.state.key)
            # A window of the future that rests is let go as well: a sender whose clock runs ahead would
            # pile up all of them until they end.
            if cell.end_ms <= now_ms or (cell.start_ms > now_ms and not changed):
                self._forget(cell)
            else:
                kept.append(cell)
        self._cells = kept
        return windows

    def __len__(self) -> int:
        """Return how many series are known."""
        return len(self._series)

    def series(self) -> Iterator[Series]:
        """Yield every series that is known, `__other__` of each kind in use among them."""
        return (state.series() for state in self._series.values())

    def _admit(self, metric: Metric) -> SeriesState:
        """Make room for a new series if possible, and return it, else `__other__`."""
        size_bytes = sum(map(getsizeof, metric.tags), getsizeof(metric.name))
        key_bytes_limit = self._max_series * _KEY_BYTES_PER_SERIES
        while len(self._series) >= self._max_series or self._key_bytes + size_bytes > key_bytes_limit:
            oldest = next(iter(self._series.values()), None)
            if oldest is None or self._age_ms - oldest.used_ms < _IDLE_MS:
                return self._other(metric)
            if oldest.cell is not None and oldest.cell.changed:  # used since the last drain
                oldest.used_ms = self._age_ms
                self._series.move_to_end(oldest.key)
            else:
                self._key_bytes -= oldest.size_bytes
                del self._series[oldest.key]
        # Series share most of their tags, whose texts need to be held once only.
        return self._know((metric.kind, metric.name, tuple(map(intern, metric.tags))), size_bytes)

    def _other(self, metric: Metric) -> SeriesState:
        self.overflowed += metric.times
        key = (metric.kind, OTHER, ())
        return self._series.get(key) or self._know(key, 0)

    def _know(self, key: SeriesKey, size_bytes: int) -> SeriesState:
        state = SeriesState(key, size_bytes, self._age_ms)
        self._series[key] = state
        self._key_bytes += size_bytes
        return state

    def _cell_at(self, state: SeriesState, metric: Metric) -> Cell:
        """Return the cell of a time that is not the one used last, a new one if need be."""
        start_ms = metric.ts_ms - metric.ts_ms % self._window_ms
        cell = self._aside.pop((state, start_ms), None)
        if cell is None:
            if len(self._cells) >= self._max_series * _WINDOWS_PER_SERIES:
                if state.key[1:] != (OTHER, ()):
                    state = self._other(metric)
                if state.cell is not None:  # its time is given up, the sample is not
                    return state.cell
            cell = self._open(state, start_ms)
        if state.cell is not None:
            self._aside[state, state.cell.start_ms] = state.cell
        state.cell = cell
        return cell

    def _open(self, state: SeriesState, start_ms: float) -> Cell:
        cell = Cell(state, start_ms, self._window_ms, late=start_ms + self._window_ms <= self._drained_ms)
        if state.sketched:
            self._sketches += 1
            cell.sketch(min(max(_BUCKETS // self._sketches, _LEAST_BUCKETS), _MOST_BUCKETS))
        self._cells.append(cell)
        return cell

    def _forget(self, cell: Cell) -> None:
        self._sketches -= cell.state.sketched
        if cell.state.cell is cell:
            cell.state.cell = None
        else:
            del self._aside[cell.state, cell.start_ms]
