"""Keep as much of the words of a call as the settings allow: a `Text` in, a shorter `Text` or None out.

A cut says what was there: `…[cut: 123456 bytes]` stands for a string of that many bytes of UTF-8, after
the bytes of it that are kept. JSON stays JSON, with its structure, names, ids and numbers: only strings are cut.

A conversation is stored once because its calls repeat each other's messages (`store/texts`). Cutting must
not end that, so what is cut depends on little but the message itself: in a list, whole quarters of the limit
are cut at once, and the calls in between cut the same messages in the same way.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
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
        The text as it was where nothing needs to be cut. Shortening the result again changes nothing.
    """
    if text is None or mode is TextPolicy.OFF:
        return None
    if mode is TextPolicy.HASH:
        return _digest(text)
    if mode is TextPolicy.TRUNCATE:
        text = _excerpts(text)
    if _at_most_bytes(text.parts) <= limit_bytes:
        return text
    sizes = [size_bytes(part) for part in text.parts]
    excess = sum(sizes) - limit_bytes
    if excess <= 0:
        return text
    if text.kind is TextKind.TEXT:
        return Text(text.kind, (_cut(text.parts[0], limit_bytes),))
    if text.kind is TextKind.LIST:
        step = max(1, limit_bytes // _STEPS)
        excess = -(-excess // step) * step
    return Text(text.kind, _without(text.parts, sizes, excess))
