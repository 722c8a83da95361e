"""Packets of our own wire are told apart by their first byte, and decoded into values or refused by name.

Invariant: any bytes give values or a `PacketError`, and each value an event or an `EventError`; nothing else.
What is decoded is not larger than the packet by more than a small factor.
"""

import json
import math
from contextlib import suppress
from typing import Final

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.strategies import any_values, damaged_packets, event_maps, json_values, packets, plain_values
from trace_agent.core.errors import EventError, PacketError, Reason
from trace_agent.core.fields import EventReader
from trace_agent.dialects.native import Form, form_of, hello_of, values

EVENT: Final = {"type": "event", "name": "x"}
CODED: Final = (Form.CBOR, Form.JSON, Form.NDJSON)
READER: Final = EventReader(new_id=lambda _: "made", clamped=lambda: None)


def refusal(packet: bytes, form: Form) -> Reason:
    """Return why a packet is refused."""
    with pytest.raises(PacketError) as caught:
        values(packet, form)
    return caught.value.reason


def tag(number: int) -> bytes:
    """Return the head of a CBOR tag (RFC 8949, section 3.4)."""
    if number < 24:
        return bytes([0xC0 + number])
    return b"\xd8" + bytes([number]) if number < 256 else b"\xd9" + number.to_bytes(2, "big")


def event_with(attribute: bytes) -> bytes:
    """Return an event in CBOR whose attribute `a` is the item given as bytes."""
    return cbor2.dumps({**EVENT, "attributes": {"a": 0}})[:-1] + attribute


def read(packet: bytes) -> list[Reason | None]:
    """Read the events of a CBOR packet; return why each is refused, None for those that are not."""
    reasons: list[Reason | None] = []
    for value in values(packet, Form.CBOR):
        try:
            READER.read(value, 0, "udp")
        except EventError as error:
            reasons.append(error.reason)
        else:
            reasons.append(None)
    return reasons


# What a packet is


@pytest.mark.parametrize(
    ("packet", "form"),
    [
        (b"\xa0", Form.CBOR),
        (b"\xbf\xff", Form.CBOR),
        (b"\x80", Form.CBOR),
        (b"\x9f\xff", Form.CBOR),
        (b'{"a":1}', Form.JSON),
        (b"[]", Form.JSON),
        (b" \t\r\n{", Form.JSON),
        (b"\n[", Form.JSON),
        (b"a:1|c", Form.LINES),
        (b"_e{1,1}:a|b", Form.LINES),
        (b"\na:1|c", Form.LINES),
        (b"  \xff", Form.LINES),
        ("größe:1|c".encode(), Form.LINES),
        ("ü:1|c".encode(), Form.LINES),
        ("😀:1|c".encode(), Form.LINES),
        (b"\xd9\xd9\xf7\xa0", Form.LINES),  # self-described CBOR (RFC 8949, section 3.4.6) is not ours
    ],
)
def test_forms(packet: bytes, form: Form) -> None:
    """CBOR containers, JSON brackets after white space, and text are told apart."""
    assert form_of(packet) is form


@pytest.mark.parametrize("packet", [b"", b" ", b"\r\n", b"\t \n \r"])
def test_empty_packets(packet: bytes) -> None:
    """A packet of nothing, or of white space, is empty."""
    with pytest.raises(PacketError) as caught:
        form_of(packet)

    assert caught.value.reason is Reason.EMPTY


def test_every_first_byte() -> None:
    """CONTRACT section 1, for all 256 of them: each is CBOR, JSON, text, or refused."""
    found: dict[Form | Reason, set[int]] = {}
    for byte in range(256):
        try:
            verdict: Form | Reason = form_of(bytes([byte]) + b"x")
        except PacketError as error:
            verdict = error.reason
        found.setdefault(verdict, set()).add(byte)
    utf8_starts = {
        chr(point).encode()[0] for point in range(0x80, 0x11_0000, 64) if not 0xD800 <= point < 0xE000
    }

    assert found == {
        Form.CBOR: set(range(0x80, 0xC0)),
        Form.JSON: set(b"{["),
        Form.LINES: (set(range(0x20, 0x7F)) - set(b"{[")) | set(b"\t\r\n") | utf8_starts,
        Reason.NOT_TEXT: (set(range(0x20)) - set(b"\t\r\n")) | {0x7F, 0xC0, 0xC1} | set(range(0xF5, 0x100)),
    }


