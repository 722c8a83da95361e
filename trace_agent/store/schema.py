"""The tables, as numbered migrations: an open connection in, a database of the newest shape out.

Reading guide for people with `sqlite3` at hand:

- `row` is the order of arrival; listings and cursors go by it, never by a clock.
- `id` is the event's own id, unique per table.
- `change_seq` is renewed at every change of a row and never reused: an upstream has everything up to
  `upstreams.acked_seq`, and what lies above is pending. `rev` says how often the row has changed.
- Times are Unix milliseconds, money is nano-dollars, texts are in `texts` once each (see `texts.py`).
"""

import sqlite3
from collections.abc import Callable
from typing import Final

from trace_agent.core.errors import NotOursError

__all__ = ["APPLICATION_ID", "EVENT_TABLES", "VERSION", "demand_known", "migrate"]

# "trAg": `PRAGMA application_id` tells our files from everybody else's (SQLite file format, 1.3.17).
APPLICATION_ID: Final = 0x74724167

# Tables whose rows are counted, pushed and pruned.
EVENT_TABLES: Final = ("llm", "events", "errors", "metrics")

_FIRST: Final = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('change_seq', 0), ('rows_stored', 0), ('rows_pruned', 0);

CREATE TABLE llm (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    change_seq INTEGER NOT NULL,
    rev INTEGER NOT NULL DEFAULT 1,
    ts_ms REAL NOT NULL,
    received_ms INTEGER NOT NULL,
    agent TEXT, session TEXT, run TEXT, trace_id TEXT, span_id TEXT,
    attributes TEXT,
    provider TEXT, model TEXT, response_model TEXT,
    operation TEXT NOT NULL,
    input_kind TEXT, input_ref INTEGER,
    output_kind TEXT, output_ref INTEGER,
    tokens_input INTEGER, tokens_cache_read INTEGER,
    tokens_cache_write INTEGER, tokens_cache_write_1h INTEGER,
    tokens_output INTEGER, tokens_reasoning INTEGER, tokens_total INTEGER,
    usage TEXT,
    reported_nusd INTEGER, computed_nusd INTEGER,
    cost_basis TEXT NOT NULL, price_version TEXT,
    latency_ms REAL, ttft_ms REAL,
    status TEXT NOT NULL,
    error_kind TEXT, error_code INTEGER, error_message TEXT,
    finish_reason TEXT, request_id TEXT,
    sources TEXT NOT NULL
) STRICT;
CREATE INDEX llm_change_seq ON llm (change_seq);
CREATE INDEX llm_ts ON llm (ts_ms);
CREATE INDEX llm_session ON llm (session) WHERE session IS NOT NULL;

CREATE TABLE events (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    change_seq INTEGER NOT NULL,
    rev INTEGER NOT NULL DEFAULT 1,
    ts_ms REAL NOT NULL,
    received_ms INTEGER NOT NULL,
    agent TEXT, session TEXT, run TEXT, trace_id TEXT, span_id TEXT,
    attributes TEXT,
    name TEXT NOT NULL,
    duration_ms REAL,
    severity TEXT NOT NULL
) STRICT;
CREATE INDEX events_change_seq ON events (change_seq);
CREATE INDEX events_ts ON events (ts_ms);

CREATE TABLE errors (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    change_seq INTEGER NOT NULL,
    rev INTEGER NOT NULL DEFAULT 1,
    ts_ms REAL NOT NULL,
    received_ms INTEGER NOT NULL,
    agent TEXT, session TEXT, run TEXT, trace_id TEXT, span_id TEXT,
    attributes TEXT,
    kind TEXT NOT NULL,
    message TEXT,
    severity TEXT NOT NULL,
    stack TEXT,
    source TEXT
) STRICT;
CREATE INDEX errors_change_seq ON errors (change_seq);
CREATE INDEX errors_ts ON errors (ts_ms);

