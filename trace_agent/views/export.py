"""Write everything out as JSON lines: the database in, one event a line, as the wire has them.

Rows come oldest first, table after table, a page per snapshot, so that neither memory nor the
write-ahead log grows with the size of the database. Metrics are windows, not samples.
"""

import io
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

from attrs import evolve

from trace_agent.core.settings import Settings
from trace_agent.views.params import ERRORS, EVENTS, LLM, METRICS, Table, read_query
from trace_agent.views.queries import newest_row, rows_after
from trace_agent.views.readonly import snapshot
from trace_agent.views.rows import JsonMap, wire_type
from trace_agent.views.terminal import Clock, json_text

__all__ = ["TYPES", "export_lines", "run_export"]

_TABLES: Final = (LLM, EVENTS, ERRORS, METRICS)
# Wire types, in the order in which they are written.
TYPES: Final = tuple(wire_type(table.name) for table in _TABLES)
_PAGE_ROWS: Final = 500
_OK: Final = 0


def run_export(args: Namespace, settings: Settings, now_ms: Clock) -> int:
    """Write the chosen types to stdout, or to a file that only its owner may read.

    Raises:
        PeerError: an option cannot be read.
        StoreError: the database cannot be opened.
        OSError: the file cannot be written.
    """
    db = Path(settings.db)
    params = {name: value for name in ("since", "until") if (value := getattr(args, name)) is not None}
    # A damaged option or database is found before an old export is overwritten.
    lines = export_lines(db, args.types or TYPES, params, now_ms(), text=args.text)
    first = next(lines, None)
    if args.output is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # JSON between programs is UTF-8, whatever the terminal speaks (RFC 8259, section 8.1).
            sys.stdout.reconfigure(encoding="utf-8")
        count = _write(first, lines, sys.stdout)
        sys.stdout.flush()
    else:
        with _open_private(Path(args.output)) as stream:
            count = _write(first, lines, stream)
    sys.stderr.write(f"{count:,} lines\n")
    return _OK


def export_lines(
    db: Path, types: tuple[str, ...], params: dict[str, str], now_ms: int, *, text: bool
) -> Iterator[str]:
    """Yield JSON, one event each, without line ends; rows that arrive meanwhile are left for next time.

    Raises:
        PeerError: as `read_query`.
        StoreError: the database cannot be read.
    """
    for table in _TABLES:
        if wire_type(table.name) in types:
            yield from _table_lines(db, table, params, now_ms, text=text)


def _open_private(path: Path) -> TextIO:
    """Open a file for writing that nobody but its owner may read: it holds conversations."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    # An older file keeps its mode when it is opened again.
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8")


def _table_lines(db: Path, table: Table, params: dict[str, str], now_ms: int, *, text: bool) -> Iterator[str]:
    query = evolve(read_query(table, params, now_ms), limit=_PAGE_ROWS, text=text and table.has_text)
    with snapshot(db) as connection:
        end = newest_row(connection, table)
    row = 0
    while row < end:
        with snapshot(db) as connection:
            found = rows_after(connection, query, row, until_row=end)
        for _, item in found:
            line: JsonMap = {"type": wire_type(table.name), **item}
            yield json_text(line)
        row = found[-1][0] if found else end


def _write(first: str | None, rest: Iterator[str], stream: TextIO) -> int:
    if first is None:
        return 0
    stream.write(first + "\n")
    count = 1
    for line in rest:
        stream.write(line + "\n")
        count += 1
    return count
