"""One line of samples means what its client meant, or is refused by name."""

from typing import Final

import pytest
from attrs import evolve

from trace_agent.core.errors import EventError, Reason
from trace_agent.core.events import Metric, MetricKind
from trace_agent.core.fields import EventReader
from trace_agent.dialects.statsd_lines import check_characters, read_samples

NOW_MS: Final = 1_795_372_258_828.5
NEVER: Final = EventReader(new_id=lambda _: "", clamped=lambda: pytest.fail("no stamp is from the future"))


def read(line: str) -> list[Metric]:
    """Read a line without stamps from the future."""
    return read_samples(line, 1, NOW_MS, NEVER, {})


def metric(name: str, kind: MetricKind, value: float | str, *tags: str, rate: float = 1.0) -> Metric:
    """Return a sample that came just now."""
    return Metric(name, kind, value, tags, rate, NOW_MS)


COUNTER: Final = MetricKind.COUNTER
GAUGE: Final = MetricKind.GAUGE
SET: Final = MetricKind.SET
TIMER: Final = MetricKind.TIMER

GOOD: Final[dict[str, list[Metric]]] = {
    "hits:1|c": [metric("hits", COUNTER, 1.0)],
    "hits:-2|c": [metric("hits", COUNTER, -2.0)],
    "hits:+2|c": [metric("hits", COUNTER, 2.0)],
    "hits:1|c|@0.25": [metric("hits", COUNTER, 1.0, rate=0.25)],
    "hits:1|c|@1": [metric("hits", COUNTER, 1.0)],
    "hits:1|c|@1e-3": [metric("hits", COUNTER, 1.0, rate=0.001)],
    "depth:42.5|g": [metric("depth", GAUGE, 42.5)],
    "depth:1e+20|g": [metric("depth", GAUGE, 1e20)],
    "depth:+3|g": [evolve(metric("depth", GAUGE, 3.0), delta=True)],
    "depth:-3|g": [evolve(metric("depth", GAUGE, -3.0), delta=True)],
    "depth:-0|g": [evolve(metric("depth", GAUGE, -0.0), delta=True)],
    "depth:5|g|@0.1": [metric("depth", GAUGE, 5.0)],
    "query:320.000000|ms": [metric("query", TIMER, 320.0)],
    "query:.5|ms": [metric("query", TIMER, 0.5)],
    "query:5.|ms|@0.5|#a:b": [metric("query", TIMER, 5.0, "a:b", rate=0.5)],
    "size:512|h": [metric("size", MetricKind.HISTOGRAM, 512.0)],
    "size:0.25|d": [metric("size", MetricKind.DISTRIBUTION, 0.25)],
    "users:alice|s": [metric("users", SET, "alice")],
    "users:42|s|@0.5": [metric("users", SET, "42")],
    "users:a:b c@d|s": [metric("users", SET, "a:b c@d")],
    # several values
    "query:1:2:3|ms": [metric("query", TIMER, value) for value in (1.0, 2.0, 3.0)],
    "hits:1:-2|c|@0.5": [metric("hits", COUNTER, value, rate=0.5) for value in (1.0, -2.0)],
    "depth:70:+5:-3|g": [
        metric("depth", GAUGE, 70.0),
        evolve(metric("depth", GAUGE, 5.0), delta=True),
        evolve(metric("depth", GAUGE, -3.0), delta=True),
    ],
    # tags: sorted, each once, empty ones left out
    "hits:1|c|#": [metric("hits", COUNTER, 1.0)],
    "hits:1|c|#env:test,b,a:1": [metric("hits", COUNTER, 1.0, "a:1", "b", "env:test")],
    "hits:1|c|#b,,b,a,": [metric("hits", COUNTER, 1.0, "a", "b")],
    "hits:1|c|#url:http://x:80/,emoji:caf\u00e9\u2603": [
        metric("hits", COUNTER, 1.0, "emoji:caf\u00e9\u2603", "url:http://x:80/")
    ],
    # order of the fields is free, unknown ones are ignored
    "hits:1|c|#a|@0.5": [metric("hits", COUNTER, 1.0, "a", rate=0.5)],
    "hits:1|c|#a|c:83c0a99c|e:it-false|card:low|new:x|": [metric("hits", COUNTER, 1.0, "a")],
    "ts:9|g|T1795370000|#a:b": [evolve(metric("ts", GAUGE, 9.0, "a:b"), ts_ms=1_795_370_000_000.0)],
    "ts:9|g|#a:b|T1795370000": [evolve(metric("ts", GAUGE, 9.0, "a:b"), ts_ms=1_795_370_000_000.0)],
    "ts:9|g|T0": [evolve(metric("ts", GAUGE, 9.0), ts_ms=0.0)],
    # names are names
    "__proto__:5|ms": [metric("__proto__", TIMER, 5.0)],
    "constructor:1|s": [metric("constructor", SET, "1")],
    "a b/c\u2603\u200d:1|c": [metric("a b/c\u2603\u200d", COUNTER, 1.0)],
    "weird:name|x@y#z:1|c|#env:test": [metric("weird:name|x@y#z", COUNTER, 1.0, "env:test")],
    "a:b:5|c": [metric("a:b", COUNTER, 5.0)],
    "a:b:5:6|c": [metric("a:b", COUNTER, 5.0), metric("a:b", COUNTER, 6.0)],
    "a|c|b:5|c": [metric("a|c|b", COUNTER, 5.0)],
    "a|b:+5|g": [evolve(metric("a|b", GAUGE, 5.0), delta=True)],
    "a|b:x:y|s": [metric("a|b", SET, "x:y")],
    "5:3|c": [metric("5", COUNTER, 3.0)],
    "@:1|c": [metric("@", COUNTER, 1.0)],
    # labels are cut like those of any event
    f"{'n' * 600}:1|c|#{'t' * 600},u": [metric("n" * 512, COUNTER, 1.0, "t" * 512, "u")],
    f"u:{'m' * 600}|s": [metric("u", SET, "m" * 512)],
}


