"""Every field of the wire is read or refused by name, and what comes out can be stored as it is.

Invariant: any value gives an event whose strings are valid Unicode, whose numbers are finite and fit 64 bits
and whose JSON is JSON, or an `EventError`; nothing else. A map of right values is never refused.
"""

import json
import math
import re
from decimal import Decimal
from typing import Final, TypeAlias

import cbor2
import pytest
from attrs import astuple
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import any_values, damaged_maps, event_maps, foreign_values, json_values
from trace_agent.core.errors import EventError, Reason
from trace_agent.core.events import (
    AnyEvent,
    ErrorKind,
    Event,
    Failure,
    Llm,
    Metric,
    MetricKind,
    Severity,
    Text,
    TextKind,
    Tokens,
)
from trace_agent.core.fields import EventReader, tokens_of
from trace_agent.core.values import LABEL_CHARS, MESSAGE_CHARS

Map: TypeAlias = dict[str, object]

NOW_MS: Final = 1_795_341_600_000  # 2026-11-22T10:00:00Z
HOUR_MS: Final = 3_600_000
NAN: Final = math.nan
BUCKETS: Final = ("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning", "total")
NOTHING: Final[tuple[object, ...]] = (None, False, "", {}, [], 0)
NO_CODES: Final[tuple[object, ...]] = ("ECONNRESET", -32603, 4.5, 1e300, True, [], NAN, "9" * 40, b"x")
NO_LABELS: Final[tuple[object, ...]] = (True, [], {}, b"x", NAN, cbor2.CBORTag(37, b"x"))
NO_DURATIONS: Final[tuple[object, ...]] = (-0.5, NAN, math.inf, True, "fast", [], b"1")
# The least that each type needs.
LEAST: Final[dict[str, Map]] = {
    "llm": {"type": "llm"},
    "event": {"type": "event", "name": "n"},
    "error": {"type": "error", "kind": "k"},
    "metric": {"type": "metric", "name": "n", "value": 1},
}
COMMON: Final[Map] = {
    "id": "id-1",
    "ts": NOW_MS - 5000.5,
    "agent": "coder",
    "session": "s-1",
    "run": 17,
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "span_id": "00f067aa0ba902b7",
    "attributes": {"tool": "read", "tries": [1, None]},
}
COMMON_READ: Final[tuple[str, bool, float, int, str, str, str, str, str, str]] = (
    "id-1",
    False,
    NOW_MS - 5000.5,
    NOW_MS,
    "coder",
    "s-1",
    "17",
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "00f067aa0ba902b7",
    '{"tool":"read","tries":[1,null]}',
)
FULL: Final[dict[str, Map]] = {
    "llm": {
        "type": "llm",
        **COMMON,
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "response_model": "claude-sonnet-4-5-20250929",
        "operation": "text_completion",
        "input": [{"role": "user", "content": "hi"}],
        "output": "hello",
        "tokens": {
            "input": 1,
            "cache_read": 2,
            "cache_write": 3,
            "cache_write_1h": 4,
            "output": 5,
            "reasoning": 1,
        },
        "usage": {"input_tokens": 1, "odd": None},
        "input_tokens": 77,
        "output_tokens": 77,
        "prompt_tokens": 77,
        "completion_tokens": 77,
        "cost_usd": 0.0125,
        "latency_ms": 1834.5,
        "ttft_ms": 400,
        "status": "error",
        "error": {"kind": "rate_limit", "code": 429, "message": "slow down"},
        "finish_reason": "end_turn",
        "request_id": "req_1",
    },
    "event": {"type": "event", **COMMON, "name": "tool.call", "duration_ms": 12.5, "severity": "warning"},
    "error": {
        "type": "error",
        **COMMON,
        "kind": "process.crash",
        "message": "segfault",
        "severity": "fatal",
        "stack": "at main",
        "source": "kernel",
    },
    "metric": {
        "type": "metric",
        "ts": NOW_MS - 5000.5,
        "name": "queue.depth",
        "value": 2.5,
        "kind": "timer",
        "tags": {"b": 2, "a": "1"},
        "rate": 0.5,
    },
}
FULL_READ: Final[dict[str, AnyEvent]] = {
    "llm": Llm(
        *COMMON_READ,
        seen_by="unix",
        provider="anthropic",
        model="claude-sonnet-4-5",
        response_model="claude-sonnet-4-5-20250929",
        operation="text_completion",
        input=Text(TextKind.LIST, ('{"role":"user","content":"hi"}',)),
        output=Text(TextKind.TEXT, ("hello",)),
        tokens=Tokens(1, 2, 3, 4, 5, 1, 15),
        usage='{"input_tokens":1,"odd":null}',
        cost_nusd=12_500_000,
        latency_ms=1834.5,
        ttft_ms=400.0,
        status="error",
        error_kind=ErrorKind.RATE_LIMIT,
        error_code=429,
        error_message="slow down",
        finish_reason="end_turn",
        request_id="req_1",
    ),
    "event": Event(*COMMON_READ, name="tool.call", duration_ms=12.5, severity=Severity.WARNING),
    "error": Failure(
        *COMMON_READ,
        kind="process.crash",
        message="segfault",
        severity=Severity.FATAL,
        stack="at main",
        source="kernel",
    ),
    "metric": Metric("queue.depth", MetricKind.TIMER, 2.5, ("a:1", "b:2"), 0.5, NOW_MS - 5000.5),
}
FIELDS: Final = [(type_, field) for type_, fields in FULL.items() for field in fields if field != "type"]


