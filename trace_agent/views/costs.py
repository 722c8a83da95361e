"""Sum up what calls cost: a `CostQuery` in, the answer of `/v1/costs` out.

SQLite adds whole numbers, so sums are exact: nano-dollars become dollars, as floats, when all is added up.
Of each value it adds the upper and the lower half apart, because one sum of 64 bits is reached by a
thousand counts of the largest kind that a sender may claim, and SQLite then fails the whole query.

What is not known is never 0, in sums neither: a group whose calls are all of unknown price has a cost of
null, and one with some of them has the sum of the others, with the number of those left out beside it.
"""

import sqlite3
from datetime import UTC, datetime
from typing import Final

from trace_agent.core.errors import StoreError
from trace_agent.views.params import CostQuery, Query
from trace_agent.views.queries import conditions
from trace_agent.views.rows import JsonMap, usd

__all__ = ["TOKEN_BUCKETS", "costs_json"]

TOKEN_BUCKETS: Final = (
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "output",
    "reasoning",
    "total",
)

# Days and hours of UTC, as their numbers since 1970: the seconds of each.
_CLOCK_S: Final = {"day": 86_400, "hour": 3600}
_UNPRICED: Final = "reported_nusd IS NULL AND computed_nusd IS NULL"
# A sender that tells nothing of its cache must not look as if it had none.
_TELLS_OF_CACHE: Final = "tokens_input IS NOT NULL AND tokens_cache_read IS NOT NULL"

_COUNTS: Final = {
    "calls": "count(*)",
    "errors": "count(*) FILTER (WHERE status = 'error')",
    "unpriced": f"count(*) FILTER (WHERE {_UNPRICED})",
    "compared": "count(reported_nusd + computed_nusd)",
    "groups": "count(*) OVER ()",
}
# Name -> what is added up, NULL where a call has nothing to add.
_SUMS: Final = {f"tokens_{bucket}": f"tokens_{bucket}" for bucket in TOKEN_BUCKETS} | {
    "cost": "coalesce(reported_nusd, computed_nusd)",
    "reported": "reported_nusd",
    "computed": "computed_nusd",
    "compared_reported": "CASE WHEN computed_nusd IS NOT NULL THEN reported_nusd END",
    "compared_computed": "CASE WHEN reported_nusd IS NOT NULL THEN computed_nusd END",
    "seen_cached": f"CASE WHEN {_TELLS_OF_CACHE} THEN tokens_cache_read END",
    "seen_prompt": f"CASE WHEN {_TELLS_OF_CACHE} THEN tokens_input + tokens_cache_read"
    " + coalesce(tokens_cache_write, 0) + coalesce(tokens_cache_write_1h, 0) END",
}
_HALF: Final = 32


def costs_json(connection: sqlite3.Connection, query: CostQuery) -> JsonMap:
    """Return the answer of CONTRACT section 3: a sum for each group and one of them all.

    Groups come by time, oldest first, where they are days or hours, then by cost, highest first. Those
    beyond the limit, the oldest or cheapest, are counted in `omitted`; `total` has them all.

    Args:
        connection: within a `snapshot`, so that items and total agree.
        query: what is wanted.
    """
    rows = _select(connection, query.by, query.calls)
    groups = rows[0]["groups"] if rows else 0
    rows.sort(key=lambda row: [row[f"by_{name}"] for name in query.by if name in _CLOCK_S])
    (total,) = _select(connection, (), query.calls)
    return {
        "items": [_group(row, query.by) | _sums(row) for row in rows],
        "total": _sums(total),
        "omitted": groups - len(rows),
    }


def _select(connection: sqlite3.Connection, by: tuple[str, ...], calls: Query) -> list[sqlite3.Row]:
    """Return one row a group; without groups, one row, also of no calls at all."""
    # CAST cuts towards 0, and `ts_ms` is never negative.
    groups = {
        f"by_{name}": f"CAST(ts_ms / {_CLOCK_S[name] * 1000} AS INTEGER)" if name in _CLOCK_S else name
        for name in by
    }
    columns = [f"{term} AS {alias}" for alias, term in (groups | _COUNTS).items()]
    for alias, term in _SUMS.items():
        columns.append(f"sum({term} >> {_HALF}) AS {alias}_high")
        columns.append(f"sum({term} & {2**_HALF - 1}) AS {alias}_low")
    where, values = conditions(calls)
    # All of this is our own words; what a caller says is in `values`.
    statement = f"SELECT {', '.join(columns)} FROM llm"  # noqa: S608
    if where:
        statement += f" WHERE {' AND '.join(where)}"
    if by:
        order = [f"by_{name} DESC" for name in by if name in _CLOCK_S]
        # A float will do to put costs in order.
        order += [f"total({_SUMS['cost']}) DESC", "calls DESC", *groups]
        statement += f" GROUP BY {', '.join(groups)} ORDER BY {', '.join(order)} LIMIT ?"
        values.append(calls.limit)
    return connection.execute(statement, values).fetchall()


def _group(row: sqlite3.Row, by: tuple[str, ...]) -> JsonMap:
    return {name: _moment(name, row) if name in _CLOCK_S else row[f"by_{name}"] for name in by}


def _moment(name: str, row: sqlite3.Row) -> str:
    """Return a day or an hour as RFC 3339 has it: `2026-11-22`, `2026-11-22T14:00:00Z`."""
    number: int = row[f"by_{name}"]
    try:
        moment = datetime.fromtimestamp(number * _CLOCK_S[name], UTC)
    except (ValueError, OverflowError, OSError) as error:
        # We wrote no such time, so the file has been changed since: SQLite does not notice flipped bytes.
        raise StoreError(f"the database is damaged: a call is of {name} {number} since 1970") from error
    return moment.strftime("%Y-%m-%d" if name == "day" else "%Y-%m-%dT%H:%M:%SZ")


def _sums(row: sqlite3.Row) -> JsonMap:
    tokens = {bucket: _exact(row, f"tokens_{bucket}") for bucket in TOKEN_BUCKETS}
    cost = _exact(row, "cost")
    prompt, cached = _exact(row, "seen_prompt"), _exact(row, "seen_cached")
    return {
        "calls": row["calls"],
        "errors": row["errors"],
        "tokens": {bucket: count for bucket, count in tokens.items() if count is not None},
        "cache_hit_share": cached / prompt if prompt and cached is not None else None,
        # No call at all costs nothing, and that is known.
        "cost_usd": 0 if row["calls"] == 0 else usd(cost),
        "reported_usd": usd(_exact(row, "reported")),
        "computed_usd": usd(_exact(row, "computed")),
        "unpriced": row["unpriced"],
        # Sums of other calls each could not be held against each other.
        "compared": {
            "calls": row["compared"],
            "reported_usd": usd(_exact(row, "compared_reported")),
            "computed_usd": usd(_exact(row, "compared_computed")),
        },
    }


def _exact(row: sqlite3.Row, name: str) -> int | None:
    """Put the halves of a sum together; None where there was nothing to add."""
    high: int | None = row[f"{name}_high"]
    return None if high is None else (high << _HALF) + int(row[f"{name}_low"])
