"""Read what a caller asks for: query parameters or command-line options in, a checked `Query` out."""

import re
from collections.abc import Collection, Mapping
from typing import Final

from attrs import frozen

from trace_agent.core.errors import EventError, PeerError, Reason
from trace_agent.core.values import as_time_ms, valid_text

__all__ = [
    "COST_PARAMETERS",
    "ERRORS",
    "EVENTS",
    "GROUPINGS",
    "LIMIT_DEFAULT",
    "LIMIT_MOST",
    "LLM",
    "METRICS",
    "CostQuery",
    "Query",
    "Table",
    "read_call_params",
    "read_cost_query",
    "read_query",
]

LIMIT_DEFAULT: Final = 100
LIMIT_MOST: Final = 1000

# Parameters that mean the same for every listing.
_COMMON: Final = ("limit", "cursor", "since", "until")
# Understood by every route, and without effect on a read.
_NO_EFFECT: Final = ("sync",)
# Of a parameter that nobody knows, this much is repeated.
_NAME_CHARS: Final = 40
_AGE: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h|d|w)")
_NUMBER: Final = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_CURSOR: Final = re.compile(r"[0-9]{1,18}")
_LIMIT: Final = re.compile(r"[0-9]{1,9}")
_SWITCH: Final = {"1": True, "true": True, "0": False, "false": False}


@frozen
class Table:
    """A listing of CONTRACT section 3.

    Attributes:
        name: the SQL table.
        filters: query parameter -> column that must equal it.
        has_text: whether rows have `input` and `output`.
    """

    name: str
    filters: Mapping[str, str]
    has_text: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names of all query parameters."""
        return (*_COMMON, *self.filters, *(("text",) if self.has_text else ()))


_CONTEXT: Final = {"agent": "agent", "session": "session", "run": "run"}

LLM: Final = Table(
    "llm",
    _CONTEXT | {"model": "model", "provider": "provider", "status": "status", "kind": "error_kind"},
    has_text=True,
)
EVENTS: Final = Table("events", _CONTEXT | {"name": "name"})
ERRORS: Final = Table("errors", _CONTEXT | {"kind": "kind"})
METRICS: Final = Table("metrics", {"name": "name", "kind": "kind"})

# What costs are grouped by; a day and an hour are those of UTC.
GROUPINGS: Final = ("model", "agent", "session", "run", "provider", "day", "hour")
COST_PARAMETERS: Final = ("by", "limit", "since", "until", *LLM.filters)


@frozen
class Query:
    """Which rows are wanted.

    Attributes:
        limit: rows at most.
        before_row: only rows that arrived before this one; None: from the newest.
        since_ms: rows whose `ts` is this or later, Unix milliseconds.
        until_ms: rows whose `ts` is earlier.
        equals: column, value.
        text: whether `input` and `output` are wanted; None: not said.
    """

    table: Table
    limit: int = LIMIT_DEFAULT
    before_row: int | None = None
    since_ms: float | None = None
    until_ms: float | None = None
    equals: tuple[tuple[str, str], ...] = ()
    text: bool | None = None


@frozen
class CostQuery:
    """Which calls are summed up, and how.

    Attributes:
        by: names of `GROUPINGS`, at least one, none twice.
        calls: which calls count; its limit is for the groups.
    """

    by: tuple[str, ...]
    calls: Query


def read_query(table: Table, params: Mapping[str, str], now_ms: float) -> Query:
    """Check the parameters of a listing.

    Args:
        table: what is listed.
        params: name -> value as text.
        now_ms: what ages such as `15m` count from.

    Raises:
        PeerError: `BAD_REQUEST`, naming the parameter.
    """
    _demand_known(params, table.parameters)
    get = params.get
    return Query(
        table,
        limit=LIMIT_DEFAULT if (limit := get("limit")) is None else _limit(limit),
        before_row=None if (cursor := get("cursor")) is None else _cursor(cursor),
        since_ms=None if (since := get("since")) is None else _moment("since", since, now_ms),
        until_ms=None if (until := get("until")) is None else _moment("until", until, now_ms),
        equals=tuple(
            (column, _label(name, params[name])) for name, column in table.filters.items() if name in params
        ),
        text=None if (text := get("text")) is None else _switch("text", text),
    )


def read_cost_query(params: Mapping[str, str], now_ms: float) -> CostQuery:
    """Check the parameters of costs; without `by`, they are summed up by model.

    Args:
        params: name -> value as text.
        now_ms: what ages such as `15m` count from.

    Raises:
        PeerError: `BAD_REQUEST`, naming the parameter.
    """
    _demand_known(params, COST_PARAMETERS)
    rest = {name: value for name, value in params.items() if name != "by"}
    return CostQuery(
        _groupings(params.get("by", "model")),
        # There is no second page of groups, so the first one is as large as can be.
        read_query(LLM, {"limit": str(LIMIT_MOST)} | rest, now_ms),
    )


def read_call_params(params: Mapping[str, str]) -> bool:
    """Return whether the texts of a single call are wanted; they are, unless `text=0` says no.

    Raises:
        PeerError: `BAD_REQUEST`, naming the parameter.
    """
    _demand_known(params, ("text",))
    return _switch("text", params.get("text", "1"))


def _demand_known(params: Mapping[str, str], known: Collection[str]) -> None:
    for name in params:
        if name not in known and name not in _NO_EFFECT:
            raise _bad(f"{name[:_NAME_CHARS]!a} is no parameter here; there are {', '.join(known)}")


def _groupings(value: str) -> tuple[str, ...]:
    names = [name.strip() for name in value.split(",")]
    if any(name not in GROUPINGS for name in names):
        raise _bad(f"by must be a comma list of {', '.join(GROUPINGS)}")
    return tuple(dict.fromkeys(names))


def _switch(name: str, value: str) -> bool:
    if value not in _SWITCH:
        raise _bad(f"{name} must be 1 or 0")
    return _SWITCH[value]


def _limit(value: str) -> int:
    if not _LIMIT.fullmatch(value) or not 1 <= int(value) <= LIMIT_MOST:
        raise _bad(f"limit must be a whole number from 1 to {LIMIT_MOST}")
    return int(value)


def _cursor(value: str) -> int:
    if not _CURSOR.fullmatch(value):
        raise _bad("cursor must be the `next` of an earlier answer")
    return int(value)


def _moment(name: str, value: str, now_ms: float) -> float:
    """Return Unix milliseconds from an age (`15m`), a number of them, or RFC 3339 text."""
    age = _AGE.fullmatch(value)
    if age is not None:
        return max(0.0, now_ms - int(age[1]) * _UNIT_MS[age[2]])
    # Any way to write a JSON number, since programs print large ones with an exponent.
    if _NUMBER.fullmatch(value):
        return _as_moment(name, float(value))
    # In a query string a bare `+` is a space, and people do not encode the one of `+01:00`.
    return _as_moment(name, value.replace(" ", "+") if "T" in value else value)


def _as_moment(name: str, value: float | str) -> float:
    try:
        return as_time_ms(value, name)
    except EventError:
        raise _bad(f"{name} must be an age (15m, 24h, 7d), Unix milliseconds or RFC 3339 text") from None


def _label(name: str, value: str) -> str:
    if not value:
        raise _bad(f"{name} must not be empty")
    return valid_text(value)


def _bad(detail: str) -> PeerError:
    return PeerError(Reason.BAD_REQUEST, detail)