class Clamps:
    """Counts the stamps that were clamped."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        """Count one."""
        self.count += 1


def reader_of(clamped: Clamps | None = None) -> EventReader:
    """Return a reader whose ids tell the time they were made for."""
    return EventReader(new_id=lambda ts_ms: f"made-{ts_ms:.0f}", clamped=clamped or Clamps())


def read(value: object, implied_type: str | None = None) -> AnyEvent:
    """Read one event that comes now over the Unix socket."""
    return reader_of().read(value, NOW_MS, "unix", implied_type)


def refusal(value: object) -> EventError:
    """Return why `value` is refused."""
    with pytest.raises(EventError) as caught:
        read(value)
    return caught.value


def read_or_refuse(value: object) -> AnyEvent | EventError:
    """Read one event; return why it is refused if it is."""
    try:
        return read(value)
    except EventError as error:
        return error


def llm(**fields: object) -> Llm:
    """Read a call."""
    event = read({"type": "llm", **fields})
    assert isinstance(event, Llm)
    return event


def metric(**fields: object) -> Metric:
    """Read a sample; what is not given has the values of `LEAST`."""
    event = read({**LEAST["metric"], **fields})
    assert isinstance(event, Metric)
    return event


def check_storable(event: AnyEvent) -> None:
    """Fail unless everything in the event can go into SQLite and JSON."""
    values: list[object] = list(astuple(event))
    while values:
        value = values.pop()
        if isinstance(value, tuple):
            values += value
        elif isinstance(value, str):
            value.encode()  # raises on lone surrogates
        elif isinstance(value, float):
            assert math.isfinite(value)
        elif value is not None:
            assert isinstance(value, int)
            assert -(2**63) <= value < 2**63
    if isinstance(event, Metric):
        assert 0 < event.rate <= 1
        assert list(event.tags) == sorted(set(event.tags))
        return
    assert 0 < len(event.id.encode()) <= 128
    assert 0 <= event.ts_ms <= NOW_MS + HOUR_MS
    assert event.attributes is None or isinstance(json.loads(event.attributes), dict)
    if isinstance(event, Llm):
        assert event.usage is None or json.loads(event.usage) is not None
        assert (event.error_kind is None) is (event.status == "ok")
        for text in (event.input, event.output):
            if text is not None and text.kind is not TextKind.TEXT:
                assert [json.loads(part) for part in text.parts]


# The event as a whole


@pytest.mark.parametrize("type_", FULL)
def test_all_fields(type_: str) -> None:
    """Every field of each type arrives where it belongs."""
    assert read(FULL[type_]) == FULL_READ[type_]


@pytest.mark.parametrize("type_", FULL)
def test_unknown_fields(type_: str) -> None:
    """Fields that nobody knows are let be, whatever they hold."""
    fields: dict[object, object] = {"unheard_of": b"x", "": NAN, 5: cbor2.undefined}
    fields.update(FULL[type_])

    assert read(fields) == FULL_READ[type_]


@pytest.mark.parametrize("type_", LEAST)
def test_least_fields(type_: str) -> None:
    """What is not told takes its default: the arrival time, an id of ours, nothing."""
    common = (f"made-{NOW_MS}", True, float(NOW_MS), NOW_MS, None, None, None, None, None, None)
    expected: dict[str, AnyEvent] = {
        "llm": Llm(*common, seen_by="unix", operation="chat", status="ok"),
        "event": Event(*common, name="n", severity=Severity.INFO),
        "error": Failure(*common, kind="k", severity=Severity.ERROR),
        "metric": Metric("n", MetricKind.GAUGE, 1.0, (), 1.0, NOW_MS),
    }

    assert read(LEAST[type_]) == expected[type_]


@pytest.mark.parametrize(("type_", "field"), FIELDS)
def test_null_is_absent(type_: str, field: str) -> None:
    """A field that is null counts as one that is not there."""
    without = {name: value for name, value in FULL[type_].items() if name != field}
    with_null = {**without, field: None}
    if field in LEAST[type_]:
        error = refusal(without)

        assert (error.reason, error.detail) == (Reason.MISSING_FIELD, f"{field} is required")
        assert str(refusal(with_null)) == str(error)
    else:
        assert read(with_null) == read(without)


@pytest.mark.parametrize("value", [None, True, 5, "llm", [], [{"type": "llm"}], b"x", (1,), cbor2.undefined])
def test_no_map(value: object) -> None:
    """An event is a map and nothing else."""
    assert refusal(value).reason is Reason.NOT_AN_EVENT


@pytest.mark.parametrize("type_", [None, "", "LLM", "trace", "hello", 5, True, [], {}, b"llm", NAN])
def test_unknown_type(type_: object) -> None:
    """A type is one of four words."""
    assert refusal({**FULL["llm"], "type": type_}).reason is Reason.UNKNOWN_TYPE


@pytest.mark.parametrize("key", ["resourceSpans", "resourceLogs", "resourceMetrics"])
def test_opentelemetry_is_no_empty_call(key: str) -> None:
    """An OTLP envelope where a call is expected is refused by name, not stored as a call of nothing."""
    with pytest.raises(EventError) as caught:
        read({key: []}, "llm")

    assert caught.value.reason is Reason.UNKNOWN_TYPE
    assert "OpenTelemetry" in caught.value.detail


def test_missing_type() -> None:
    """An event without a type is refused where none is implied."""
    assert str(refusal({"name": "n"})) == "unknown_type: type must be llm, event, error or metric"


@pytest.mark.parametrize("fields", [{"kind": "k", "name": "n"}, {"kind": "k", "name": "n", "type": None}])
def test_implied_type(fields: Map) -> None:
    """A type may be implied by where the event was sent, and the event's own word goes before it."""
    assert isinstance(read(fields, "error"), Failure)
    assert isinstance(read(fields, "event"), Event)
    assert isinstance(read({**fields, "type": "llm"}, "error"), Llm)


