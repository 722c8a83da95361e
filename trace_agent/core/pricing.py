"""Work out what a call costs: token buckets and rates in, whole nano-dollars and their lines out.

Integer arithmetic from end to end. Prices are attodollars per million tokens (see `price_plan`); the sum
over all buckets is rounded once, half up, to a nano-dollar (10^-9 USD). Lines of `explain` are exact.

Rules, as providers bill:

- A bucket without a price of its own is billed as what it is part of: an hour's cache write as a cache
  write, both kinds of cache tokens as input, reasoning as output.
- What has tokens and no price makes the whole cost unknown (None). A part of a cost is no cost.
"""

import json
from enum import StrEnum
from typing import Final

from attrs import frozen

from trace_agent.core.events import Tokens
from trace_agent.core.price_plan import AUSD_DIGITS, Rates, usd_text

__all__ = ["Basis", "Cost", "Line", "context_of", "cost_nusd", "explain", "prompt_tokens"]

# attodollars per million tokens, times tokens, over this = nano-dollars: 10^6 tokens, 10^9 atto per nano.
_AUSD_PER_NUSD: Final = 10**15


class Basis(StrEnum):
    """Where a cost comes from, in order of trust."""

    REPORTED = "reported"  # the sender says so
    OVERRIDE = "override"  # a price in the user's own file
    LIST = "list"  # the price list that is shipped
    LOCAL = "local"  # a server on the user's own machine: 0
    UNKNOWN = "unknown"  # no price known: no cost, which is not 0


@frozen
class Cost:
    """What one call costs, by our own reckoning.

    Attributes:
        nusd: nano-dollars, or None: unknown.
        version: which prices these are.
    """

    nusd: int | None
    basis: Basis
    version: str | None


@frozen
class Line:
    """One line of a bill, exact.

    Attributes:
        bucket: a bucket of `Tokens`, or `request`.
        count: tokens, or 1 request.
        usd_per_million: decimal text, or None: no price.
        nusd: decimal text, or None.
    """

    bucket: str
    count: int
    usd_per_million: str | None
    nusd: str | None


def prompt_tokens(tokens: Tokens) -> int:
    """Return the size of a request, which decides its prices: all that went in, cached or not."""
    return (
        (tokens.input or 0)
        + (tokens.cache_read or 0)
        + (tokens.cache_write or 0)
        + (tokens.cache_write_1h or 0)
    )


def cost_nusd(tokens: Tokens, rates: Rates) -> int | None:
    """Return the cost of a call in nano-dollars, or None if it cannot be known."""
    if tokens.input is None and tokens.output is None:
        return None
    total = 0
    for _, count, price in _charges(tokens, rates):
        if count:
            if price is None:
                return None
            total += count * price
    return (2 * total + _AUSD_PER_NUSD) // (2 * _AUSD_PER_NUSD)


def explain(tokens: Tokens, rates: Rates) -> tuple[Line, ...]:
    """Return the lines that `cost_nusd` adds up, without those of nothing."""
    return tuple(
        Line(
            bucket,
            count,
            None if price is None else usd_text(price, AUSD_DIGITS),
            # count x price is in 10^-18 USD per million, that is 10^-15 nano-dollars.
            None if price is None else usd_text(count * price, AUSD_DIGITS - 3),
        )
        for bucket, count, price in _charges(tokens, rates)
        if count
    )


def _charges(tokens: Tokens, rates: Rates) -> tuple[tuple[str, int | None, int | None], ...]:
    """Return bucket, count and price of all that is billed, with prices inherited."""
    fresh = rates.input
    write = rates.cache_write if rates.cache_write is not None else fresh
    out = tokens.output
    reasoning = None
    if rates.reasoning is not None and tokens.reasoning and out is not None:
        reasoning = min(tokens.reasoning, out)
        out -= reasoning
    return (
        ("input", tokens.input, fresh),
        ("cache_read", tokens.cache_read, rates.cache_read if rates.cache_read is not None else fresh),
        ("cache_write", tokens.cache_write, write),
        (
            "cache_write_1h",
            tokens.cache_write_1h,
            rates.cache_write_1h if rates.cache_write_1h is not None else write,
        ),
        ("output", out, rates.output),
        ("reasoning", reasoning, rates.reasoning),
        ("request", None if rates.request is None else 1, rates.request),
    )


# Where emitters say how a call was served, in order of trust: what was given before what was asked for.
_CONTEXT_KEYS: Final = {
    "service_tier": (
        "service_tier",
        "serviceTier",
        "openai.response.service_tier",
        "gen_ai.openai.response.service_tier",
        "openai.request.service_tier",
        "gen_ai.openai.request.service_tier",
    ),
    "speed": ("speed",),
    "processing": ("processing",),
}


def context_of(*objects: str | None) -> dict[str, str] | None:
    """Return how a call was served (`service_tier`, `speed`, `processing`), or None: as usual.

    Args:
        objects: JSON objects that may tell: the raw usage, the attributes.
    """
    context: dict[str, str] = {}
    for text in objects:
        # Most calls have no such word, and decoding JSON for nothing costs more than the price look-up.
        if text is None or not ("ervice" in text or '"speed"' in text or '"processing"' in text):
            continue
        value = json.loads(text)
        if not isinstance(value, dict):
            continue
        for name, keys in _CONTEXT_KEYS.items():
            found = next((value[key] for key in keys if isinstance(value.get(key), str)), None)
            if found is not None:
                context.setdefault(name, found.lower())
    if context.get("service_tier") == "batch":
        # Anthropic's word for it.
        context.setdefault("processing", "batch")
    return context or None
