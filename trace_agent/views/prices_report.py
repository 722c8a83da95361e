"""Print what is known of prices: `show` a model, `explain` a stored call, list what is `missing`.

Options in, an exit code out. Times are those of UTC, as prices are.
"""

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, cast

from trace_agent.core.settings import Settings
from trace_agent.store.prices_in_use import open_prices
from trace_agent.views.columns import Column
from trace_agent.views.params import LLM, read_query
from trace_agent.views.price_facts import explain_json, missing_json, show_json
from trace_agent.views.readonly import snapshot
from trace_agent.views.rows import JsonMap
from trace_agent.views.tables import TablePrinter
from trace_agent.views.terminal import (
    UNKNOWN,
    Clock,
    ago,
    console_for,
    count_text,
    safe,
    things,
    tolerate,
    write_json,
)

__all__ = ["run_explain", "run_missing", "run_show"]

_OK: Final = 0
_PROBLEM: Final = 1

_NONE: Final = "-"
_DAY_MS: Final = 86_400_000
# Heads of the price columns, by bucket.
_HEADS: Final = {
    "input": "INPUT",
    "cache_read": "READ",
    "cache_write": "WRITE",
    "cache_write_1h": "WRITE 1H",
    "output": "OUTPUT",
    "reasoning": "REASONING",
}
_HINT: Final = "Own prices, and names that stand for others, go into the file that `prices_file` names."


def run_show(args: Namespace, settings: Settings, now_ms: Clock) -> int:
    """Print the prices of a model, as agents name it.

    Returns:
        1 when none is known.

    Raises:
        SettingsError: `prices_file` cannot be read.
        StoreError: the price table cannot be read.
    """
    tolerate(sys.stdout)
    with open_prices(settings) as prices:
        shown = show_json(prices, args.provider, args.model, now_ms())
    if args.json:
        write_json(shown, sys.stdout)
    elif shown["priced_as"] is None:
        sys.stdout.write(safe(f"{args.model}: {shown['why']}") + f"\n{_HINT}\n")
    else:
        _print_prices(shown, now_ms())
    return _PROBLEM if shown["priced_as"] is None else _OK


def run_explain(args: Namespace, settings: Settings, now_ms: Clock) -> int:
    """Print how the cost of a stored call came about, line by line.

    Returns:
        1 when there is no such call.

    Raises:
        SettingsError: `prices_file` cannot be read.
        StoreError: the database or the price table cannot be read.
    """
    tolerate(sys.stdout)
    with open_prices(settings) as prices, snapshot(Path(settings.db)) as connection:
        explained = explain_json(connection, prices, args.id)
    if explained is None:
        sys.stderr.write(f"trace-agent: there is no call with id {safe(args.id)}\n")
        return _PROBLEM
    if args.json:
        write_json(explained, sys.stdout)
    else:
        _print_explained(explained, now_ms())
    return _OK


def run_missing(args: Namespace, settings: Settings, now_ms: Clock) -> int:
    """Print which models have calls of unknown price, and why.

    Raises:
        PeerError: an option cannot be read.
        SettingsError: `prices_file` cannot be read.
        StoreError: the database or the price table cannot be read.
    """
    tolerate(sys.stdout)
    given = {name: getattr(args, name, None) for name in LLM.parameters}
    query = read_query(LLM, {name: value for name, value in given.items() if value is not None}, now_ms())
    with open_prices(settings) as prices, snapshot(Path(settings.db)) as connection:
        missing = missing_json(connection, prices, query)
    items = cast("list[JsonMap]", missing["items"])
    if args.json:
        write_json(missing, sys.stdout)
    elif not items:
        sys.stdout.write("No call is of unknown price.\n")
    else:
        TablePrinter(sys.stdout, _MISSING).print(items, now_ms())
        calls = sum(cast("int", item["calls"]) for item in items)
        omitted = cast("int", missing["omitted"])
        more = f", and those of {things(omitted, 'model')} more" if omitted else ""
        sys.stdout.write(f"\n{things(calls, 'call')} of unknown price{more}. {_HINT}\n")
    return _OK


def _print_prices(shown: JsonMap, now_ms: int) -> None:
    items = cast("list[JsonMap]", shown["prices"])
    _print_lines([("model", str(shown["model"])), ("priced as", _priced_as(shown))])
    sys.stdout.write("\n")
    buckets = [name for name in _HEADS if any(name in _prices_of(item) for item in items)]
    columns = [Column("WHEN", _when, 18), Column("PROMPT", _size, 9, whole=True)]
    columns += [Column(_HEADS[name], _price(name), 8, justify="right") for name in buckets]
    if any("usd_per_call" in item for item in items):
        columns.append(Column("PER CALL", _amount("usd_per_call"), 8, justify="right"))
    if not all(item["in_effect"] for item in items):
        columns.append(Column("", lambda item, _now_ms: "now" if item["in_effect"] else "", 3))
    TablePrinter(sys.stdout, columns).print(items, now_ms)
    sys.stdout.write(
        "\nUSD per million tokens. What has no price costs what it is part of: cache tokens as input,\n"
        "an hour's cache write as a write, reasoning as output.\n"
    )