# Fields of all events


@pytest.mark.parametrize("field", ["agent", "session", "run", "trace_id", "span_id"])
@pytest.mark.parametrize("type_", ["llm", "event", "error"])
def test_common_labels(type_: str, field: str) -> None:
    """Labels of all events are short texts or numbers."""
    for value, label in [("", None), (7, "7"), (2**64 - 1, str(2**64 - 1)), ("x" * 999, "x" * LABEL_CHARS)]:
        assert getattr(read({**LEAST[type_], field: value}), field) == label
    for wrong in NO_LABELS:
        error = refusal({**LEAST[type_], field: wrong})

        assert (error.reason, error.detail) == (Reason.BAD_FIELD, f"{field} must be text")


@pytest.mark.parametrize(
    ("given_id", "id_"),
    [
        ("x", "x"),
        ("x" * 128, "x" * 128),
        ("ü" * 64, "ü" * 64),
        ("😀" * 32, "😀" * 32),
        (12, "12"),
        (2**128, str(2**128)),
        (10**127, str(10**127)),
        ("a\ud83d", "a\ufffd"),
        ("\ufffd" * 42, "\ufffd" * 42),
        (" ", " "),
    ],
)
def test_ids(given_id: object, id_: str) -> None:
    """An id is any text of up to 128 bytes, or a number's digits."""
    for least in ("llm", "event", "error"):
        event = read({**LEAST[least], "id": given_id})

        assert not isinstance(event, Metric)
        assert (event.id, event.own_id) == (id_, False)


@pytest.mark.parametrize(
    "given_id",
    [
        "", "x" * 129, "ü" * 65, "😀" * 33, "\ud83d" * 43, 10**128, 10**600, 10**5000, True, [], {},
        b"x", NAN, cbor2.undefined,
    ],
    ids=lambda value: ascii(value)[:20] if not isinstance(value, int) else "number",
)  # fmt: skip
def test_no_ids(given_id: object) -> None:
    """Anything else is no id: longer ones would have to be cut, and two could become one."""
    error = refusal({**LEAST["llm"], "id": given_id})

    assert error.reason is Reason.BAD_FIELD
    assert error.detail.startswith("id must be text")


def test_own_id() -> None:
    """An id that we make begins with the time of the event, and says that it is ours."""
    event = read({"type": "llm", "ts": 5000})

    assert isinstance(event, Llm)
    assert (event.id, event.own_id) == ("made-5000", True)