-- One row per series and window. A window that was opened twice (a late sample, a restart) has a row
-- for each opening; their counts and sums add up.
CREATE TABLE metrics (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    change_seq INTEGER NOT NULL,
    rev INTEGER NOT NULL DEFAULT 1,
    ts_ms REAL NOT NULL,
    received_ms INTEGER NOT NULL,
    window_ms INTEGER NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    tags TEXT NOT NULL,
    count REAL NOT NULL,
    sum REAL, min REAL, max REAL, last REAL,
    p50 REAL, p95 REAL, p99 REAL,
    members INTEGER,
    sketch BLOB
) STRICT;
CREATE INDEX metrics_change_seq ON metrics (change_seq);
CREATE INDEX metrics_ts ON metrics (ts_ms);

-- Whoever deletes rows, also by hand: the sum of `rows_stored` stays right.
CREATE TRIGGER llm_deleted AFTER DELETE ON llm
BEGIN UPDATE meta SET value = value + 1 WHERE key = 'rows_pruned'; END;
CREATE TRIGGER events_deleted AFTER DELETE ON events
BEGIN UPDATE meta SET value = value + 1 WHERE key = 'rows_pruned'; END;
CREATE TRIGGER errors_deleted AFTER DELETE ON errors
BEGIN UPDATE meta SET value = value + 1 WHERE key = 'rows_pruned'; END;
CREATE TRIGGER metrics_deleted AFTER DELETE ON metrics
BEGIN UPDATE meta SET value = value + 1 WHERE key = 'rows_pruned'; END;

-- Each text once, whoever repeats it. `codec` and the meaning of `data`: `texts.py`.
CREATE TABLE texts (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    codec INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    data BLOB
) STRICT;
-- A list of messages is a chain: each node says which list it continues (0: none) by which text.
CREATE TABLE text_nodes (
    id INTEGER PRIMARY KEY,
    parent INTEGER NOT NULL,
    text INTEGER NOT NULL REFERENCES texts (id),
    UNIQUE (parent, text)
) STRICT;

-- What SQLite or an upstream would not take, with the answer: nothing disappears without a trace.
CREATE TABLE dead_letters (
    row INTEGER PRIMARY KEY,
    received_ms INTEGER NOT NULL,
    origin TEXT NOT NULL,
    type TEXT NOT NULL,
    id TEXT NOT NULL,
    reason TEXT NOT NULL,
    payload TEXT NOT NULL
) STRICT;

CREATE TABLE upstreams (
    name TEXT PRIMARY KEY,
    acked_seq INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Where observers of files and logs have read to.
CREATE TABLE cursors (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

# Position + 1 is the version that a migration leads to. Landed ones are never edited.
_MIGRATIONS: Final[tuple[Callable[[sqlite3.Connection], None], ...]] = (
    lambda connection: _run_each(connection, _FIRST),
)
VERSION: Final = len(_MIGRATIONS)


def demand_known(version: int) -> None:
    """Refuse a database of a version that is not known here.

    Raises:
        NotOursError: a newer trace-agent made the file.
    """
    if version > VERSION:
        raise NotOursError(
            f"the database has version {version}, this trace-agent knows {VERSION}: "
            "use a newer trace-agent, or another file (setting `db`)"
        )


def migrate(connection: sqlite3.Connection) -> int:
    """Bring an opened database of ours to `VERSION`.

    Each step and the record of it are one transaction: a kill in between leaves the older version.

    Returns:
        How many steps were taken.

    Raises:
        NotOursError: a newer trace-agent made the file.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    demand_known(version)
    for step in range(version, VERSION):
        connection.execute("BEGIN IMMEDIATE")
        try:
            _MIGRATIONS[step](connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {step + 1}")
            connection.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself after some errors (full disk, I/O).
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return VERSION - int(version)


def _run_each(connection: sqlite3.Connection, script: str) -> None:
    # `executescript` commits an open transaction before it begins, so statements go one by one.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
