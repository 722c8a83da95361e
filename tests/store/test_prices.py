"""Calls are priced by the names that agents write, in the order that trust has."""

import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from trace_agent.core.errors import SettingsError, StoreError
from trace_agent.core.events import Tokens
from trace_agent.core.price_overrides import read_overrides
from trace_agent.core.pricing import Basis
from trace_agent.store.price_list import APPLICATION_ID, SHIPPED
from trace_agent.store.prices import LOCAL, UNPRICED, Call, Prices, load_overrides

NOW_MS: Final = 1_795_348_800_000  # 2026-11-22T12:00:00Z
TOKENS: Final = Tokens(input=234, cache_read=1000, output=56, total=1290)


@pytest.fixture(scope="module")
def prices() -> Iterator[Prices]:
    """Yield the shipped price table."""
    with Prices() as shipped:
        yield shipped


def test_hand_worked(prices: Prices) -> None:
    """A call costs what its maker's price page says."""
    call = Call("anthropic", "claude-sonnet-4-5", None, NOW_MS)

    # 234 x 3,000 + 1,000 x 300 + 56 x 15,000
    assert prices.cost(call, TOKENS).nusd == 1_842_000
    # 200 x 3,000 + 900 x 300 + 60 x 3,750 + 40 x 6,000 + 33 x 15,000
    assert prices.cost(call, Tokens(200, 900, 60, 40, 33)).nusd == 1_830_000
    # Above 200,000: 1,000,000 x 6,000
    assert prices.cost(call, Tokens(1_000_000, output=0)).nusd == 6_000_000_000
    assert prices.cost(call, TOKENS).version == prices.version


@pytest.mark.parametrize(
    ("provider", "model", "seller", "listed"),
    [
        ("anthropic", "claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet-4-5-20250929", "anthropic", "claude-sonnet-4-5"),
        ("anthropic", "anthropic/claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet-4-5[1m]", "anthropic", "claude-sonnet-4-5"),
        ("Anthropic", "Claude-Sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("anthropic.messages", "claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        (None, "claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        (None, "anthropic/claude-sonnet-4.5", "anthropic", "claude-sonnet-4-5"),
        ("my-gateway", "claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("openai", "anthropic/claude-sonnet-4.5", "anthropic", "claude-sonnet-4-5"),
        ("openrouter", "anthropic/claude-sonnet-4.5", "openrouter", "anthropic/claude-sonnet-4.5"),
        (None, "openrouter/anthropic/claude-sonnet-4.5", "openrouter", "anthropic/claude-sonnet-4.5"),
        (
            "aws.bedrock",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws",
            "regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (
            None,
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws",
            "regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (
            "amazon-bedrock",
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws",
            "regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("gcp.vertex_ai", "claude-sonnet-4-5@20250929", "google", "claude-sonnet-4-5"),
        ("google-vertex", "publishers/anthropic/models/claude-sonnet-4-5", "google", "claude-sonnet-4-5"),
        ("google", "models/gemini-2.5-pro", "google", "gemini-2.5-pro"),
        ("gemini-cli", "gemini-2.5-flash", "google", "gemini-2.5-flash"),
        ("azure.ai.openai", "gpt-4.1", "azure", "gpt-4.1"),
        ("openai.responses", "gpt-5", "openai", "gpt-5"),
        ("openai-codex", "gpt-5", "openai", "gpt-5"),
        ("openai", "gpt-5.2-20251211", "openai", "gpt-5.2"),
        ("xai.chat", "grok-4", "x-ai", "grok-4-0709"),
        ("x_ai", "grok-4", "x-ai", "grok-4-0709"),
        ("litellm", "deepseek/deepseek-chat", "deepseek", "deepseek-chat"),
        ("openai", "deepseek-chat", "deepseek", "deepseek-chat"),
        (None, "deepseek-chat", "deepseek", "deepseek-chat"),
        ("groq", "openai/gpt-oss-120b", "groq", "openai/gpt-oss-120b"),
        ("together_ai", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "together", None),
        ("mistral_ai", "mistral-large-latest", "mistral", "mistral-large"),
        ("moonshot", "kimi-k2-0905-preview", "moonshotai", "kimi-k2-0905-preview"),
        ("github-copilot", "claude-sonnet-4", "github-copilot", "claude-sonnet-4"),
    ],
)
def test_names(prices: Prices, provider: str | None, model: str, seller: str, listed: str | None) -> None:
    """The many names of a model lead to the one in the list, at who sells it."""
    found = prices.find(Call(provider, model, None, NOW_MS))

    assert found is not None
    assert (found.provider, found.basis) == (seller, Basis.LIST)
    assert listed in {None, found.model}
    assert prices.cost(Call(provider, model, None, NOW_MS), TOKENS).nusd


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        (None, None),
        ("anthropic", None),
        ("anthropic", ""),
        ("anthropic", "claude-nonsense-9"),
        ("nobody", "nonsense"),
        # Open weights may be served by anybody, for anything.
        ("my-vllm", "deepseek-chat"),
        ("my-vllm", "gpt-oss-120b"),
        ("openai", "deepseek-ai/DeepSeek-V3"),
        (None, "google/gemma-4-31b-it"),
        # Part of a subscription, whatever their makers charge.
        ("github-copilot", "claude-nonsense"),
        ("cursor", "claude-sonnet-4-5"),
        # Billed by Ollama.
        ("ollama", "gpt-oss:120b-cloud"),
        # Listed without a price for tokens.
        ("openai", "whisper-1"),
        ("cerebras", "qwen-3-coder-480b"),
    ],
)
def test_unknown_is_not_free(prices: Prices, provider: str | None, model: str | None) -> None:
    """What has no price has no cost, never a cost of 0."""
    assert prices.cost(Call(provider, model, None, NOW_MS), TOKENS) == UNPRICED
    assert prices.explain(Call(provider, model, None, NOW_MS), TOKENS) == ()


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("ollama", "llama3:8b"),
        ("ollama", None),
        ("vllm", "deepseek-ai/DeepSeek-V3"),
        ("lm_studio", "claude-sonnet-4-5"),
        (None, "ollama/llama3"),
    ],
)
def test_local(prices: Prices, provider: str | None, model: str | None) -> None:
    """A server on the user's own machine costs an explicit 0, counted or not."""
    assert prices.cost(Call(provider, model, None, NOW_MS), TOKENS) == LOCAL
    assert prices.cost(Call(provider, model, None, NOW_MS), None) == LOCAL
    assert LOCAL.nusd == 0


