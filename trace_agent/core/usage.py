"""Bring a provider's usage object into disjoint buckets: a map as it came in, `Tokens` out.

Theory of operation. Providers, and the libraries around them, count alike and name differently, and they
disagree on two questions: are cached tokens part of `input`, and is reasoning part of `output`. Each
row of `usage_shapes.SHAPES` is one dialect: how to know it, where each count stands, and its two
answers. The first row that knows the object reads all of it.

The answer by dialect can still be wrong, because gateways translate names and leave the sums as they
were. So the numbers have the last word: more cached tokens than input, or a total that only adds up
with the cache beside the input, prove that input was exclusive; reasoning and output likewise.

A reported 0 is a value, an absent count is None. What no row knows gives an empty `Tokens`: the raw
object is kept by the caller, and a provider's new name must not cost a call its row.
"""

from typing import Final, TypeAlias, cast

from trace_agent.core.errors import EventError
from trace_agent.core.events import Tokens
from trace_agent.core.usage_shapes import SHAPES, Path, Paths, Shape
from trace_agent.core.values import as_count, as_number

__all__ = ["normalise", "reported_nusd"]

_Map: TypeAlias = dict[str, object]

_RANKS: Final = {mark: rank for rank, shape in reversed([*enumerate(SHAPES)]) for mark in shape.marks}
# A sender may hand over the whole response, or name the object once more.
_WRAPPERS: Final = ("usage", "usageMetadata", "usage_metadata", "tokenUsage", "token_usage")

_NUSD_PER_USD: Final = 1_000_000_000
_TICKS_PER_USD: Final = 10_000_000_000  # of xAI
# More is a mistake of units, as with `cost_usd`.
_COST_LIMIT_USD: Final = 1_000_000


def normalise(usage: dict[str, object], provider: str | None) -> Tokens:
    """Return the counts of a usage object in disjoint buckets.

    Args:
        usage: the object as the provider, or the library in between, gave it.
        provider: who gave it, if known: some answer differently under the same names.

    Returns:
        `Tokens()` if nothing in the object is known; its `total` is the sum of the buckets where input
        and output are both known, else what the object says.

    Raises:
        EventError: a count is no whole number.
    """
    rank = _rank(usage)
    if rank is None:
        for key in _WRAPPERS:
            inner = usage.get(key)
            if isinstance(inner, dict):
                usage = cast("_Map", inner)
                rank = _rank(usage)
                break
    if rank is None:
        return Tokens()
    shape = SHAPES[rank]
    name = provider.lower() if provider else ""
    tokens = _read(usage, shape, name)
    iterations = usage.get("iterations")
    if isinstance(iterations, list):
        # Anthropic, "Compaction": the counts on top leave out the request that wrote the summary.
        for step in cast("list[object]", iterations):
            if isinstance(step, dict) and step.get("type") == "compaction":
                tokens = _add(tokens, _read(cast("_Map", step), shape, name))
    return tokens


def reported_nusd(usage: dict[str, object]) -> int | None:
    """Return the cost in nano-dollars that a usage object itself states, or None.

    OpenRouter, xAI and Perplexity state what they charge; OpenClaw states an estimate, whose 0 means
    that it has no price for the model. So 0 is never taken as reported: a free model is 0 in the price
    list too, and what has no price must stay unknown.
    """
    ticks = usage.get("cost_in_usd_ticks")
    cost = usage.get("cost")
    try:
        if ticks is not None:
            return _plausible(as_number(ticks, "cost_in_usd_ticks") / _TICKS_PER_USD)
        if isinstance(cost, dict):
            parts = cast("_Map", cost)
            cost = parts.get("total_cost", parts.get("total"))
        if cost is None:
            return None
        usd = as_number(cost, "cost")
        if usage.get("is_byok") is True:
            # With the user's own key OpenRouter's `cost` is its fee alone.
            upstream = _at(usage, ("cost_details", "upstream_inference_cost"))
            usd += 0 if upstream is None else as_number(upstream, "upstream_inference_cost")
    except EventError:
        # A stray word under so common a key must not cost the call its row.
        return None
    return _plausible(usd)


