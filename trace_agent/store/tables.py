"""Write events as rows: a batch in, one transaction and a tally of fates out.

A row that SQLite refuses goes to the dead letters and its neighbours are stored. Trouble with the
file or the disk is no row's fault: the transaction is rolled back whole and the error raised, so that
the batch can be tried again.
"""

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from attrs import asdict, define, evolve

from trace_agent.core.events import Event, Failure, Llm
from trace_agent.core.pricing import Basis
from trace_agent.core.rollup import Window
from trace_agent.store.preparation import AS_IT_CAME, Preparation, Stored
from trace_agent.store.texts import TextStore

__all__ = ["Outcome", "Stored", "Tables"]

Row = tuple[object, ...]

_COMMON: Final = (
    "id", "change_seq", "ts_ms", "received_ms",
    "agent", "session", "run", "trace_id", "span_id", "attributes",
)  # fmt: skip
_LLM: Final = (
    *_COMMON, "provider", "model", "response_model", "operation",
    "input_kind", "input_ref", "output_kind", "output_ref",
    "tokens_input", "tokens_cache_read", "tokens_cache_write", "tokens_cache_write_1h",
    "tokens_output", "tokens_reasoning", "tokens_total",
    "usage", "reported_nusd", "computed_nusd", "cost_basis", "price_version", "latency_ms", "ttft_ms",
    "status", "error_kind", "error_code", "error_message", "finish_reason", "request_id", "sources",
)  # fmt: skip
_EVENTS: Final = (*_COMMON, "name", "duration_ms", "severity")
_ERRORS: Final = (*_COMMON, "kind", "message", "severity", "stack", "source")
_METRICS: Final = (
    "id", "change_seq", "ts_ms", "received_ms", "window_ms", "name", "kind", "tags",
    "count", "sum", "min", "max", "last", "p50", "p95", "p99", "members", "sketch",
)  # fmt: skip

# The types of CONTRACT section 2 by record, for dead letters.
_TYPES: Final = {Llm: "llm", Event: "event", Failure: "error", Window: "metric"}
_PAYLOAD_CHARS: Final = 64 * 1024
# What may be wrong with a row, as against the file: constraints, types, numbers beyond 64 bits, broken
# Unicode.
_ROW_ERRORS: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeError,
)


def _insert(table: str, columns: Sequence[str]) -> str:
    # Names come from the constants above, never from a peer.
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608


_INSERT_LLM: Final = _insert("llm", _LLM)
_INSERT_EVENT: Final = _insert("events", _EVENTS)
_INSERT_ERROR: Final = _insert("errors", _ERRORS)
# The open window is stored at each flush under the same id, with the figures so far.
_UPSERT_METRIC: Final = (
    _insert("metrics", _METRICS)
    + " ON CONFLICT (id) DO UPDATE SET rev = rev + 1, "
    + ", ".join(f"{name} = excluded.{name}" for name in _METRICS if name not in ("id", "name", "kind"))
)


@define
class Outcome:
    """What became of a batch.

    Attributes:
        stored: events that are rows now.
        repeated: events whose id was there.
        dead: events that are dead letters now.
        dead_windows: metric windows that are dead letters now.
    """

    stored: int = 0
    repeated: int = 0
    dead: int = 0
    dead_windows: int = 0