@pytest.mark.parametrize("model", ["deepseek/deepseek-r1:free", "nobody/has-heard-of:free"])
def test_free_models_of_routers(prices: Prices, model: str) -> None:
    """A router's free model costs 0, also when the list lacks it or the router forgets to say so again."""
    for call in (
        Call("openrouter", model, None, NOW_MS),
        Call("openai", model, None, NOW_MS),
        Call("openrouter", model, model.removesuffix(":free"), NOW_MS),
    ):
        cost = prices.cost(call, TOKENS)

        assert (cost.nusd, cost.basis) == (0, Basis.LIST)


def test_what_answered_is_billed(prices: Prices) -> None:
    """The model that answered decides, and the one that was asked for where the answer's name is unknown."""
    deployment = Call("azure", "prod-chat", "gpt-4.1-2025-04-14", NOW_MS)
    router = Call("openrouter", "openrouter/auto", "anthropic/claude-sonnet-4.5", NOW_MS)
    unknown = Call("anthropic", "claude-sonnet-4-5", "claude-internal", NOW_MS)

    assert prices.cost(deployment, TOKENS) == prices.cost(Call("azure", "gpt-4.1", None, NOW_MS), TOKENS)
    assert prices.cost(router, TOKENS).nusd == 1_842_000
    assert prices.cost(unknown, TOKENS).nusd == 1_842_000


def test_time_and_service(prices: Prices) -> None:
    """The time of the call and the way it was served choose among a model's prices."""
    summer = Call("openai", "gpt-5.6-luna", None, 1_782_000_000_000)  # 2026-06-21
    winter = Call("openai", "gpt-5.6-luna", None, NOW_MS)
    tokens = Tokens(1000, output=0)

    assert prices.cost(summer, tokens).nusd == 1_000_000
    assert prices.cost(winter, tokens).nusd == 200_000
    assert prices.cost(winter, tokens, {"service_tier": "flex"}).nusd == 100_000
    assert prices.cost(winter, tokens, {"service_tier": "priority"}).nusd == 400_000
    assert prices.cost(winter, tokens, {"service_tier": "auto"}).nusd == 200_000


def test_forget(prices: Prices) -> None:
    """What was forgotten is found again."""
    call = Call("openrouter", "anthropic/claude-sonnet-4.5", None, NOW_MS)
    before = prices.cost(call, TOKENS)
    prices.forget()

    assert prices.cost(call, TOKENS) == before


def test_no_counts(prices: Prices) -> None:
    """A call whose tokens were not told has no cost."""
    call = Call("anthropic", "claude-sonnet-4-5", None, NOW_MS)

    assert prices.cost(call, None) == UNPRICED
    assert prices.cost(call, Tokens(total=5)) == UNPRICED


def test_explain(prices: Prices) -> None:
    """The lines of a cost name bucket, tokens, price and amount."""
    lines = prices.explain(Call("anthropic", "claude-sonnet-4-5", None, NOW_MS), TOKENS)

    assert [(line.bucket, line.count, line.usd_per_million, line.nusd) for line in lines] == [
        ("input", 234, "3", "702000"),
        ("cache_read", 1000, "0.3", "300000"),
        ("output", 56, "15", "840000"),
    ]


