# ruff: noqa: ANN401 - columns hold whatever SQLite does
"""Build databases for the read side with plain INSERTs: what a test names, and defaults for the rest."""

import io
import json
import sqlite3
from hashlib import sha256
from pathlib import Path
from typing import Any

from trace_agent.store.schema import migrate

# 2026-11-22T12:00:00Z, "now" in all tests of the read side.
NOW_MS = 1_795_348_800_000


class StoreBuilder:
    """A database that a test fills row by row; each change is committed at once, as the writer's are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        migrate(self.connection)
        path.chmod(0o600)
        self._seq = 0

    def call(self, **columns: Any) -> int:
        """Add a model call; `input` and `output` are texts, `tokens` a map of buckets."""
        row: dict[str, Any] = {"operation": "chat", "cost_basis": "unknown", "status": "ok", "sources": "udp"}
        for name in ("input", "output"):
            if name in columns:
                row[f"{name}_kind"], row[f"{name}_ref"] = self._text(columns.pop(name))
        for bucket, count in columns.pop("tokens", {}).items():
            row[f"tokens_{bucket}"] = count
        return self._insert("llm", row | columns)

    def event(self, **columns: Any) -> int:
        """Add an event."""
        return self._insert("events", {"name": "thing.happened", "severity": "info"} | columns)

    def error(self, **columns: Any) -> int:
        """Add an error."""
        return self._insert("errors", {"kind": "thing.failed", "severity": "error"} | columns)

    def metric(self, *, tags: tuple[str, ...] = (), **columns: Any) -> int:
        """Add a window of a metric."""
        row = {"name": "thing.size", "kind": "gauge", "count": 1.0, "window_ms": 10_000}
        return self._insert("metrics", row | {"tags": json.dumps(tags)} | columns)

    def _insert(self, table: str, columns: dict[str, Any]) -> int:
        self._seq += 1
        row = {
            "id": f"{table}-{self._seq}",
            "change_seq": self._seq,
            "ts_ms": NOW_MS,
            "received_ms": NOW_MS,
        } | columns
        marks = ", ".join("?" * len(row))
        cursor = self.connection.execute(
            f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
        )
        self.connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'rows_stored'")
        self.connection.execute("UPDATE meta SET value = ? WHERE key = 'change_seq'", (self._seq,))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _text(self, value: object) -> tuple[str, int]:
        """Store the words of a call as `store/texts.py` describes; return their kind and place."""
        if isinstance(value, str):
            return "text", self._one_text(value)
        if not isinstance(value, list):
            return "json", self._one_text(json.dumps(value))
        node = 0
        for element in value:
            text = self._one_text(json.dumps(element))
            self.connection.execute(
                "INSERT INTO text_nodes (parent, text) VALUES (?, ?) ON CONFLICT DO NOTHING", (node, text)
            )
            (node,) = self.connection.execute(
                "SELECT id FROM text_nodes WHERE parent = ? AND text = ?", (node, text)
            ).fetchone()
        return "list", node

    def _one_text(self, text: str) -> int:
        data = text.encode()
        self.connection.execute(
            "INSERT INTO texts (hash, codec, size_bytes, data) VALUES (?, 0, ?, ?) ON CONFLICT DO NOTHING",
            (sha256(data).digest(), len(data), data),
        )
        found = self.connection.execute("SELECT id FROM texts WHERE hash = ?", (sha256(data).digest(),))
        return int(found.fetchone()[0])


class Terminal(io.StringIO):
    """A stream that says a person looks at it."""

    def isatty(self) -> bool:  # noqa: D102 - as in io
        return True