@pytest.mark.parametrize(("line", "expected"), GOOD.items())
def test_good_lines(line: str, expected: list[Metric]) -> None:
    """A line becomes the samples that its client meant."""
    assert expected == read(line)


BAD: Final = [
    "",
    "x",
    ":",
    "|",
    "hits",
    "hits:1",
    "hits|c",
    "hits:|c",
    ":1|c",
    ":1:2|c",
    "1|c",
    "hits:1|",
    "hits:1|C",
    "hits:1|x",
    "hits:1|c ",
    "hits: 1|c",
    "hits:1 |c",
    "hits:one|c",
    "users:|s",
    "users|s",
    # what float() reads and no sender means
    "hits:nan|c",
    "hits:NaN|g",
    "hits:inf|c",
    "hits:-infinity|ms",
    "hits:1e999|c",
    "hits:1_0|c",
    "hits:0x10|c",
    "hits:\u0661|c",
    "hits:1\u00a0|c",
    "hits:--1|g",
    "hits:1e|c",
    "hits:+|g",
    "hits:.|c",
    # one bad value spoils the line: what it holds is no longer certain
    "hits:1:nan:3|ms",
    "hits:1:1e999|ms",
    "hits:1::3|ms",
    "hits:1:1_0:3|ms",
    "hits:1:2:|c",
    # rates
    "hits:1|c|@",
    "hits:1|c|@.",
    "hits:1|c|@0",
    "hits:1|c|@-1.0",
    "hits:1|c|@2",
    "hits:1|c|@nan",
    "hits:1|c|@1_0",
    "hits:1|c|@0.5:0.5",
    "hits:1|c|0.1|@x",
    "depth:1|g|@2",
    # stamps
    "hits:1|c|T",
    "hits:1|c|T-5",
    "hits:1|c|T1.5",
    "hits:1|c|T1795370000000000",
    "hits:1|c|T\u0661",
    # control characters
    "hi\x00ts:1|c",
    "hits:1|c|#a\x1bb",
    "hits:1|c|#a\tb",
    "hits\x7f:1|c",
    "hi\rts:1|c",
    "users:a\x07|s",
]


@pytest.mark.parametrize("line", BAD)
def test_bad_lines(line: str) -> None:
    """A line that could mean anything is refused, and the detail does not repeat it."""
    with pytest.raises(EventError) as caught:
        read(line)

    assert caught.value.reason is Reason.BAD_LINE
    assert len(line) < 3 or line not in caught.value.detail


def test_undecodable_bytes_are_refused() -> None:
    """Bytes that are no UTF-8 are refused by that name."""
    line = b"caf\xe9:1|c".decode("utf-8", "surrogateescape")
    with pytest.raises(EventError) as caught:
        read(line)

    assert caught.value.reason is Reason.BAD_ENCODING


def test_printable_characters_pass() -> None:
    """Spaces of any width and signs of any script are no control characters."""
    check_characters("caf\u00e9")
    check_characters("caf\u00e9\u00a0\u2028\u200d")


def test_long_lines_are_refused() -> None:
    """8,192 characters are a line, one more is none."""
    padding = 8192 - len("hits:1|c|#")

    assert len(read(f"hits:1|c|#{'t' * padding}")) == 1
    with pytest.raises(EventError) as caught:
        read(f"hits:1|c|#{'t' * (padding + 1)}")
    assert caught.value.reason is Reason.TOO_LARGE


def test_stamps_from_the_future() -> None:
    """A stamp more than an hour ahead becomes the arrival time, and every such sample is told of."""
    told = []
    reader = EventReader(new_id=lambda _: "", clamped=lambda: told.append(1))
    ahead = int(NOW_MS / 1000) + 3_000
    near = read_samples(f"a:1|c|T{ahead}", 3, NOW_MS, reader, {})
    far = read_samples(f"a:1|c|T{ahead + 1_000}", 3, NOW_MS, reader, {})

    assert [each.ts_ms for each in near + far] == [ahead * 1000.0, NOW_MS]
    assert len(told) == 3


def test_repeated_lines() -> None:
    """A line that came several times is each of its samples, as often."""
    samples = read_samples("a:1:2|c", 7, NOW_MS, NEVER, {})

    assert [(each.value, each.times) for each in samples] == [(1.0, 7), (2.0, 7)]


def test_tags_are_shared() -> None:
    """Lines with the same tags share one tuple of them."""
    known: dict[str, tuple[str, ...]] = {}
    (first,) = read_samples("a:1|c|#x,y", 1, NOW_MS, NEVER, known)
    (second,) = read_samples("b:1|c|#x,y", 1, NOW_MS, NEVER, known)

    assert first.tags is second.tags


@pytest.mark.parametrize("line", ["a|" * 4096, "a:" * 4096, "c|" * 4096, "x|s|" * 2048, ":" * 8000 + "|c"])
def test_separators_alone_are_refused(line: str) -> None:
    """Lines of separators and types, as long as may be, hold no sample wherever one looks."""
    with pytest.raises(EventError) as caught:
        read(line)

    assert caught.value.reason is Reason.BAD_LINE