@pytest.mark.parametrize("type_", LEAST)
@pytest.mark.parametrize(
    ("stamp", "ts_ms", "clamps"),
    [
        (NOW_MS, NOW_MS, 0),
        (0, 0, 0),
        (NOW_MS + HOUR_MS, NOW_MS + HOUR_MS, 0),
        (NOW_MS + HOUR_MS + 0.5, NOW_MS, 1),
        ("2026-11-22T11:00:00Z", NOW_MS + HOUR_MS, 0),
        ("2026-11-22T11:00:00.001Z", NOW_MS, 1),
        (str(NOW_MS), NOW_MS, 0),
        ("9999-12-31T23:59:59Z", NOW_MS, 1),
    ],
)
def test_stamps(type_: str, stamp: object, ts_ms: float, clamps: int) -> None:
    """Stamps further ahead than an hour become the arrival time and are counted; the past is believed."""
    clamped = Clamps()
    event = reader_of(clamped).read({**LEAST[type_], "ts": stamp}, NOW_MS, "udp")

    assert (event.ts_ms, clamped.count) == (ts_ms, clamps)


@pytest.mark.parametrize("type_", LEAST)
@pytest.mark.parametrize(
    "stamp", ["", "yesterday", -1, True, [], NAN, math.inf, 1e300, b"1", "1969-12-31T00:00:00Z"]
)
def test_no_stamps(type_: str, stamp: object) -> None:
    """A stamp that cannot be read is not replaced by a guess."""
    error = refusal({**LEAST[type_], "ts": stamp})

    assert error.reason is Reason.BAD_FIELD
    assert error.detail.startswith("ts ")


@pytest.mark.parametrize("type_", ["llm", "event", "error"])
def test_attributes(type_: str) -> None:
    """Attributes are a map of any plain values."""
    least = LEAST[type_]
    full: Map = {"a": [1, {"b": None}], "ü": "half\ud83d", "n": 10**30}
    event = read({**least, "attributes": full})
    empty = read({**least, "attributes": {}})

    assert not isinstance(event, Metric)
    assert not isinstance(empty, Metric)
    assert event.attributes == '{"a":[1,{"b":null}],"ü":"half\ufffd","n":1' + 30 * "0" + "}"
    assert empty.attributes is None


@pytest.mark.parametrize("type_", ["llm", "event", "error"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], Reason.BAD_FIELD),
        ("x", Reason.BAD_FIELD),
        (0, Reason.BAD_FIELD),
        (False, Reason.BAD_FIELD),
        ({"a": NAN}, Reason.NOT_PLAIN_DATA),
        ({"a": b"x"}, Reason.NOT_PLAIN_DATA),
        ({"a": [cbor2.undefined]}, Reason.NOT_PLAIN_DATA),
        ({"a": cbor2.CBORTag(99, 1)}, Reason.NOT_PLAIN_DATA),
        ({(1, 2): 3}, Reason.NOT_PLAIN_DATA),
        ({"a": json.loads("[" * 64 + "]" * 64)}, Reason.TOO_DEEP),
    ],
)
def test_no_attributes(type_: str, value: object, reason: Reason) -> None:
    """Attributes that are no map, no plain data or too deep are refused by name."""
    error = refusal({**LEAST[type_], "attributes": value})

    assert error.reason is reason
    assert error.detail.startswith("attributes ")


# Calls


@pytest.mark.parametrize(
    "field", ["provider", "model", "response_model", "operation", "finish_reason", "request_id"]
)
def test_labels_of_a_call(field: str) -> None:
    """Names in a call are short texts or numbers; an empty operation is a chat."""
    assert getattr(llm(**{field: "x"}), field) == "x"
    assert getattr(llm(**{field: ""}), field) == ("chat" if field == "operation" else None)
    assert refusal({"type": "llm", field: []}).detail == f"{field} must be text"


