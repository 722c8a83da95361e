"""Open the database file and judge whose it is: a path in, a connection that may be written to out.

A file that is ours and damaged is set aside and a new one begun, because nobody is there to repair
it. A file that is not ours is never touched. Telling them apart needs more than the header, which may
be what was damaged: beside the database lies a lock file that names the inode of the last file we
opened well, and which a running trace-agent holds locked.
"""

import fcntl
import json
import logging
import os
import sqlite3
from pathlib import Path
from typing import Final

from attrs import define

from trace_agent.core.errors import NotOursError, StoreError
from trace_agent.store.schema import APPLICATION_ID, migrate

__all__ = ["Database", "is_damage", "open_database", "quick_check"]

log = logging.getLogger(__name__)

PAGE_BYTES: Final = 8192
# The writer's own cache; SQLite's default of 2 MB buys nothing for appends.
_CACHE_KIB: Final = 1024
_BUSY_TIMEOUT_S: Final = 5.0
# Checkpoints run after each flush; this only catches a flood between two of them (pages, 8 MB).
_AUTOCHECKPOINT_PAGES: Final = 1024
_WAL_KEEP_BYTES: Final = 8 * 1024 * 1024
_HEADER_BYTES: Final = 100
_MAGIC: Final = b"SQLite format 3\0"
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# Damaged files kept, newest first. They count against the volume, and nobody asks for the third.
_KEEP_DAMAGED: Final = 2


@define
class Database:
    """An open database and the lock that makes it ours alone to serve.

    Attributes:
        set_aside: where a damaged predecessor went, if one was found.
    """

    path: Path
    connection: sqlite3.Connection
    _lock_fd: int
    set_aside: Path | None = None

    def close(self) -> None:
        """Close the connection, which checkpoints the WAL, and let go of the lock."""
        self.connection.close()
        os.close(self._lock_fd)

    def begin_anew(self, now_ms: int) -> Path:
        """Set the damaged file aside and open an empty one in its place.

        Returns:
            Where the damaged file is now.

        Raises:
            StoreError: the new one cannot be made either.
        """
        self.connection.close()
        self.set_aside = _set_aside(self.path, now_ms)
        self.connection = _connect(self.path)
        _mark(self._lock_fd, self.path)
        return self.set_aside


def open_database(path: Path, now_ms: int) -> Database:
    """Open or create the database, lock it, and bring it to the newest schema.

    Files are made with mode 0600 in a directory of mode 0700: they hold conversations.

    Raises:
        NotOursError: another program's file, or a newer trace-agent's.
        StoreError: in use by another trace-agent, or not to be opened at all.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock_fd = _lock(path)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; choose another place (setting `db`)") from error
    try:
        set_aside = None
        if not _looks_whole(path, lock_fd):
            set_aside = _set_aside(path, now_ms)
        try:
            connection = _connect(path)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            set_aside = _set_aside(path, now_ms)
            connection = _connect(path)
        _mark(lock_fd, path)
    except BaseException as error:
        os.close(lock_fd)
        if isinstance(error, sqlite3.Error | OSError):
            raise StoreError(f"{path}: {error}; choose another place (setting `db`)") from error
        raise
    return Database(path, connection, lock_fd, set_aside)


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether SQLite says that the file itself is broken."""
    # The primary code is the lowest byte; extended codes tell which part (sqlite.org/rescode.html).
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGE


def quick_check(path: Path) -> str | None:
    """Look through the whole file for damage, on a connection of its own; takes seconds on a large one.

    Returns:
        What is wrong, or None.
    """
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        return str(error)
    try:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error) if is_damage(error) else None
    finally:
        connection.close()
    return None if verdict == "ok" else str(verdict)


def _lock(path: Path) -> int:
    """Open and lock the file beside the database that says who serves it."""
    fd = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _read_mark(fd).get("pid")
        os.close(fd)
        raise StoreError(
            f"{path} is served by another trace-agent (pid {holder}): "
            "stop it, or choose another file (setting `db`)"
        ) from None
    return fd


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _read_mark(lock_fd: int) -> dict[str, object]:
    try:
        mark = json.loads(os.pread(lock_fd, 4096, 0) or b"{}")
    except ValueError:  # cut short by a kill
        return {}
    return mark if isinstance(mark, dict) else {}


def _mark(lock_fd: int, path: Path) -> None:
    mark = json.dumps({"pid": os.getpid(), "inode": path.stat().st_ino}).encode()
    os.pwrite(lock_fd, mark, 0)
    os.ftruncate(lock_fd, len(mark))


def _looks_whole(path: Path, lock_fd: int) -> bool:
    """Judge a file by its first bytes: True for new or ours, False for ours and damaged.

    Raises:
        NotOursError: neither.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
            inode = os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return True
    if not header:
        return True
    # SQLite file format, section 1.3: the magic string, and the application id at offset 68.
    if header.startswith(_MAGIC) and len(header) == _HEADER_BYTES:
        owner = int.from_bytes(header[68:72], "big")
        # Zero and empty is what a kill between creating and migrating leaves.
        if owner == APPLICATION_ID or (owner == 0 and _has_no_tables(path)):
            return True
        if owner != 0:
            raise NotOursError(f"{path} is a database of another program; choose another file (setting `db`)")
    if _read_mark(lock_fd).get("inode") == inode:
        return False
    raise NotOursError(f"{path} is no database of trace-agent; choose another file (setting `db`)")


def _has_no_tables(path: Path) -> bool:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError:
        return False
    finally:
        connection.close()
    return bool(tables == 0)


def _set_aside(path: Path, now_ms: int) -> Path:
    """Rename a damaged database and its WAL, so that a new one can take their place."""
    target = path.with_name(f"{path.name}.corrupt.{now_ms}")
    # -shm is an index over the WAL and of no use without the process that had it.
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    for suffix in ("-wal", ""):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(target.with_name(target.name + suffix))
    log.error("database damaged, set aside as %s, going on with a new one", target)
    damaged = sorted(
        (file for file in path.parent.glob(f"{path.name}.corrupt.*") if not file.name.endswith("-wal")),
        reverse=True,
    )
    for file in damaged[_KEEP_DAMAGED:]:
        file.unlink(missing_ok=True)
        file.with_name(f"{file.name}-wal").unlink(missing_ok=True)
    return target


def _connect(path: Path) -> sqlite3.Connection:
    # Made by us before SQLite sees it, because -wal and -shm inherit the mode of the file.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    # One thread at a time uses it, though not always the same one: trio lends out its threads.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S)
    try:
        # Both must stand before the first table is made, and change nothing afterwards.
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_AUTOCHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEEP_BYTES}")
        connection.execute("PRAGMA temp_store = MEMORY")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection
