"""Read a StatsD line of samples: one line in, metrics out.

    name:value[:value..]|type[|@rate][|#tag,tag:value][|Tseconds]

https://github.com/statsd/statsd/blob/master/docs/metric_types.md and
https://docs.datadoghq.com/developers/dogstatsd/datagram_shell. The fields after the type may stand in any
order, and unknown ones (`c:`, `e:`, `card:` and what will come) are ignored. Names need not be sanitised:
`weird:name|x@y:1|c` is a sample of `weird:name|x@y`.

A gauge's value with a sign is a change of the gauge (StatsD). DogStatsD knows no changes, but a gauge of its
clients that is negative from the first comes out the same.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from typing import Final

from trace_agent.core.errors import EventError, Reason
from trace_agent.core.events import Metric, MetricKind
from trace_agent.core.fields import EventReader
from trace_agent.core.values import FUTURE_LIMIT_MS, LABEL_CHARS

__all__ = ["KINDS", "LINE_CHARS", "check_characters", "check_length", "read_samples", "stamp_ms", "tags_of"]

# What the Datadog agent takes (its buffer, its clients' limit for events): a longer line is no metric.
LINE_CHARS: Final = 8192
# Up to the year 33658, which is clamped to now like any stamp from the future.
_STAMP_DIGITS: Final = 12

KINDS: Final = {
    "c": MetricKind.COUNTER,
    "g": MetricKind.GAUGE,
    "ms": MetricKind.TIMER,
    "h": MetricKind.HISTOGRAM,
    "d": MetricKind.DISTRIBUTION,
    "s": MetricKind.SET,
}
# Reading an attribute of an enum costs as much as splitting a line.
_GAUGE: Final = MetricKind.GAUGE
_SET: Final = MetricKind.SET
# float() also reads "nan", "infinity", "1_0", " 1 " and the digits of every script.
_NUMERALS: Final = "0123456789+-.eE"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def read_samples(
    line: str, times: int, now_ms: float, reader: EventReader, known_tags: dict[str, tuple[str, ...]]
) -> list[Metric]:
    """Read a line; several values make several metrics.

    Args:
        line: without its end; bytes that are no UTF-8 as surrogates (`surrogateescape`).
        times: how often the line came.
        now_ms: when it came, Unix milliseconds.
        reader: is told of stamps from the future.
        known_tags: the tags of lines read before, which tend to repeat; extended.

    Raises:
        EventError: the line cannot be read.
    """
    check_length(line)
    if not line.isprintable():
        check_characters(line)
    sections = line.split("|")
    name, _, text = sections[0].partition(":")
    kind = KINDS.get(sections[1]) if len(sections) > 1 else None
    values = None if kind is None or not name else _values(kind, text)
    extras = sections[2:]
    if kind is None or values is None:
        name, text, kind, extras = _unsanitised(sections)
        values = _values(kind, text) or ()
    rate = 1.0
    tags: tuple[str, ...] = ()
    ts_ms = now_ms
    for extra in extras:
        mark = extra[:1]
        if mark == "#":
            tags = known_tags.get(extra) or known_tags.setdefault(extra, tuple(sorted(set(tags_of(extra)))))
        elif mark == "@":
            rate = _rate(extra[1:])
        elif mark == "T":
            ts_ms = stamp_ms(extra[1:])
    if ts_ms > now_ms + FUTURE_LIMIT_MS:
        ts_ms = now_ms
        for _ in range(times):
            reader.clamped()
    if len(name) > LABEL_CHARS:
        name = name[:LABEL_CHARS]
    if kind is _GAUGE:
        return [
            Metric(name, kind, value, tags, 1.0, ts_ms, word[0] in "+-", times)
            for value, word in zip(values, text.split(":"), strict=True)
        ]
    if kind is _SET:  # members are counted once, however often they were left out
        rate = 1.0
    return [Metric(name, kind, value, tags, rate, ts_ms, False, times) for value in values]


def check_length(line: str) -> None:
    """Refuse lines that no client sends.

    Raises:
        EventError: `line` is longer.
    """
    if len(line) > LINE_CHARS:
        raise EventError(Reason.TOO_LARGE, f"a line has at most {LINE_CHARS} characters")


def check_characters(text: str) -> None:
    """Refuse what cannot stand in a name, a tag or a terminal.

    Raises:
        EventError: `text` was no UTF-8, or has control characters.
    """
    if text.isprintable():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise EventError(Reason.BAD_ENCODING, "a line is UTF-8") from None
    if _CONTROL.search(text):
        raise EventError(Reason.BAD_LINE, "a line has no control characters")


def stamp_ms(text: str) -> float:
    """Return Unix milliseconds from Unix seconds.

    Raises:
        EventError: `text` is no whole number of them.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= _STAMP_DIGITS):
        raise EventError(Reason.BAD_LINE, "a timestamp is in whole Unix seconds")
    return int(text) * 1000.0


def tags_of(section: str) -> list[str]:
    """Return the tags of `#tag,tag:value`."""
    tags = section[1:].split(",")
    if len(section) <= LABEL_CHARS and "" not in tags:
        return tags
    return [tag[:LABEL_CHARS] for tag in tags if tag]


def _values(kind: MetricKind, text: str) -> Sequence[float | str] | None:
    """Return the values of a line; None when one of them is none."""
    if kind is _SET:
        return (text[:LABEL_CHARS],) if text else None
    try:
        if ":" not in text:
            value = float(text)
            return (value,) if not text.strip(_NUMERALS) and isfinite(value) else None
        values = [float(word) for word in text.split(":")]
    except ValueError:
        return None
    return values if not text.strip(_NUMERALS + ":") and all(map(isfinite, values)) else None


def _unsanitised(sections: list[str]) -> tuple[str, str, MetricKind, list[str]]:
    """Return name, values, kind and the further sections of a line whose name holds `:` or `|`.

    Raises:
        EventError: no type follows a value.
    """
    for index, (left, word) in enumerate(pairwise(sections)):
        kind = KINDS.get(word)
        if kind is None:
            continue
        words = left.split(":")
        cut = len(words)
        while cut > 1 and _values(kind, words[cut - 1]):
            cut -= 1
        # Not part of a name but a value that cannot be read: `a:nan:5|c`.
        if cut < len(words) and not any(map(_is_float, words[1:cut])):
            name = "|".join([*sections[:index], ":".join(words[:cut])])
            if name:
                return name, ":".join(words[cut:]), kind, sections[index + 2 :]
            break
    raise EventError(Reason.BAD_LINE, f"a line is name:value|type, with a type of {', '.join(KINDS)}")


def _is_float(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _rate(text: str) -> float:
    if not text.strip(_NUMERALS) and _is_float(text) and 0 < (rate := float(text)) <= 1:
        return rate
    raise EventError(Reason.BAD_LINE, "a sample rate is above 0 and at most 1")
