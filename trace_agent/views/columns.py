"""Say which columns the tables of the read commands have: items in wire form in, words for cells out."""

from collections.abc import Callable
from typing import Final, Literal, cast

from attrs import frozen

from trace_agent.core.events import Json
from trace_agent.views.rows import JsonMap
from trace_agent.views.terminal import ago, cost_text, count_text, duration_text, number_text

__all__ = ["COLUMNS", "Column", "is_bad"]

# Terminals in use: the classic one, half of a wide screen, a wide one, all of it.
_NARROW: Final = 0
_MEDIUM: Final = 100
_WIDE: Final = 120
_FULL: Final = 160


@frozen
class Column:
    """A column of a table.

    Attributes:
        title: its head.
        cell: item, Unix milliseconds of now -> words, not made safe yet.
        width: characters that suit most values; a following listing keeps to it.
        from_width: terminals at least this wide show it.
        justify: numbers stand right.
        bad_is_red: red where the item `is_bad`.
        whole: of no use when cut.
    """

    title: str
    cell: Callable[[JsonMap, int], str]
    width: int
    from_width: int = _NARROW
    justify: Literal["left", "right"] = "left"
    bad_is_red: bool = False
    whole: bool = False

    @property
    def may_be_cut(self) -> bool:
        """Return whether words may be cut to make the table fit; half a number would be a lie."""
        return self.justify == "left" and not self.whole


def is_bad(item: JsonMap) -> bool:
    """Return whether an item tells of a failure."""
    return item.get("status") == "error" or item.get("severity") in {"error", "fatal"}


def _text(name: str) -> Callable[[JsonMap, int], str]:
    return lambda item, _now_ms: str(item.get(name) or "-")


def _age(item: JsonMap, now_ms: int) -> str:
    return ago(cast("float", item["ts"]), now_ms)


def _number(name: str, show: Callable[[float | None], str]) -> Callable[[JsonMap, int], str]:
    return lambda item, _now_ms: show(cast("float | None", item.get(name)))


def _tokens(*buckets: str) -> Callable[[JsonMap, int], str]:
    """Show the sum of some buckets; `-` where none of them is known."""

    def cell(item: JsonMap, _now_ms: int) -> str:
        known = [count for bucket in buckets if isinstance(count := _map(item, "tokens").get(bucket), int)]
        return count_text(sum(known)) if known else "-"

    return cell


def _status(item: JsonMap, _now_ms: int) -> str:
    return str(_map(item, "error").get("kind") or item["status"])


def _attributes(item: JsonMap, _now_ms: int) -> str:
    return " ".join(f"{key}={value}" for key, value in _map(item, "attributes").items()) or "-"


def _tags(item: JsonMap, _now_ms: int) -> str:
    tags = item["tags"]
    return " ".join(map(str, tags)) if isinstance(tags, list) and tags else "-"


def _map(item: JsonMap, name: str) -> dict[str, Json]:
    value = item.get(name)
    return value if isinstance(value, dict) else {}


_AGE: Final = Column("AGE", _age, 4, justify="right")
_AGENT: Final = Column("AGENT", _text("agent"), 14, _MEDIUM)
_SESSION: Final = Column("SESSION", _text("session"), 18, _WIDE)

# By SQL table. Widths of the narrow columns, with two spaces between them, stay within 80.
COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    "llm": (
        _AGE,
        Column("AGENT", _text("agent"), 12, _FULL),
        Column("MODEL", _text("model"), 22),
        Column("STATUS", _status, 11, bad_is_red=True),
        # All that went in, as bills and context windows count; the part that a cache had stands beside it.
        Column("IN", _tokens("input", "cache_read", "cache_write", "cache_write_1h"), 7, justify="right"),
        Column("CACHED", _tokens("cache_read"), 7, _MEDIUM, "right"),
        Column("OUT", _tokens("output"), 6, justify="right"),
        Column("COST", _number("cost_usd", cost_text), 8, justify="right"),
        Column("TIME", _number("latency_ms", duration_text), 8, justify="right"),
        Column("TTFT", _number("ttft_ms", duration_text), 8, _FULL, "right"),
        Column("ID", _text("id"), 36, _WIDE, whole=True),
    ),
    "events": (
        _AGE,
        Column("NAME", _text("name"), 26),
        Column("SEVERITY", _text("severity"), 8, bad_is_red=True),
        Column("TIME", _number("duration_ms", duration_text), 8, justify="right"),
        _AGENT,
        _SESSION,
        Column("ATTRIBUTES", _attributes, 26),
    ),
    "errors": (
        _AGE,
        Column("KIND", _text("kind"), 22, bad_is_red=True),
        Column("SEVERITY", _text("severity"), 8),
        _AGENT,
        _SESSION,
        Column("SOURCE", _text("source"), 14, _WIDE),
        Column("MESSAGE", _text("message"), 38),
    ),
    "metrics": (
        _AGE,
        Column("NAME", _text("name"), 20),
        Column("KIND", _text("kind"), 12),
        Column("COUNT", _number("count", number_text), 8, justify="right"),
        Column("SUM", _number("sum", number_text), 10, _MEDIUM, "right"),
        Column("LAST", _number("last", number_text), 9, justify="right"),
        Column("P50", _number("p50", number_text), 9, _MEDIUM, "right"),
        Column("P95", _number("p95", number_text), 9, _WIDE, "right"),
        Column("P99", _number("p99", number_text), 9, _WIDE, "right"),
        Column("RATE/S", _number("rate", number_text), 8, _MEDIUM, "right"),
        Column("UNIQUE", _number("unique", count_text), 8, _WIDE, "right"),
        Column("TAGS", _tags, 16),
    ),
}
