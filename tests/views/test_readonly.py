"""Opening the database to look at it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.views.building import StoreBuilder
from trace_agent.core.errors import NotOursError, StoreError
from trace_agent.store.schema import APPLICATION_ID, VERSION
from trace_agent.views.readonly import open_readonly, snapshot


def test_ours_can_be_read_and_not_written(store: StoreBuilder) -> None:
    """A reader sees the rows, and SQLite itself refuses any change."""
    store.event(name="seen")
    with closing(open_readonly(store.path)) as connection:
        names = [row["name"] for row in connection.execute("SELECT name FROM events")]

        assert names == ["seen"]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM events")


def test_missing_file_is_named_and_not_made(tmp_path: Path) -> None:
    """Looking for a database that is not there says where it was looked for, and leaves nothing behind."""
    path = tmp_path / "nowhere.db"

    with pytest.raises(StoreError, match=r"no database at .*nowhere\.db.*trace-agent run"):
        open_readonly(path)
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"just some words, no database at all" * 10])
def test_file_of_others_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that is no database of ours is refused by name and stays as it is."""
    path = tmp_path / "other.db"
    path.write_bytes(content)

    with pytest.raises(StoreError, match=r"other\.db"):
        open_readonly(path)
    assert path.read_bytes() == content


def test_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """A SQLite file with another application id is not ours to read."""
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE meta (key, value)")

    with pytest.raises(NotOursError, match="no database of trace-agent"):
        open_readonly(path)


def test_newer_database_is_refused(store: StoreBuilder) -> None:
    """A database from the future says so, rather than being read wrongly."""
    store.connection.execute(f"PRAGMA user_version = {VERSION + 1}")

    with pytest.raises(NotOursError, match="use a newer trace-agent"):
        open_readonly(store.path)


def test_older_database_is_left_to_the_agent(tmp_path: Path) -> None:
    """A database that has yet to be migrated cannot be migrated by a reader."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    with pytest.raises(StoreError, match="an older one: `trace-agent run`"):
        open_readonly(path)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_unreadable_file_is_named(store: StoreBuilder) -> None:
    """A file without permission to read becomes a StoreError that hints at its owner."""
    store.connection.close()
    store.path.chmod(0)

    with pytest.raises(StoreError, match="another user"):
        open_readonly(store.path)


def test_directory_is_no_database(tmp_path: Path) -> None:
    """A path that is a directory becomes a StoreError."""
    with pytest.raises(StoreError, match="cannot be read"):
        open_readonly(tmp_path)


def test_awkward_names_are_quoted(tmp_path: Path) -> None:
    """Characters that mean something in a URI are part of the path."""
    store = StoreBuilder(tmp_path / "a b?mode=rw#%41.db")
    store.event()

    with snapshot(store.path) as connection:
        (count,) = connection.execute("SELECT count(*) FROM events").fetchone()

    assert count == 1
    store.connection.close()


def test_snapshot_is_of_one_moment(store: StoreBuilder) -> None:
    """Rows committed during a look are not in it."""
    store.event()
    with snapshot(store.path) as connection:
        before = connection.execute("SELECT count(*) FROM events").fetchone()[0]
        store.event()
        after = connection.execute("SELECT count(*) FROM events").fetchone()[0]

    assert (before, after) == (1, 1)


def test_trouble_within_a_snapshot_is_translated(store: StoreBuilder) -> None:
    """Whatever SQLite raises during a look names the file as a StoreError."""
    with pytest.raises(StoreError, match=r"traces\.db cannot be read"), snapshot(store.path) as connection:
        connection.execute("SELECT * FROM no_such_table")
