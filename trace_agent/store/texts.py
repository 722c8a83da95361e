"""Keep the words of calls once each: a `Text` in, a small reference out, and the value back again.

Agents resend their whole history with every call, so texts are stored by content. A string or a JSON
value is one text. A list (of messages) is a chain of nodes `(parent node, text)`: a call holds the
head, and the calls that continue a conversation share all nodes before their own. A list of hashes
per call would grow with the square of the session again.
"""

import json
import sqlite3
import zlib
from collections import OrderedDict
from hashlib import blake2b
from typing import Final, TypeVar, cast

from trace_agent.core.events import Json, Text, TextKind

__all__ = ["TextStore", "read_text"]

_HASH_BYTES: Final = 16
_CACHE_ENTRIES: Final = 4096
# Below this size zlib's header and dictionary start eat what compression gains.
_COMPRESS_FROM_BYTES: Final = 256
_LEVEL: Final = 1

Key = TypeVar("Key")

# Values of `texts.codec`.
_PLAIN: Final = 0
_ZLIB: Final = 1


class TextStore:
    """Writes texts within the caller's transaction.

    The writer's thread owns it, with its connection. After a rollback `forget` must be called, since
    the ids remembered may be gone.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._texts: OrderedDict[bytes, int] = OrderedDict()
        self._nodes: OrderedDict[tuple[int, int], int] = OrderedDict()

    def forget(self) -> None:
        """Drop what is remembered of stored texts."""
        self._texts.clear()
        self._nodes.clear()

    def put(self, text: Text | None) -> tuple[str | None, int | None]:
        """Store a text if it is new.

        Returns:
            The values of the columns `.._kind` and `.._ref`.
        """
        if text is None:
            return None, None
        if text.kind is not TextKind.LIST:
            return text.kind.value, self._text(text.parts[0])
        node = 0
        for part in text.parts:
            node = self._node(node, self._text(part))
        return text.kind.value, node

    def _text(self, part: str) -> int:
        raw = part.encode()
        key = blake2b(raw, digest_size=_HASH_BYTES).digest()
        known = self._texts.get(key)
        if known is not None:
            self._texts.move_to_end(key)
            return known
        codec, data = _PLAIN, raw
        if len(raw) >= _COMPRESS_FROM_BYTES:
            packed = zlib.compress(raw, _LEVEL)
            if len(packed) < len(raw):
                codec, data = _ZLIB, packed
        row = self._connection.execute(
            "INSERT INTO texts (hash, codec, size_bytes, data) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (hash) DO NOTHING RETURNING id",
            (key, codec, len(raw), data),
        ).fetchone()
        if row is None:
            row = self._connection.execute("SELECT id FROM texts WHERE hash = ?", (key,)).fetchone()
        return _remember(self._texts, key, int(row[0]))

    def _node(self, parent: int, text: int) -> int:
        key = (parent, text)
        known = self._nodes.get(key)
        if known is not None:
            self._nodes.move_to_end(key)
            return known
        row = self._connection.execute(
            "INSERT INTO text_nodes (parent, text) VALUES (?, ?)"
            " ON CONFLICT (parent, text) DO NOTHING RETURNING id",
            key,
        ).fetchone()
        if row is None:
            row = self._connection.execute(
                "SELECT id FROM text_nodes WHERE parent = ? AND text = ?", key
            ).fetchone()
        return _remember(self._nodes, key, int(row[0]))


def read_text(connection: sqlite3.Connection, kind: str | None, ref: int | None) -> Json:
    """Return the value that the columns `.._kind` and `.._ref` stand for; None for no text."""
    if kind is None or ref is None:
        return None
    if kind == TextKind.LIST:
        rows = connection.execute(
            "WITH RECURSIVE chain (depth, parent, text) AS ("
            " SELECT 0, parent, text FROM text_nodes WHERE id = ?"
            " UNION ALL SELECT depth + 1, node.parent, node.text"
            " FROM chain JOIN text_nodes AS node ON node.id = chain.parent"
            ") SELECT codec, data FROM chain JOIN texts ON texts.id = chain.text ORDER BY depth DESC",
            (ref,),
        )
        return [cast("Json", json.loads(_unpack(codec, data))) for codec, data in rows]
    row = connection.execute("SELECT codec, data FROM texts WHERE id = ?", (ref,)).fetchone()
    if row is None:
        return None
    text = _unpack(*row)
    return text if kind == TextKind.TEXT else cast("Json", json.loads(text))


def _unpack(codec: int, data: bytes) -> str:
    return (zlib.decompress(data) if codec == _ZLIB else data).decode()


def _remember(cache: OrderedDict[Key, int], key: Key, value: int) -> int:
    cache[key] = value
    if len(cache) > _CACHE_ENTRIES:
        cache.popitem(last=False)
    return value
