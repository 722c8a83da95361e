"""Name users' metrics as Prometheus does: series of the rollup in, families out.

Names and tags are whatever a client made up. No two samples that are different series here may become
one there, and no name may get two types: a scrape with either is refused whole.

- What a counter lost is a counter of its own, `.._decrease_total`: Prometheus takes one that goes down for
  one that was reset, and would add it all up again.
- Names and labels keep letters, digits and `_`; everything else becomes `_`.
- Counters end in `_total`. Timers are milliseconds in StatsD and seconds in Prometheus (base units), so
  `db.query_ms|ms` becomes the summary `db_query_seconds`, as statsd_exporter does too.
- Where families want the same name (`hits|g` and `hits|h`), all but the first get a word appended.
- Where series of a family want the same labels, they get a label `statsd_series` with the raw name and tags.
"""

import json
import re
from collections.abc import Iterable
from typing import Final

from attrs import evolve, frozen

from trace_agent.core.events import MetricKind
from trace_agent.core.rollup import Series
from trace_agent.views.exposition import Family, FamilyType, Sample, label_name, metric_name

__all__ = ["OWN_PREFIX", "series_families"]

# Names of our own families; a user's metric of such a name is moved out of the way.
OWN_PREFIX: Final = "trace_agent_"
_USER_PREFIX: Final = "user_"
_RAW_LABEL: Final = "statsd_series"
# Labels that mean something to Prometheus (summaries, histograms) or to us.
_RESERVED: Final = frozenset({"quantile", "le", _RAW_LABEL})
_MS_PER_S: Final = 1000
# Unit endings that `_seconds` takes the place of.
_TIME_UNITS: Final = re.compile(r"_(ms|msec|msecs|millis|milliseconds|seconds)$")


@frozen
class _Shape:
    """How a kind is offered.

    Attributes:
        word: appended to a name that is taken.
        divisor: from the unit of StatsD to that of Prometheus.
    """

    type: FamilyType
    word: str
    divisor: int = 1


# In the order in which kinds get the name they want.
_SHAPES: Final = {
    MetricKind.COUNTER: _Shape("counter", "counted"),
    MetricKind.GAUGE: _Shape("gauge", "level"),
    MetricKind.TIMER: _Shape("summary", "timed", _MS_PER_S),
    MetricKind.HISTOGRAM: _Shape("summary", "observed"),
    MetricKind.DISTRIBUTION: _Shape("summary", "distributed"),
    MetricKind.SET: _Shape("gauge", "unique"),
}
_ORDER: Final = {kind: place for place, kind in enumerate(_SHAPES)}

_Labels = tuple[tuple[str, str], ...]


def series_families(series: Iterable[Series]) -> list[Family]:
    """Build families, in an order that does not depend on the order of `series`."""
    # What was lost is never put together with a metric that a user calls `.._decrease`.
    groups: dict[tuple[str, MetricKind, bool], list[Series]] = {}
    for one in series:
        groups.setdefault((_wanted_name(one), one.kind, False), []).append(one)
        if one.kind is MetricKind.COUNTER and one.total_decrease > 0:
            lost = evolve(one, name=f"{one.name}.decrease", total_sum=one.total_decrease)
            groups.setdefault((_wanted_name(lost), one.kind, True), []).append(lost)
    taken: set[str] = set()
    families = []
    for (wanted, kind, _), members in sorted(groups.items(), key=_place):
        shape = _SHAPES[kind]
        family = Family(_free_name(wanted, shape, taken), shape.type, f"StatsD {kind}, as sent by clients.")
        for labels, one in _labelled(members):
            family.samples.extend(_samples(one, dict(labels), shape))
        families.append(family)
    return families


def _place(group: tuple[tuple[str, MetricKind, bool], list[Series]]) -> tuple[str, int, bool]:
    """Return what families are sorted by: who comes first gets the name it wants."""
    (wanted, kind, lost), _ = group
    return wanted, _ORDER[kind], lost


def _wanted_name(series: Series) -> str:
    name = metric_name(series.name)
    if name.startswith(OWN_PREFIX):
        name = _USER_PREFIX + name
    if series.kind is MetricKind.COUNTER:
        return name if name.endswith("_total") else f"{name}_total"
    if series.kind is MetricKind.TIMER:
        return f"{_TIME_UNITS.sub('', name)}_seconds"
    return name


def _free_name(wanted: str, shape: _Shape, taken: set[str]) -> str:
    """Find a name whose samples nobody else has, and take it."""
    stem, suffix = (wanted[: -len("_total")], "_total") if shape.type == "counter" else (wanted, "")
    candidate = wanted
    attempt = 1
    while (names := _sample_names(candidate, shape)) & taken:
        candidate = f"{stem}_{shape.word}{'' if attempt == 1 else f'_{attempt}'}{suffix}"
        attempt += 1
    taken |= names
    return candidate


def _sample_names(name: str, shape: _Shape) -> set[str]:
    return {name, f"{name}_sum", f"{name}_count"} if shape.type == "summary" else {name}


def _labelled(members: list[Series]) -> list[tuple[_Labels, Series]]:
    """Give each series of a family labels of its own."""
    by_labels: dict[_Labels, list[Series]] = {}
    for one in members:
        by_labels.setdefault(_labels(one.tags), []).append(one)
    labelled = [
        (
            labels if len(same) == 1 else (*labels, (_RAW_LABEL, json.dumps([one.name, *one.tags]))),
            one,
        )
        for labels, same in by_labels.items()
        for one in same
    ]
    return sorted(labelled, key=lambda pair: pair[0])


def _labels(tags: tuple[str, ...]) -> _Labels:
    """Return tags as sorted labels; a bare word is `true`, values of one label are joined by commas."""
    values: dict[str, list[str]] = {}
    for tag in tags:
        key, colon, value = tag.partition(":")
        name = label_name(key)
        if name in _RESERVED:
            name = f"tag_{name}"
        # An empty label is the same as none to Prometheus, so it must not tell two series apart here.
        if value or not colon:
            values.setdefault(name, []).append(value or "true")
    return tuple((name, ",".join(sorted(values[name]))) for name in sorted(values))


def _samples(series: Series, labels: dict[str, str], shape: _Shape) -> list[Sample]:
    if shape.type != "summary":
        value = {
            MetricKind.COUNTER: series.total_sum,
            MetricKind.SET: series.members,
        }.get(series.kind, series.last)
        return [] if value is None else [Sample(value, labels)]
    samples = [
        Sample(value / shape.divisor, labels | {"quantile": quantile})
        for quantile, value in (("0.5", series.p50), ("0.95", series.p95), ("0.99", series.p99))
        if value is not None
    ]
    if series.total_sum is not None:
        samples.append(Sample(series.total_sum / shape.divisor, labels, "_sum"))
    samples.append(Sample(series.total_count, labels, "_count"))
    return samples