@pytest.mark.parametrize("field", ["input", "output"])
def test_words_of_a_call(field: str) -> None:
    """Input and output are texts or any JSON; a list is kept message by message."""
    cases: list[tuple[object, Text]] = [
        ("hi", Text(TextKind.TEXT, ("hi",))),
        ("", Text(TextKind.TEXT, ("",))),
        ([{"a": 1}, "b"], Text(TextKind.LIST, ('{"a":1}', '"b"'))),
        ({"a": []}, Text(TextKind.JSON, ('{"a":[]}',))),
        (False, Text(TextKind.JSON, ("false",))),
    ]
    error = refusal({"type": "llm", field: [b"x"]})

    assert [getattr(llm(**{field: value}), field) for value, _ in cases] == [text for _, text in cases]
    assert (error.reason, error.detail) == (Reason.NOT_PLAIN_DATA, f"{field} holds a value that JSON cannot")


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, None),
        ({"tokens": {}}, Tokens()),
        ({"tokens": {"input": 3}}, Tokens(input=3)),
        ({"tokens": {"total": 9}}, Tokens(total=9)),
        ({"tokens": {"input": 3, "total": 9}}, Tokens(input=3, total=9)),
        ({"tokens": {"input": 3, "output": 4}}, Tokens(input=3, output=4, total=7)),
        ({"tokens": {"input": 3, "output": 4, "total": 9}}, Tokens(input=3, output=4, total=7)),
        ({"tokens": {"input": 0, "output": 0}}, Tokens(input=0, output=0, total=0)),
        ({"tokens": {"input": "3", "output": 4.0, "odd": []}}, Tokens(input=3, output=4, total=7)),
        (
            {"tokens": {"input": 1, "cache_read": 2, "cache_write": 4, "cache_write_1h": 8, "output": 16}},
            Tokens(1, 2, 4, 8, 16, None, 31),
        ),
        ({"tokens": {"input": 1, "output": 2, "reasoning": 2}}, Tokens(1, output=2, reasoning=2, total=3)),
        ({"input_tokens": 3}, Tokens(input=3)),
        ({"output_tokens": 4}, Tokens(output=4)),
        ({"input_tokens": 3, "output_tokens": 4}, Tokens(input=3, output=4, total=7)),
        ({"prompt_tokens": 3, "completion_tokens": 4}, Tokens(input=3, output=4, total=7)),
        ({"input_tokens": 3, "prompt_tokens": 5, "completion_tokens": 4}, Tokens(input=3, output=4, total=7)),
        ({"input_tokens": None, "prompt_tokens": 5}, Tokens(input=5)),
        ({"output_tokens": None, "completion_tokens": 5}, Tokens(output=5)),
        ({"input_tokens": 0, "prompt_tokens": 5}, Tokens(input=0)),
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}, Tokens(input=3, output=4, total=7)),
        (
            {"usage": {"input_tokens": 3, "cache_read_input_tokens": 5, "output_tokens": 4}},
            Tokens(input=3, cache_read=5, output=4, total=12),
        ),
        ({"usage": {"unheard_of": 1}}, Tokens()),
        ({"usage": {}, "input_tokens": 3}, Tokens()),
        ({"tokens": {"input": 1}, "usage": {"prompt_tokens": 3}, "output_tokens": 9}, Tokens(input=1)),
    ],
)  # fmt: skip
def test_tokens(fields: Map, tokens: Tokens | None) -> None:
    """Tokens come from `tokens`, else from `usage`, else from the flat forms; unknown counts stay unknown."""
    assert tokens_of(fields) == tokens
    assert llm(**fields).tokens == tokens


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"tokens": []}, "tokens must be a map"),
        ({"tokens": 5}, "tokens must be a map"),
        ({"usage": [1]}, "usage must be a map"),
        ({"usage": "5"}, "usage must be a map"),
        ({"usage": {"prompt_tokens": -1}}, "prompt_tokens must be a whole number"),
        *[({"tokens": {bucket: -1}}, f"tokens.{bucket} must be a whole number") for bucket in BUCKETS],
        ({"tokens": {"input": 1.5}}, "tokens.input must be a whole number"),
        ({"tokens": {"input": 2**53 + 1}}, "tokens.input must be a whole number"),
        ({"tokens": {"input": NAN}}, "tokens.input must be finite"),
        ({"tokens": {"input": True}}, "tokens.input must be a number"),
        ({"input_tokens": "many"}, "input_tokens must be a number"),
        ({"prompt_tokens": -1}, "prompt_tokens must be a whole number"),
        ({"output_tokens": NAN}, "output_tokens must be finite"),
        ({"completion_tokens": []}, "completion_tokens must be a number"),
    ],
)
def test_no_tokens(fields: Map, detail: str) -> None:
    """A count that is no count is refused by name."""
    error = refusal({"type": "llm", **fields})

    assert error.reason is Reason.BAD_FIELD
    assert error.detail.startswith(detail)


def test_usage_is_kept_raw() -> None:
    """The usage object is kept as it came, beside the counts that were read from it."""
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "new": {"x": [None]}}
    call = llm(usage=usage)

    assert call.usage is not None
    assert json.loads(call.usage) == usage
    assert refusal({"type": "llm", "usage": {"new": b"x"}}).detail == "usage holds a value that JSON cannot"