@given(st.binary())
def test_form_of_anything(packet: bytes) -> None:
    """Any bytes have a form or are refused."""
    try:
        form = form_of(packet)
    except PacketError as error:
        reason: Reason | None = error.reason
    else:
        reason = None
        assert form in Form

    assert reason in {None, Reason.EMPTY, Reason.NOT_TEXT}


# What is in it


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (EVENT, [EVENT]),
        ([EVENT, {"type": "llm"}], [EVENT, {"type": "llm"}]),
        ([], []),
        ({}, [{}]),
        ({"events": [EVENT, 5]}, [EVENT, 5]),
        ({"events": [], "client": "x"}, []),
        ({"events": EVENT}, [{"events": EVENT}]),
        ({"type": "event", "events": [1]}, [{"type": "event", "events": [1]}]),
        ([[EVENT]], [[EVENT]]),
        ([{"events": [EVENT]}], [{"events": [EVENT]}]),
        (5, [5]),
        ("x", ["x"]),
        (None, [None]),
    ],
)
def test_unfolding(value: object, items: list[object]) -> None:
    """A packet is an event, a batch, or a map of events without a type; only the outermost is unfolded."""
    assert values(json.dumps(value).encode(), Form.JSON) == items
    assert values(cbor2.dumps(value), Form.CBOR) == items


def test_ndjson() -> None:
    """Each line is an event; empty lines are none, and a line that cannot be read stands as its refusal."""
    lines = values(b'{"a":1}\r\n\n  \n{"a":\n[1]\n' + b"[" * 100_000 + b'\n"x"', Form.NDJSON)
    reasons = [line.reason for line in lines if isinstance(line, PacketError)]

    assert [line for line in lines if not isinstance(line, PacketError)] == [{"a": 1}, [1], "x"]
    assert reasons == [Reason.BAD_JSON, Reason.TOO_DEEP]
    assert [isinstance(line, PacketError) for line in lines] == [False, True, False, True, False]


def test_ndjson_keeps_separators_of_unicode() -> None:
    """Only a newline ends a line: U+2028 and U+0085 may stand within JSON text."""
    text = "a\u2028b\u0085c"

    assert values(json.dumps(text, ensure_ascii=False).encode(), Form.NDJSON) == [text]


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", Reason.BAD_JSON),
        (b"{", Reason.BAD_JSON),
        (b'{"a":1}x', Reason.BAD_JSON),
        (b'{"a":1}{"a":2}', Reason.BAD_JSON),
        (b"{'a':1}", Reason.BAD_JSON),
        (b"[1,]", Reason.BAD_JSON),
        (b"\xef\xbb\xbf{}", Reason.BAD_JSON),
        (b"[" + b"9" * 5000 + b"]", Reason.BAD_JSON),
        (b"[" * 100_000, Reason.TOO_DEEP),
        (b'{"a":' * 100_000, Reason.TOO_DEEP),
        (b'{"a":"\xff"}', Reason.BAD_ENCODING),
        (b'{"a":"\xed\xa0\x80"}', Reason.BAD_ENCODING),
        ('{"a":1}'.encode("utf-16"), Reason.BAD_ENCODING),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_damaged_json(packet: bytes, reason: Reason) -> None:
    """JSON that cannot be read is refused by what is wrong with it."""
    assert refusal(packet, Form.JSON) is reason


