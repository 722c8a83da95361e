"""Print `costs`: options in, a table of sums with a line for the total out.

The same sums as over HTTP. Days and hours are those of UTC, and have bars of their cost beside them.
"""

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TextIO, cast

from trace_agent.core.events import Json
from trace_agent.core.settings import Settings
from trace_agent.views.columns import Column
from trace_agent.views.costs import costs_json
from trace_agent.views.params import COST_PARAMETERS, CostQuery, read_cost_query
from trace_agent.views.readonly import snapshot
from trace_agent.views.rows import JsonMap
from trace_agent.views.tables import TablePrinter
from trace_agent.views.terminal import (
    UNKNOWN,
    Clock,
    console_for,
    count_text,
    speaks_utf8,
    things,
    tolerate,
    write_json,
)

__all__ = ["bar", "money_places", "money_text", "run_costs"]

_OK: Final = 0

# Terminals in use, as in `columns`.
_MEDIUM: Final = 100
_WIDE: Final = 120
_FULL: Final = 160
# A bar takes what is left of the line, within these bounds.
_BAR_CELLS: Final = (8, 30)
_GAP: Final = 2
_NO_NAME: Final = "-"
# Days or hours without calls get a line too, so that a chart is true to scale; but not any number of them.
_GAPS_LIMIT: Final = 400
_STEPS: Final = {"day": timedelta(days=1), "hour": timedelta(hours=1)}
_FORMATS: Final = {"day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H:%M:%SZ"}
_EMPTY: Final[JsonMap] = {
    "calls": 0, "errors": 0, "tokens": {}, "cache_hit_share": None, "cost_usd": 0, "reported_usd": None,
    "computed_usd": None, "unpriced": 0,
    "compared": {"calls": 0, "reported_usd": None, "computed_usd": None},
}  # fmt: skip

_PROMPT: Final = ("input", "cache_read", "cache_write", "cache_write_1h")
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


def run_costs(args: Namespace, settings: Settings, now_ms: Clock) -> int:
    """Print sums over calls.

    Raises:
        PeerError: an option cannot be read.
        StoreError: the database cannot be opened.
    """
    tolerate(sys.stdout)
    given = {name: getattr(args, name) for name in COST_PARAMETERS}
    query = read_cost_query({name: value for name, value in given.items() if value is not None}, now_ms())
    with snapshot(Path(settings.db)) as connection:
        answer = costs_json(connection, query)
    if args.json:
        write_json(answer, sys.stdout)
    elif not answer["items"]:
        sys.stdout.write(_nothing(query))
    else:
        items, total = cast("list[JsonMap]", answer["items"]), cast("JsonMap", answer["total"])
        shown = _with_gaps(items, query.by)
        places = money_places([_usd(item, *path) for item in [*items, total] for path in _MONEY])
        TablePrinter(sys.stdout, _columns(query.by, items, places, sys.stdout)).print(shown, now_ms())
        sys.stdout.write("\n".join(["", *_footer(answer, query.by, places), ""]))
    return _OK


def money_places(amounts: Sequence[float | None]) -> int:
    """Return how many decimals show all of some amounts of dollars: two digits that count of the smallest.

    Never fewer than four, so that a column can be checked against a bill; never more than nine, since the
    store counts in nano-dollars.
    """
    smallest = min((amount for amount in amounts if amount), default=1.0)
    return next((places for places in range(4, 9) if smallest >= 10.0 ** -(places - 1)), 9)


def money_text(usd: float | None, places: int) -> str:
    """Return dollars with so many decimals; `?` for an unknown amount."""
    if usd is None:
        return UNKNOWN
    return "$0" if usd == 0 else f"${usd:,.{places}f}"


def bar(share: float, cells: int, *, blocks: bool = True) -> str:
    """Return a bar; whatever is more than nothing shows.

    Args:
        share: 0 to 1.
        cells: characters that stand for 1.
        blocks: in eighths of a character, for streams that can write them.
    """
    if not blocks:
        return "#" * min(cells, max(round(share * cells), 1 if share > 0 else 0))
    eighths = min(8 * cells, max(round(share * cells * 8), 1 if share > 0 else 0))
    return _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


_MONEY: Final = (("cost_usd",), ("compared", "reported_usd"), ("compared", "computed_usd"))


def _columns(by: Sequence[str], items: Sequence[JsonMap], places: int, stream: TextIO) -> list[Column]:
    columns = [_group_column(name) for name in by]
    columns.append(_count("CALLS", lambda item: cast("int", item["calls"])))
    columns.append(_count("FAILED", lambda item: cast("int", item["errors"]), _MEDIUM))
    # All that went in, as in `traces`; the buckets it is made of where there is room.
    columns.append(_count("IN", lambda item: _tokens(item, *_PROMPT)))
    columns.append(_count("FRESH", lambda item: _tokens(item, "input"), _FULL))
    columns.append(_count("READ", lambda item: _tokens(item, "cache_read"), _FULL))
    columns.append(_count("WRITTEN", lambda item: _tokens(item, "cache_write", "cache_write_1h"), _FULL))
    columns.append(Column("CACHED", _share, 6, justify="right"))
    columns.append(_count("OUT", lambda item: _tokens(item, "output")))
    columns.append(_money("COST", places, "cost_usd"))
    if any(item["unpriced"] for item in items):
        columns.append(_count("UNPRICED", lambda item: cast("int", item["unpriced"])))
    if any(_compared(item) for item in items):
        columns.append(_money("SENDER'S", places, "compared", "reported_usd", from_width=_WIDE))
        columns.append(_money("OURS", places, "compared", "computed_usd", from_width=_WIDE))
    if any(name in _STEPS for name in by):
        columns.append(_bar_column(items, columns, stream))
    return columns