def test_usage_by_provider() -> None:
    """Where the same names mean different things, the provider decides."""
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 2}}

    assert llm(usage=usage).tokens == Tokens(input=3, output=4, reasoning=2, total=7)
    assert llm(usage=usage, provider="xai").tokens == Tokens(input=3, output=6, reasoning=2, total=9)


@pytest.mark.parametrize(
    ("cost", "nusd"),
    [(0, 0), (1, 10**9), (0.1, 10**8), (1e-9, 1), (1e-10, 0), ("0.25", 250_000_000), (1_000_000, 10**15)],
)
def test_costs(cost: object, nusd: int) -> None:
    """A reported cost is kept in whole nano-dollars."""
    assert llm(cost_usd=cost).cost_nusd == nusd


@pytest.mark.parametrize("cost", [-0.01, 1_000_001, NAN, math.inf, True, "free", [], b"1", Decimal(1)])
def test_no_costs(cost: object) -> None:
    """A cost that no call can have is refused."""
    error = refusal({"type": "llm", "cost_usd": cost})

    assert error.reason is Reason.BAD_FIELD
    assert error.detail.startswith("cost_usd must be ")


@pytest.mark.parametrize(
    ("type_", "field"), [("llm", "latency_ms"), ("llm", "ttft_ms"), ("event", "duration_ms")]
)
def test_durations(type_: str, field: str) -> None:
    """Durations are milliseconds, with fractions, and never negative."""
    for value, ms in [(0, 0.0), (12.5, 12.5), ("7", 7.0)]:
        assert getattr(read({**LEAST[type_], field: value}), field) == ms
    for wrong in NO_DURATIONS:
        error = refusal({**LEAST[type_], field: wrong})

        assert error.reason is Reason.BAD_FIELD
        assert error.detail.startswith(f"{field} must ")


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, ("ok", None, None, None)),
        ({"status": ""}, ("ok", None, None, None)),
        ({"status": "OK"}, ("ok", None, None, None)),
        ({"status": "success"}, ("ok", None, None, None)),
        ({"status": "succeeded"}, ("ok", None, None, None)),
        ({"status": "completed"}, ("ok", None, None, None)),
        ({"status": "complete"}, ("ok", None, None, None)),
        ({"status": "error"}, ("error", ErrorKind.OTHER, None, None)),
        ({"status": "failed"}, ("error", ErrorKind.OTHER, None, None)),
        ({"status": "Timeout"}, ("error", ErrorKind.TIMEOUT, None, None)),
        ({"status": "timed_out"}, ("error", ErrorKind.TIMEOUT, None, None)),
        ({"status": "rate_limited"}, ("error", ErrorKind.RATE_LIMIT, None, None)),
        ({"status": "cancelled"}, ("error", ErrorKind.CANCELLED, None, None)),
        ({"status": "canceled"}, ("error", ErrorKind.CANCELLED, None, None)),
        ({"status": "aborted"}, ("error", ErrorKind.CANCELLED, None, None)),
        ({"status": "context_overflow"}, ("error", ErrorKind.CONTEXT_LENGTH, None, None)),
        ({"status": "unauthorized"}, ("error", ErrorKind.AUTH, None, None)),
        *[({"status": kind.value}, ("error", kind, None, None)) for kind in ErrorKind],
        *[({"error": {"kind": kind.value}}, ("error", kind, None, None)) for kind in ErrorKind],
        *[({"error": nothing}, ("ok", None, None, None)) for nothing in NOTHING],
        ({"error": "boom"}, ("error", ErrorKind.OTHER, None, "boom")),
        ({"error": True}, ("error", ErrorKind.OTHER, None, "true")),
        ({"error": ["a", "b"]}, ("error", ErrorKind.OTHER, None, '["a","b"]')),
        ({"status": "ok", "error": "boom"}, ("error", ErrorKind.OTHER, None, "boom")),
        ({"status": "timeout", "error": "boom"}, ("error", ErrorKind.TIMEOUT, None, "boom")),
        ({"status": "error", "error": {"message": "boom"}}, ("error", ErrorKind.OTHER, None, "boom")),
        ({"error": {"kind": "Canceled"}}, ("error", ErrorKind.CANCELLED, None, None)),
        ({"error": {"kind": "odd"}}, ("error", ErrorKind.OTHER, None, None)),
        ({"error": {"kind": 5}}, ("error", ErrorKind.OTHER, None, None)),
        ({"error": {"kind": "odd", "code": 429}}, ("error", ErrorKind.RATE_LIMIT, 429, None)),
        ({"error": {"kind": "auth", "code": 429}}, ("error", ErrorKind.AUTH, 429, None)),
        ({"status": "timeout", "error": {"kind": "auth"}}, ("error", ErrorKind.AUTH, None, None)),
        ({"status": "timeout", "error": {"code": 429}}, ("error", ErrorKind.TIMEOUT, 429, None)),
        ({"error": {"message": {"detail": "ü"}}}, ("error", ErrorKind.OTHER, None, '{"detail":"ü"}')),
        *[
            ({"error": {"code": code}}, ("error", kind, code, None))
            for code, kind in [
                (400, ErrorKind.OTHER), (401, ErrorKind.AUTH), (403, ErrorKind.AUTH),
                (408, ErrorKind.TIMEOUT), (429, ErrorKind.RATE_LIMIT), (499, ErrorKind.CANCELLED),
                (500, ErrorKind.OTHER),
                (503, ErrorKind.OVERLOADED), (504, ErrorKind.TIMEOUT), (529, ErrorKind.OVERLOADED),
            ]
        ],
        ({"error": {"code": "429"}}, ("error", ErrorKind.RATE_LIMIT, 429, None)),
        ({"error": {"code": 429.0}}, ("error", ErrorKind.RATE_LIMIT, 429, None)),
        *[
            ({"error": {"code": code, "message": "m"}}, ("error", ErrorKind.OTHER, None, "m"))
            for code in NO_CODES
        ],
    ],
    ids=ascii,
)  # fmt: skip
def test_outcomes(fields: Map, outcome: tuple[str, ErrorKind | None, int | None, str | None]) -> None:
    """Status and error, in the words of many senders, become a status, a kind, a code and a message."""
    call = llm(**fields)

    assert (call.status, call.error_kind, call.error_code, call.error_message) == outcome


