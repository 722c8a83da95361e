"""Hypothesis strategies that several tests share: values, event maps and packets, whole and damaged.

Pure noise is refused at its first byte and reaches little code. So damage is done to what was right: a
packet is cut, spliced with another, or has bytes changed; a map gets values that its fields may not have.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import cbor2
from hypothesis import strategies as st

from trace_agent.core.events import ErrorKind, MetricKind, Severity

__all__ = [
    "any_text",
    "any_values",
    "chunks",
    "damaged_maps",
    "damaged_packets",
    "event_maps",
    "foreign_values",
    "json_values",
    "packets",
    "plain_values",
]

Map = dict[str, object]
Maps = st.SearchStrategy[Map]
_Fields = dict[str, st.SearchStrategy[object]]

# Strings as Python may hold them: JavaScript cuts characters in two, and JSON carries the halves.
any_text: Final = st.text(st.characters(exclude_categories=()), max_size=12)
_names: Final = st.text(max_size=12)
_int64: Final = st.integers(-(2**63), 2**63 - 1)
_huge: Final = st.integers(2**63, 10**400)
_finite: Final = st.floats(allow_nan=False, allow_infinity=False)

# What every carrier brings over unharmed.
_plain_leaves: Final = st.none() | st.booleans() | _int64 | _finite | _names
plain_values: Final[st.SearchStrategy[object]] = st.recursive(
    _plain_leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=12,
)
# What `json.loads` may return: also NaN, halves of characters and integers of any size.
json_values: Final[st.SearchStrategy[object]] = st.recursive(
    st.none() | st.booleans() | st.integers() | _huge | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)


def _cycle(*, as_map: bool) -> object:
    if as_map:
        inner: dict[str, object] = {}
        inner["again"] = inner
        return inner
    items: list[object] = []
    items.append(items)
    return items


def _nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


# What no JSON has, but CBOR or a dialect may bring.
foreign_values: Final[st.SearchStrategy[object]] = st.one_of(
    st.binary(max_size=8),
    st.builds(cbor2.CBORTag, st.integers(0, 2**32), _int64),
    st.just(cbor2.undefined),
    st.builds(cbor2.CBORSimpleValue, st.integers(32, 255)),
    st.sampled_from([Decimal("1.5"), Decimal("sNaN"), datetime(2026, 11, 22, tzinfo=UTC)]),
    st.just(10**5000),  # Python refuses to write it
    st.frozensets(_int64, max_size=3),
    st.tuples(_int64, _names),
    st.dictionaries(
        st.none() | st.booleans() | _int64 | st.floats() | st.binary(max_size=3), _int64, max_size=3
    ),
    st.booleans().map(lambda as_map: _cycle(as_map=as_map)),
    st.integers(60, 70).map(_nested),
)
any_values: Final[st.SearchStrategy[object]] = st.one_of(
    json_values,
    foreign_values,
    st.lists(foreign_values, max_size=3),
    st.dictionaries(any_text, foreign_values, max_size=3),
)

# Fields of CONTRACT section 2, with values they may have.
_labels: Final = _names | _int64 | _finite
_counts: Final = st.integers(0, 2**53)
_durations: Final = st.floats(0, 1e9) | st.integers(0, 10**9)
_messages: Final = _names | plain_values
_times: Final = st.one_of(
    st.integers(0, 4 * 10**12),
    st.floats(0, 4e12),
    st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)).map(lambda moment: f"{moment.isoformat()}Z"),  # noqa: DTZ001 - bounds of naive datetimes; the Z is added as text
)
_common: Final[_Fields] = {
    "id": st.text(min_size=1, max_size=32) | st.integers(0, 2**64),
    "ts": _times,
    "agent": _labels,
    "session": _labels,
    "run": _labels,
    "trace_id": _labels,
    "span_id": _labels,
    "attributes": st.dictionaries(_names, plain_values, max_size=3),
}
_usages: Final[st.SearchStrategy[object]] = st.fixed_dictionaries(
    {"prompt_tokens": _counts, "completion_tokens": _counts},
    optional={"prompt_tokens_details": st.fixed_dictionaries({"cached_tokens": _counts})},
) | st.fixed_dictionaries(
    {"input_tokens": _counts, "output_tokens": _counts}, optional={"cache_read_input_tokens": _counts}
)
_buckets: Final = ("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning", "total")
_errors: Final[st.SearchStrategy[object]] = _names | st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from([*ErrorKind, "Timed_Out", "odd"]),
        "code": st.integers(100, 599) | st.sampled_from(["429", "ECONNRESET", -32603, 4.5]),
        "message": _messages,
    },
)
_severities: Final = st.sampled_from([*Severity, "WARN", "critical"])


def _maps(type_: str, required: _Fields, **optional: st.SearchStrategy[object]) -> Maps:
    fields: _Fields = {"type": st.just(type_), **required}
    return st.fixed_dictionaries(fields, optional={**_common, **optional})


event_maps: Final[Maps] = st.one_of(
    _maps(
        "llm",
        {},
        provider=_labels,
        model=_labels,
        response_model=_labels,
        operation=_labels,
        input=plain_values,
        output=plain_values,
        tokens=st.fixed_dictionaries({}, optional=dict.fromkeys(_buckets, _counts)),
        usage=_usages,
        input_tokens=_counts,
        completion_tokens=_counts,
        cost_usd=st.floats(0, 1e6),
        latency_ms=_durations,
        ttft_ms=_durations,
        status=st.sampled_from(["ok", "error", "Timeout", "rate_limited", "cancelled", "odd"]),
        error=_errors,
        finish_reason=_labels,
        request_id=_labels,
    ),
    _maps("event", {"name": st.text(min_size=1)}, duration_ms=_durations, severity=_severities),
    _maps(
        "error",
        {"kind": st.text(min_size=1)},
        message=_messages,
        severity=_severities,
        stack=_messages,
        source=_labels,
    ),
    _maps(
        "metric",
        {"name": st.text(min_size=1), "value": _finite | _int64},
        kind=st.sampled_from([*MetricKind]),
        tags=st.dictionaries(_names, _labels, max_size=3) | st.lists(_labels, max_size=3),
        rate=st.floats(0, 1, exclude_min=True),
    ),
)


@st.composite
def _with_damage(draw: st.DrawFn) -> Map:
    fields = dict(draw(event_maps))
    for field in draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=2)):
        fields[field] = draw(any_values)
    return fields


damaged_maps: Final[Maps] = _with_damage()


def _ndjson(maps: list[Map]) -> bytes:
    return b"\n".join(json.dumps(each).encode() for each in maps)


def _in_cbor(value: object) -> bytes:
    """Return an event in CBOR with a value that is no JSON, shared references included."""
    return cbor2.dumps({"type": "event", "name": "x", "attributes": {"a": value}}, value_sharing=True)


_batches: Final = st.lists(event_maps, min_size=1, max_size=3)
packets: Final[st.SearchStrategy[bytes]] = st.one_of(
    (event_maps | _batches).map(lambda value: json.dumps(value).encode()),
    (event_maps | _batches).map(lambda value: json.dumps(value, ensure_ascii=False).encode()),
    (event_maps | _batches).map(cbor2.dumps),
    _batches.map(lambda maps: json.dumps({"events": maps}).encode()),
    _batches.map(lambda maps: cbor2.dumps({"events": maps})),
    _batches.map(_ndjson),
    foreign_values.map(_in_cbor),
)


@st.composite
def _broken(draw: st.DrawFn) -> bytes:
    packet = bytearray(draw(packets))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(packet)))
        match draw(st.sampled_from(["cut", "behead", "splice", "change", "insert", "repeat"])):
            case "cut":
                del packet[at:]
            case "behead":
                del packet[:at]
            case "splice":
                other = draw(packets)
                packet[at:] = other[draw(st.integers(0, len(other))) :]
            case "change":
                packet[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "insert":
                packet[at:at] = draw(st.binary(min_size=1, max_size=4))
            case _:
                packet[at:at] = packet[at : at + draw(st.integers(1, 16))]
    return bytes(packet)


damaged_packets: Final[st.SearchStrategy[bytes]] = _broken()


@st.composite
def _cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    return [*_cut_at(data, sorted(draw(st.lists(st.integers(0, len(data)), max_size=8))))]


def _cut_at(data: bytes, places: list[int]) -> Iterator[bytes]:
    start = 0
    for stop in (*places, len(data)):
        yield data[start:stop]
        start = stop


def chunks(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """Return a strategy of ways to cut `data` into chunks, some of which may be empty."""
    return _cuts(data)
