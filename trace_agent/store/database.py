"""Open the database file and judge whose it is: a path in, a connection that may be written to out.

A file that is ours and damaged is set aside and a new one begun, because nobody is there to repair
it. A file that is not ours is never touched. Telling them apart needs more than the header, which may
be what was damaged: beside the database lies a lock file that names the inode of the last file we
opened well, and which a running trace-agent holds locked.

Nor is the header always the newest truth: after a kill it may still be in the write-ahead log. So it is
SQLite that is asked, in a way that changes nothing.
"""

import fcntl
import json
import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from attrs import define, field

from trace_agent.core.errors import NotOursError, StoreError
from trace_agent.store.schema import APPLICATION_ID, demand_known, migrate

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
    # The damaged file is out of the way, and the new one not there yet.
    _is_moved: bool = field(init=False, default=False)

    def close(self) -> None:
        """Close the connection, which checkpoints the WAL, and let go of the lock."""
        self.connection.close()
        os.close(self._lock_fd)

    def is_gone(self) -> bool:
        """Return whether somebody deleted the file while it is open: what is written then is lost with it.

        Raises:
            StoreError: another file has taken its place. It is not touched.
        """
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            return True
        except OSError as error:
            raise StoreError(f"{self.path}: {_reason(error)}") from error
        if inode != _read_mark(self._lock_fd).get("inode"):
            raise StoreError(f"{self.path} was replaced by another file: restart trace-agent to use that one")
        return False

    def begin_anew(self, now_ms: int) -> Path:
        """Set the damaged file aside and open an empty one in its place; may be tried again if it fails.

        Returns:
            Where the damaged file is now.

        Raises:
            StoreError: the new one cannot be made either.
        """
        self.connection.close()
        try:
            if not self._is_moved:
                self.set_aside = _set_aside(self.path, now_ms)
                self._is_moved = True
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.connection = _connect(self.path)
            if os.fstat(self._lock_fd).st_nlink == 0:  # deleted together with the database
                lost_fd, self._lock_fd = self._lock_fd, _lock(self.path)
                os.close(lost_fd)
            _mark(self._lock_fd, self.path.stat().st_ino)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self.path}: {_reason(error)}") from error
        self._is_moved = False
        assert self.set_aside is not None
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
        # Two names of one file must not have two locks.
        path = path.resolve()
        lock_fd = _lock(path)
    except OSError as error:
        raise StoreError(f"{path}: {_reason(error)}; choose another place (setting `db`)") from error
    try:
        connection, set_aside = _open(path, lock_fd, now_ms)
        _mark(lock_fd, path.stat().st_ino)
    except BaseException as error:
        # Nothing of ours stays beside what is not ours.
        if isinstance(error, NotOursError) and _read_mark(lock_fd).get("inode") is None:
            _lock_path(path).unlink(missing_ok=True)
        os.close(lock_fd)
        if isinstance(error, sqlite3.Error | OSError):
            raise StoreError(f"{path}: {_reason(error)}; choose another place (setting `db`)") from error
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
        with closing(sqlite3.connect(_uri(path), uri=True)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error) if is_damage(error) else None
    return None if verdict == "ok" else " ".join(str(verdict).split())


def _reason(error: sqlite3.Error | OSError) -> str:
    # Without the number and the path that `str` gives an OSError.
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _lock(path: Path) -> int:
    """Open and lock the file beside the database that says who serves it."""
    fd = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    mark = _read_mark(fd)
    if not mark and not os.pread(fd, len(_MARK_BEGIN), 0).startswith(_MARK_BEGIN[: os.fstat(fd).st_size]):
        os.close(fd)
        raise NotOursError(f"{_lock_path(path)} is of another program; choose another file (setting `db`)")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if not isinstance(error, BlockingIOError):
            raise
        raise StoreError(
            f"{path} is served by another trace-agent (pid {mark.get('pid')}): "
            "stop it, or choose another file (setting `db`)"
        ) from None
    _mark(fd, mark.get("inode"))
    return fd


# How a mark begins, for one that a kill has cut short.
_MARK_BEGIN: Final = b'{"pid": '


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _read_mark(lock_fd: int) -> dict[str, int | None]:
    try:
        mark = json.loads(os.pread(lock_fd, 4096, 0) or b"{}")
    except ValueError:  # cut short by a kill
        return {}
    return mark if isinstance(mark, dict) else {}


def _mark(lock_fd: int, inode: int | None) -> None:
    mark = json.dumps({"pid": os.getpid(), "inode": inode}).encode()
    os.pwrite(lock_fd, mark, 0)
    os.ftruncate(lock_fd, len(mark))


def _open(path: Path, lock_fd: int, now_ms: int) -> tuple[sqlite3.Connection, Path | None]:
    """Open a file that may be damaged; return also where it went if it was."""
    set_aside = None
    if not _looks_whole(path, _read_mark(lock_fd).get("inode")):
        set_aside = _set_aside(path, now_ms)
    try:
        return _connect(path), set_aside
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
    set_aside = _set_aside(path, now_ms)
    return _connect(path), set_aside


def _looks_whole(path: Path, known_inode: int | None) -> bool:
    """Judge a file without changing it: True for new or ours, False for ours and damaged.

    Raises:
        NotOursError: neither, or a newer trace-agent's.
        sqlite3.Error: it cannot be looked at, which says nothing about whose it is.
    """
    if not path.exists():
        return True
    if not path.is_file():
        raise NotOursError(f"{path} is no regular file; choose another one (setting `db`)")
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        inode = os.fstat(file.fileno()).st_ino
    if not header:
        return inode != known_inode  # what we opened well is not empty
    is_database = header.startswith(_MAGIC)
    seen = _identity(path) if is_database else None
    if seen is None:
        # SQLite file format, section 1.3: the application id is at offset 68.
        has_our_id = is_database and header[68:72] == APPLICATION_ID.to_bytes(4, "big")
        if has_our_id or inode == known_inode:
            return False
        raise NotOursError(f"{path} is no database of trace-agent; choose another file (setting `db`)")
    application_id, version, tables = seen
    # Zero and empty is what a kill between creating and migrating leaves.
    if application_id != APPLICATION_ID and (application_id != 0 or tables > 0):
        raise NotOursError(f"{path} is a database of another program; choose another file (setting `db`)")
    demand_known(version)
    return True


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Read application id, version and number of tables; None if the file is too damaged for that."""
    # Looking in WAL mode makes files beside a stranger's. `immutable` makes none, but does not see a log.
    immutable = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    try:
        connection = sqlite3.connect(_uri(path) + immutable, uri=True, timeout=_BUSY_TIMEOUT_S)
        with closing(connection):
            row = connection.execute(
                "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)"
                " FROM pragma_application_id, pragma_user_version"
            ).fetchone()
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return None
        raise
    return int(row[0]), int(row[1]), int(row[2])


def _uri(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro"


def _set_aside(path: Path, now_ms: int) -> Path:
    """Rename a damaged database and its WAL, so that a new one can take their place."""
    target = path.with_name(f"{path.name}.corrupt.{now_ms}")
    # -shm is an index over the WAL and of no use without the process that had it.
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    for suffix in ("-wal", ""):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(target.with_name(target.name + suffix))
    if target.exists():
        log.error("database damaged, set aside as %s, going on with a new one", target)
    else:
        log.error("database %s is gone, going on with a new one", path)
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
