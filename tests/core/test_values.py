"""Single values of peers become what SQLite and JSON can hold, or are refused by name.

Invariant: whatever value comes, each function returns its type, with valid Unicode and finite numbers in it,
or raises an `EventError` that names the field; nothing else.
"""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import any_text, any_values, json_values, plain_values
from trace_agent.core.errors import EventError, Reason
from trace_agent.core.events import Text, TextKind
from trace_agent.core.values import (
    DEPTH_LIMIT,
    LABEL_CHARS,
    MESSAGE_CHARS,
    as_count,
    as_json,
    as_label,
    as_message,
    as_number,
    as_text,
    as_time_ms,
    valid_text,
)

MOMENT_MS: Final = 1_795_341_600_000.0  # 2026-11-22T10:00:00Z
NO_TEXT: Final[tuple[object, ...]] = (
    True,
    [],
    {},
    b"x",
    math.nan,
    math.inf,
    10**600,
    cbor2.undefined,
    Decimal(1),
)


def nested(levels: int, *, as_map: bool = False) -> object:
    """Return a value of so many levels."""
    value: object = 1
    for _ in range(levels):
        value = {"a": value} if as_map else [value]
    return value


def refusal(read: Callable[[object, str], object], value: object) -> Reason:
    """Return why `value` is refused, having seen that the refusal names the field."""
    with pytest.raises(EventError) as caught:
        read(value, "this_field")
    assert caught.value.detail.startswith("this_field ")
    return caught.value.reason


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("plain", "plain"),
        ("grüße 😀", "grüße 😀"),
        ("a\ud83d", "a\ufffd"),
        ("\ude00a", "\ufffda"),
        ("\ud83d\ude00", "😀"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ufeffa\ud800", "\ufeffa\ufffd"),
    ],
)
def test_valid_text(text: str, valid: str) -> None:
    """Halves of characters become U+FFFD, two that belong together become their character."""
    assert valid_text(text) == valid


@given(any_text)
def test_valid_text_of_anything(text: str) -> None:
    """Every string comes out as valid Unicode, and valid ones as they were."""
    valid = valid_text(text)

    assert valid.encode().decode() == valid
    assert valid_text(valid) == valid


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (None, None),
        ("", None),
        ("claude", "claude"),
        (12, "12"),
        (-3, "-3"),
        (1.5, "1.5"),
        (2**64 - 1, "18446744073709551615"),
        (2**128, str(2**128)),
        ("x" * 600, "x" * LABEL_CHARS),
        ("x" * 511 + "\ud83d", "x" * 511 + "\ufffd"),
    ],
)
def test_label(value: object, label: str | None) -> None:
    """A label is a short text or a number's digits, cut where it is too long; the empty one is none."""
    assert as_label(value, "this_field") == label


@pytest.mark.parametrize("value", NO_TEXT, ids=ascii)
def test_no_label(value: object) -> None:
    """What is neither text nor a number is no label."""
    assert refusal(as_label, value) is Reason.BAD_FIELD


def test_longest_number_as_label() -> None:
    """A number is a label as long as its digits fit one."""
    longest = 10 ** (LABEL_CHARS - 1) - 1

    assert as_label(-longest, "this_field") == f"-{longest}"
    assert refusal(as_label, longest + 1) is Reason.BAD_FIELD


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, None),
        ("", None),
        ("boom\n  at x", "boom\n  at x"),
        ("half\ud83d", "half\ufffd"),
        ({"a": [1, "ü"]}, '{"a":[1,"ü"]}'),
        (True, "true"),
        (0, "0"),
        ("x" * MESSAGE_CHARS, "x" * MESSAGE_CHARS),
        ("x" * (MESSAGE_CHARS + 1), "x" * MESSAGE_CHARS + f"…[cut: {MESSAGE_CHARS + 1} characters]"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_message(value: object, message: str | None) -> None:
    """A message is a text, cut with a marker that says its length, or the JSON of any other value."""
    assert as_message(value, "this_field") == message


def test_message_that_is_no_data() -> None:
    """A message that no JSON can hold is refused."""
    assert refusal(as_message, b"x") is Reason.NOT_PLAIN_DATA


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0),
        (-1.5, -1.5),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        ("12", 12),
        ("-12", -12),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (" 2 ", 2.0),
    ],
)
def test_number(value: object, number: float) -> None:
    """A number is a finite one of at most 64 bits, or its text; whole numbers stay whole."""
    read = as_number(value, "this_field")

    assert (read, type(read)) == (number, type(number))