def test_json_beyond_the_standard() -> None:
    """NaN and halves of characters decode, so that only the event which holds them is refused or mended."""
    (value,) = values(b'{"a":NaN,"b":-Infinity,"c":1e999,"d":"\\ud83d"}', Form.JSON)

    assert isinstance(value, dict)
    assert math.isnan(value["a"])
    assert (value["b"], value["c"], value["d"]) == (-math.inf, math.inf, "\ud83d")


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", Reason.BAD_CBOR),
        (b"\xa1", Reason.BAD_CBOR),
        (b"\xa1\x61a", Reason.BAD_CBOR),
        (b"\x82\x01", Reason.BAD_CBOR),
        (b"\x9f\x01", Reason.BAD_CBOR),
        (b"\xff", Reason.BAD_CBOR),
        (b"\x81\x1c", Reason.BAD_CBOR),
        (b"\x81\xf8\x01", Reason.BAD_CBOR),
        (b"\x81\x62\xc3\x28", Reason.BAD_CBOR),
        (b"\x81\x63\xed\xa0\x80", Reason.BAD_CBOR),
        (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", Reason.BAD_CBOR),
        (b"\xbb\x00\x00\x00\xff\xff\xff\xff\xff", Reason.BAD_CBOR),
        (b"\x81\x5b\x00\x00\x00\x7f\xff\xff\xff\xff", Reason.BAD_CBOR),
        (b"\x81\x7b\x7f\xff\xff\xff\xff\xff\xff\xff", Reason.BAD_CBOR),
        (b"\x81" * 100_000 + b"\x00", Reason.BAD_CBOR),
        (b"\xa1\x61a" * 100_000 + b"\x00", Reason.BAD_CBOR),
        (b"\x81" + b"\xc1" * 100_000 + b"\x00", Reason.BAD_CBOR),
        (b"\xa0\x00", Reason.TRAILING_BYTES),
        (b"\x80\x80", Reason.TRAILING_BYTES),
        (b"\xa0" + b"\x00" * 10_000, Reason.TRAILING_BYTES),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_damaged_cbor(packet: bytes, reason: Reason) -> None:
    """CBOR that is cut, damaged, too deep, claims what is not there, or is followed by more, is refused."""
    assert refusal(packet, Form.CBOR) is reason


def test_indefinite_cbor() -> None:
    """Containers and texts may be written without their length."""
    packet = b"\x9f\xbf\x61a\x7f\x61b\x61c\xff\xff\x9f\x01\xff\xff"

    assert values(packet, Form.CBOR) == [{"a": "bc"}, [1]]


def test_tags_are_not_acted_upon() -> None:
    """No tag there is makes anything of its value: neither plain data nor the work of making it."""
    for content in (b"\x00", b"\x80", b"\x82\x01\x02", b"\x62ab", b"\x42ab", b"\xa0"):
        tagged = [tag(number) + content for number in range(65_536)]
        decoded = values(b"\x9a\x00\x01\x00\x00" + b"".join(tagged), Form.CBOR)

        assert {type(value) for value in decoded} == {cbor2.CBORTag, type(cbor2.undefined)}


@pytest.mark.parametrize(
    "attribute",
    [
        tag(1) + b"\x1a\x60\x00\x00\x00",  # a time
        tag(2) + b"\x49" + b"\xff" * 9,  # a number of more than 64 bits
        tag(4) + b"\x82\x1b" + b"\x7f" * 8 + b"\x01",  # a decimal with a huge exponent
        tag(30) + b"\x82\x01\x00",  # a fraction over 0
        tag(35) + b"\x64(a+)",  # a regular expression
        tag(28) + b"\x81" + tag(29) + b"\x00",  # a list that holds itself
        tag(258) + b"\x81\x01",  # a set
        tag(256) + b"\x82\x63abc" + tag(25) + b"\x00",  # a text said once, used twice
        tag(99) + b"\x01",
        b"\x43abc",  # bytes
        b"\xf7",  # undefined
        b"\xf8\xff",  # a simple value without meaning
        b"\xf9\x7e\x00",  # NaN
        b"\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00",  # infinity
        b"\xa1\x81\x01\x02",  # a list as key
        b"\xa1" + tag(1) + b"\x00\x02",  # a tag as key
    ],
    ids=bytes.hex,
)
def test_foreign_cbor(attribute: bytes) -> None:
    """What JSON has no word for is refused with its event, and the neighbours are kept."""
    good = cbor2.dumps(EVENT)

    assert read(b"\x83" + good + event_with(attribute) + good) == [None, Reason.NOT_PLAIN_DATA, None]


def test_numbers_of_cbor() -> None:
    """All plain numbers, of every width, come through."""
    numbers = [0, 23, 24, 2**32, 2**64 - 1, -1, -(2**63), 1.5, 0.1, 1e300, False, True, None]

    assert values(cbor2.dumps(numbers), Form.CBOR) == numbers


def test_references_do_not_unfold() -> None:
    """Lists of two references each, 60 times over, would be 2^60 numbers: refused at once."""
    lists = tag(28) + b"\x82\x00\x00"
    for index in range(59):
        reference = tag(29) + cbor2.dumps(index)
        lists += tag(28) + b"\x82" + reference + reference

    assert read(event_with(b"\x98\x3c" + lists)) == [Reason.NOT_PLAIN_DATA]


def test_huge_number_as_id() -> None:
    """A number of thousands of digits, which Python refuses to write, refuses its event alone."""
    packet = cbor2.dumps([{**EVENT, "id": 2**50_000}, EVENT])

    assert read(packet) == [Reason.BAD_FIELD, None]


def test_depth_refuses_one_event() -> None:
    """An event that is too deep is refused alone, in CBOR as in JSON."""
    deep: object = 1
    for _ in range(100):
        deep = [deep]
    batch = [EVENT, {**EVENT, "attributes": {"a": deep}}, EVENT]

    assert read(cbor2.dumps(batch)) == [None, Reason.TOO_DEEP, None]
    assert values(json.dumps(batch).encode(), Form.JSON) == batch


# Hellos


def test_hello() -> None:
    """A map of the type hello is a client's greeting, and no event."""
    hello = {"type": "hello", "client": "x", "flow": True}

    assert hello_of(hello) == hello


@pytest.mark.parametrize(
    "value", [EVENT, {}, {"hello": 1}, {"type": ["hello"]}, "hello", None, [{"type": "hello"}]]
)
def test_no_hello(value: object) -> None:
    """Anything else is none."""
    assert hello_of(value) is None


# Anything at all


def has_bignum(value: object) -> bool:
    """Return whether CBOR needs a tag for an integer somewhere in the value (RFC 8949, section 3.4.3)."""
    if isinstance(value, dict):
        return any(map(has_bignum, value.values()))
    if isinstance(value, list):
        return any(map(has_bignum, value))
    return isinstance(value, int) and not -(2**64) <= value < 2**64


@given(plain_values, event_maps)
def test_round_trip(value: object, event: dict[str, object]) -> None:
    """What was encoded comes out, in every form; integers that CBOR needs a tag for are not taken there."""
    sent = {**event, "attributes": {"a": value}}

    if not has_bignum(sent):
        assert values(cbor2.dumps(sent), Form.CBOR) == [sent]
    assert values(json.dumps(sent).encode(), Form.JSON) == [sent]
    assert values(json.dumps(sent, ensure_ascii=False).encode(), Form.JSON) == [sent]
    assert values(json.dumps([sent, sent]).encode(), Form.JSON) == [sent, sent]
    assert values(f"{json.dumps(sent)}\n{json.dumps(sent)}\n".encode(), Form.NDJSON) == [sent, sent]


@given(packets | damaged_packets | st.binary(), st.sampled_from([None, *CODED]))
@example(b"\x9a\xff\xff\xff\xff", None)
@example(b"\xa1\xf7\xf7", None)
def test_any_packet(packet: bytes, told: Form | None) -> None:
    """Any bytes, whatever form they are said to have, give values or a refusal, and these events or one."""
    try:
        form = told or form_of(packet)
        items = [] if form is Form.LINES else values(packet, form)
    except PacketError:
        return

    for item in items:
        if hello_of(item) is None and not isinstance(item, PacketError):
            with suppress(EventError):
                event = READER.read(item, 0, "udp", "event")
                assert len(str(event)) < 64 * (len(packet) + 64)


@given(json_values | any_values)
def test_any_value_is_hello_or_not(value: object) -> None:
    """Whatever was decoded can be asked whether it is a hello."""
    assert hello_of(value) in (None, value)
