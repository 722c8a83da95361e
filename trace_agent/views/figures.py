"""Count what is stored: a connection in, the third law of CONTRACT section 4 in numbers out.

rows: stored = acked + pending + pruned. `stored` and `pruned` are counters of the writer in `meta`;
`acked` and `pending` are counted over the rows that are there, so the law can fail, and says so.
A row is acked when every upstream has its newest form. Without an upstream nobody has taken anything:
all rows are pending.
"""

import sqlite3
from collections.abc import Mapping

from attrs import frozen

from trace_agent.store.schema import EVENT_TABLES
from trace_agent.views.rows import JsonMap

__all__ = ["StoreFigures", "UpstreamFigures", "read_figures"]


@frozen
class UpstreamFigures:
    """How far one upstream is.

    Attributes:
        acked_seq: it has every change up to this one.
        pending: rows with a later change.
    """

    name: str
    acked_seq: int
    pending: int


@frozen
class StoreFigures:
    """What is in the database at one moment.

    Attributes:
        stored: rows ever made.
        acked: rows that every upstream has.
        pending: rows that some upstream, or all for want of one, has yet to get.
        pruned: rows that retention removed.
        tables: rows there are, by table.
        newest_ms: when the newest row of a table arrived, Unix milliseconds; empty tables are absent.
        dead_letters: refused by SQLite or an upstream, and kept.
    """

    stored: int
    acked: int
    pending: int
    pruned: int
    tables: Mapping[str, int]
    newest_ms: Mapping[str, int]
    dead_letters: int
    upstreams: tuple[UpstreamFigures, ...]

    @property
    def law_holds(self) -> bool:
        """Return whether stored = acked + pending + pruned."""
        return self.stored == self.acked + self.pending + self.pruned

    def rows_json(self) -> JsonMap:
        """Return the `rows` of `/v1/stats`."""
        return {
            "stored": self.stored,
            "acked": self.acked,
            "pending": self.pending,
            "pruned": self.pruned,
            "tables": dict(self.tables),
        }

    def upstreams_json(self) -> list[JsonMap]:
        """Return the `upstreams` of `/v1/stats`."""
        return [
            {"name": upstream.name, "acked_seq": upstream.acked_seq, "pending": upstream.pending}
            for upstream in self.upstreams
        ]


def read_figures(connection: sqlite3.Connection) -> StoreFigures:
    """Count everything within one `snapshot`."""
    meta: dict[str, int] = dict(map(tuple, connection.execute("SELECT key, value FROM meta")))
    upstreams = [
        tuple(row) for row in connection.execute("SELECT name, acked_seq FROM upstreams ORDER BY name")
    ]
    all_have = min((acked_seq for _, acked_seq in upstreams), default=0)
    tables: dict[str, int] = {}
    newest: dict[str, int] = {}
    acked = 0
    for table in EVENT_TABLES:
        count, newest_ms = connection.execute(
            f"SELECT count(*), (SELECT received_ms FROM {table} ORDER BY row DESC LIMIT 1) FROM {table}"  # noqa: S608 - our names
        ).fetchone()
        tables[table] = count
        if newest_ms is not None:
            newest[table] = newest_ms
        acked += count - _pending(connection, table, all_have)
    return StoreFigures(
        stored=meta["rows_stored"],
        acked=acked,
        pending=sum(tables.values()) - acked,
        pruned=meta["rows_pruned"],
        tables=tables,
        newest_ms=newest,
        dead_letters=connection.execute("SELECT count(*) FROM dead_letters").fetchone()[0],
        upstreams=tuple(
            UpstreamFigures(
                name, acked_seq, sum(_pending(connection, table, acked_seq) for table in EVENT_TABLES)
            )
            for name, acked_seq in upstreams
        ),
    )


def _pending(connection: sqlite3.Connection, table: str, acked_seq: int) -> int:
    statement = f"SELECT count(*) FROM {table} WHERE change_seq > ?"  # noqa: S608 - our names
    return int(connection.execute(statement, (acked_seq,)).fetchone()[0])
