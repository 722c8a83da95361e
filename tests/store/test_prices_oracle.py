"""Our costs are genai-prices' costs, to the nano-dollar, for every model and name in its data.

Where they differ, the difference is one of these, and each is asserted, not skipped:

- Unknown is not free. genai-prices answers 0 for what it has no price for; we answer that we don't know.
  That is so for models priced by the hour, the page or the letter only (`_has_token_price`), for output
  of models that have a price for input only (embeddings), and for entries without any price that don't
  say that they are free (`SILENT`).
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

import pytest
from genai_prices import Usage
from genai_prices.data import providers
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ClauseAnd, ClauseOr, ClauseRegex, ModelInfo, ModelPrice, Provider

from trace_agent.core.events import Tokens
from trace_agent.core.pricing import Basis
from trace_agent.store.prices import Call, Prices

# input, cache_read, cache_write, cache_write_1h, output: small, within most steps, beyond all of them.
MIXES: Final = (
    (1_234, 0, 0, 0, 56),
    (234, 1_000, 70, 30, 56),
    (150_001, 0, 0, 0, 8_191),
    (9_999, 120_000, 15_001, 5_001, 8_191),
    (600_003, 0, 0, 0, 777),
    (3, 500_000, 90_000, 10_000, 777),
)
# Before, between and after start dates; at and away from the hours of time-dependent prices.
MOMENTS: Final = (
    datetime(2026, 11, 22, 12, 0, tzinfo=UTC),
    datetime(2026, 9, 9, 23, 59, 59, tzinfo=UTC),
    datetime(2025, 3, 1, 2, 30, tzinfo=UTC),
)
# Listed without any price and without a word about being free: audio models, models withdrawn, test models.
SILENT: Final = {
    ("cerebras", "qwen-3-coder-480b"),
    ("google", "gemma-3"),
    ("google", "gemma-3n"),
    ("huggingface_together", "ServiceNow-AI/Apriel-1.6-15b-Thinker"),
    ("huggingface_together", "prism-ml/Ternary-Bonsai-27B-AWQ-4bit"),
    ("huggingface_together", "prism-ml/Ternary-Bonsai-27B-gguf"),
    ("openai", "moderation"),
    ("openrouter", "gemini-2.5-pro-exp-03-25"),
    ("openrouter", "google/gemini-flash-1.5-8b-exp"),
    ("openrouter", "google/lyria-3-clip-preview"),
    ("openrouter", "google/lyria-3-pro-preview"),
    ("openrouter", "stealth/crouton-alpha"),
}
TOKEN_PRICES: Final = {
    "input_mtok",
    "output_mtok",
    "cache_read_mtok",
    "cache_write_mtok",
    "cache_write_1h_mtok",
    "output_reasoning_mtok",
}
MODELS: Final = [(provider, model) for provider in providers for model in provider.models]


@pytest.fixture(scope="module")
def prices() -> Iterator[Prices]:
    """Yield the shipped price table."""
    with Prices() as shipped:
        yield shipped


def tokens_of(mix: tuple[int, int, int, int, int], reasoning: int | None = None) -> Tokens:
    """Return a mix as we keep it."""
    into, read, write, write_1h, out = mix
    return Tokens(into, read, write, write_1h, out, reasoning, sum(mix))


def usage_of(mix: tuple[int, int, int, int, int], reasoning: int | None = None) -> Usage:
    """Return a mix as genai-prices counts it: input includes the cache, writes include those for an hour."""
    into, read, write, write_1h, out = mix
    return Usage(
        input_tokens=into + read + write + write_1h,
        cache_read_tokens=read,
        cache_write_tokens=write + write_1h,
        cache_write_1h_tokens=write_1h,
        output_tokens=out,
        output_reasoning_tokens=reasoning,
    )


def names_of(model: ModelInfo) -> Iterator[str]:
    """Yield the names that a model's clauses spell out and that fit them, its own first."""

    def texts(clause: object) -> Iterator[str]:
        if isinstance(clause, ClauseOr | ClauseAnd):
            for part in clause.or_ if isinstance(clause, ClauseOr) else clause.and_:
                yield from texts(part)
        elif not isinstance(clause, ClauseRegex):
            yield from vars(clause).values()

    for name in dict.fromkeys([model.id, *texts(model.match)]):
        for spelling in (name, f"{name}-v1:0", f"us.{name}", f"{name}-20990101", f"{name}-2099-01-01"):
            if model.is_match(spelling):
                yield spelling


def theirs(
    name: str, provider: Provider, mix: Usage, at: datetime, context: dict[str, str] | None = None
) -> tuple[ModelInfo, ModelPrice, int]:
    """Return the model that genai-prices takes a name for, its prices, and the cost in nano-dollars."""
    found = get_snapshot().calc(mix, name, provider.id, None, at, context)
    nusd = (found.total_price * 1_000_000_000).quantize(Decimal(1), ROUND_HALF_UP)
    return found.model, found.model_price, int(nusd)


def expected(provider: Provider, model: ModelInfo, price: ModelPrice, nusd: int, out: int) -> int | None:
    """Return what we should answer where genai-prices answers `nusd`."""
    priced = {key for key, value in vars(price).items() if value is not None}
    if not priced and (provider.id, model.id) not in SILENT:
        return 0
    if not priced & TOKEN_PRICES or (out and "output_mtok" not in priced):
        return None
    return nusd