def _plausible(usd: float) -> int | None:
    return round(usd * _NUSD_PER_USD) or None if 0 < usd <= _COST_LIMIT_USD else None


def _rank(usage: _Map) -> int | None:
    """Return the position of the first shape that knows the object."""
    return min((_RANKS[key] for key in usage if key in _RANKS and usage[key] is not None), default=None)


def _at(usage: _Map, path: Path) -> object:
    if isinstance(path, str):
        return usage.get(path)
    value: object = usage
    for step in path:
        if isinstance(value, dict):
            value = cast("_Map", value).get(step)
        elif isinstance(value, list):
            key, _, wanted = step.partition("=")
            maps = (item for item in cast("list[object]", value) if isinstance(item, dict))
            value = next((item for item in maps if item.get(key) == wanted), None)
        else:
            # Details that are no details tell nothing.
            return None
    return value


def _count(usage: _Map, paths: Paths) -> int | None:
    for path in paths:
        value = _at(usage, path)
        if value is not None:
            return as_count(value, path if isinstance(path, str) else ".".join(path))
    return None


def _read(usage: _Map, shape: Shape, provider: str) -> Tokens:
    into = _count(usage, shape.input)
    out = _count(usage, shape.output)
    read = _count(usage, shape.cache_read)
    reasoning = _count(usage, shape.reasoning)
    told = _count(usage, shape.total)
    write, write_1h = _writes(usage, shape)
    cached = (read or 0) + (write or 0) + (write_1h or 0)
    beside = [count for path in shape.input_beside if (count := _count(usage, (path,))) is not None]
    # What the parts add up to if neither cache nor reasoning stands beside its headline.
    plain = (into or 0) + sum(beside) + (out or 0)

    if into is not None and shape.cache_inside and not _names(provider, shape.cache_beside_from):
        proof = cached > into or (cached > 0 and told == plain + cached)
        into -= 0 if proof else cached
    if beside:
        into = (into or 0) + sum(beside)

    if reasoning is not None:
        by_dialect = not shape.reasoning_inside or _names(provider, shape.reasoning_beside_from)
        proof = reasoning > (out or 0) or (reasoning > 0 and told == plain + reasoning)
        if by_dialect or (proof and out is not None):
            out = (out or 0) + reasoning
    elif told is not None and out is not None and _names(provider, shape.total_tells_output):
        out += max(told - plain, 0)

    total = told if into is None or out is None else into + cached + out
    return Tokens(into, read, write, write_1h, out, reasoning, total)


def _writes(usage: _Map, shape: Shape) -> tuple[int | None, int | None]:
    """Return the cache writes for five minutes, or an unknown time, and those for an hour."""
    write = _count(usage, shape.cache_write)
    write_5m = _count(usage, shape.cache_write_5m)
    write_1h = _count(usage, shape.cache_write_1h)
    if write is None or not shape.cache_write_5m:
        return (write_5m if write is None else write), write_1h
    # The parts are part of the sum, unless they exceed it.
    return max(write - (write_1h or 0), write_5m or 0), write_1h


def _names(provider: str, words: tuple[str, ...]) -> bool:
    return any(word in provider for word in words)


def _add(left: Tokens, right: Tokens) -> Tokens:
    def plus(one: int | None, other: int | None) -> int | None:
        return one if other is None else other if one is None else one + other

    return Tokens(
        plus(left.input, right.input),
        plus(left.cache_read, right.cache_read),
        plus(left.cache_write, right.cache_write),
        plus(left.cache_write_1h, right.cache_write_1h),
        plus(left.output, right.output),
        plus(left.reasoning, right.reasoning),
        plus(left.total, right.total),
    )
