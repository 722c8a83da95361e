"""Keep as much of the words of a call as the settings allow: a `Text` in, a shorter `Text` or None out.

A cut says what was there: `…[cut: 123456 bytes]` stands for a string of that many bytes of UTF-8, after
the bytes of it that are kept. JSON stays JSON with its structure, names, ids and numbers: strings are cut.

A conversation is stored once because its calls repeat each other's messages (`store/texts`). Cutting must
not end that, so what is cut depends on little but the message itself: in a list, whole quarters of the limit
are cut at once, and the calls in between cut the same messages in the same way.
"""

import json
import re
import sys
from collections.abc import Sequence
from hashlib import sha256
from operator import is_
from typing import Final, cast

from attrs import define

from trace_agent.core.events import Json, Text, TextKind
from trace_agent.core.settings_table import TextPolicy

__all__ = ["EXCERPT_BYTES", "shorten"]

# With `truncate`, what is kept of each string.
EXCERPT_BYTES: Final = 1024
# What is kept of the strings that go first, to tell what they were; if that is too much, nothing.
_HEADS_BYTES: Final = (128, 0)
# A marker is shorter than this for any size there is; what it would not make shorter is not cut.
_MARKER_BYTES: Final = 32
_MARKER: Final = re.compile(r"…\[cut: ([0-9]{1,15}) bytes\]\Z")
# A list that is too long is cut down to between three quarters of the limit and the limit.
_STEPS: Final = 4
# Strings under names with these ends tell what a message is, and tie it to others.
_STRUCTURE: Final = ("id", "name", "role", "type")
_STRUCTURE_BYTES: Final = 256

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def shorten(text: Text | None, mode: TextPolicy, limit_bytes: int) -> Text | None:
    """Return what is to be kept of a text that secrets have been taken out of.

    Args:
        text: words of a call.
        mode: `full` keeps `limit_bytes`; `truncate` the first `EXCERPT_BYTES` of each string, within the same
            limit; `hash` `{"sha256": "..", "bytes": n}`, which are those of the text itself or of its
            JSON; `off` nothing.
        limit_bytes: of UTF-8, JSON's own characters included. Markers come in addition, and so does
            structure that cannot be cut.

    Returns:
        The text as it was, where nothing needs to be cut. What has been cut is not cut again.
    """
    if text is None or mode is TextPolicy.OFF:
        return None
    if mode is TextPolicy.HASH:
        return _digest(text)
    if mode is TextPolicy.TRUNCATE:
        text = _excerpts(text)
    if sum(map(_most_bytes, text.parts)) <= limit_bytes:
        return text
    sizes = [_size_bytes(part) for part in text.parts]
    excess = sum(sizes) - limit_bytes
    if excess <= 0:
        return text
    if text.kind is TextKind.TEXT:
        return _with(text, (_cut(text.parts[0], limit_bytes),))
    step = max(1, limit_bytes // _STEPS) if text.kind is TextKind.LIST else 1
    return _with(text, _without(text.parts, sizes, excess, -(-excess // step) * step))


def _with(text: Text, parts: tuple[str, ...]) -> Text:
    """Return a text with these parts; the same object if they are those it has."""
    return text if all(map(is_, parts, text.parts)) else Text(text.kind, parts)


def _digest(text: Text) -> Text:
    """Return the hash of a text and its size, so that equal texts can be told to be equal."""
    joined = f"[{','.join(text.parts)}]" if text.kind is TextKind.LIST else text.parts[0]
    raw = joined.encode()
    return Text(TextKind.JSON, (_encode({"sha256": sha256(raw).hexdigest(), "bytes": len(raw)}),))


def _excerpts(text: Text) -> Text:
    """Return a text with the beginning of each of its strings."""
    if text.kind is TextKind.TEXT:
        return _with(text, (_cut(text.parts[0], EXCERPT_BYTES),))
    return _with(text, tuple(_Cutter(EXCERPT_BYTES, sys.maxsize).shorter(part) for part in text.parts))


def _without(parts: Sequence[str], sizes: Sequence[int], excess: int, goal: int) -> tuple[str, ...]:
    """Return JSON texts that are shorter by `goal` bytes together; the first are cut first."""
    kept: list[str] = []
    for head_bytes in _HEADS_BYTES:
        kept.clear()
        left = goal
        for part, size in zip(parts, sizes, strict=True):
            shorter = _Cutter(head_bytes, left).shorter(part) if left > 0 else part
            kept.append(shorter)
            if shorter is not part:
                left -= size - _size_bytes(shorter)
        if goal - left >= excess:
            break
    return tuple(kept)


@define
class _Cutter:
    """Cuts strings of JSON values in their order until enough is saved.

    Attributes:
        head_bytes: what each string keeps at least.
        left_bytes: what is still to be saved.
        cuts: strings cut so far.
    """

    head_bytes: int
    left_bytes: int
    cuts: int = 0

    def shorter(self, part: str) -> str:
        """Return a JSON text with its strings cut; the same object if there was nothing to cut."""
        if _most_bytes(part) <= self.head_bytes + _MARKER_BYTES:
            return part
        value = self._value(cast("Json", json.loads(part)), "")
        return _encode(value) if self.cuts else part

    def _value(self, value: Json, name: str) -> Json:
        if isinstance(value, str):
            return self._string(value, name)
        if isinstance(value, list):
            return [self._value(item, "") for item in value]
        if isinstance(value, dict):
            return {key: self._value(item, key) for key, item in value.items()}
        return value

    def _string(self, value: str, name: str) -> str:
        # Nearly all strings of a conversation end here.
        if self.left_bytes <= 0 or _most_bytes(value) <= self.head_bytes + _MARKER_BYTES:
            return value
        size = _size_bytes(value)
        if size <= _STRUCTURE_BYTES and name.lower().endswith(_STRUCTURE):
            return value
        shorter = _cut(value, max(self.head_bytes, size - self.left_bytes - _MARKER_BYTES))
        if shorter is not value:
            self.cuts += 1
            # Escapes make a string longer in JSON than it is, so at least this much has been saved.
            self.left_bytes -= size - _size_bytes(shorter)
        return shorter


def _cut(text: str, keep_bytes: int) -> str:
    """Return the beginning of a text and a marker; the same object if that would hardly be shorter."""
    size = _size_bytes(text)
    if size <= keep_bytes + _MARKER_BYTES:
        return text
    # A text that is cut for the second time was as long as it was before the first.
    earlier = _MARKER.search(text, len(text) - _MARKER_BYTES)
    original = size if earlier is None else earlier[1]
    # No character takes less than a byte, so the bytes are among these characters.
    head = text[:keep_bytes].encode()[:keep_bytes].decode(errors="ignore")
    # A marker of redaction stays whole or goes: half of one looks like a value.
    secret = head.rfind("[redacted:")
    if secret >= 0 and "]" not in head[secret:]:
        head = head[:secret]
    return f"{head}…[cut: {original} bytes]"


def _most_bytes(text: str) -> int:
    """Return a bound on the size of a text that costs nothing to tell; the size itself for ASCII."""
    return len(text) if text.isascii() else 4 * len(text)


def _size_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
