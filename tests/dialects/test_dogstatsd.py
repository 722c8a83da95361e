"""DogStatsD's events and service checks become events, whichever way their client counts and escapes."""

import json
from typing import Final

import pytest

from trace_agent.core.errors import EventError, Reason
from trace_agent.core.events import Event, Severity
from trace_agent.core.fields import EventReader
from trace_agent.dialects.dogstatsd import line_end, read_notice

NOW_MS: Final = 1_795_372_258_828.5
READER: Final = EventReader(new_id=lambda _: "id", clamped=lambda: None)


def read(line: str) -> Event:
    """Return the event that a line tells of."""
    event = READER.read(read_notice(line), NOW_MS, "udp", "event")
    assert isinstance(event, Event)
    return event


# line -> name, severity, time in Unix seconds (None: now), attributes
Expected = tuple[str, Severity, int | None, dict[str, object]]
GOOD: Final[dict[str, Expected]] = {
    "_e{5,4}:title|text": ("title", Severity.INFO, None, {"text": "text"}),
    "_e{5,0}:title|": ("title", Severity.INFO, None, {"text": ""}),
    "_e{1,3}:a|b|c": ("a", Severity.INFO, None, {"text": "b|c"}),
    "_e{3,3}:a|b|c|d|t:error": ("a|b", Severity.ERROR, None, {"text": "c|d", "alert_type": "error"}),
    "_e{1,1}:a|b|t:warning|d:1795370000": (
        "a",
        Severity.WARNING,
        1_795_370_000,
        {"text": "b", "alert_type": "warning"},
    ),
    "_e{1,1}:a|b|t:loud|x:y|c:83c0|": ("a", Severity.INFO, None, {"text": "b", "alert_type": "loud"}),
    "_e{11,31}:Deploy done|version 1.2\\nsecond line | pipe|h:h1|k:dep|p:low|s:ci|t:success|#a:b,c": (
        "Deploy done",
        Severity.INFO,
        None,
        {
            "text": "version 1.2\nsecond line | pipe",
            "hostname": "h1",
            "aggregation_key": "dep",
            "priority": "low",
            "source_type_name": "ci",
            "alert_type": "success",
            "tags": ["a:b", "c"],
        },
    ),
    "_e{4,2}:a\\nb|\\n": ("a b", Severity.INFO, None, {"text": "\n"}),
    "_e{3,3}:a\nb|c\nd": ("a b", Severity.INFO, None, {"text": "c\nd"}),
    "_e{1,3}:a|b\tc": ("a", Severity.INFO, None, {"text": "b\tc"}),
    # lengths in bytes, then the same in characters
    "_e{6,5}:caf\u00e9s|\u00e9\u2603|#x": (
        "caf\u00e9s",
        Severity.INFO,
        None,
        {"text": "\u00e9\u2603", "tags": ["x"]},
    ),
    "_e{5,2}:caf\u00e9s|\u00e9\u2603|#x": (
        "caf\u00e9s",
        Severity.INFO,
        None,
        {"text": "\u00e9\u2603", "tags": ["x"]},
    ),
    "_e{1,8}:a|\u2603\u2603|x": ("a", Severity.INFO, None, {"text": "\u2603\u2603|x"}),
    "_e{1,4}:a|\u2603\u2603|x": ("a", Severity.INFO, None, {"text": "\u2603\u2603|x"}),
    "_sc|db|0": ("service_check", Severity.INFO, None, {"check": "db", "status": "ok"}),
    "_sc|db|1|h:h1": (
        "service_check",
        Severity.WARNING,
        None,
        {"check": "db", "status": "warning", "hostname": "h1"},
    ),
    "_sc|db|2|d:1795370000|#a:b|m:down: line1\\nline2": (
        "service_check",
        Severity.ERROR,
        1_795_370_000,
        {"check": "db", "status": "critical", "tags": ["a:b"], "message": "down: line1\nline2"},
    ),
    "_sc|db|3|m:a\nb|c:83c0a99c|card:low\n": (
        "service_check",
        Severity.WARNING,
        None,
        {"check": "db", "status": "unknown", "message": "a\nb"},
    ),
    "_sc|db|0|m:piped | text |m\\:x|e:it": (
        "service_check",
        Severity.INFO,
        None,
        {"check": "db", "status": "ok", "message": "piped | text |m:x"},
    ),
    "_sc|db|0|c:83c0|m:": ("service_check", Severity.INFO, None, {"check": "db", "status": "ok"}),
}


