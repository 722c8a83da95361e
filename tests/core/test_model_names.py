"""Names of models and providers, as agents write them, reach the spellings that a price list knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.core.model_names import (
    is_forwarded,
    is_free,
    is_local,
    open_weights,
    prefixes,
    provider_names,
    spellings,
)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("Claude-Sonnet-4-5 ", ["claude-sonnet-4-5"]),
        (
            "claude-sonnet-4-5-20250929",
            ["claude-sonnet-4-5-20250929", "claude-sonnet-4-5-2025-09-29", "claude-sonnet-4-5"],
        ),
        (
            "claude-sonnet-4-5@20250929",
            [
                "claude-sonnet-4-5@20250929",
                "claude-sonnet-4-5-20250929",
                "claude-sonnet-4-5",
            ],
        ),
        (
            "us.anthropic.claude-opus-4-6-v1:0",
            [
                "us.anthropic.claude-opus-4-6-v1:0",
                "anthropic.claude-opus-4-6-v1:0",
                "claude-opus-4-6-v1:0",
                "claude-opus-4-6",
            ],
        ),
        ("models/gemini-2.5-pro", ["models/gemini-2.5-pro", "gemini-2.5-pro"]),
        ("claude-sonnet-4-5[1m]", ["claude-sonnet-4-5[1m]", "claude-sonnet-4-5"]),
        ("x-ai/grok-4:online", ["x-ai/grok-4:online", "grok-4:online", "grok-4"]),
        ("claude-opus-4-latest", ["claude-opus-4-latest", "claude-opus-4"]),
        ("gpt-5.2-20251211", ["gpt-5.2-20251211", "gpt-5.2-2025-12-11", "gpt-5.2"]),
        ("deepseek-v3", ["deepseek-v3"]),  # a version of the model, not of Bedrock
        ("", []),
        ("/", ["/"]),
    ],
)
def test_spellings(model: str, expected: list[str]) -> None:
    """Each way to write a name is taken off it, one after the other."""
    assert list(spellings(model)) == expected


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("OpenAI", ["openai"]),
        ("azure.ai.openai", ["azure"]),
        ("azure_openai", ["azure"]),
        ("x_ai", ["x_ai", "x-ai"]),
        ("xai.chat", ["xai.chat", "xai"]),
        ("fireworks_ai", ["fireworks", "fireworks_ai", "fireworks-ai"]),
        ("gcp.gen_ai", ["google", "gcp.gen_ai", "gcp.gen-ai"]),
        ("z.ai", ["zai", "z.ai", "z"]),
        (" ", []),
    ],
)
def test_provider_names(provider: str, expected: list[str]) -> None:
    """A provider's name is tried as it is, and as its aliases."""
    assert list(provider_names(provider)) == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-5", []),
        (
            "openrouter/anthropic/claude-sonnet-4.5",
            [("openrouter", "anthropic/claude-sonnet-4.5"), ("anthropic", "claude-sonnet-4.5")],
        ),
        ("us.anthropic.claude-x-v1:0", [("aws", "us.anthropic.claude-x-v1:0")]),
        ("amazon.nova-pro-v1:0", [("aws", "amazon.nova-pro-v1:0")]),
        (
            "bedrock/amazon.nova-pro-v1:0",
            [("aws", "amazon.nova-pro-v1:0"), ("bedrock", "amazon.nova-pro-v1:0")],
        ),
        ("gpt-4.1", []),
        ("//x", []),
        ("a/", []),
    ],
)
def test_prefixes(model: str, expected: list[tuple[str, str]]) -> None:
    """What stands before a slash may be who sells the model, as may Bedrock's way to name it."""
    assert list(prefixes(model)) == expected


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("ollama", "llama3:8b", True),
        ("Ollama", "", True),
        ("LM Studio", "qwen3", True),
        ("lm_studio", "qwen3", True),
        ("llama.cpp", "x", True),
        ("llama_cpp", "x", True),
        ("vllm", "deepseek-ai/DeepSeek-V3", True),
        (None, "ollama/llama3", True),
        (None, "hosted_vllm/llama3", True),
        ("openai", "lmstudio/qwen3", True),
        ("openai", "gpt-5", False),
        (None, "ollama", False),
        (None, "meta/ollama", False),
    ],
)
def test_local(provider: str | None, model: str, expected: bool) -> None:
    """Servers on the user's own machine are known by the provider's name or the model's prefix."""
    assert is_local(provider, model) is expected


def test_forwarded_free_and_open() -> None:
    """Endings tell what a local server forwards and what a router gives away; open weights are anybody's."""
    assert is_forwarded("gpt-oss:120b-Cloud")
    assert is_forwarded("qwen3-coder:cloud")
    assert not is_forwarded("cloudy")
    assert is_free("deepseek/deepseek-r1:free")
    assert not is_free("free")
    assert open_weights("gpt-oss-120b")
    assert not open_weights("gpt-5")


@given(st.text(max_size=60) | st.from_regex(r"[a-z./:@\[\]-]{0,40}(20\d{6})?(-v1:0)?", fullmatch=True))
def test_any_name(name: str) -> None:
    """Any name has different spellings that end, none of them empty."""
    found = list(spellings(name))

    assert len(found) == len(set(found)) <= 24
    assert all(found)
    assert all(provider and model for provider, model in prefixes(name))
    assert all(provider_names(name))