def test_overrides_beat_the_list() -> None:
    """The user's price goes before the list's and before local, from its date on."""
    overrides = read_overrides(
        {
            "price": [
                {"model": "claude-sonnet-4-5", "effective_from": "2026-01-01", "input": 1, "output": 1},
                {"model": "llama3", "provider": "ollama", "input": 2, "output": 2},
            ]
        }
    )
    tokens = Tokens(1, output=0)
    with Prices(overrides=overrides) as prices:
        now = prices.cost(Call("anthropic", "claude-sonnet-4-5-20250929", None, NOW_MS), tokens)
        before = prices.cost(Call("anthropic", "claude-sonnet-4-5", None, 1_764_000_000_000), tokens)
        electricity = prices.cost(Call("ollama", "llama3", None, NOW_MS), tokens)
        local = prices.cost(Call("ollama", "qwen3", None, NOW_MS), tokens)

    assert (now.nusd, now.basis, now.version) == (1000, Basis.OVERRIDE, overrides.version)
    assert (before.nusd, before.basis) == (3000, Basis.LIST)
    assert (electricity.nusd, electricity.basis) == (2000, Basis.OVERRIDE)
    assert local == LOCAL


def test_aliases() -> None:
    """An alias leads to the list, to the user's own prices, or to a local server."""
    overrides = read_overrides(
        {
            "aliases": {"prod-chat": "azure/gpt-4.1", "team/fast": "mine", "here": "ollama/llama3"},
            "price": [{"model": "mine", "input": 7, "output": 7}],
        }
    )
    with Prices(overrides=overrides) as prices:
        chat = prices.cost(Call("whoever", "prod-chat", None, NOW_MS), TOKENS)
        listed = prices.cost(Call("azure", "gpt-4.1", None, NOW_MS), TOKENS)
        mine = prices.cost(Call("team", "fast", None, NOW_MS), Tokens(1, output=0))
        here = prices.cost(Call(None, "here", None, NOW_MS), TOKENS)

    assert chat == listed
    assert chat.basis is Basis.LIST
    assert (mine.nusd, mine.basis) == (7000, Basis.OVERRIDE)
    assert here == LOCAL


def test_load_overrides(tmp_path: Path) -> None:
    """A prices_file is read with its decimals as they are written."""
    path = tmp_path / "prices.toml"
    path.write_text('[[price]]\nmodel = "m"\ninput = 0.1\noutput = 0.2\n')

    with Prices(overrides=load_overrides(path)) as prices:
        assert prices.cost(Call(None, "m", None, NOW_MS), Tokens(10**15, output=0)).nusd == 10**17


def test_broken_prices_file(tmp_path: Path) -> None:
    """A prices_file that is missing, no text or no TOML stops the start and says why."""
    path = tmp_path / "prices.toml"
    with pytest.raises(SettingsError, match="a file that can be read: No such file"):
        load_overrides(path)

    path.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="TOML"):
        load_overrides(path)

    path.write_text("[[price")
    with pytest.raises(SettingsError, match="TOML"):
        load_overrides(path)


def test_not_a_price_table(tmp_path: Path) -> None:
    """A file that is missing, no database, another database or of another format is refused by name."""
    with pytest.raises(StoreError, match=r"nothing\.sqlite cannot be"):
        Prices(tmp_path / "nothing.sqlite")

    (tmp_path / "text.sqlite").write_text("no database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match=r"text\.sqlite cannot be read"):
        Prices(tmp_path / "text.sqlite")

    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE about (key, value)")
    other.commit()
    with pytest.raises(StoreError, match="is no price table"):
        Prices(tmp_path / "other.sqlite")

    other.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(StoreError, match="is no price table of format"):
        Prices(tmp_path / "other.sqlite")


def test_path_with_odd_characters(tmp_path: Path) -> None:
    """A table is opened wherever it lies."""
    path = tmp_path / "a?b#c%20 d" / "prices.sqlite"
    path.parent.mkdir()
    path.write_bytes(SHIPPED.read_bytes())

    with Prices(path) as prices:
        assert prices.version.startswith("genai-prices-")


def test_leaves_the_builder_alone() -> None:
    """Whoever prices calls imports neither the builder nor what it is built from: they are big."""
    program = (
        "import sys; from trace_agent.store.prices import Prices; Prices();"
        "print({'genai_prices', 'pydantic', 'decimal', 'trace_agent.store.price_table'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


def test_memory() -> None:
    """However many models are asked for, what is kept of them stays under a megabyte."""
    connection = sqlite3.connect(f"{SHIPPED.as_uri()}?mode=ro", uri=True)
    # The largest plans are the worst case.
    calls = [
        Call(provider, name, None, NOW_MS)
        for provider, name in connection.execute(
            "SELECT providers.name, models.name FROM models JOIN plans ON plans.id = plan"
            " JOIN providers ON providers.id = provider"
            " ORDER BY length(prices) + length(coalesce(variants, '')) DESC LIMIT 1000"
        )
    ]
    connection.close()

    tracemalloc.start()
    with Prices() as prices:
        for call in calls:
            prices.cost(call, TOKENS, {"service_tier": "flex"})
        for number in range(1000):
            prices.cost(Call(f"provider-{number}" * 40, f"model-{number}" * 40, None, NOW_MS), TOKENS)
        for call in calls:
            prices.cost(call, TOKENS, {"service_tier": "flex"})
        kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept_bytes < 1_000_000
