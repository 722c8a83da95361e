"""Read model and provider names as agents write them: a name in, the spellings a price list may know out.

The same model is `claude-sonnet-4-5` to its maker, `anthropic/claude-sonnet-4.5` to a router,
`us.anthropic.claude-sonnet-4-5-20250929-v1:0` to Bedrock, `claude-sonnet-4-5@20250929` to Vertex and
`publishers/anthropic/models/..` in a resource path. Nothing here knows a price: `store.prices` tries the
spellings in this order, most faithful first, against the list.
"""

import re
from collections.abc import Iterator
from typing import Final

__all__ = [
    "CLOSED_VENDORS",
    "FLAT_RATE",
    "LABELS",
    "is_forwarded",
    "is_free",
    "is_local",
    "open_weights",
    "prefixes",
    "provider_names",
    "spellings",
]

# Servers that run a model on the user's own machine.
_LOCAL: Final = frozenset(
    {
        "gpt4all",
        "hosted-vllm",
        "jan",
        "koboldcpp",
        "llama-cpp",
        "llama-server",
        "llama.cpp",
        "llamacpp",
        "llamafile",
        "lm-studio",
        "lmstudio",
        "localai",
        "mlx",
        "mlx-lm",
        "ollama",
        "ollama-chat",
        "vllm",
    }
)
# Ollama forwards models with these endings to its own servers, which are paid for.
_FORWARDED: Final = ("-cloud", ":cloud")

# Names of providers that the list's own rules do not know, or take for another.
_PROVIDERS: Final = {
    "claude": "anthropic",
    "claude-code": "anthropic",
    "codex": "openai",
    "fireworks-ai": "fireworks",
    "gcp": "google",
    "gcp.gen-ai": "google",
    "grok": "x-ai",
    "groqcloud": "groq",
    "kimi": "moonshotai",
    "open-router": "openrouter",
    "perplexity-ai": "perplexity",
    "togetherai": "together",
    "x.ai": "x-ai",
    "z-ai": "zai",
    "z.ai": "zai",
    "zhipu": "zhipuai",
}
# What OpenAI's or Anthropic's SDK, pointed elsewhere, calls whoever answers.
LABELS: Final = frozenset({"anthropic", "openai"})
# Their models are served by nobody else under that name, so the name alone tells a price; weights that
# anybody may serve do not.
CLOSED_VENDORS: Final = frozenset({"anthropic", "google", "openai", "x-ai"})
_OPEN_WEIGHTS: Final = ("gpt-oss", "gemma")
# A model that these do not list is part of a subscription, whatever its maker charges.
FLAT_RATE: Final = frozenset({"cursor", "github-copilot"})

_BEDROCK: Final = re.compile(
    r"(?:(?:us|eu|apac|global|au|ca|jp|us-gov)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshot|moonshotai|nvidia|openai"
    r"|qwen|stability|writer|zai)\.[a-z]"
)
# One after the other, what may follow or stand before the name proper.
_TRIMS: Final = (
    re.compile(r"^.*/"),  # a path
    re.compile(r"\[[^\]]*\]$"),  # Claude Code's `[1m]`
    re.compile(r":(?!\d+$)[a-z0-9._-]+$"),  # a router's `:nitro`, Ollama's tag; not Bedrock's `:0`
    re.compile(r"^(?:us|eu|apac|global|au|ca|jp|us-gov)\.(?=[a-z0-9]+\.)"),  # Bedrock's region
    re.compile(r"^(?:anthropic|openai|google|mistral|deepseek|cohere|qwen|moonshotai?|minimax|zai)\."),
    re.compile(r"-v(?:\d+:\d+|1)$"),  # Bedrock's version; `deepseek-v3` is another model than `deepseek`
    re.compile(r"@[^@]*$"),  # Vertex's version
    re.compile(r"-(?:20\d{2}-\d{2}-\d{2}|20\d{6}|latest)$"),  # a snapshot
)
# Vertex writes `@20250929` where Anthropic writes `-20250929`; LiteLLM and OpenRouter write `-20251211`
# where OpenAI writes `-2025-12-11`.
_AT_DATE: Final = re.compile(r"@(20\d{6})$")
_COMPACT_DATE: Final = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=[-:]|$)")


def spellings(model: str) -> Iterator[str]:
    """Yield the spellings of a model's name, in lower case, the most faithful first.

    A generator, because nearly every name is known by its first spelling and the rest costs ten times
    the look-up.
    """
    name = model.strip().lower()
    seen: set[str] = {""}
    for trim in (None, *_TRIMS):
        if trim is not None:
            name = trim.sub("", name, count=1)
        if name not in seen:
            seen.add(name)
            yield name
        dated = _COMPACT_DATE.sub(r"-\1-\2-\3", name)
        for spelling in (_AT_DATE.sub(r"-\1", name), dated):
            if spelling not in seen:
                seen.add(spelling)
                yield spelling


def provider_names(provider: str) -> Iterator[str]:
    """Yield the spellings of a provider's name, in lower case, the most faithful first."""
    name = provider.strip().lower()
    if name.startswith("azure"):
        # `azure.ai.openai` and the like are Azure, whatever else they name.
        yield "azure"
        return
    dashed = name.replace("_", "-").replace(" ", "-")
    # What comes first in `xai.chat` and `groq.transcription` of Vercel's SDK.
    head = dashed.partition(".")[0]
    seen: set[str] = {""}
    for spelling in (_PROVIDERS.get(dashed, name), name, dashed, _PROVIDERS.get(head, head)):
        if spelling not in seen:
            seen.add(spelling)
            yield spelling


def prefixes(model: str) -> Iterator[tuple[str, str]]:
    """Yield provider and model for each way to read a name as `provider/model`.

    `openrouter/anthropic/claude-sonnet-4.5` is OpenRouter's `anthropic/claude-sonnet-4.5` or Anthropic's
    `claude-sonnet-4.5`; a name of Bedrock's is `aws`.
    """
    rest = model.strip().lower()
    if _BEDROCK.match(rest.rpartition("/")[2]):
        yield "aws", rest.rpartition("/")[2]
    while True:
        head, slash, rest = rest.partition("/")
        if not slash:
            return
        if head and rest:
            yield head, rest


def is_local(provider: str | None, model: str) -> bool:
    """Tell whether a call went to a server on the user's own machine, which charges nothing."""
    names = (provider or "", model.partition("/")[0] if "/" in model else "")
    return any(name.strip().lower().replace("_", "-").replace(" ", "-") in _LOCAL for name in names)


def is_forwarded(model: str) -> bool:
    """Tell whether a local server hands a model on to its maker's paid servers: `gpt-oss:120b-cloud`."""
    return model.strip().lower().endswith(_FORWARDED)


def is_free(model: str) -> bool:
    """Tell whether a router's name for a model says that it is free: `deepseek/deepseek-r1:free`."""
    return model.strip().lower().endswith(":free")


def open_weights(name: str) -> bool:
    """Tell whether a name that looks like a closed vendor's belongs to weights that anybody may serve."""
    return any(word in name for word in _OPEN_WEIGHTS)
