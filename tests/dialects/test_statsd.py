"""Packets of StatsD text become events, many at once or one by one, and bad lines are refused alone.

Invariants: any bytes give events or a refusal by name, nothing else; many packets read at once come to the
same as their lines read one by one.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.core.errors import EventError, Reason
from trace_agent.core.events import AnyEvent, Event, Metric
from trace_agent.core.fields import EventReader
from trace_agent.core.rollup import Rollup, Window
from trace_agent.dialects.statsd import Batch, read_line, read_packets, split

NOW_MS: Final = 1_795_372_258_828.5
READER: Final = EventReader(new_id=lambda _: "id", clamped=lambda: None)


def read(*packets: bytes) -> Batch:
    """Read packets that came together."""
    return read_packets(packets, NOW_MS, READER, "udp")


def briefly(events: Sequence[AnyEvent]) -> list[tuple[str, object, int]]:
    """Return name, value and times of each metric."""
    return [(event.name, event.value, event.times) for event in events if isinstance(event, Metric)]


def test_equal_lines_are_one_metric() -> None:
    """Lines that repeat, in one packet or in many, are read once and stand for as many samples."""
    batch = read(b"a:1|c\na:1|c\nb:1|c", b"a:1|c\n", b"a:2|c")

    assert briefly(batch.events) == [("a", 1.0, 3), ("b", 1.0, 1), ("a", 2.0, 1)]
    assert (batch.accepted, batch.refused, batch.bad_lines) == (5, {}, {})


def test_several_values_are_counted() -> None:
    """Each value of a line is a sample."""
    batch = read(b"a:1:2:3|ms", b"a:1:2:3|ms")

    assert briefly(batch.events) == [("a", 1.0, 2), ("a", 2.0, 2), ("a", 3.0, 2)]
    assert batch.accepted == 6


def test_gauges_keep_their_order() -> None:
    """Where a gauge is changed, every value is applied in its turn."""
    batch = read(b"g:70|g\ng:+5|g", b"a:1|c", b"g:70|g", b"g:+5|g", b"g:+5|g")

    assert briefly(batch.events)[1:] == [("g", value, 1) for value in (70.0, 5.0, 70.0, 5.0, 5.0)]
    assert batch.accepted == 6


def test_gauges_end_with_the_last_value() -> None:
    """Where gauges are only set, equal values are folded and the last one stays last."""
    batch = read(b"g:1|g\ng:2|g", b"h:5|g", b"g:1|g")

    assert briefly(batch.events) == [("g", 2.0, 1), ("h", 5.0, 1), ("g", 1.0, 2)]


def test_a_bad_line_leaves_its_neighbours() -> None:
    """A packet with one good line is accepted; its bad lines are counted."""
    batch = read(b"a:1|c\nnonsense\nb:1|c\ncaf\xe9:1|c\nnonsense", b"a:1|c")

    assert briefly(batch.events) == [("a", 1.0, 2), ("b", 1.0, 1)]
    assert batch.refused == {}
    assert batch.bad_lines == {Reason.BAD_LINE: 2, Reason.BAD_ENCODING: 1}


def test_packets_without_a_good_line_are_refused() -> None:
    """A packet is refused for the reason of its first line, or because it holds none."""
    batch = read(
        b"a:1|c", b"nonsense\n", b"", b"\n\r\n", b"\xff:1|c\nnonsense", b"a" * 9000, b"a:1|c\nnonsense"
    )

    assert batch.refused == {
        1: Reason.BAD_LINE,
        2: Reason.EMPTY,
        3: Reason.EMPTY,
        4: Reason.BAD_ENCODING,
        5: Reason.TOO_LARGE,
    }
    assert batch.bad_lines == {Reason.BAD_LINE: 3, Reason.BAD_ENCODING: 1, Reason.TOO_LARGE: 1}
    assert batch.accepted == 2


def test_empty_packets_among_good_ones() -> None:
    """Packets of nothing or line ends are found where all other lines are good."""
    assert read(b"a:1|c\n", b"\n").refused == {1: Reason.EMPTY}
    assert read(b"a:1|c\n", b"").refused == {1: Reason.EMPTY}
    assert read(b"a:1|c\n", b"   ").refused == {1: Reason.BAD_LINE}
    assert read() == Batch([], 0, {}, Counter())


def test_a_packet_ends_its_lines() -> None:
    """Neither lines nor characters nor messages go on in the next packet."""
    batch = read(
        b"a:1", b"|c", b"b:1|c\r", b"caf\xc3", b"\xa9:1|c", b"_sc|db|0|m:x", b"noise", b"_e{1,3}:a|b", b"c"
    )

    assert briefly(batch.events) == [("b", 1.0, 1)]
    assert len([event for event in batch.events if isinstance(event, Event)]) == 1
    assert sorted(batch.refused) == [0, 1, 3, 4, 6, 7, 8]


def test_line_ends() -> None:
    r"""Lines end with \n or \r\n; other line separators of Unicode are part of a name."""
    batch = read(b"a:1|c\r\nb:1|c\r\n", "c\u2028:1|c\r\n".encode())

    assert briefly(batch.events) == [("a", 1.0, 1), ("b", 1.0, 1), ("c\u2028", 1.0, 1)]


def test_equal_notices_are_events_of_their_own() -> None:
    """Events that repeat are not folded: each happened, and each has an id."""
    ids = iter("123456")
    reader = EventReader(new_id=lambda _: next(ids), clamped=lambda: None)
    batch = read_packets([b"_e{1,1}:a|b\n_sc|db|0", b"_e{1,1}:a|b", b"a:1|c"], NOW_MS, reader, "udp")
    events = [event for event in batch.events if isinstance(event, Event)]

    assert [(event.id, event.name) for event in events] == [("1", "a"), ("2", "a"), ("3", "service_check")]
    assert batch.accepted == 4


def test_a_notice_that_is_refused_counts_like_a_line() -> None:
    """What the reader of events refuses is a bad line with its reason."""
    batch = read(b"_e{0,1}:|b", b"_e{0,1}:|b\na:1|c")

    assert batch.refused == {0: Reason.MISSING_FIELD}
    assert batch.bad_lines == {Reason.MISSING_FIELD: 2}


@pytest.mark.parametrize(
    ("packet", "lines"),
    [
        ("", []),
        ("\n\r\n\n", []),
        ("a\n\nb\r\nc\n", ["a", "b", "c"]),
        ("a\rb\x0bc\u2028d", ["a\rb\x0bc\u2028d"]),
        ("x\n_sc|db|2|m:down\nfor good\r\ny:1|c\n\n", ["x", "_sc|db|2|m:down\nfor good", "y:1|c"]),
        ("_e{1,3}:a|b\nc\r\ny:1|c", ["_e{1,3}:a|b\nc", "y:1|c"]),
        ("a_sc|b\n\nc", ["a_sc|b", "c"]),
    ],
)
def test_split(packet: str, lines: list[str]) -> None:
    """A packet is its lines without empty ones; notices may hold newlines."""
    assert lines == split(packet)


words = st.sampled_from(
    [
        *("a", "b", ":", "|", "1", "-2.5", "+3", "c", "g", "ms", "s", "|c", "|g", ":1|c", ":5|g", "|@0.5"),
        *("|#x:1,y", "|T99", "_e{1,1}:a|b", "_e{3,2}:", "_sc|x|0", "|m:", "nan", "1e999", "__proto__"),
        *("\n", "\r", "\x00", "\u2603"),
    ]
)
texts = st.one_of(st.binary(max_size=40), st.lists(words, max_size=12).map("".join).map(str.encode))
names = st.sampled_from(["a", "b", "weird:n|x"])
numbers = st.sampled_from(["0", "1", "7", "-2", "+3", "0.25", "1:2", "5:+1:-1", "nan", ""])
kinds = st.sampled_from(["c", "g", "g", "ms", "h", "s"])
suffixes = st.sampled_from(["", "", "|@0.1", "|#x,y", "|#y,x", "|T1795372258", "|T5|#x", "|@3"])
lines_of_samples = st.builds("{}:{}|{}{}".format, names, numbers, kinds, suffixes)
notices = st.sampled_from(["_e{1,1}:a|b", "_e{1,3}:a|b\nc", "_sc|x|0|m:y\nz", "_sc|x|9"])
packets_of_lines = st.lists(
    st.one_of(lines_of_samples, lines_of_samples, lines_of_samples, notices, st.just("bad"), st.just("")),
    max_size=8,
).map(lambda lines: "\n".join(lines).encode())


def lines_of(packet: bytes) -> list[str]:
    """Split a packet as it came."""
    return split(packet.decode("utf-8", "surrogateescape"))


def one_by_one(packets: Sequence[bytes]) -> tuple[list[AnyEvent], dict[int, Reason], dict[Reason, int]]:
    """Read packets line by line: events, refused packets, bad lines."""
    events: list[AnyEvent] = []
    refused: dict[int, Reason] = {}
    bad: defaultdict[Reason, int] = defaultdict(int)
    for index, packet in enumerate(packets):
        verdicts: list[Reason | None] = []
        for line in lines_of(packet):
            try:
                events += read_line(line, NOW_MS, READER, "udp")
            except EventError as error:
                bad[error.reason] += 1
                verdicts.append(error.reason)
            else:
                verdicts.append(None)
        if None not in verdicts:
            refused[index] = (verdicts or [Reason.EMPTY])[0] or Reason.EMPTY
    return events, refused, bad


@given(st.lists(texts, max_size=6))
def test_any_bytes_are_read_or_refused(packets: list[bytes]) -> None:
    """Whatever comes, packets and lines are accepted or refused, and the two add up."""
    batch = read(*packets)
    events, refused, bad = one_by_one(packets)

    assert refused == batch.refused
    assert bad == batch.bad_lines
    assert len(events) == batch.accepted


@given(st.lists(packets_of_lines, max_size=8))
def test_a_batch_equals_its_lines(packets: list[bytes]) -> None:
    """Windows, last values and events of a batch are those of its lines read one by one."""
    batch = read(*packets)
    events, refused, bad = one_by_one(packets)
    at_once, in_turn = folded(batch.events), folded(events)

    assert (refused, bad) == (batch.refused, batch.bad_lines)
    assert at_once.keys() == in_turn.keys()
    for key, window in in_turn.items():
        assert_equal_windows(window, at_once[key])
    assert sorted(_names(events)) == sorted(_names(batch.events))


def folded(events: Sequence[AnyEvent]) -> dict[object, Window]:
    """Fold metrics into windows."""
    rollup = Rollup(max_series=1000, new_id=lambda _: "")
    for event in events:
        if isinstance(event, Metric):
            rollup.add(event)
    windows = rollup.drain(NOW_MS)
    return {(window.kind, window.name, window.tags, window.ts_ms): window for window in windows}


def assert_equal_windows(expected: Window, actual: Window) -> None:
    """Compare exactly what adding up in another order leaves exact, the rest closely."""
    for figure in ("min", "max", "last", "members"):
        assert getattr(expected, figure) == getattr(actual, figure)
    for figure in ("count", "sum", "p50", "p99"):
        assert (getattr(expected, figure) is None) == (getattr(actual, figure) is None)
        assert math.isclose(
            getattr(expected, figure) or 0, getattr(actual, figure) or 0, rel_tol=1e-9, abs_tol=1e-9
        )


def _names(events: Sequence[AnyEvent]) -> list[str]:
    return [event.name for event in events if isinstance(event, Event)]