@pytest.mark.parametrize("status", [5, True, 200, [], {}, b"ok", NAN])
def test_no_status(status: object) -> None:
    """A status is a word."""
    assert refusal({"type": "llm", "status": status}).detail == "status must be text"


def test_error_messages() -> None:
    """The message of an error is cut where it is too long, and refused where it is no data."""
    long = llm(error={"message": "x" * (MESSAGE_CHARS + 1)})
    error = refusal({"type": "llm", "error": {"message": b"x"}})

    assert long.error_message == "x" * MESSAGE_CHARS + f"…[cut: {MESSAGE_CHARS + 1} characters]"
    assert (error.reason, error.detail) == (
        Reason.NOT_PLAIN_DATA,
        "error.message holds a value that JSON cannot",
    )


def test_seen_by() -> None:
    """A call remembers which input brought it."""
    call = reader_of().read({"type": "llm"}, NOW_MS, "otlp")

    assert isinstance(call, Llm)
    assert call.seen_by == "otlp"


# Events and errors


@pytest.mark.parametrize(("type_", "field"), [("event", "name"), ("error", "kind"), ("metric", "name")])
def test_required_names(type_: str, field: str) -> None:
    """What an event is about must be said."""
    assert getattr(read({**LEAST[type_], field: 7}), field) == "7"
    assert refusal({**LEAST[type_], field: ""}).reason is Reason.MISSING_FIELD
    assert refusal({**LEAST[type_], field: []}).detail == f"{field} must be text"


@pytest.mark.parametrize("type_", ["event", "error"])
@pytest.mark.parametrize(
    ("word", "severity"),
    [
        *[(severity.value, severity) for severity in Severity],
        ("WARN", Severity.WARNING),
        ("success", Severity.INFO),
        ("Critical", Severity.FATAL),
    ],
)
def test_severities(type_: str, word: str, severity: Severity) -> None:
    """Severities are five words, and what others call them."""
    event = read({**LEAST[type_], "severity": word})

    assert isinstance(event, Event | Failure)
    assert event.severity is severity


@pytest.mark.parametrize("type_", ["event", "error"])
@pytest.mark.parametrize("word", ["", "bad", 3, True, []])
def test_no_severities(type_: str, word: object) -> None:
    """Any other severity is refused, with the words that would do."""
    error = refusal({**LEAST[type_], "severity": word})

    assert (error.reason, error.detail) == (
        Reason.BAD_FIELD,
        "severity must be one of debug, info, warning, error, fatal",
    )


@pytest.mark.parametrize("field", ["message", "stack"])
def test_messages_of_an_error(field: str) -> None:
    """Message and stack are longer texts, or any JSON."""
    assert getattr(read({**LEAST["error"], field: "a\nb"}), field) == "a\nb"
    assert getattr(read({**LEAST["error"], field: ["a", 1]}), field) == '["a",1]'
    assert refusal({**LEAST["error"], field: b"x"}).detail == f"{field} holds a value that JSON cannot"


