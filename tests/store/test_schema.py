"""Migrations bring a file to the newest version in whole steps, and the tables are strict."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.store.building import column
from trace_agent.core.errors import NotOursError
from trace_agent.store import schema
from trace_agent.store.schema import APPLICATION_ID, EVENT_TABLES, VERSION, migrate


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to an empty file, with transactions only where the code begins them."""
    with closing(sqlite3.connect(tmp_path / "traces.db", isolation_level=None)) as opened:
        yield opened


def tables(connection: sqlite3.Connection) -> list[object]:
    """Return the names of all tables."""
    return [*column(connection, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]


def marks(connection: sqlite3.Connection) -> tuple[object, object]:
    """Return application id and version."""
    return column(connection, "PRAGMA application_id")[0], column(connection, "PRAGMA user_version")[0]


def test_migrate_empty(connection: sqlite3.Connection) -> None:
    """An empty file gets every table, our application id and the newest version."""
    steps = migrate(connection)

    assert steps == VERSION
    assert set(EVENT_TABLES) <= set(tables(connection))
    assert marks(connection) == (APPLICATION_ID, VERSION)
    assert dict(connection.execute("SELECT key, value FROM meta")) == {
        "change_seq": 0,
        "rows_stored": 0,
        "rows_pruned": 0,
    }


def test_migrate_again(connection: sqlite3.Connection) -> None:
    """A file of the newest version is left as it is."""
    migrate(connection)
    connection.execute("UPDATE meta SET value = 7 WHERE key = 'change_seq'")

    assert migrate(connection) == 0
    assert column(connection, "SELECT value FROM meta WHERE key = 'change_seq'") == [7]


def test_strict(connection: sqlite3.Connection) -> None:
    """Every table of ours is STRICT, so a column holds what it says."""
    migrate(connection)
    loose = column(
        connection, "SELECT name FROM pragma_table_list WHERE NOT strict AND name NOT LIKE 'sqlite_%'"
    )

    assert loose == []


@pytest.mark.parametrize("table", EVENT_TABLES)
def test_event_tables(connection: sqlite3.Connection, table: str) -> None:
    """Every table of events has the row, the unique id, and an index on what upstreams go by."""
    migrate(connection)
    columns = column(connection, f"SELECT name FROM pragma_table_info('{table}')")
    indexed = column(
        connection,
        f"SELECT key.name FROM pragma_index_list('{table}') AS list, pragma_index_info(list.name) AS key"
        " WHERE list.[unique] OR key.name = 'change_seq'",
    )

    assert columns[:4] == ["row", "id", "change_seq", "rev"]
    assert sorted(map(str, indexed)) == ["change_seq", "id"]


def test_step_fails(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails leaves nothing behind, and what was done before it stays; the next run goes on."""

    def half(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half (x) STRICT")

    def whole(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE whole (x INTEGER) STRICT")

    first = schema._MIGRATIONS
    monkeypatch.setattr(schema, "_MIGRATIONS", (*first, whole, half))
    monkeypatch.setattr(schema, "VERSION", VERSION + 2)
    with pytest.raises(sqlite3.OperationalError, match="datatype"):
        migrate(connection)

    assert not connection.in_transaction
    assert marks(connection) == (APPLICATION_ID, VERSION + 1)
    assert "whole" in tables(connection)
    assert "half" not in tables(connection)

    monkeypatch.setattr(schema, "_MIGRATIONS", (*first, whole, whole))
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(connection)
    monkeypatch.setattr(schema, "_MIGRATIONS", (*first, whole, lambda _: None))

    assert migrate(connection) == 1
    assert marks(connection) == (APPLICATION_ID, VERSION + 2)


def test_disk_full(connection: sqlite3.Connection) -> None:
    """A disk that is full is what the error says, though SQLite may have rolled back by itself."""
    connection.execute("PRAGMA max_page_count = 5")
    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        migrate(connection)

    assert tables(connection) == []
    connection.execute("PRAGMA max_page_count = 1000")
    assert migrate(connection) == VERSION


def test_future(connection: sqlite3.Connection) -> None:
    """A file that a newer trace-agent made is refused, with both versions and the remedy."""
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(NotOursError) as caught:
        migrate(connection)

    assert f"version {VERSION + 1}" in str(caught.value)
    assert f"knows {VERSION}" in str(caught.value)
    assert "setting `db`" in str(caught.value)
    assert tables(connection) == []


def test_texts_are_unique(connection: sqlite3.Connection) -> None:
    """A text and a node of a conversation are there once, whoever writes."""
    migrate(connection)
    text = "INSERT INTO texts (hash, codec, size_bytes, data) VALUES (x'00', 0, 0, x'')"
    connection.execute(text)
    connection.execute("INSERT INTO text_nodes (parent, text) VALUES (0, 1)")
    with pytest.raises(sqlite3.IntegrityError, match=r"texts\.hash"):
        connection.execute(text)
    with pytest.raises(sqlite3.IntegrityError, match=r"text_nodes\.parent"):
        connection.execute("INSERT INTO text_nodes (parent, text) VALUES (0, 1)")

    assert column(connection, "SELECT id FROM texts") == [1]