def _group_column(name: str) -> Column:
    if name in _STEPS:
        # `2026-11-22T14:00:00Z` for programs, `2026-11-22 14:00` for people: the head says UTC.
        return Column(
            f"{name.upper()} (UTC)",
            lambda item, _now_ms: str(item[name])[:16].replace("T", " "),
            10 if name == "day" else 16,
            whole=True,
        )
    return Column(name.upper(), lambda item, _now_ms: str(item[name] or _NO_NAME), 22)


def _count(title: str, count: Callable[[JsonMap], int | None], from_width: int = 0) -> Column:
    return Column(title, lambda item, _now_ms: count_text(count(item)), 8, from_width, "right")


def _money(title: str, places: int, *path: str, from_width: int = 0) -> Column:
    def cell(item: JsonMap, _now_ms: int) -> str:
        amount = _usd(item, *path)
        # Where nothing could be compared there is nothing unknown either.
        return _NO_NAME if amount is None and len(path) > 1 else money_text(amount, places)

    return Column(title, cell, 10, from_width, "right")


def _bar_column(items: Sequence[JsonMap], others: Sequence[Column], stream: TextIO) -> Column:
    most = max(_usd(item, "cost_usd") or 0.0 for item in items)
    width = console_for(stream).width
    used = sum(_width(column, items) + _GAP for column in others if column.from_width <= width)
    least, longest = _BAR_CELLS
    cells = max(least, min(longest, width - used))
    blocks = speaks_utf8(stream)

    def cell(item: JsonMap, _now_ms: int) -> str:
        return bar((_usd(item, "cost_usd") or 0.0) / most, cells, blocks=blocks) if most else ""

    return Column("", cell, cells, whole=True)


def _width(column: Column, items: Sequence[JsonMap]) -> int:
    width = max(len(column.title), *(len(column.cell(item, 0)) for item in items))
    # Names give way to bars.
    return min(width, column.width) if column.may_be_cut else width


def _with_gaps(items: list[JsonMap], by: tuple[str, ...]) -> list[JsonMap]:
    """Add a line for each day or hour between others that had no calls."""
    if len(by) != 1 or by[0] not in _STEPS:
        return items
    (name,) = by
    known = {str(item[name]): item for item in items}
    moments = [datetime.fromisoformat(moment) for moment in known]
    if (moments[-1] - moments[0]) / _STEPS[name] >= _GAPS_LIMIT:
        return items
    shown = []
    moment = moments[0]
    while moment <= moments[-1]:
        text = moment.strftime(_FORMATS[name])
        shown.append(known.get(text) or _EMPTY | {name: text})
        moment += _STEPS[name]
    return shown


def _footer(answer: JsonMap, by: Sequence[str], places: int) -> list[str]:
    """Sum up everything, and say what the sums leave out."""
    total = cast("JsonMap", answer["total"])
    share = total["cache_hit_share"]
    parts = [
        things(cast("int", total["calls"]), "model call"),
        f"{total['errors']:,} failed",
        f"{count_text(_tokens(total, *_PROMPT))} tokens in"
        + ("" if share is None else f" ({_share(total, 0)} from a cache)"),
        f"{count_text(_tokens(total, 'output'))} out",
        money_text(_usd(total, "cost_usd"), places),
    ]
    unpriced = cast("int", total["unpriced"])
    if unpriced and total["cost_usd"] is not None:
        parts[-1] += f" + {things(unpriced, 'call')} of unknown price"
    lines = [" · ".join(parts)]
    if unpriced:
        lines.append("Why a price is unknown: trace-agent prices missing")
    if calls := _compared(total):
        theirs, ours = (_usd(total, "compared", name) or 0.0 for name in ("reported_usd", "computed_usd"))
        off = f" ({(ours - theirs) / theirs:+.1%})" if theirs else ""
        lines.append(
            f"Of {things(calls, 'call')} both costs are known: the sender's {money_text(theirs, places)},"
            f" ours {money_text(ours, places)}{off}"
        )
    if omitted := cast("int", answer["omitted"]):
        kept = "newest" if any(name in _STEPS for name in by) else "most expensive"
        lines.append(f"{things(omitted, 'more line')} not shown: these are the {kept}")
    return lines


def _nothing(query: CostQuery) -> str:
    calls = query.calls
    if calls.equals or calls.since_ms is not None or calls.until_ms is not None:
        return "No model calls match.\n"
    return "No model calls are stored yet. To send one: trace-agent emit llm --model my-model\n"


def _tokens(item: JsonMap, *buckets: str) -> int | None:
    """Return the sum of some buckets, None where none of them is known."""
    tokens = cast("dict[str, int]", item["tokens"])
    known = [tokens[bucket] for bucket in buckets if bucket in tokens]
    return sum(known) if known else None


def _share(item: JsonMap, _now_ms: int) -> str:
    share = cast("float | None", item["cache_hit_share"])
    return _NO_NAME if share is None else f"{share:.1%}"


def _usd(item: JsonMap, *path: str) -> float | None:
    value: Json = item
    for name in path:
        value = cast("JsonMap", value)[name]
    return cast("float | None", value)


def _compared(item: JsonMap) -> int:
    return cast("int", cast("JsonMap", item["compared"])["calls"])
