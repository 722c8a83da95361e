"""Show rows as the wire has them: a row of SQLite in, the map of CONTRACT section 2 out.

What is not known is absent, except a price: an unknown one is null, so that nobody takes it for 0.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Final, cast

from trace_agent.core.errors import StoreError
from trace_agent.core.events import Json, MetricKind

__all__ = ["JsonMap", "usd", "wire_metric", "wire_of", "wire_type"]

JsonMap = dict[str, Json]

_NUSD_PER_USD: Final = 1_000_000_000
# Above this a double has no fraction, and JavaScript no exact integer (RFC 8259, section 6).
_EXACT: Final = 2**53
_CONTEXT: Final = ("agent", "session", "run", "trace_id", "span_id")
_BUCKETS: Final = ("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning", "total")


def usd(nusd: int | None) -> float | None:
    """Return dollars; None stays None."""
    return None if nusd is None else nusd / _NUSD_PER_USD


def wire_of(table: str) -> Callable[[sqlite3.Row], JsonMap]:
    """Return what shows the rows of a table."""
    return _WIRES[table][1]


def wire_type(table: str) -> str:
    """Return the `type` that events of a table have on the wire."""
    return _WIRES[table][0]


def wire_metric(row: sqlite3.Row) -> JsonMap:
    """Show a window of a series; only the figures that its kind has."""
    window_ms: int = row["window_ms"]
    item: JsonMap = {
        "name": row["name"],
        "kind": row["kind"],
        "tags": _decoded(row, "tags"),
        "ts": _number(row["ts_ms"]),
        "window_s": _number(window_ms / 1000),
    }
    _add(item, row, ("count", "sum", "min", "max", "last"))
    if row["kind"] == MetricKind.COUNTER and row["sum"] is not None and window_ms > 0:
        item["rate"] = _number(row["sum"] * 1000 / window_ms)
    _add(item, row, ("p50", "p95", "p99"))
    _add(item, row, {"unique": "members"})
    return item


def _llm(row: sqlite3.Row) -> JsonMap:
    item = _common("llm", row)
    _add(item, row, ("provider", "model", "response_model", "operation"))
    item["tokens"] = {
        bucket: row[f"tokens_{bucket}"] for bucket in _BUCKETS if row[f"tokens_{bucket}"] is not None
    }
    _add_json(item, row, "usage")
    computed = usd(row["computed_nusd"])
    reported = usd(row["reported_nusd"])
    item["cost_usd"] = computed if reported is None else reported
    item["computed_cost_usd"] = computed
    _add(item, row, ("cost_basis", "price_version", "latency_ms", "ttft_ms", "status"))
    error: JsonMap = {}
    _add(error, row, {"kind": "error_kind", "code": "error_code", "message": "error_message"})
    if error:
        item["error"] = error
    _add(item, row, ("finish_reason", "request_id"))
    _add_json(item, row, "attributes")
    item["sources"] = [source for source in row["sources"].split(",") if source]
    return item


def _event(row: sqlite3.Row) -> JsonMap:
    item = _common("event", row)
    _add(item, row, ("name", "duration_ms", "severity"))
    _add_json(item, row, "attributes")
    return item


def _error(row: sqlite3.Row) -> JsonMap:
    item = _common("error", row)
    _add(item, row, ("kind", "message", "severity", "stack", "source"))
    _add_json(item, row, "attributes")
    return item


def _common(kind: str, row: sqlite3.Row) -> JsonMap:
    item: JsonMap = {
        "type": kind,
        "id": row["id"],
        "rev": row["rev"],
        "ts": _number(row["ts_ms"]),
        "received_ts": row["received_ms"],
    }
    _add(item, row, _CONTEXT)
    return item


def _add(item: JsonMap, row: sqlite3.Row, names: tuple[str, ...] | Mapping[str, str]) -> None:
    """Add what is known of some fields; a mapping says the column of each."""
    for name in names:
        value = row[names[name] if isinstance(names, Mapping) else name]
        if value is not None:
            item[name] = _number(value) if isinstance(value, float) else value


def _add_json(item: JsonMap, row: sqlite3.Row, name: str) -> None:
    if row[name] is not None:
        item[name] = _decoded(row, name)


def _decoded(row: sqlite3.Row, name: str) -> Json:
    try:
        return cast("Json", json.loads(row[name]))
    except ValueError as error:
        # We wrote it, so the file has been changed since: SQLite does not notice flipped bytes in a row.
        raise StoreError(f"row {row['row']} of the database is damaged: {name} is no JSON") from error


def _number(value: float) -> int | float:
    """Return a whole number without the `.0` that makes readers think of fractions."""
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


_WIRES: Final[dict[str, tuple[str, Callable[[sqlite3.Row], JsonMap]]]] = {
    "llm": ("llm", _llm),
    "events": ("event", _event),
    "errors": ("error", _error),
    "metrics": ("metric", wire_metric),
}
