"""Know all prices of a model: a plan as the price table keeps it in, the rates of one call out.

A price is an integer of attodollars (10^-18 USD) per million tokens, which holds every decimal price
exactly. A `Plan` has a price for each bucket of tokens by the call's time, its size and the way it was
served; `rates_at` picks one for each bucket.

A larger request has other prices for all its tokens, not for those above the threshold: so do all
providers that price by size.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, TypeAlias, cast

from attrs import evolve, fields, frozen

__all__ = [
    "AUSD_DIGITS",
    "BUCKETS",
    "FREE",
    "Context",
    "Level",
    "Period",
    "Plan",
    "Rates",
    "Variant",
    "ausd_of",
    "rates_at",
    "read_plan",
    "read_variants",
    "usd_text",
]

AUSD_DIGITS: Final = 18
_raw_decode: Final = json.JSONDecoder().raw_decode
_DAY_MS: Final = 24 * 60 * 60 * 1000

# How a call was served: `{"service_tier": "flex"}`.
Context: TypeAlias = Mapping[str, str]


@frozen
class Rates:
    """One price for each bucket, in attodollars per million; None where the list has none.

    Attributes:
        reasoning: where it differs from that of other output.
        request: per million calls, on top of their tokens.
    """

    input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    output: int | None = None
    reasoning: int | None = None
    request: int | None = None


_NO_RATES: Final = Rates()
BUCKETS: Final = tuple(field.name for field in fields(Rates))


@frozen
class Level:
    """Rates for requests of more than `above` prompt tokens."""

    above: int
    rates: Rates


@frozen
class Period:
    """Rates that hold for a time.

    Attributes:
        levels: by size of request, smallest first; the first is above -1, that is, any. None if the list
            has no price for tokens in this time.
        from_ms: since when, Unix milliseconds.
        daily_ms: from and to, milliseconds since midnight UTC; to lies before from across midnight.
    """

    levels: tuple[Level, ...]
    from_ms: int | None = None
    daily_ms: tuple[int, int] | None = None

    def holds(self, ts_ms: float) -> bool:
        """Tell whether these rates hold at a time."""
        if self.from_ms is not None and ts_ms < self.from_ms:
            return False
        if self.daily_ms is None:
            return True
        start, end = self.daily_ms
        time = ts_ms % _DAY_MS
        return start <= time < end if start <= end else time >= start or time < end

    def rates_for(self, size: int) -> Rates:
        """Return the rates for a size of request."""
        rates = _NO_RATES
        for level in self.levels:
            if size <= level.above:
                break
            rates = level.rates
        return rates


@frozen
class Variant:
    """Rates that replace others when a call was served in a particular way.

    Attributes:
        when: what the call's context must say, `{"service_tier": "flex"}`.
        period: the rates; buckets that have none keep theirs.
    """

    when: tuple[tuple[str, str], ...]
    period: Period


@frozen
class Plan:
    """All that a price list says about one model.

    Attributes:
        periods: the last that holds wins; the first holds if none does (the list begins somewhere).
        variants: as `read_variants` reads them; kept as text, as few calls say how they were served.
    """

    periods: tuple[Period, ...]
    variants: str | None = None


# A model that is listed as free: its price is 0, and known.
FREE: Final = Plan((Period((Level(-1, Rates(input=0, output=0)),)),))


def rates_at(plan: Plan, ts_ms: float, size: int, context: Context | None = None) -> Rates:
    """Narrow a plan to the rates of one call.

    Args:
        plan: of the call's model.
        ts_ms: when it was made, Unix milliseconds.
        size: of its prompt, see `pricing.prompt_tokens`.
        context: how it was served, as `pricing.context_of` tells.
    """
    periods = plan.periods
    chosen = periods[0]
    for index in range(len(periods) - 1, -1, -1):
        if periods[index].holds(ts_ms):
            chosen = periods[index]
            break
    rates = chosen.rates_for(size)
    if not context or plan.variants is None:
        return rates
    replaced: dict[str, int] = {}
    for variant in read_variants(plan.variants):
        if variant.period.holds(ts_ms) and all(context.get(key) == value for key, value in variant.when):
            other = variant.period.rates_for(size)
            for bucket in BUCKETS:
                price = cast("int | None", getattr(other, bucket))
                if price is not None:
                    replaced.setdefault(bucket, price)
    return evolve(rates, **replaced) if replaced else rates


# No price needs more digits, and numbers without end cost time without end.
_DECIMAL: Final = re.compile(r"([0-9]{0,20})(?:\.([0-9]{0,30}))?(?:[eE]([+-]?[0-9]{1,2}))?")


def ausd_of(value: object) -> int | None:
    """Return dollars as attodollars, or None if `value` is no price.

    Args:
        value: a number that is not negative, or its decimal text; a float means the shortest decimal
            that reads back as the same float, which is what its author wrote.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, int) and not 0 <= value < 10**18:
        return None
    found = _DECIMAL.fullmatch(str(value))
    if found is None or not (found[1] or found[2]):
        return None
    whole, fraction, exponent = found.groups(default="")
    shift = AUSD_DIGITS - len(fraction) + int(exponent or 0)
    number = int(whole + fraction)
    scale: int = 10 ** abs(shift)
    return number * scale if shift >= 0 else number // scale


def usd_text(number: int, digits: int) -> str:
    """Return number / 10^digits as decimal text without trailing zeros."""
    whole, fraction = divmod(number, 10**digits)
    return f"{whole}.{fraction:0{digits}d}".rstrip("0").rstrip(".")


def read_plan(prices: str, variants: str | None = None) -> Plan:
    """Read a plan from the JSON that the price table keeps.

    Args:
        prices: ``{"digits": 2, "periods": [period, ..]}``; a period is
            ``{"from": ms, "daily": [ms, ms], "levels": [[above, price, price, ..], ..]}``, without the keys
            that do not apply. Prices stand in the order of `Rates`, null where there is none, and are whole
            numbers of 10^-digits USD per million. This form, and a decoder that skips nothing around it,
            halve the time of a look-up.
        variants: see `read_variants`.
    """
    body, scale = _decoded(prices)
    return Plan(tuple([_period(period, scale) for period in body]), variants)


@lru_cache(32)
def read_variants(text: str) -> tuple[Variant, ...]:
    """Read variants, the first of which that has a price for a bucket wins.

    They look like prices, where each period says ``{"when": {"service_tier": "flex"}, ..}``.
    """
    body, scale = _decoded(text)
    return tuple(
        [
            Variant(tuple(cast("dict[str, str]", period["when"]).items()), _period(period, scale))
            for period in body
        ]
    )


def _decoded(text: str) -> tuple[list[dict[str, object]], int]:
    body = cast("dict[str, object]", _raw_decode(text)[0])
    scale: int = 10 ** (AUSD_DIGITS - cast("int", body["digits"]))
    return cast("list[dict[str, object]]", body["periods"]), scale


def _period(body: dict[str, object], scale: int) -> Period:
    levels = tuple(
        [
            Level(cast("int", above), Rates(*[None if price is None else price * scale for price in prices]))
            for above, *prices in cast("list[list[int | None]]", body["levels"])
        ]
    )
    daily = cast("list[int] | None", body.get("daily"))
    return Period(
        levels, cast("int | None", body.get("from")), None if daily is None else (daily[0], daily[1])
    )