@pytest.mark.parametrize(
    "value",
    [
        None, True, [], {}, b"1", "", "x", "--1", "1" * 33, "nan", "-inf", "9223372036854775808", 2**63,
        -(2**63) - 1, 10**5000, math.nan, math.inf, -math.inf, Decimal(1), cbor2.undefined,
    ],
    ids=lambda value: "10**5000" if value == 10**5000 else ascii(value),
)  # fmt: skip
def test_no_number(value: object) -> None:
    """Anything else is no number: words, truth values, NaN, infinity and what 64 bits cannot hold."""
    assert refusal(as_number, value) is Reason.BAD_FIELD


@pytest.mark.parametrize(
    ("value", "count"), [(None, None), (0, 0), (2**53, 2**53), (12.0, 12), ("12", 12), ("12.0", 12)]
)
def test_count(value: object, count: int | None) -> None:
    """A count is a whole number up to 2^53, however it is written."""
    read = as_count(value, "this_field")

    assert (read, type(read)) == (count, type(count))


@pytest.mark.parametrize("value", [-1, 2**53 + 1, 12.5, -0.5, True, "x", "-1", math.nan, 1e300, []])
def test_no_count(value: object) -> None:
    """Anything else is no count."""
    assert refusal(as_count, value) is Reason.BAD_FIELD


@pytest.mark.parametrize(
    ("value", "ts_ms"),
    [
        (0, 0.0),
        (1_795_341_600_000, MOMENT_MS),
        (1_795_341_600_000.25, MOMENT_MS + 0.25),
        ("1795341600000", MOMENT_MS),
        ("1795341600000.5", MOMENT_MS + 0.5),
        ("2026-11-22T10:00:00Z", MOMENT_MS),
        ("2026-11-22t10:00:00z", MOMENT_MS),
        ("2026-11-22 10:00:00Z", MOMENT_MS),
        ("2026-11-22T11:30:00+01:30", MOMENT_MS),
        ("2026-11-22T02:00:00-08:00", MOMENT_MS),
        ("2026-11-22T10:00:00-00:00", MOMENT_MS),
        ("2026-11-22T10:00:00.5Z", MOMENT_MS + 500),
        ("2026-11-22T10:00:00.123456789Z", MOMENT_MS + 123.456),
        ("2026-11-22T10:00:00", MOMENT_MS),
        ("1970-01-01T00:00:00Z", 0.0),
        ("9999-12-31T23:59:59Z", 253_402_300_799_000.0),
    ],
)
def test_time(value: object, ts_ms: float) -> None:
    """A time is Unix milliseconds, with fractions, or RFC 3339 text; without an offset it is UTC."""
    assert as_time_ms(value, "this_field") == pytest.approx(ts_ms, abs=0.001)


@pytest.mark.parametrize(
    "value",
    [
        None, True, [], {}, b"", "", "now", "-1", -1, -0.001, math.nan, math.inf, 253_402_300_800_000, 1e300,
        "1969-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
        "2026-13-01T00:00:00Z", "2026-11-22T25:00:00Z", "2026-11-22T10:00:00+24:00", "\ud800",
        "2026-11-22T10:00:00\ud800", "9" * 33, "1.2.3", datetime(2026, 11, 22, tzinfo=UTC),
        cbor2.CBORTag(1, 0),
    ],
    ids=ascii,
)  # fmt: skip
def test_no_time(value: object) -> None:
    """Anything else is no time, nor is what lies beyond the years 1970 to 9999."""
    assert refusal(as_time_ms, value) is Reason.BAD_FIELD


@given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.timezones()))  # noqa: DTZ001 - Hypothesis adds the zone
def test_times_of_all_zones(moment: datetime) -> None:
    """What Python writes as a time with its offset is read as the same moment."""
    expected = moment.timestamp() * 1000

    assert as_time_ms(moment.isoformat(), "this_field") == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, True], "ü": "\u2028"}, '{"a":[1,2.5,null,true],"ü":"\u2028"}'),
        ("half\ud83d", '"half\ufffd"'),
        ({"\ud83d": 1}, '{"\ufffd":1}'),
        ((1, 2), "[1,2]"),
        ({2: "a", None: "b", True: "c", 1.5: "d"}, '{"2":"a","null":"b","true":"c","1.5":"d"}'),
        (10**100, "1" + 100 * "0"),
        ("\x00\x1b", '"\\u0000\\u001b"'),
    ],
    ids=ascii,
)
def test_json(value: object, text: str) -> None:
    """Any plain value comes out as compact JSON, with characters as they are."""
    assert as_json(value, "this_field") == text


