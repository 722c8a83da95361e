"""Commit batches through trouble: a batch in, what became of it out, or None for "try again".

The disk's troubles are waited out, a damaged database is replaced by a new one, and what is a bug of
ours escapes. Everything here runs in the writer's thread, one call at a time.
"""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import define

from trace_agent.core.errors import StoreError
from trace_agent.core.events import Failure
from trace_agent.core.rollup import Window
from trace_agent.store.database import Database, is_damage
from trace_agent.store.preparation import AS_IT_CAME, Preparation, Stored
from trace_agent.store.tables import Outcome, Tables

__all__ = ["Committer", "WriterState"]

log = logging.getLogger(__name__)


@define
class WriterState:
    """How the writer fares, for health and statistics.

    Attributes:
        last_commit_ms: Unix milliseconds.
        in_flight: events handed to SQLite, not committed yet.
        error: what SQLite says at present, or None.
        commits: transactions so far.
        dead_windows: metric windows that SQLite refused.
        damaged: damaged databases set aside so far.
    """

    last_commit_ms: int | None = None
    in_flight: int = 0
    error: str | None = None
    commits: int = 0
    dead_windows: int = 0
    damaged: int = 0


class Committer:
    """Owns the database and its tables.

    Args:
        database: just opened; if a damaged one was set aside for it, that is reported in it.
        state: `error` and `damaged` are kept here.
        now_ms: the wall clock.
        new_id: makes an id from Unix milliseconds.
        preparation: what is done to events before they are stored.
    """

    def __init__(
        self,
        database: Database,
        state: WriterState,
        now_ms: Callable[[], int],
        new_id: Callable[[float], str],
        preparation: Preparation = AS_IT_CAME,
    ) -> None:
        self._database = database
        self._preparation = preparation
        self._tables = Tables(database.connection, preparation)
        self._state = state
        self._now_ms = now_ms
        self._new_id = new_id
        # What is wrong with the file, until a new one is there; then the report of it, until that is stored.
        self._damage: str | None = None
        self._report: Failure | None = None
        if database.set_aside is not None:
            self._note_damage("found when it was opened", database.set_aside)
            self.commit((), ())

    def commit(self, events: Sequence[Stored], windows: Sequence[Window]) -> Outcome | None:
        """Store a batch; return None when it has to be tried again.

        Raises:
            sqlite3.Error: our SQL is wrong.
        """
        try:
            if self._damage is None and self._database.is_gone():
                self._damage = "the file was deleted while it was in use"
            if self._damage is not None:
                self._begin_anew(self._damage)
            if self._report is not None:
                self._tables.write([self._report], [], self._report.received_ms)
                self._report = None
            outcome = self._tables.write(events, windows, self._now_ms())
        except sqlite3.DatabaseError as error:
            self._judge(error)
            return None
        except StoreError as error:
            self._trouble(str(error))
            return None
        if self._state.error is not None:
            log.info("the store takes events again")
            self._state.error = None
        return outcome

    def checkpoint(self) -> None:
        """Move what the WAL holds into the database, as far as readers let it."""
        try:
            # PASSIVE never waits for readers; what they hold back is moved by a later one.
            self._database.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.DatabaseError as error:
            # The rows are safe in the WAL, so this is no trouble yet; the next commit meets the same disk.
            if not _is_environment(error):
                self._judge(error)
            log.debug("checkpoint: %s", error)

    def replace(self, trouble: str) -> None:
        """Begin a new database, since `quick_check` found trouble in this one."""
        self._damage = trouble
        self.commit((), ())

    def _judge(self, error: sqlite3.DatabaseError) -> None:
        """Take note of what can be mended or waited out; raise what is our bug."""
        if is_damage(error):
            self._damage = str(error)
        elif _is_environment(error):
            self._trouble(str(error))
        else:
            raise error

    def _trouble(self, error: str) -> None:
        if self._state.error is None:
            log.error("the store takes nothing: %s; trying again until it does", error)
        self._state.error = error

    def _begin_anew(self, trouble: str) -> None:
        target = self._database.begin_anew(self._now_ms())
        self._tables = Tables(self._database.connection, self._preparation)
        self._damage = None
        self._note_damage(trouble, target)

    def _note_damage(self, trouble: str, target: Path) -> None:
        self._state.damaged += 1
        now_ms = self._now_ms()
        kept = f"it is kept as {target.name}" if target.exists() else "a new one was begun"
        self._report = Failure(
            self._new_id(now_ms), True, now_ms, now_ms, None, None, None, None, None, None,
            kind="store.corrupt",
            message=f"the database was damaged ({trouble}); {kept}",
            source="trace-agent",
        )  # fmt: skip


def _is_environment(error: sqlite3.DatabaseError) -> bool:
    """Return whether the disk, a lock or the file system is to blame, rather than our SQL."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return isinstance(error, sqlite3.OperationalError) and code & 0xFF != sqlite3.SQLITE_ERROR
