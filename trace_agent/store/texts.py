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
# Compressing takes 7 us to start with, and 12 us for 400 bytes of which it saves a third: as long as all
# else that a call needs. From about here on it saves half for little more.
_COMPRESS_FROM_BYTES: Final = 512
_LEVEL: Final = 1

Key = TypeVar("Key")

# Values of `texts.codec`.
_PLAIN: Final = 0
_ZLIB: Final = 1


class TextStore:
    """Writes texts within the caller's transactions: `begin`, then `put` and `flush`.

    The writer's thread owns it, with its connection. After a rollback, also to a savepoint, `forget`
    must be called, since the ids remembered may be gone.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._texts: OrderedDict[bytes, int] = OrderedDict()
        self._nodes: OrderedDict[tuple[int, int], int] = OrderedDict()
        # Rows that have their id and wait for `flush`.
        self._new_texts: list[tuple[int, bytes, int, int, bytes]] = []
        self._new_nodes: list[tuple[int, int, int]] = []
        # Ids from here on are given, not stored.
        self._first_text = self._first_node = 0
        self._next_text = self._next_node = 0
        self._version = 0

    def begin(self) -> None:
        """Take note of the ids in use; called within the transaction, whose lock keeps others from adding."""
        execute = self._connection.execute
        (version,) = execute("PRAGMA data_version").fetchone()
        if version != self._version:  # another connection has written: what we remember may be pruned
            self.forget()
            self._version = version
        (self._first_text,) = execute("SELECT ifnull(max(id), 0) + 1 FROM texts").fetchone()
        (self._first_node,) = execute("SELECT ifnull(max(id), 0) + 1 FROM text_nodes").fetchone()
        self._next_text, self._next_node = self._first_text, self._first_node

    def forget(self) -> None:
        """Drop what is remembered of stored texts, and what waits."""
        for memory in (self._texts, self._nodes, self._new_texts, self._new_nodes):
            memory.clear()

    def put(self, text: Text | None) -> tuple[str | None, int | None]:
        """Give a text its place; `flush` stores those that are new.

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

    def flush(self) -> None:
        """Store what `put` found to be new."""
        # One statement for many rows, since a statement for each takes four times as long.
        self._connection.executemany(
            "INSERT INTO texts (id, hash, codec, size_bytes, data) VALUES (?, ?, ?, ?, ?)", self._new_texts
        )
        self._connection.executemany(
            "INSERT INTO text_nodes (id, parent, text) VALUES (?, ?, ?)", self._new_nodes
        )
        self._new_texts.clear()
        self._new_nodes.clear()
        # Not before: what waits is found by its memory alone. What is stored may be forgotten, so it no
        # longer counts as new.
        _trim(self._texts)
        _trim(self._nodes)
        self._first_text, self._first_node = self._next_text, self._next_node

    def _text(self, part: str) -> int:
        raw = part.encode()
        key = blake2b(raw, digest_size=_HASH_BYTES).digest()
        known = self._texts.get(key)
        if known is not None:
            self._texts.move_to_end(key)
            return known
        row = self._connection.execute("SELECT id FROM texts WHERE hash = ?", (key,)).fetchone()
        if row is not None:
            self._texts[key] = id_ = int(row[0])
            return id_
        self._texts[key] = id_ = self._next_text
        self._next_text += 1
        self._new_texts.append((id_, key, *_pack(raw)))
        return id_

    def _node(self, parent: int, text: int) -> int:
        key = (parent, text)
        known = self._nodes.get(key)
        if known is not None:
            self._nodes.move_to_end(key)
            return known
        # What is new itself has no node yet: nobody need look.
        if parent < self._first_node and text < self._first_text:
            row = self._connection.execute(
                "SELECT id FROM text_nodes WHERE parent = ? AND text = ?", key
            ).fetchone()
            if row is not None:
                self._nodes[key] = id_ = int(row[0])
                return id_
        self._nodes[key] = id_ = self._next_node
        self._next_node += 1
        self._new_nodes.append((id_, parent, text))
        return id_


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


def _pack(raw: bytes) -> tuple[int, int, bytes]:
    """Return the values of the columns `codec`, `size_bytes` and `data`."""
    if len(raw) < _COMPRESS_FROM_BYTES:
        return _PLAIN, len(raw), raw
    # UTF-8 uses so few of all bytes that even noise gets smaller.
    return _ZLIB, len(raw), zlib.compress(raw, _LEVEL)


def _trim(memory: OrderedDict[Key, int]) -> None:
    for _ in range(len(memory) - _CACHE_ENTRIES):
        memory.popitem(last=False)