class Tables:
    """Writes to one connection; the writer's thread owns both."""

    def __init__(self, connection: sqlite3.Connection, preparation: Preparation = AS_IT_CAME) -> None:
        self._connection = connection
        self._preparation = preparation
        self._texts = TextStore(connection)

    def write(self, events: Sequence[Stored], windows: Sequence[Window], now_ms: int) -> Outcome:
        """Store a batch in one transaction.

        Raises:
            sqlite3.Error: the file or the disk is in trouble; nothing of the batch is stored.
        """
        connection = self._connection
        # Before the transaction: other processes must not wait for our regular expressions.
        events = [self._preparation.prepare(event) for event in events]
        connection.execute("BEGIN IMMEDIATE")
        try:
            outcome = self._write(events, windows, now_ms)
            connection.execute("COMMIT")
        except BaseException:
            self._texts.forget()
            # SQLite has rolled back by itself after some errors (full disk, I/O).
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return outcome

    def _write(self, events: Sequence[Stored], windows: Sequence[Window], now_ms: int) -> Outcome:
        outcome = Outcome()
        self._texts.begin()
        (seq,) = self._connection.execute("SELECT value FROM meta WHERE key = 'change_seq'").fetchone()
        batches: tuple[tuple[type[Stored], str, str, Callable[..., Row]], ...] = (
            (Llm, "llm", _INSERT_LLM, self._llm_row),
            (Event, "events", _INSERT_EVENT, _event_row),
            (Failure, "errors", _INSERT_ERROR, _error_row),
        )
        for kind, table, insert, row_of in batches:
            own = [event for event in events if type(event) is kind]
            if not own:
                continue
            fresh = self._fresh(table, own)
            outcome.repeated += len(own) - len(fresh)
            dead = self._insert(insert, fresh, row_of, seq, now_ms)
            seq += len(fresh)
            outcome.dead += dead
            outcome.stored += len(fresh) - dead
        newest = self._newest("metrics")
        outcome.dead_windows = self._insert(_UPSERT_METRIC, windows, _metric_row, seq, now_ms)
        seq += len(windows)
        # The newest row number grows by one for each window that is new.
        made = outcome.stored + self._newest("metrics") - newest
        self._connection.execute("UPDATE meta SET value = ? WHERE key = 'change_seq'", (seq,))
        self._connection.execute("UPDATE meta SET value = value + ? WHERE key = 'rows_stored'", (made,))
        return outcome

    def _newest(self, table: str) -> int:
        (newest,) = self._connection.execute(f"SELECT max(row) FROM {table}").fetchone()  # noqa: S608
        return int(newest or 0)

    def _fresh(self, table: str, events: list[Stored]) -> list[Stored]:
        """Leave out events whose id is stored already or comes twice in the batch."""
        seen: set[str] = set()
        fresh = []
        for event in events:
            if not event.own_id:
                if event.id in seen or self._is_stored(table, event.id):
                    continue
                seen.add(event.id)
            fresh.append(event)
        return fresh

    def _is_stored(self, table: str, id_: str) -> bool:
        try:
            row = self._connection.execute(f"SELECT 1 FROM {table} WHERE id = ?", (id_,)).fetchone()  # noqa: S608
        except UnicodeError:  # such an id cannot be stored either, and will become a dead letter
            return False
        return row is not None

    def _insert(
        self,
        statement: str,
        records: Sequence[Stored] | Sequence[Window],
        row_of: Callable[..., Row],
        seq: int,
        now_ms: int,
    ) -> int:
        """Insert records, each with the next change number; return how many became dead letters."""
        connection = self._connection
        connection.execute("SAVEPOINT batch")
        try:
            rows = [row_of(record, seq + number) for number, record in enumerate(records, 1)]
            self._texts.flush()
            connection.executemany(statement, rows)
        except _ROW_ERRORS as error:
            _demand_row_fault(error)
            connection.execute("ROLLBACK TO batch")
            self._texts.forget()
            return self._insert_each(statement, records, row_of, seq, now_ms)
        finally:
            if connection.in_transaction:
                connection.execute("RELEASE batch")
        return 0

    def _insert_each(
        self,
        statement: str,
        records: Sequence[Stored] | Sequence[Window],
        row_of: Callable[..., Row],
        seq: int,
        now_ms: int,
    ) -> int:
        dead = 0
        for number, record in enumerate(records, 1):
            self._connection.execute("SAVEPOINT one")
            try:
                row = row_of(record, seq + number)
                self._texts.flush()
                self._connection.execute(statement, row)
            except _ROW_ERRORS as error:
                _demand_row_fault(error)
                self._connection.execute("ROLLBACK TO one")
                self._texts.forget()
                self._bury(record, str(error), now_ms)
                dead += 1
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("RELEASE one")
        return dead

    def _bury(self, record: Stored | Window, reason: str, now_ms: int) -> None:
        # ASCII with escapes, since broken Unicode may be why the record is here.
        payload = json.dumps(asdict(record), default=repr)
        # The numbers matter more than the words.
        if len(payload) > _PAYLOAD_CHARS and isinstance(record, Llm):
            payload = json.dumps(asdict(evolve(record, input=None, output=None)), default=repr)
        self._connection.execute(
            "INSERT INTO dead_letters (received_ms, origin, type, id, reason, payload)"
            " VALUES (?, 'store', ?, ?, ?, ?)",
            (now_ms, _TYPES[type(record)], ascii(record.id)[1:-1], reason, payload[:_PAYLOAD_CHARS]),
        )

    def _llm_row(self, call: Llm, seq: int) -> Row:
        tokens = call.tokens
        cost = self._preparation.cost(call)
        return (
            *_common_row(call, seq),
            call.provider, call.model, call.response_model, call.operation,
            *self._texts.put(call.input), *self._texts.put(call.output),
            *((None,) * 7 if tokens is None else (
                tokens.input, tokens.cache_read, tokens.cache_write, tokens.cache_write_1h,
                tokens.output, tokens.reasoning, tokens.total,
            )),
            call.usage, call.cost_nusd, cost.nusd,
            cost.basis if call.cost_nusd is None else Basis.REPORTED, cost.version,
            call.latency_ms, call.ttft_ms,
            call.status, call.error_kind, call.error_code, call.error_message,
            call.finish_reason, call.request_id, call.seen_by,
        )  # fmt: skip


def _demand_row_fault(error: Exception) -> None:
    """Raise what is not the row's fault but a bug of ours: a statement with the wrong number of values."""
    if isinstance(error, sqlite3.ProgrammingError) and "Error binding parameter" not in str(error):
        raise error


def _common_row(event: Stored, seq: int) -> Row:
    return (
        event.id, seq, event.ts_ms, event.received_ms,
        event.agent, event.session, event.run, event.trace_id, event.span_id, event.attributes,
    )  # fmt: skip


def _event_row(event: Event, seq: int) -> Row:
    return (*_common_row(event, seq), event.name, event.duration_ms, event.severity)


def _error_row(event: Failure, seq: int) -> Row:
    return (
        *_common_row(event, seq), event.kind, event.message, event.severity, event.stack, event.source,
    )  # fmt: skip


def _metric_row(window: Window, seq: int) -> Row:
    return (
        window.id, seq, window.ts_ms, window.received_ms, window.window_ms,
        window.name, window.kind, json.dumps(window.tags, ensure_ascii=False, separators=(",", ":")),
        window.count, window.sum, window.min, window.max, window.last,
        window.p50, window.p95, window.p99, window.members, window.sketch,
    )  # fmt: skip
