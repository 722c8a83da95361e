# ruff: noqa: ANN401 - fields and columns hold whatever the record does
"""Build what the store keeps, with defaults for all that a test does not name, and look at what it kept."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from random import Random
from shutil import disk_usage
from typing import Any, Final

from attrs import evolve

from trace_agent.core.events import Event, Failure, Json, Llm, MetricKind, Text, TextKind
from trace_agent.core.rollup import Window
from trace_agent.core.values import as_text
from trace_agent.store.schema import EVENT_TABLES

# 2026-11-22T12:00:00Z, "now" in all tests of the store.
NOW_MS: Final = 1_795_348_800_000

_numbers: Final = count(1)


def new_id(_ms: float = 0) -> str:
    """Return an id that no other call returned."""
    return f"own-{next(_numbers)}"


def _common(id_: str | None) -> tuple[str, bool, int, int, None, None, None, None, None, None]:
    return id_ or new_id(), id_ is None, NOW_MS, NOW_MS, None, None, None, None, None, None


def call(id_: str | None = None, **fields: Any) -> Llm:
    """Return a model call; without an id of its sender it has one of ours."""
    return evolve(Llm(*_common(id_), seen_by="udp"), **fields)


def event(id_: str | None = None, **fields: Any) -> Event:
    """Return an event; without an id of its sender it has one of ours."""
    return evolve(Event(*_common(id_), name="thing.happened"), **fields)


def failure(id_: str | None = None, **fields: Any) -> Failure:
    """Return an error; without an id of its sender it has one of ours."""
    return evolve(Failure(*_common(id_), kind="thing.failed"), **fields)


def window(id_: str | None = None, **fields: Any) -> Window:
    """Return a window of a counter."""
    made = Window(id_ or new_id(), 0.0, 10_000, NOW_MS, "things", MetricKind.COUNTER, (), 1.0, sum=1.0)
    return evolve(made, **fields)


def words(value: object) -> Text:
    """Return the words of a call as they come out of a dialect."""
    text = as_text(value, "input")
    assert text is not None
    return text


def noise(number: int, chars: int) -> Text:
    """Return words of a size, different for each number, that compression hardly makes smaller."""
    return Text(TextKind.TEXT, ("".join(map(chr, Random(number).choices(range(1, 128), k=chars))),))


def rows(connection: sqlite3.Connection, table: str) -> list[dict[str, Json]]:
    """Return a table's rows by their columns, in order of arrival."""
    cursor = connection.execute(f"SELECT * FROM {table} ORDER BY 1")
    names = [column for column, *_ in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def column(connection: sqlite3.Connection, statement: str) -> list[Json]:
    """Return the first column of a SELECT."""
    return [row[0] for row in connection.execute(statement)]


def ids(connection: sqlite3.Connection, table: str) -> list[Json]:
    """Return the ids in a table, in order of arrival."""
    return column(connection, f"SELECT id FROM {table} ORDER BY row")


def row_count(connection: sqlite3.Connection) -> int:
    """Count the rows of all events by SQL."""
    return sum(len(ids(connection, table)) for table in EVENT_TABLES)


def meta(connection: sqlite3.Connection, key: str) -> int:
    """Return a counter that the store keeps of itself."""
    (value,) = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return int(value)


def beside(path: Path) -> dict[str, bytes]:
    """Return every file in the directory of `path` with its content."""
    return {file.name: file.read_bytes() for file in sorted(path.parent.iterdir()) if file.is_file()}


def overwrite(path: Path, start: int, content: bytes) -> None:
    """Damage a file in place."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)


def looking(path: Path, look: Callable[[sqlite3.Connection], Sequence[Json]]) -> Sequence[Json]:
    """Look into a database with a connection of its own."""
    with closing(sqlite3.connect(path)) as connection:
        return look(connection)


def fill_disk(ballast: Path) -> None:
    """Write a file that leaves nothing free on its volume."""
    ballast.write_bytes(bytes(disk_usage(ballast.parent).free))
