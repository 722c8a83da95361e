"""Say what is known of prices: a name, a stored call, or all unpriced calls in; JSON forms out.

Stored costs are what the writer made of each call when it came. What is told here beside them is worked
out now, from the prices in use now: the user's own before the table's.
"""

import sqlite3
from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Final, cast

from attrs import frozen

from trace_agent.core.events import Tokens
from trace_agent.core.price_plan import AUSD_DIGITS, BUCKETS, Level, Period, Plan, rates_at, read_variants
from trace_agent.core.pricing import Basis, Cost, Line, context_of, prompt_tokens
from trace_agent.store.prices import Call, Found, Prices
from trace_agent.views.costs import TOKEN_BUCKETS
from trace_agent.views.params import Query
from trace_agent.views.queries import conditions
from trace_agent.views.rows import JsonMap, usd, wire_of

__all__ = ["explain_json", "missing_json", "show_json"]

# Amounts of attodollars times tokens, exactly.
_EXACT: Final = Context(prec=100)
_NAMES: Final = ("id", "ts", "provider", "model", "response_model")
_PER_MILLION: Final = tuple(bucket for bucket in BUCKETS if bucket != "request")
_CALLS_DIGITS: Final = 6  # `request` is the price of a million calls

_NO_NAMES: Final = "the call names no model"
_NO_MODEL: Final = "no price is known for this model"
_NO_TOKENS: Final = "the sender told no tokens"
_PRICED_NOW: Final = "it has a price by now: the call was stored without"


@frozen
class Reckoning:
    """How a call's cost comes about by the prices in use now.

    Attributes:
        why: a sentence on why the cost is unknown, None if it is known.
        notes: sentences on what chose these prices over others of the model.
    """

    found: Found | None
    cost: Cost
    lines: tuple[Line, ...]
    why: str | None
    notes: tuple[str, ...]


def show_json(prices: Prices, provider: str | None, model: str, now_ms: int) -> JsonMap:
    """Return what a model costs now, and when and how it costs something else.

    Args:
        prices: those in use.
        provider: as an agent sends it.
        model: as an agent sends it.
        now_ms: Unix milliseconds.
    """
    found = prices.find(Call(provider, model, None, now_ms))
    plan = None if found is None else found.plan
    return {
        "provider": provider,
        "model": model,
        "priced_as": _found_json(found),
        "prices": [] if plan is None else [*_plan_json(plan, now_ms)],
        "why": _why(found, None, ()) if plan is None else None,
    }


def explain_json(connection: sqlite3.Connection, prices: Prices, call_id: str) -> JsonMap | None:
    """Return how the cost of a call came about, or None if there is none of that id.

    `stored` is what the row says; `now` is worked out, line by line, from the prices in use now.
    """
    row = connection.execute("SELECT * FROM llm WHERE id = ?", (call_id,)).fetchone()
    if row is None:
        return None
    tokens, context = _tokens_of(row), context_of(row["usage"], row["attributes"])
    reckoning = _reckon(prices, _call_of(row), tokens, context)
    amounts = [_usd_of(line.nusd) for line in reckoning.lines if line.nusd is not None]
    call = wire_of("llm")(row)
    return {
        **{name: call[name] for name in _NAMES if name in call},
        "tokens": call["tokens"],
        "stored": {
            "cost_usd": call["cost_usd"],
            "cost_basis": call["cost_basis"],
            "reported_usd": usd(row["reported_nusd"]),
            "computed_usd": call["computed_cost_usd"],
            "price_version": row["price_version"],
        },
        "now": {
            "computed_usd": usd(reckoning.cost.nusd),
            "priced_as": _found_json(reckoning.found),
            "prompt_tokens": prompt_tokens(tokens),
            "served": None if context is None else {**context},
            "notes": [*reckoning.notes],
            "lines": [
                {
                    "bucket": line.bucket,
                    "count": line.count,
                    "usd_per_million": None if line.usd_per_million is None else float(line.usd_per_million),
                    "usd": None if line.nusd is None else float(_usd_of(line.nusd)),
                }
                for line in reckoning.lines
            ],
            "sum_usd": float(_sum(amounts)) if reckoning.why is None else None,
            "why": reckoning.why,
        },
    }


def missing_json(connection: sqlite3.Connection, prices: Prices, calls: Query) -> JsonMap:
    """Return the models of calls whose cost is unknown, the most used first, and why it is.

    Their calls are those that `/v1/costs` counts as `unpriced`.

    Args:
        connection: within a `snapshot`.
        prices: those in use.
        calls: which calls count; its limit is for the models.
    """
    where, values = conditions(calls)
    where += ["reported_nusd IS NULL", "computed_nusd IS NULL"]
    # Beside one max(), SQLite takes the other columns from the row that has it: the newest call.
    rows = connection.execute(
        "SELECT llm.*, calls, errors, models FROM llm JOIN ("  # noqa: S608 - conditions are our own words
        "SELECT row, max(ts_ms) AS last_ms, count(*) AS calls,"
        " count(*) FILTER (WHERE status = 'error') AS errors, count(*) OVER () AS models"
        f" FROM llm WHERE {' AND '.join(where)} GROUP BY provider, model, response_model,"
        " tokens_input IS NULL AND tokens_output IS NULL ORDER BY calls DESC, last_ms DESC LIMIT ?"
        ") USING (row) ORDER BY calls DESC, last_ms DESC",
        (*values, calls.limit),
    ).fetchall()
    items: list[JsonMap] = [
        {
            "provider": row["provider"],
            "model": row["model"],
            "response_model": row["response_model"],
            "calls": row["calls"],
            "errors": row["errors"],
            "last_ts": wire_of("llm")(row)["ts"],
            "example": row["id"],
            "why": _why_missing(prices, row),
        }
        for row in rows
    ]
    return {"items": [*items], "omitted": rows[0]["models"] - len(rows) if rows else 0}