def test_source_of_an_error() -> None:
    """The source of an error is a label."""
    assert refusal({**LEAST["error"], "source": {}}).detail == "source must be text"


# Metrics


@pytest.mark.parametrize("kind", MetricKind)
def test_kinds_of_metrics(kind: MetricKind) -> None:
    """A sample is a number, for sets a member."""
    sample = metric(kind=kind.value, value=5)

    assert (sample.kind, sample.value) == (kind, "5" if kind is MetricKind.SET else 5.0)


@pytest.mark.parametrize("kind", ["", "GAUGE", "c", "sum", 5, True, []])
def test_no_kinds_of_metrics(kind: object) -> None:
    """Any other kind is refused, with those that would do."""
    error = refusal({**LEAST["metric"], "kind": kind})

    assert (error.reason, error.detail) == (
        Reason.BAD_FIELD,
        "kind must be one of gauge, counter, timer, histogram, distribution, set",
    )


@pytest.mark.parametrize(
    ("member", "value"), [("u1", "u1"), (7, "7"), (1.5, "1.5"), ("", ""), ("x" * 600, "x" * 512)]
)
def test_members(member: object, value: str) -> None:
    """A member of a set is a label; the empty one is a member too."""
    assert metric(kind="set", value=member).value == value


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"value": "many"}, "value must be a number"),
        ({"value": True}, "value must be a number"),
        ({"value": NAN}, "value must be finite"),
        ({"value": 2**64}, "value must fit 64 bits"),
        ({"value": b"x", "kind": "set"}, "value must be text"),
        ({"rate": 0}, "rate must be above 0 and at most 1"),
        ({"rate": -0.1}, "rate must be above 0 and at most 1"),
        ({"rate": 1.1}, "rate must be above 0 and at most 1"),
        ({"rate": NAN}, "rate must be finite"),
        ({"rate": True}, "rate must be a number"),
        ({"tags": "a:b"}, "tags must be a map or a list"),
        ({"tags": 5}, "tags must be a map or a list"),
        ({"tags": [["a"]]}, "tags must be text"),
        ({"tags": {"a": []}}, "tags must be text"),
        ({"tags": {b"a": 1}}, "tags must be text"),
    ],
)
def test_no_metrics(fields: Map, detail: str) -> None:
    """What no sample can have is refused by name."""
    error = refusal({**LEAST["metric"], **fields})

    assert (error.reason, error.detail) == (Reason.BAD_FIELD, detail)


@pytest.mark.parametrize(
    ("given_tags", "tags"),
    [
        (None, ()),
        ({}, ()),
        ([], ()),
        ({"b": "2", "a": 1, "c": None, "d": ""}, ("a:1", "b:2", "c:", "d:")),
        ({5: "x", "": "dropped", None: "dropped"}, ("5:x",)),
        (["b", "a:1", "b", "", None, 5], ("5", "a:1", "b")),
        ({"1": "x", 1: "x"}, ("1:x",)),
        (["half\ud83d"], ("half\ufffd",)),
    ],
    ids=ascii,
)
def test_tags(given_tags: object, tags: tuple[str, ...]) -> None:
    """Tags are sorted and come once each, from a map or a list; those without a name are none."""
    assert metric(tags=given_tags).tags == tags


def test_rates() -> None:
    """A rate is above 0 and at most 1, as a number or its text."""
    assert [metric(rate=rate).rate for rate in (1, 0.1, "0.5")] == [1.0, 0.1, 0.5]


# Anything at all


@given(event_maps)
def test_right_maps(fields: Map) -> None:
    """A map of right values is an event, and it can be stored."""
    check_storable(read(fields))


@given(damaged_maps | json_values | foreign_values)
def test_any_map(value: object) -> None:
    """Any map gives an event that can be stored, or is refused with a reason and a sentence."""
    outcome = read_or_refuse(value)

    if isinstance(outcome, EventError):
        assert outcome.detail
    else:
        check_storable(outcome)


@given(st.sampled_from(FIELDS), any_values)
def test_any_value_of_any_field(place: tuple[str, str], value: object) -> None:
    """Whatever stands in a field, the event can be stored or the refusal begins with the field."""
    type_, field = place
    outcome = read_or_refuse({**LEAST[type_], field: value})

    if isinstance(outcome, EventError):
        # What is wrong within a usage object goes by its provider's names.
        assert field == "usage" or re.match(rf"{field}[ .]", outcome.detail)
    else:
        check_storable(outcome)
