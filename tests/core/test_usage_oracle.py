"""Our reading of usage objects agrees with genai-prices, which keeps the paths of each provider's counts."""

from collections.abc import Mapping, Sequence
from typing import Final

import pytest
from genai_prices.data import providers
from genai_prices.types import ArrayMatch, ClauseEquals, UsageExtractor

from trace_agent.core.usage import normalise

# 1,234 prompt tokens, 900 of them from the cache, 100 into it (40 for an hour); 56 out, 7 of them reasoning.
COUNTS: Final = {
    "cache_read_tokens": 900,
    "cache_write_tokens": 100,
    "cache_write_5m_tokens": 60,
    "cache_write_1h_tokens": 40,
    "output_citation_tokens": 0,
    "output_reasoning_tokens": 7,
    "output_tokens": 56,
    "input_tokens": 1234,
}
EXTRACTORS: Final = {
    (provider.id, extractor.api_flavor): extractor
    for provider in providers
    for extractor in provider.extractors or []
    if any(mapping.dest in {"input_tokens", "output_tokens"} for mapping in extractor.mappings)
}
# Flavours that cannot do without counts that we do not keep.
NO_TEXT: Final = {("openai", "images"), ("openai", "live"), ("x-ai", "realtime")}


def usage_for(extractor: UsageExtractor) -> dict[str, object]:
    """Build the object that the extractor's paths describe, holding `COUNTS`."""
    usage: dict[str, object] = {}
    for mapping in extractor.mappings:
        path = [mapping.path] if isinstance(mapping.path, str) else list(mapping.path)
        # One path may feed several counts (a cache read is input too); the narrowest says what it holds.
        fed = {other.dest for other in extractor.mappings if other.path == mapping.path}
        count = next((value for dest, value in COUNTS.items() if dest in fed), None)
        if count is not None:
            put(usage, path, count)
    return usage


def put(at: dict[str, object], path: Sequence[str | ArrayMatch], count: int) -> None:
    """Set the value at the end of the path, making what is missing on the way."""
    head, *rest = path
    assert isinstance(head, str)
    if not rest:
        at[head] = count
    elif isinstance(rest[0], ArrayMatch):
        match = rest[0].match
        assert isinstance(match, ClauseEquals)
        item: dict[str, object] = {rest[0].field: match.equals}
        items = at.setdefault(head, [])
        assert isinstance(items, list)
        items.append(item)
        put(item, rest[1:], count)
    else:
        inner = at.setdefault(head, {})
        assert isinstance(inner, dict)
        put(inner, rest, count)


@pytest.mark.parametrize("key", sorted(EXTRACTORS.keys() - NO_TEXT), ids=":".join)
def test_agrees_with_extractor(key: tuple[str, str]) -> None:
    """The same object gives the counts that genai-prices extracts from it, whatever a provider calls them."""
    extractor = EXTRACTORS[key]
    usage = usage_for(extractor)
    response: Mapping[str, object] = usage
    for step in reversed([extractor.root] if isinstance(extractor.root, str) else list(extractor.root)):
        assert isinstance(step, str)
        response = {step: response}
    _, theirs = extractor.extract(response)

    ours = normalise(usage, key[0])

    writes = (ours.cache_write or 0) + (ours.cache_write_1h or 0)
    # Theirs includes the cache in input; ours never does.
    assert (ours.input or 0) + (ours.cache_read or 0) + writes == theirs.reported_value("input_tokens")
    assert (ours.cache_read or 0) == theirs.reported_value("cache_read_tokens")
    assert writes == theirs.reported_value("cache_write_tokens")
    assert (ours.cache_write_1h or 0) == theirs.reported_value("cache_write_1h_tokens")
    assert (ours.output or 0) == theirs.reported_value("output_tokens")
    assert (ours.reasoning or 0) == theirs.reported_value("output_reasoning_tokens")


def test_citations_are_input() -> None:
    """Perplexity's citations count as input, as they are priced; genai-prices has them in the output."""
    usage: dict[str, object] = {"prompt_tokens": 10, "completion_tokens": 5, "citation_tokens": 3}
    _, theirs = EXTRACTORS["perplexity", "default"].extract({"usage": usage})

    ours = normalise(usage, "perplexity")

    assert (ours.input, ours.output) == (13, 5)
    assert theirs.reported_value("output_tokens") == 8
    assert theirs.reported_value("output_citation_tokens") == 3