@pytest.mark.parametrize(("line", "expected"), GOOD.items())
def test_good_notices(line: str, expected: Expected) -> None:
    """A notice becomes an event with its severity, its time, and all else as attributes."""
    event = read(line)
    name, severity, seconds, attributes = expected

    assert (name, severity) == (event.name, event.severity)
    assert event.ts_ms == (NOW_MS if seconds is None else seconds * 1000)
    assert json.loads(event.attributes or "{}") == attributes


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("_e{", Reason.BAD_LINE),
        ("_e{1}:a", Reason.BAD_LINE),
        ("_e{a,b}:a|b", Reason.BAD_LINE),
        ("_e{1,1}a|b", Reason.BAD_LINE),
        ("_e{1,2}:a|b", Reason.BAD_LINE),
        ("_e{2,1}:a|b", Reason.BAD_LINE),
        ("_e{1,1}:a|bc", Reason.BAD_LINE),
        ("_e{1,9}:a|\u2603\u2603", Reason.BAD_LINE),
        ("_e{1,2}:\u2603|b", Reason.BAD_LINE),
        ("_e{99999,1}:a|b", Reason.BAD_LINE),
        ("_e{0,1}:|b", Reason.MISSING_FIELD),
        ("_e{1,1}: |b", Reason.MISSING_FIELD),
        ("_e{1,1}:a|b|d:soon", Reason.BAD_LINE),
        ("_e{1,1}:a|b|#x\ty", Reason.BAD_LINE),
        ("_e{1,1}:a|\x1b", Reason.BAD_LINE),
        ("_e{1,1}:a|\udcff", Reason.BAD_ENCODING),
        (f"_e{{1,9000}}:a|{'b' * 9000}", Reason.TOO_LARGE),
        ("_sc|", Reason.BAD_LINE),
        ("_sc|db", Reason.BAD_LINE),
        ("_sc||0", Reason.BAD_LINE),
        ("_sc|db|4", Reason.BAD_LINE),
        ("_sc|db|ok", Reason.BAD_LINE),
        ("_sc|d\tb|0", Reason.BAD_LINE),
        ("_sc|db|0|d:", Reason.BAD_LINE),
        ("_sc|db|0|h:a\nb", Reason.BAD_LINE),
        ("_sc|db|0|m:\x1b[2J", Reason.BAD_LINE),
    ],
)
def test_bad_notices(line: str, reason: Reason) -> None:
    """A notice whose lengths, status, time or characters cannot be right is refused."""
    with pytest.raises(EventError) as caught:
        read(line)

    assert reason is caught.value.reason


@pytest.mark.parametrize(
    ("packet", "line"),
    [
        ("a:1|c\nb:2|c", "a:1|c"),
        ("a:1|c", "a:1|c"),
        ("_e{1,1}:a|b\nc:1|c", "_e{1,1}:a|b"),
        ("_e{1,5}:a|b\nc:1|c\nd:1|c", "_e{1,5}:a|b\nc:1|c"),
        ("_e{1,3}:a|b\nc|#x\nd:1|c", "_e{1,3}:a|b\nc|#x"),
        ("_e{1,7}:a|\u2603\n\u2603\nd:1|c", "_e{1,7}:a|\u2603\n\u2603"),
        ("_e{1,9}:a|b\nd:1|c", "_e{1,9}:a|b"),
        ("_e{x}\nd:1|c", "_e{x}"),
        ("_sc|db|0|m:a\nb\n\nc\nd:1|c|#x", "_sc|db|0|m:a\nb\n\nc"),
        ("_sc|db|0|m:a\nx:y|z\n_sc|db|0", "_sc|db|0|m:a\nx:y|z"),
        ("_sc|db|0|m:a\nb\n_e{1,1}:a|b", "_sc|db|0|m:a\nb"),
        ("_sc|db|0|m:a\nb", "_sc|db|0|m:a\nb"),
        ("_sc|db|0\nnoise", "_sc|db|0"),
    ],
)
def test_where_lines_end(packet: str, line: str) -> None:
    """A text of known length and a message go on over newlines, until something else begins."""
    assert line == packet[: line_end(packet, 0)]


def test_messages_end_somewhere() -> None:
    """A message takes in no more than makes it too long to be read."""
    packet = "_sc|db|0|m:a" + "\nnoise" * 10_000

    assert line_end(packet, 0) <= 8192 + len("\nnoise")


def test_claimed_lengths_are_not_believed() -> None:
    """Lengths that no line may have end the line at its newline, however much of a packet they claim."""
    line = "_e{9999,9999}:é" + "a" * 9998 + "|" + "b" * 9999

    assert line_end(line + "\nhits:1|c", 0) == len(line)
    with pytest.raises(EventError):
        read_notice(line)