@pytest.mark.parametrize("as_map", [False, True])
def test_depth_bound(as_map: bool) -> None:
    """A value may have 64 levels, and none more."""
    text = as_json(nested(DEPTH_LIMIT, as_map=as_map), "this_field")

    assert json.loads(text) == nested(DEPTH_LIMIT, as_map=as_map)
    assert refusal(as_json, nested(DEPTH_LIMIT + 1, as_map=as_map)) is Reason.TOO_DEEP
    assert refusal(as_json, nested(100_000, as_map=as_map)) is Reason.TOO_DEEP


def test_empty_levels_count() -> None:
    """A level is one even if nothing is in it."""
    deepest: object = []
    for _ in range(DEPTH_LIMIT - 1):
        deepest = {"a": deepest}

    assert json.loads(as_json(deepest, "this_field")) == deepest
    assert refusal(as_json, [deepest]) is Reason.TOO_DEEP


@pytest.mark.parametrize("value", ["[" * 100, [[]] * 100, [{"a": "{"}] * 100, ([],) * 100])
def test_brackets_are_no_levels(value: object) -> None:
    """Many brackets beside each other, or within text, are not too deep."""
    assert json.loads(as_json(value, "this_field")) == (list(value) if isinstance(value, tuple) else value)


def test_what_json_has_no_word_for() -> None:
    """Bytes, tags, undefined, NaN, sets, cycles and numbers without end are no plain data."""
    cyclic: list[object] = []
    cyclic.append({"again": cyclic})
    foreign = (
        b"x", cbor2.CBORTag(99, 1), cbor2.undefined, cbor2.CBORSimpleValue(99), math.nan, -math.inf, {1},
        cyclic, Decimal(1), datetime(2026, 11, 22, tzinfo=UTC), 10**5000, {(1, 2): 3}, {b"a": 1},
        {math.nan: 1},
    )  # fmt: skip
    reasons = {refusal(as_json, value) for item in foreign for value in (item, [item], {"a": item})}

    assert reasons == {Reason.NOT_PLAIN_DATA}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("", Text(TextKind.TEXT, ("",))),
        ("half\ud83d", Text(TextKind.TEXT, ("half\ufffd",))),
        ([], Text(TextKind.JSON, ("[]",))),
        ({"a": 1}, Text(TextKind.JSON, ('{"a":1}',))),
        (1.5, Text(TextKind.JSON, ("1.5",))),
        (False, Text(TextKind.JSON, ("false",))),
        (["hi", {"role": "user"}, 1], Text(TextKind.LIST, ('"hi"', '{"role":"user"}', "1"))),
    ],
    ids=ascii,
)
def test_text(value: object, text: Text | None) -> None:
    """The words of a call are kept as they came, a list of messages one by one."""
    assert as_text(value, "this_field") == text


@pytest.mark.parametrize("value", [b"x", [b"x"], {"a": b"x"}, [{"a": math.nan}]])
def test_text_that_is_no_data(value: object) -> None:
    """Words that no JSON can hold are refused, wherever they stand."""
    assert refusal(as_text, value) is Reason.NOT_PLAIN_DATA


@given(plain_values)
def test_json_comes_back(value: object) -> None:
    """A plain value is the same after it has been written and read."""
    assert json.loads(as_json(value, "this_field")) == value


@given(json_values | any_values)
def test_any_value(value: object) -> None:
    """Whatever comes, each function gives what can be stored or refuses it as an event's fault."""
    for read in (as_label, as_message, as_number, as_count, as_time_ms, as_json, as_text):
        try:
            result = read(value, "this_field")
        except EventError:
            continue
        parts = result.parts if isinstance(result, Text) else (result,)
        for part in parts:
            if isinstance(part, str):
                part.encode()  # raises on lone surrogates
            elif part is not None:
                assert math.isfinite(part)
                assert isinstance(part, float) or -(2**63) <= part < 2**63
