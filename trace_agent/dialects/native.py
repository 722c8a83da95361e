"""Read our own wire: the bytes of a packet in, decoded values out, each meant to be one event.

One grammar for all carriers, told apart by the first byte (CONTRACT section 1). What a value means is
for `core.fields`; here it only has to be whole, plain data.
"""

import io
import json
from enum import Enum
from typing import Final, cast

import cbor2

from trace_agent.core.errors import PacketError, Reason
from trace_agent.core.values import DEPTH_LIMIT

__all__ = ["Form", "form_of", "hello_of", "values"]

_CBOR_BATCHES: Final = range(0x80, 0xA0)
_CBOR_MAPS: Final = range(0xA0, 0xC0)
_BRACES: Final = b"{["
_SPACE: Final = b" \t\r\n"
# Well above what an event may have, so that one which is too deep is refused alone, as in JSON.
_CBOR_DEPTH: Final = 8 * DEPTH_LIMIT


def _tagged(_value: object, _immutable: bool) -> object:
    return cbor2.undefined


# Every tag that the library would act on. Tagged values are no plain data, and acting on them is a trap:
# references to what came before (25, 29) unfold 200 bytes into gigabytes or a cycle, others compile
# regular expressions or calculate with numbers of any size. So `undefined` takes their place, which is
# refused with the event that holds it.
_TAGS: Final = dict.fromkeys(
    (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799),
    _tagged,
)


class Form(Enum):
    """How the bytes of a packet are to be read."""

    CBOR = "cbor"
    JSON = "json"
    NDJSON = "ndjson"
    LINES = "lines"  # StatsD


def form_of(packet: bytes) -> Form:
    """Tell what a packet is from its first byte.

    Raises:
        PacketError: it is empty, or starts like nothing we know.
    """
    if not packet:
        raise PacketError(Reason.EMPTY)
    first = packet[0]
    if first in _CBOR_MAPS or first in _CBOR_BATCHES:
        return Form.CBOR
    if first in _BRACES:
        return Form.JSON
    if first in _SPACE:
        start = packet.lstrip(_SPACE)[:1]
        if not start:
            raise PacketError(Reason.EMPTY)
        return Form.JSON if start in _BRACES else Form.LINES
    # UTF-8 beyond ASCII starts at 0xC2; what lies between is neither text nor a CBOR container.
    if 0x20 < first < 0x7F or 0xC2 <= first <= 0xF4:
        return Form.LINES
    raise PacketError(Reason.NOT_TEXT, "a packet is a CBOR or JSON map or array, or StatsD text")


def values(packet: bytes, form: Form) -> list[object]:
    """Decode a packet into the values of its events; a batch and `{"events":[..]}` are unfolded.

    A line of newline-delimited JSON that cannot be read is in the list as its `PacketError`, because
    its neighbours can.

    Args:
        packet: the bytes, whole.
        form: any but `Form.LINES`.

    Raises:
        PacketError: the bytes are not what `form` says.
    """
    if form is Form.CBOR:
        return _unfold(_cbor(packet))
    text = _utf8(packet)
    if form is Form.JSON:
        return _unfold(_json(text))
    return [_json_line(line) for line in text.split("\n") if line.strip()]


def hello_of(value: object) -> dict[str, object] | None:
    """Return `value` if it is a client's hello frame, which is no event."""
    if isinstance(value, dict) and value.get("type") == "hello":
        return cast("dict[str, object]", value)
    return None


def _unfold(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and "type" not in value and isinstance(value.get("events"), list):
        return cast("list[object]", value["events"])
    return [value]


def _utf8(packet: bytes) -> str:
    try:
        return packet.decode()
    except UnicodeDecodeError:
        # json.loads would guess UTF-16 and UTF-32 from bytes; RFC 8259, section 8.1 allows UTF-8 only.
        raise PacketError(Reason.BAD_ENCODING, "JSON must be UTF-8") from None


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except RecursionError:
        raise PacketError(Reason.TOO_DEEP, "the JSON is nested too deep") from None
    except ValueError:  # also integers of more than 4,300 digits
        raise PacketError(Reason.BAD_JSON, "the JSON cannot be read") from None


def _json_line(line: str) -> object:
    try:
        return _json(line)
    except PacketError as error:
        return error


def _cbor(packet: bytes) -> object:
    # `cbor2.loads` ignores what follows the first value, so the end is checked by hand.
    stream = io.BytesIO(packet)
    try:
        value: object = cbor2.CBORDecoder(stream, max_depth=_CBOR_DEPTH, semantic_decoders=_TAGS).decode()
    except cbor2.CBORDecodeError:  # what else is raised within, it wraps
        raise PacketError(Reason.BAD_CBOR, "the CBOR cannot be read, or is nested too deep") from None
    if stream.tell() != len(packet):
        raise PacketError(Reason.TRAILING_BYTES, "bytes follow the CBOR value")
    return value
