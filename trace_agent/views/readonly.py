"""Open the database to look at it: a path in, a connection that cannot write out.

Readers are short: an open read transaction keeps SQLite from shrinking the write-ahead log, so every
look is one `snapshot` that is read to its end and closed at once.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from trace_agent.core.errors import NotOursError, StoreError
from trace_agent.store.schema import APPLICATION_ID, VERSION

__all__ = ["open_readonly", "snapshot", "store_errors"]

# Readers wait only while the writer recovers or resets the log; longer than this something is wrong.
_BUSY_TIMEOUT_S: Final = 2.0
# Listings touch few pages; SQLite's own default of 2 MB would count into the memory of the agent.
_CACHE_KIB: Final = 512


def open_readonly(path: Path) -> sqlite3.Connection:
    """Open our database for reading. The caller closes the connection.

    Raises:
        NotOursError: another program or a newer trace-agent made the file.
        StoreError: there is no file, it may not be read, or it is damaged.
    """
    try:
        found = path.exists()
    except OSError as error:  # in a directory that is closed to us
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    if not found:
        raise StoreError(
            f"there is no database at {path}: start `trace-agent run`, or name another file (setting `db`)"
        )
    with store_errors(path):
        # check_same_thread: one thread opens and reads, but another may close it when it gives up.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
    try:
        with store_errors(path):
            connection.execute("PRAGMA query_only = 1")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            _demand_ours(connection, path)
    except BaseException:
        connection.close()
        raise
    connection.row_factory = sqlite3.Row
    return connection


@contextmanager
def snapshot(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the database for one look: everything read within is of the same moment.

    Raises:
        StoreError: as `open_readonly`, and when SQLite fails within.
    """
    with closing(open_readonly(path)) as connection, store_errors(path):
        connection.execute("BEGIN")
        yield connection


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Translate what SQLite raises within into a `StoreError` that names the file."""
    try:
        yield
    except sqlite3.Error as error:
        hint = ": it may belong to another user" if "unable to open" in str(error) else ""
        raise StoreError(f"{path} cannot be read: {error}{hint}") from error


def _demand_ours(connection: sqlite3.Connection, path: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        raise NotOursError(f"{path} is no database of trace-agent: name another file (setting `db`)")
    if version > VERSION:
        raise NotOursError(
            f"{path} has version {version}, this trace-agent knows {VERSION}: use a newer trace-agent"
        )
    if version < VERSION:
        raise StoreError(
            f"{path} has version {version}, an older one: `trace-agent run` brings it to {VERSION}"
        )