def _print_explained(explained: JsonMap, now_ms: int) -> None:
    stored, now = cast("JsonMap", explained["stored"]), cast("JsonMap", explained["now"])
    model = str(explained.get("model") or _NONE)
    if explained.get("response_model") not in {None, model}:
        model += f", answered by {explained['response_model']}"
    lines = [
        ("id", str(explained["id"])),
        ("time", _time(cast("float", explained["ts"]))),
        ("model", model),
        ("provider", str(explained.get("provider") or _NONE)),
        ("cost", f"{_usd(stored['cost_usd'])} ({stored['cost_basis']})"),
        ("sender's", _NONE if stored["reported_usd"] is None else _usd(stored["reported_usd"])),
        ("ours", _usd(stored["computed_usd"]) + _in_brackets(stored["price_version"])),
    ]
    if now["priced_as"] is not None:
        lines.append(("priced as", _priced_as(now)))
        lines.append(("prompt", things(cast("int", now["prompt_tokens"]), "token")))
    lines += [("note", note) for note in cast("list[str]", now["notes"])]
    _print_lines(lines)
    if now["lines"]:
        total: JsonMap = {"bucket": "sum", "count": None, "usd": now["sum_usd"]}
        sys.stdout.write("\n")
        TablePrinter(sys.stdout, _LINES).print([*cast("list[JsonMap]", now["lines"]), total], now_ms)
    sys.stdout.write(f"\n{safe(_verdict(stored, now))}\n")


def _verdict(stored: JsonMap, now: JsonMap) -> str:
    """Say in a sentence what the figures come to, and why those of now may differ from the stored ones."""
    if now["why"] is not None:
        counts = "" if stored["cost_usd"] is None else f" The stored {_usd(stored['cost_usd'])} counts."
        return f"By the prices in use now the cost is unknown: {now['why']}.{counts}"
    if now["computed_usd"] == stored["computed_usd"]:
        told = stored["reported_usd"] is not None
        return "What the sender reports counts." if told else "So it is stored."
    version = cast("JsonMap", now["priced_as"])["price_version"]
    known = "no price was known" if stored["computed_usd"] is None else "prices were others"
    return (
        f"By the prices in use now ({version}) it is {_usd(now['computed_usd'])};"
        f" {known} when the call was stored."
    )


def _in_brackets(words: object) -> str:
    return "" if words is None else f" ({words})"


def _print_lines(lines: Sequence[tuple[str, str]]) -> None:
    from rich.text import Text  # noqa: PLC0415 - loaded by read commands that print, not by those before

    console = console_for(sys.stdout)
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        console.print(Text(f"{name:<{width}}  ", style="bold") + Text(safe(value)), soft_wrap=True)


def _priced_as(shown: JsonMap) -> str:
    found = cast("JsonMap", shown["priced_as"])
    seller = "" if found["provider"] is None else f" of {found['provider']}"
    version = "" if found["price_version"] is None else f", {found['price_version']}"
    return f"{found['model']}{seller} ({found['cost_basis']}{version})"


def _when(item: JsonMap, _now_ms: int) -> str:
    parts = []
    if "served" in item:
        parts.append(", ".join(f"{name} {value}" for name, value in cast("JsonMap", item["served"]).items()))
    if "from_ts" in item:
        parts.append(f"since {_date(cast('int', item['from_ts']))}")
    if "daily_ms" in item:
        start, end = (_clock(time_ms) for time_ms in cast("list[int]", item["daily_ms"]))
        parts.append(f"daily {start}-{end} UTC")
    return ", ".join(parts) or "always"


def _size(item: JsonMap, _now_ms: int) -> str:
    return f"> {item['above_tokens']:,}" if "above_tokens" in item else "any"


def _prices_of(item: JsonMap) -> dict[str, float]:
    return cast("dict[str, float]", item["usd_per_million"])


def _price(bucket: str) -> Callable[[JsonMap, int], str]:
    return lambda item, _now_ms: _decimal(_prices_of(item)[bucket]) if bucket in _prices_of(item) else _NONE


def _amount(name: str) -> Callable[[JsonMap, int], str]:
    return lambda item, _now_ms: _NONE if name not in item else _decimal(item[name])


def _decimal(number: object) -> str:
    """Return all digits of a number, without exponent; `?` for None."""
    if number is None:
        return UNKNOWN
    whole, point, digits = f"{Decimal(repr(number)):,f}".partition(".")
    return f"{whole}{point}{digits}".rstrip("0").rstrip(".") if point else whole


def _usd(amount: object) -> str:
    return UNKNOWN if amount is None else f"${_decimal(amount)}"


def _time(ts_ms: float) -> str:
    return datetime.fromtimestamp(ts_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")


def _date(ts_ms: int) -> str:
    moment = datetime.fromtimestamp(ts_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%d" if ts_ms % _DAY_MS == 0 else "%Y-%m-%d %H:%M")


def _clock(time_ms: int) -> str:
    minutes = time_ms // 60_000
    return f"{minutes // 60:02}:{minutes % 60:02}"


_LINES: Final = (
    Column("BUCKET", lambda item, _now_ms: str(item["bucket"]), 14, whole=True),
    Column("COUNT", lambda item, _now_ms: count_text(cast("int | None", item["count"])), 10, justify="right"),
    Column("USD PER MILLION", _amount("usd_per_million"), 15, justify="right"),
    Column("USD", _amount("usd"), 14, justify="right"),
)
_MISSING: Final = (
    Column("MODEL", lambda item, _now_ms: str(item["response_model"] or item["model"] or _NONE), 22),
    Column("PROVIDER", lambda item, _now_ms: str(item["provider"] or _NONE), 12),
    Column("CALLS", lambda item, _now_ms: count_text(cast("int", item["calls"])), 7, justify="right"),
    Column("FAILED", lambda item, _now_ms: count_text(cast("int", item["errors"])), 6, 100, "right"),
    Column("LAST", lambda item, now_ms: ago(cast("float", item["last_ts"]), now_ms), 4, justify="right"),
    Column("WHY", lambda item, _now_ms: str(item["why"]), 38),
    Column("EXAMPLE", lambda item, _now_ms: str(item["example"]), 36, 140, whole=True),
)
