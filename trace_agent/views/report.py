"""Print listings: `traces`, `events`, `errors` and `metrics`, their options in, an exit code out.

The same rows as over HTTP: options are checked and read by the same code, from the database itself, so
that the agent need not run.
"""

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, cast

from attrs import evolve

from trace_agent.core.settings import Settings
from trace_agent.views.call import print_call
from trace_agent.views.columns import COLUMNS, is_bad
from trace_agent.views.params import ERRORS, EVENTS, LLM, METRICS, Query, Table, read_query
from trace_agent.views.queries import call_by_id, list_rows, newest_row, rows_after
from trace_agent.views.readonly import snapshot
from trace_agent.views.rows import JsonMap
from trace_agent.views.tables import TablePrinter
from trace_agent.views.terminal import (
    Clock,
    cost_text,
    count_text,
    json_text,
    safe,
    things,
    tolerate,
    write_json,
)

__all__ = ["Sleep", "run_errors", "run_events", "run_metrics", "run_traces"]

# Waits for a number of seconds.
Sleep = Callable[[float], None]

_OK: Final = 0
_PROBLEM: Final = 1

# What `--follow` shows of the past, and how often it looks: a flush comes once a second by default.
_FOLLOW_FIRST: Final = 10
_FOLLOW_S: Final = 0.5

# SQL table -> what a row is called, how to make one.
_WORDS: Final = {
    "llm": ("model call", "trace-agent emit llm --model my-model --input-tokens 5"),
    "events": ("event", "trace-agent emit event my.event"),
    "errors": ("error", "trace-agent emit error my.kind --message 'what went wrong'"),
    "metrics": ("metric window", "trace-agent emit metric my.gauge 1"),
}


def run_traces(args: Namespace, settings: Settings, now_ms: Clock, sleep: Sleep) -> int:
    """List model calls, follow them, or show one.

    Raises:
        PeerError: an option cannot be read.
        StoreError: the database cannot be opened.
    """
    if args.id is not None:
        return _one(args, settings)
    return _list(LLM, args, settings, now_ms, sleep)


def run_events(args: Namespace, settings: Settings, now_ms: Clock, sleep: Sleep) -> int:
    """List events; raises as `run_traces`."""
    return _list(EVENTS, args, settings, now_ms, sleep)


def run_errors(args: Namespace, settings: Settings, now_ms: Clock, sleep: Sleep) -> int:
    """List errors; raises as `run_traces`."""
    return _list(ERRORS, args, settings, now_ms, sleep)


def run_metrics(args: Namespace, settings: Settings, now_ms: Clock, sleep: Sleep) -> int:
    """List windows of metrics; raises as `run_traces`."""
    return _list(METRICS, args, settings, now_ms, sleep)


def _one(args: Namespace, settings: Settings) -> int:
    tolerate(sys.stdout)
    with snapshot(Path(settings.db)) as connection:
        call = call_by_id(connection, args.id, text=args.text)
    if call is None:
        sys.stderr.write(f"trace-agent: there is no call with id {safe(args.id)}\n")
        return _PROBLEM
    if args.json:
        write_json(call, sys.stdout)
    else:
        print_call(call, sys.stdout)
    return _OK


def _list(table: Table, args: Namespace, settings: Settings, now_ms: Clock, sleep: Sleep) -> int:
    tolerate(sys.stdout)
    query = read_query(table, _params(table, args), now_ms())
    db = Path(settings.db)
    if args.follow:
        return _follow(query, args, db, now_ms, sleep)
    with snapshot(db) as connection:
        page = list_rows(connection, query)
    if args.json:
        write_json(page.json(), sys.stdout)
    elif not page.items:
        sys.stdout.write(_nothing(query))
    else:
        _print_items(query, page.items, now_ms(), TablePrinter(sys.stdout, COLUMNS[table.name]))
        sys.stdout.write(_footer(table, page.items, more=page.next is not None))
    return _OK


def _follow(query: Query, args: Namespace, db: Path, now_ms: Clock, sleep: Sleep) -> int:
    """Print what arrives until interrupted, oldest first."""
    printer = TablePrinter(sys.stdout, COLUMNS[query.table.name], fixed=True)
    first = query if args.limit is not None else evolve(query, limit=_FOLLOW_FIRST)
    with snapshot(db) as connection:
        items = list_rows(connection, first).items[::-1]
        last = newest_row(connection, query.table)
    try:
        while True:
            if items:
                _print_followed(query, items, now_ms(), args, printer)
                sys.stdout.flush()
            if len(items) < query.limit:
                sleep(_FOLLOW_S)
            with snapshot(db) as connection:
                # Numbers begin anew when a damaged database was replaced by an empty one.
                last = min(last, newest_row(connection, query.table))
                found = rows_after(connection, query, last)
            items = [item for _, item in found]
            last = found[-1][0] if found else last
    except KeyboardInterrupt:
        return _OK


def _print_followed(
    query: Query, items: Sequence[JsonMap], now_ms: int, args: Namespace, printer: TablePrinter
) -> None:
    if args.json:
        for item in items:
            # One line each, whoever looks: a stream of indented objects cannot be read by line.
            sys.stdout.write(json_text(item) + "\n")
        return
    _print_items(query, items, now_ms, printer)


def _print_items(query: Query, items: Sequence[JsonMap], now_ms: int, printer: TablePrinter) -> None:
    if not query.text:
        printer.print(items, now_ms)
        return
    for item in items:
        print_call(item, sys.stdout)
        sys.stdout.write("\n")


def _params(table: Table, args: Namespace) -> dict[str, str]:
    """Return the options given, as the query parameters of the same names."""
    given: dict[str, str] = {}
    for name in table.parameters:
        value = getattr(args, name, None)
        if value is not None and value is not False:
            given[name] = "1" if value is True else value
    return given


def _nothing(query: Query) -> str:
    """Return a sentence for an empty listing that says what to do about it."""
    word, command = _WORDS[query.table.name]
    if query.equals or query.since_ms is not None or query.until_ms is not None:
        return f"No {word}s match.\n"
    if query.before_row is not None:
        return f"No more {word}s.\n"
    return f"No {word}s are stored yet. To send one: {command}\n"


def _footer(table: Table, items: Sequence[JsonMap], *, more: bool) -> str:
    """Sum up what was shown."""
    parts = [f"{'newest ' if more else ''}{things(len(items), _WORDS[table.name][0])}"]
    if table is LLM:
        bad = sum(map(is_bad, items))
        tokens = [cast("dict[str, int]", item["tokens"]).get("total", 0) for item in items]
        costs = [cast("float | None", item["cost_usd"]) for item in items]
        known = [cost for cost in costs if cost is not None]
        parts.append(f"{bad} failed")
        parts.append(f"{count_text(sum(tokens))} tokens")
        parts.append(cost_text(sum(known) if known or not costs else None))
        if known and len(known) < len(costs):
            parts[-1] += f" + {len(costs) - len(known)} of unknown price"
    return f"\n{' · '.join(parts)}\n"
