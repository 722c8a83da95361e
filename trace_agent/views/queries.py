"""Ask the database: a `Query` in, rows in wire form out, newest first by order of arrival.

Pages are cut by row number, so they stay what they are while new rows arrive: a cursor is the number
of the last row that was given.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

from trace_agent.core.events import Json
from trace_agent.store.texts import read_text
from trace_agent.views.params import LLM, Query, Table
from trace_agent.views.rows import JsonMap, wire_of

__all__ = [
    "Page",
    "call_by_id",
    "conditions",
    "ids_present",
    "list_rows",
    "newest_change",
    "newest_row",
    "rows_after",
]

# A page with texts ends early at this size: 1,000 calls may carry half a gigabyte of words.
_PAGE_TEXT_CHARS: Final = 8 * 1024 * 1024


@frozen
class Page:
    """Some rows of a listing.

    Attributes:
        items: in wire form.
        next: the cursor of the following page, or None at the end.
    """

    items: list[JsonMap]
    next: str | None

    def json(self) -> JsonMap:
        """Return the answer of CONTRACT section 3."""
        return {"items": list(self.items), "next": self.next}


def list_rows(connection: sqlite3.Connection, query: Query) -> Page:
    """Read one page, newest first.

    Args:
        connection: within a `snapshot`, since texts are read one by one.
        query: what is wanted; with `text`, the page may be shorter than its limit.
    """
    where, values = conditions(query)
    if query.before_row is not None:
        where.append("row < ?")
        values.append(query.before_row)
    # One row more than wanted tells whether there is another page.
    rows = _select(connection, query.table, where, [*values, query.limit + 1], order="DESC")
    show = wire_of(query.table.name)
    items: list[JsonMap] = []
    chars = 0
    last = 0
    for row in rows[: query.limit]:
        item = show(row)
        if query.text:
            chars += _add_texts(connection, item, row)
        items.append(item)
        last = row["row"]
        if chars > _PAGE_TEXT_CHARS:
            break
    return Page(items, str(last) if len(items) < len(rows) else None)


def rows_after(
    connection: sqlite3.Connection, query: Query, after_row: int, until_row: int | None = None
) -> list[tuple[int, JsonMap]]:
    """Read the next rows in order of arrival, each with its number.

    Args:
        connection: within a `snapshot`.
        query: its limit, filters and text count.
        after_row: the last row that is known; 0 for none.
        until_row: the last one wanted, so that reading a growing table comes to an end.
    """
    where, values = conditions(query)
    where.append("row > ?")
    values.append(after_row)
    if until_row is not None:
        where.append("row <= ?")
        values.append(until_row)
    show = wire_of(query.table.name)
    found: list[tuple[int, JsonMap]] = []
    chars = 0
    for row in _select(connection, query.table, where, [*values, query.limit], order="ASC"):
        item = show(row)
        if query.text:
            chars += _add_texts(connection, item, row)
        found.append((row["row"], item))
        if chars > _PAGE_TEXT_CHARS:
            break
    return found


def call_by_id(connection: sqlite3.Connection, call_id: str, *, text: bool) -> JsonMap | None:
    """Read one model call, or None if there is none of that id."""
    row = connection.execute("SELECT * FROM llm WHERE id = ?", (call_id,)).fetchone()
    if row is None:
        return None
    item = wire_of(LLM.name)(row)
    if text:
        _add_texts(connection, item, row)
    return item


def newest_row(connection: sqlite3.Connection, table: Table) -> int:
    """Return the number of the row that arrived last; 0 for an empty table."""
    (row,) = connection.execute(f"SELECT max(row) FROM {table.name}").fetchone()  # noqa: S608 - our names
    return int(row or 0)


def newest_change(connection: sqlite3.Connection) -> int:
    """Return the number of the latest change, the cheapest proof that the store can be read."""
    (change_seq,) = connection.execute("SELECT value FROM meta WHERE key = 'change_seq'").fetchone()
    return int(change_seq)


def ids_present(connection: sqlite3.Connection, table: Table, ids: Iterable[str]) -> set[str]:
    """Return which of some events have a row."""
    wanted = json.dumps(list(ids))
    statement = f"SELECT id FROM {table.name} WHERE id IN (SELECT value FROM json_each(?))"  # noqa: S608 - our names
    return {row["id"] for row in connection.execute(statement, (wanted,))}


def conditions(query: Query) -> tuple[list[str], list[object]]:
    """Return what rows must fulfil, as SQL to be joined by AND, and the values of its marks."""
    where: list[str] = []
    values: list[object] = []
    for condition, value in (("ts_ms >= ?", query.since_ms), ("ts_ms < ?", query.until_ms)):
        if value is not None:
            where.append(condition)
            values.append(value)
    for column, label in query.equals:
        where.append(f"{column} = ?")
        values.append(label)
    return where, values


def _select(
    connection: sqlite3.Connection,
    table: Table,
    where: Sequence[str],
    values: Sequence[object],
    *,
    order: str,
) -> list[sqlite3.Row]:
    # The inner query orders numbers alone: where SQLite takes the index over `ts_ms`, it would otherwise
    # carry whole rows through the sorting.
    condition = f"WHERE {' AND '.join(where)}" if where else ""
    statement = (
        f"SELECT * FROM {table.name} WHERE row IN"  # noqa: S608 - tables, columns and order are our own words
        f" (SELECT row FROM {table.name} {condition} ORDER BY row {order} LIMIT ?) ORDER BY row {order}"
    )
    return connection.execute(statement, values).fetchall()


def _add_texts(connection: sqlite3.Connection, item: JsonMap, row: sqlite3.Row) -> int:
    """Add `input` and `output` to a call; return their size in characters."""
    chars = 0
    for name in ("input", "output"):
        value: Json = read_text(connection, row[f"{name}_kind"], row[f"{name}_ref"])
        if value is not None:
            item[name] = value
            chars += len(value) if isinstance(value, str) else len(json.dumps(value))
    return chars