def _why_missing(prices: Prices, row: sqlite3.Row) -> str:
    context = context_of(row["usage"], row["attributes"])
    return _reckon(prices, _call_of(row), _tokens_of(row), context).why or _PRICED_NOW


def _reckon(prices: Prices, call: Call, tokens: Tokens, context: dict[str, str] | None) -> Reckoning:
    found = prices.find(call)
    lines = prices.explain(call, tokens, context)
    cost = prices.cost(call, tokens, context)
    why = None
    if cost.nusd is None:
        why = _NO_NAMES if call.model is None and call.response_model is None else _why(found, tokens, lines)
    return Reckoning(found, cost, lines, why, _notes(found, call, tokens, context))


def _why(found: Found | None, tokens: Tokens | None, lines: Sequence[Line]) -> str:
    if found is None:
        return _NO_MODEL
    if found.plan is None:
        return f"{found.model} is listed for {found.provider}, but without a price for tokens"
    if tokens is None or (tokens.input is None and tokens.output is None):
        return _NO_TOKENS
    buckets = " and ".join(line.bucket for line in lines if line.usd_per_million is None)
    return f"{found.model} has no price for {buckets} tokens, and a part of a cost is no cost"


def _notes(
    found: Found | None, call: Call, tokens: Tokens, context: dict[str, str] | None
) -> tuple[str, ...]:
    """Say which of a model's prices these are, where it has others."""
    if found is None or found.plan is None:
        return ()
    notes = []
    size = prompt_tokens(tokens)
    of_size = rates_at(found.plan, call.ts_ms, size)
    if of_size != rates_at(found.plan, call.ts_ms, 0):
        notes.append(f"prices for requests of this size, {size:,} prompt tokens")
    if of_size != rates_at(found.plan, call.ts_ms, size, context):
        words = ", ".join(f"{name} {value}" for name, value in (context or {}).items())
        notes.append(f"prices for calls served so: {words}")
    return tuple(notes)


def _found_json(found: Found | None) -> JsonMap | None:
    if found is None or found.plan is None:
        return None
    return {
        "provider": found.provider,
        "model": found.model,
        "cost_basis": found.basis.value,
        "price_version": None if found.basis is Basis.LOCAL else found.version,
    }


def _plan_json(plan: Plan, now_ms: int) -> list[JsonMap]:
    """Return the prices of a plan one by one: by time, way of serving, and size of request."""
    holding = next((period for period in reversed(plan.periods) if period.holds(now_ms)), plan.periods[0])
    prices = [
        _price_json(period, level, None, in_effect=period is holding)
        for period in plan.periods
        for level in period.levels
    ]
    for variant in () if plan.variants is None else read_variants(plan.variants):
        period = variant.period
        prices += [
            _price_json(period, level, dict(variant.when), in_effect=period.holds(now_ms))
            for level in period.levels
        ]
    return prices


def _price_json(period: Period, level: Level, when: dict[str, str] | None, *, in_effect: bool) -> JsonMap:
    price: JsonMap = {"in_effect": in_effect}
    if period.from_ms is not None:
        price["from_ts"] = period.from_ms
    if period.daily_ms is not None:
        price["daily_ms"] = [*period.daily_ms]
    if when is not None:
        price["served"] = {**when}
    if level.above >= 0:
        price["above_tokens"] = level.above
    rates = {bucket: cast("int | None", getattr(level.rates, bucket)) for bucket in BUCKETS}
    price["usd_per_million"] = {
        bucket: float(Decimal(ausd).scaleb(-AUSD_DIGITS, _EXACT))
        for bucket, ausd in rates.items()
        if ausd is not None and bucket in _PER_MILLION
    }
    if rates["request"] is not None:
        per_call = Decimal(rates["request"]).scaleb(-AUSD_DIGITS - _CALLS_DIGITS, _EXACT)
        price["usd_per_call"] = float(per_call)
    return price


def _usd_of(nusd: str) -> Decimal:
    return Decimal(nusd).scaleb(-9, _EXACT)


def _sum(amounts: Sequence[Decimal]) -> Decimal:
    total = Decimal()
    for amount in amounts:
        total = _EXACT.add(total, amount)
    return total


def _call_of(row: sqlite3.Row) -> Call:
    return Call(row["provider"], row["model"], row["response_model"], row["ts_ms"])


def _tokens_of(row: sqlite3.Row) -> Tokens:
    return Tokens(*(row[f"tokens_{bucket}"] for bucket in TOKEN_BUCKETS))
