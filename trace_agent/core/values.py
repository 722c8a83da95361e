"""Check single values of peers: anything in, a value that SQLite and JSON can hold out, or an `EventError`.

Traps handled here: `json.loads` accepts NaN, lone surrogates and integers without end; CBOR brings
tags, byte strings and cycles; nesting that decodes here may be too deep for whoever reads it back.
"""

import json
import math
from datetime import UTC, datetime
from typing import Final, cast

from trace_agent.core.errors import EventError, Reason
from trace_agent.core.events import Text, TextKind

__all__ = [
    "DEPTH_LIMIT",
    "FUTURE_LIMIT_MS",
    "LABEL_CHARS",
    "MESSAGE_CHARS",
    "as_count",
    "as_json",
    "as_label",
    "as_message",
    "as_number",
    "as_text",
    "as_time_ms",
    "valid_text",
]

# Readers of what we store (Python's json, SQLite, jq) stop near 1,000 levels; conversations need about ten.
DEPTH_LIMIT: Final = 64
# Names, ids of sessions and the like. Longer ones are cut, because losing a call over a name helps nobody.
LABEL_CHARS: Final = 512
# A number of that many digits is still a label; Python refuses to write integers beyond 4,300.
_DIGITS_LIMIT: Final = 10 ** (LABEL_CHARS - 1)
MESSAGE_CHARS: Final = 64 * 1024
# No conversation has more messages; a longer list is kept as one value, since each part costs a row.
_LIST_PARTS: Final = 4096
# A sender's clock may run ahead a little; beyond this the stamp is wrong and the arrival time is truer.
FUTURE_LIMIT_MS: Final = 60 * 60 * 1000
# Counts stay exact in JavaScript and JSON readers (RFC 8259, section 6).
_COUNT_LIMIT: Final = 2**53
# The year 9999 in Unix milliseconds, the last that RFC 3339 can write.
_TIME_LIMIT_MS: Final = 253_402_300_799_999.0

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def valid_text(value: str) -> str:
    """Return `value` with lone surrogates replaced by U+FFFD.

    JavaScript clients send them when they cut a string within a character.
    """
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def as_label(value: object, field: str) -> str | None:
    """Return a short text, such as a name or an id; numbers are taken as their digits.

    Raises:
        EventError: `value` is neither.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return valid_text(value[:LABEL_CHARS]) or None
    # Ids are numbers of 64 bits without a sign, or of 128: no column's bound applies to their digits.
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _DIGITS_LIMIT:
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(value)
    raise EventError(Reason.BAD_FIELD, f"{field} must be text")


def as_message(value: object, field: str) -> str | None:
    """Return a longer text, cut with a marker after 64 Ki characters; other JSON values become their JSON.

    Raises:
        EventError: `value` is no plain data.
    """
    if value is None:
        return None
    text = valid_text(value) if isinstance(value, str) else as_json(value, field)
    if len(text) > MESSAGE_CHARS:
        return f"{text[:MESSAGE_CHARS]}…[cut: {len(text)} characters]"
    return text or None


def as_number(value: object, field: str) -> float | int:
    """Return a finite number; numeric text is accepted, as many senders quote numbers.

    Raises:
        EventError: `value` is no number, or not finite.
    """
    if isinstance(value, str) and len(value) <= 32:
        try:
            value = float(value) if not value.lstrip("-").isdecimal() else int(value)
        except ValueError:
            raise EventError(Reason.BAD_FIELD, f"{field} must be a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EventError(Reason.BAD_FIELD, f"{field} must be a number")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise EventError(Reason.BAD_FIELD, f"{field} must be finite")
    elif not -(2**63) <= value < 2**63:
        raise EventError(Reason.BAD_FIELD, f"{field} must fit 64 bits")
    return value


def as_count(value: object, field: str) -> int | None:
    """Return a whole number from 0 to 2^53, or None for None.

    Raises:
        EventError: `value` is something else; 12.0 counts as whole, 12.5 does not.
    """
    if value is None:
        return None
    if type(value) is int and 0 <= value <= _COUNT_LIMIT:
        return value
    number = as_number(value, field)
    if not 0 <= number <= _COUNT_LIMIT or number != int(number):
        raise EventError(Reason.BAD_FIELD, f"{field} must be a whole number from 0 to 2^53")
    return int(number)


def as_time_ms(value: object, field: str) -> float:
    """Return Unix milliseconds from a number of them or from RFC 3339 text.

    Raises:
        EventError: `value` is neither, or beyond the years 1970 to 9999.
    """
    if isinstance(value, str) and not value.replace(".", "", 1).isdecimal():
        try:
            # `t` and `z` may be lower case (RFC 3339, section 5.6), which Python does not know.
            parsed = datetime.fromisoformat(value.upper())
        except ValueError:
            raise EventError(
                Reason.BAD_FIELD, f"{field} must be Unix milliseconds or RFC 3339 text"
            ) from None
        # RFC 3339 demands an offset; ISO 8601 text without one is taken as UTC, as every exporter means it.
        moment = parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
        number = moment.timestamp() * 1000
    else:
        number = float(as_number(value, field))
    if not 0 <= number <= _TIME_LIMIT_MS:
        raise EventError(Reason.BAD_FIELD, f"{field} is out of range: it counts milliseconds since 1970")
    return number


def as_json(value: object, field: str) -> str:
    """Return any plain value as compact JSON text.

    Raises:
        EventError: it holds something JSON has no word for (tags, bytes, NaN), a cycle, or more than
            `DEPTH_LIMIT` levels.
    """
    try:
        text = _encode(value)
    except RecursionError:
        raise EventError(Reason.TOO_DEEP, f"{field} has more than {DEPTH_LIMIT} levels") from None
    except (TypeError, ValueError):  # no JSON kind; NaN, a cycle, an integer beyond 4,300 digits
        raise EventError(Reason.NOT_PLAIN_DATA, f"{field} holds a value that JSON cannot") from None
    # Fewer brackets than levels allowed cannot nest deeper: true for most values, and counted in C.
    if text.count("[") + text.count("{") > DEPTH_LIMIT and _is_too_deep(value):
        raise EventError(Reason.TOO_DEEP, f"{field} has more than {DEPTH_LIMIT} levels")
    return valid_text(text)


def as_text(value: object, field: str) -> Text | None:
    """Return the words of a call, split where a list lets them be shared between calls.

    Raises:
        EventError: as `as_json`.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return Text(TextKind.TEXT, (valid_text(value),))
    if isinstance(value, list) and 0 < len(value) <= _LIST_PARTS:
        return Text(TextKind.LIST, tuple(as_json(element, field) for element in value))
    return Text(TextKind.JSON, (as_json(value, field),))


def _is_too_deep(value: object) -> bool:
    """Return whether a value without cycles has more than `DEPTH_LIMIT` levels, without recursion."""
    level: list[object] = [value]
    for _ in range(DEPTH_LIMIT):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(cast("dict[object, object]", item).values())
            elif isinstance(item, list | tuple):
                inner.extend(item)
        level = inner
    return any(isinstance(item, dict | list | tuple) for item in level)