def test_size() -> None:
    """The oracle is worth its name: it knows thousands of models."""
    assert len(MODELS) >= 2_000


@pytest.mark.slow
@pytest.mark.parametrize("at", MOMENTS, ids=str)
def test_every_model(prices: Prices, at: datetime) -> None:
    """Every model costs what genai-prices says, with and without cache, in small calls and large ones."""
    wrong = []
    unknown = 0
    for provider, model in MODELS:
        name = next(names_of(model))
        call = Call(provider.id, name, None, at.timestamp() * 1000)
        for mix in MIXES:
            real, price, nusd = theirs(name, provider, usage_of(mix), at)
            want = expected(provider, real, price, nusd, mix[4])
            cost = prices.cost(call, tokens_of(mix))
            unknown += cost.nusd is None
            if cost.nusd != want or (cost.basis is Basis.UNKNOWN) != (want is None):
                wrong.append((provider.id, name, mix, cost, want))

    assert wrong == []
    # Embeddings, mostly: see above.
    assert unknown < len(MODELS) * len(MIXES) * 0.06


@pytest.mark.slow
def test_every_name(prices: Prices) -> None:
    """Every name that a clause spells out, with Bedrock's and dated endings, means the same model to both."""
    at = MOMENTS[0]
    mix = MIXES[1]
    wrong = []
    tried = 0
    for provider, model in MODELS:
        for name in names_of(model):
            tried += 1
            real, price, nusd = theirs(name, provider, usage_of(mix), at)
            call = Call(provider.id, name.upper(), None, at.timestamp() * 1000)
            found = prices.find(call)
            cost = prices.cost(call, tokens_of(mix)).nusd
            if (
                found is None
                or found.model != real.id
                or cost != expected(provider, real, price, nusd, mix[4])
            ):
                wrong.append((provider.id, name, real.id, found, cost))

    assert wrong == []
    assert tried > 4_000


@pytest.mark.slow
@pytest.mark.parametrize("at", MOMENTS[:2], ids=str)
def test_every_variant(prices: Prices, at: datetime) -> None:
    """Batch, flex, priority and fast calls cost what genai-prices says, and so do unheard-of kinds."""
    wrong = []
    tried = 0
    for provider, model in MODELS:
        contexts = [variant.when for variant in model.price_variants or ()]
        for context in [*contexts, {"service_tier": "unheard-of"}] if contexts else ():
            for mix in MIXES:
                tried += 1
                name = next(names_of(model))
                real, price, nusd = theirs(name, provider, usage_of(mix), at, context)
                call = Call(provider.id, name, None, at.timestamp() * 1000)
                cost = prices.cost(call, tokens_of(mix), context).nusd
                if cost != expected(provider, real, price, nusd, mix[4]):
                    wrong.append((provider.id, name, context, mix, cost, nusd))

    assert wrong == []
    assert tried > 1_000


def test_reasoning_apart(prices: Prices) -> None:
    """Models that price reasoning apart from other output do so here."""
    at = MOMENTS[0]
    mix = MIXES[0]
    apart = [
        (provider, model)
        for provider, model in MODELS
        if vars(model.get_prices(at)).get("output_reasoning_mtok") is not None
    ]
    costs = [
        (
            prices.cost(Call(provider.id, model.id, None, at.timestamp() * 1000), tokens_of(mix, 50)).nusd,
            theirs(model.id, provider, usage_of(mix, 50), at)[2],
        )
        for provider, model in apart
    ]

    assert len(costs) >= 2
    assert all(ours == theirs for ours, theirs in costs)


def test_models_of_others(prices: Prices) -> None:
    """Azure and Vertex sell models of other makers at their makers' prices."""
    at = MOMENTS[0]
    by_id = {provider.id: provider for provider in providers}
    for sender, provider, name in (
        ("azure.ai.openai", "azure", "gpt-4.1"),
        ("azure_ai", "azure", "claude-opus-4-5"),
        ("gcp.vertex_ai", "google", "claude-sonnet-4-5@20250929"),
    ):
        _, _, nusd = theirs(name, by_id[provider], usage_of(MIXES[3]), at)
        cost = prices.cost(Call(sender, name, None, at.timestamp() * 1000), tokens_of(MIXES[3]))

        assert (cost.nusd, cost.basis) == (nusd, Basis.LIST)


def test_tiers_are_their_makers(prices: Prices) -> None:
    """Whoever sells on a model of OpenAI's does not sell its batches and tiers by that."""
    at = MOMENTS[0]
    azure = next(provider for provider in providers if provider.id == "azure")
    models = [model for provider, model in MODELS if provider.id == "openai" and model.price_variants]
    wrong = []
    for model in models:
        name = next(names_of(model))
        for context in ({"service_tier": "flex"}, {"processing": "batch"}):
            real, price, nusd = theirs(name, azure, usage_of(MIXES[0]), at, context)
            cost = prices.cost(Call("azure", name, None, at.timestamp() * 1000), tokens_of(MIXES[0]), context)
            if cost.nusd != expected(azure, real, price, nusd, MIXES[0][4]):
                wrong.append((name, context, cost, nusd))

    assert wrong == []
    assert len(models) > 10
