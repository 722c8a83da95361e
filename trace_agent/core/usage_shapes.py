"""Know the dialects of usage objects: a table of how each names its counts, read by `usage`.

The order matters. Names of span attributes stand before names of objects, and a dialect with more facts
before one with fewer: spans of one emitter often carry several dialects at once, and the short names of
some are part of others.
"""

from typing import Final, TypeAlias

from attrs import frozen

__all__ = ["SHAPES", "Path", "Paths", "Shape"]

# A key of the object, or the keys to a value further in; `ttl=1h` picks from a list the map with that value.
Path: TypeAlias = "str | tuple[str, ...]"
Paths: TypeAlias = "tuple[Path, ...]"


@frozen
class Shape:
    """One dialect of usage objects; for each count the first path that holds a value wins.

    Attributes:
        marks: an object with a value under any of these keys is of this shape.
        input: prompt tokens.
        input_beside: prompt tokens that `input` does not include; all of them count.
        cache_write: every cache write, or those for five minutes where only `cache_write_1h` is told apart.
        cache_write_5m: the part of `cache_write` kept for five minutes.
        cache_write_1h: the part of `cache_write` kept for an hour.
        cache_inside: `input` includes what the cache gave and took.
        cache_beside_from: except from providers whose name holds one of these words.
        reasoning_inside: `output` includes reasoning.
        reasoning_beside_from: except from these.
        total_tells_output: from these providers, what the total has and nothing else names is output.
    """

    marks: tuple[str, ...]
    input: Paths
    output: Paths
    input_beside: Paths = ()
    cache_read: Paths = ()
    cache_write: Paths = ()
    cache_write_5m: Paths = ()
    cache_write_1h: Paths = ()
    reasoning: Paths = ()
    total: Paths = ()
    cache_inside: bool = True
    cache_beside_from: tuple[str, ...] = ()
    reasoning_inside: bool = True
    reasoning_beside_from: tuple[str, ...] = ()
    total_tells_output: tuple[str, ...] = ()


# Words in the names of providers.
_GOOGLE: Final = ("google", "gemini", "vertex", "gcp")
# xAI, "Consumption and rate limits": reasoning counts in total_tokens, not in completion_tokens.
# Perplexity prices reasoning, citations and completion apart.
_REASONING_BESIDE: Final = ("xai", "x-ai", "x_ai", "perplexity")

SHAPES: Final = (
    # OpenClaw spans; their gen_ai.* counts say the same, without the writes.
    Shape(
        marks=("openclaw.tokens.input", "openclaw.tokens.output"),
        input=("openclaw.tokens.input",),
        output=("openclaw.tokens.output",),
        cache_read=("openclaw.tokens.cache_read",),
        cache_write=("openclaw.tokens.cache_write",),
        total=("openclaw.tokens.total",),
        cache_inside=False,
    ),
    # Vercel AI SDK 6 spans. The details came with the promise that inputTokens includes the cache.
    Shape(
        marks=(
            "ai.usage.inputTokenDetails.noCacheTokens",
            "ai.usage.inputTokenDetails.cacheReadTokens",
            "ai.usage.inputTokenDetails.cacheWriteTokens",
            "ai.usage.outputTokenDetails.textTokens",
            "ai.usage.outputTokenDetails.reasoningTokens",
        ),
        input=("ai.usage.inputTokens",),
        output=("ai.usage.outputTokens",),
        cache_read=("ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens"),
        cache_write=("ai.usage.inputTokenDetails.cacheWriteTokens",),
        reasoning=("ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens"),
        total=("ai.usage.totalTokens",),
    ),
    # Vercel AI SDK 4 and 5 spans: Anthropic's exclusive input went through as it was.
    Shape(
        marks=(
            "ai.usage.inputTokens",
            "ai.usage.outputTokens",
            "ai.usage.promptTokens",
            "ai.usage.completionTokens",
        ),
        input=("ai.usage.inputTokens", "ai.usage.promptTokens"),
        output=("ai.usage.outputTokens", "ai.usage.completionTokens"),
        cache_read=("ai.usage.cachedInputTokens",),
        reasoning=("ai.usage.reasoningTokens",),
        total=("ai.usage.totalTokens",),
        cache_beside_from=("anthropic", "bedrock"),
    ),
    # OpenInference spans.
    Shape(
        marks=("llm.token_count.prompt", "llm.token_count.completion"),
        input=("llm.token_count.prompt",),
        output=("llm.token_count.completion",),
        cache_read=(
            "llm.token_count.prompt_details.cache_read",
            "llm.token_count.prompt_details.cache_input",
        ),
        cache_write=("llm.token_count.prompt_details.cache_write",),
        reasoning=("llm.token_count.completion_details.reasoning",),
        total=("llm.token_count.total",),
    ),
    # OpenTelemetry GenAI spans, present and former names, and those of OpenLLMetry, OpenLIT and Codex.
    Shape(
        marks=(
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.output_tokens",
            "gen_ai.usage.prompt_tokens",
            "gen_ai.usage.completion_tokens",
        ),
        input=("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
        output=("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
        cache_read=(
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cache_read_input_tokens",
            "gen_ai.usage.cache_read_tokens",
            "gen_ai.usage.cached_tokens",
            "gen_ai.usage.input_cached_tokens",
            "gen_ai.usage.prompt_tokens_details.cached_tokens",
        ),
        cache_write=(
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_creation_input_tokens",
            "gen_ai.usage.cache_write.input_tokens",
            "gen_ai.usage.cache_write_tokens",
        ),
        reasoning=(
            "gen_ai.usage.reasoning.output_tokens",
            "gen_ai.usage.reasoning_tokens",
            "gen_ai.usage.completion_tokens_details.reasoning_tokens",
            "codex.usage.reasoning_output_tokens",
        ),
        total=("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "codex.usage.total_tokens"),
    ),
    # Gemini `usageMetadata`, as JSON, as Python SDKs spell it, and of its Live API.
    Shape(
        marks=(
            "promptTokenCount",
            "candidatesTokenCount",
            "responseTokenCount",
            "prompt_token_count",
            "candidates_token_count",
        ),
        input=("promptTokenCount", "prompt_token_count"),
        input_beside=("toolUsePromptTokenCount", "tool_use_prompt_token_count"),
        output=("candidatesTokenCount", "responseTokenCount", "candidates_token_count"),
        cache_read=("cachedContentTokenCount", "cached_content_token_count"),
        reasoning=("thoughtsTokenCount", "thoughts_token_count"),
        total=("totalTokenCount", "total_token_count"),
        reasoning_inside=False,
    ),
    # Gemini Interactions API.
    Shape(
        marks=("total_input_tokens", "total_output_tokens"),
        input=("total_input_tokens",),
        input_beside=("total_tool_use_tokens",),
        output=("total_output_tokens",),
        cache_read=("total_cached_tokens",),
        reasoning=("total_thought_tokens", "total_reasoning_tokens"),
        total=("total_tokens",),
        reasoning_inside=False,
    ),
    # Gemini CLI logs; `tool_token_count` is the tool prompt of usageMetadata.
    Shape(
        marks=("thoughts_token_count", "cached_content_token_count"),
        input=("input_token_count",),
        input_beside=("tool_token_count",),
        output=("output_token_count",),
        cache_read=("cached_content_token_count",),
        reasoning=("thoughts_token_count",),
        total=("total_token_count",),
        reasoning_inside=False,
    ),
    # Codex logs; here `tool_token_count` is the total.
    Shape(
        marks=("input_token_count", "output_token_count"),
        input=("input_token_count",),
        output=("output_token_count",),
        cache_read=("cached_token_count",),
        cache_write=("cache_write_token_count",),
        reasoning=("reasoning_token_count",),
        total=("total_token_count", "tool_token_count"),
    ),
    # OpenAI chat completions, and whoever speaks it: DeepSeek, Moonshot, Mistral, xAI, Perplexity,
    # Databricks, Qwen, OpenRouter, LiteLLM, vLLM, llama.cpp, ..
    Shape(
        marks=("prompt_tokens", "completion_tokens"),
        input=("prompt_tokens",),
        input_beside=("citation_tokens",),  # Perplexity, read for the prompt and priced as input
        output=("completion_tokens",),
        cache_read=(
            ("prompt_tokens_details", "cached_tokens"),
            "prompt_cache_hit_tokens",  # DeepSeek
            "cache_read_input_tokens",  # LiteLLM, Databricks
            "cached_tokens",  # Moonshot, Anthropic's compatible endpoint
            "cached_prompt_text_tokens",  # xAI
            "num_cached_tokens",  # Mistral
        ),
        cache_write=(
            ("prompt_tokens_details", "cache_write_tokens"),  # OpenAI, OpenRouter
            ("prompt_tokens_details", "cache_creation_tokens"),  # LiteLLM
            ("prompt_tokens_details", "cache_creation_input_tokens"),  # Qwen
            "cache_creation_input_tokens",
        ),
        cache_write_5m=(
            ("prompt_tokens_details", "cache_creation_token_details", "ephemeral_5m_input_tokens"),
        ),
        cache_write_1h=(
            ("prompt_tokens_details", "cache_creation_token_details", "ephemeral_1h_input_tokens"),
        ),
        reasoning=(("completion_tokens_details", "reasoning_tokens"), "reasoning_tokens"),
        total=("total_tokens",),
        reasoning_beside_from=_REASONING_BESIDE,
        # Google's compatible endpoint leaves thoughts out of completion_tokens and names them nowhere.
        total_tells_output=_GOOGLE,
    ),
    # OpenClaw and pi, and our own names; `promptTokens` beside them repeats the sum.
    Shape(
        marks=("input", "output", "cacheRead", "cacheWrite", "cache_read", "cache_write"),
        input=("input",),
        output=("output",),
        cache_read=("cacheRead", "cache_read"),
        cache_write=("cacheWrite", "cache_write"),
        cache_write_1h=("cache_write_1h",),
        reasoning=("reasoningTokens", "reasoning"),
        total=("totalTokens", "total"),
        cache_inside=False,
    ),
    # Bedrock converse; Cursor; the per-model usage of Claude's agent SDK.
    Shape(
        marks=(
            "cacheReadInputTokens",
            "cacheWriteInputTokens",
            "cacheCreationInputTokens",
            "cacheReadTokens",
            "cacheWriteTokens",
        ),
        input=("inputTokens",),
        output=("outputTokens",),
        cache_read=("cacheReadInputTokens", "cacheReadTokens"),
        cache_write=("cacheWriteInputTokens", "cacheCreationInputTokens", "cacheWriteTokens"),
        cache_write_5m=(("cacheDetails", "ttl=5m", "inputTokens"),),
        cache_write_1h=(("cacheDetails", "ttl=1h", "inputTokens"),),
        total=("totalTokens",),
        cache_inside=False,
    ),
    # Vercel AI SDK 6 and later, result objects.
    Shape(
        marks=("inputTokenDetails", "outputTokenDetails"),
        input=("inputTokens",),
        output=("outputTokens",),
        cache_read=(("inputTokenDetails", "cacheReadTokens"), "cachedInputTokens"),
        cache_write=(("inputTokenDetails", "cacheWriteTokens"),),
        reasoning=(("outputTokenDetails", "reasoningTokens"), "reasoningTokens"),
        total=("totalTokens",),
    ),
    # Vercel AI SDK 4 and 5, and what providers hand to SDK 6; OpenRouter's SDK.
    Shape(
        marks=("inputTokens", "outputTokens", "promptTokens", "completionTokens"),
        input=(("inputTokens", "total"), "inputTokens", "promptTokens"),
        output=(("outputTokens", "total"), "outputTokens", "completionTokens"),
        cache_read=(
            ("inputTokens", "cacheRead"),
            ("inputTokensDetails", "cachedTokens"),
            ("promptTokensDetails", "cachedTokens"),
            "cachedInputTokens",
        ),
        cache_write=(
            ("inputTokens", "cacheWrite"),
            ("inputTokensDetails", "cacheWriteTokens"),
            ("promptTokensDetails", "cacheWriteTokens"),
        ),
        reasoning=(
            ("outputTokens", "reasoning"),
            ("outputTokensDetails", "reasoningTokens"),
            ("completionTokensDetails", "reasoningTokens"),
            "reasoningTokens",
        ),
        total=("totalTokens",),
        cache_beside_from=("anthropic", "bedrock"),
    ),
    # LangChain `usage_metadata`, and OpenAI's realtime API.
    Shape(
        marks=("input_token_details", "output_token_details"),
        input=("input_tokens",),
        output=("output_tokens",),
        cache_read=(("input_token_details", "cache_read"), ("input_token_details", "cached_tokens")),
        cache_write=(("input_token_details", "cache_creation"),),
        cache_write_5m=(("input_token_details", "ephemeral_5m_input_tokens"),),
        cache_write_1h=(("input_token_details", "ephemeral_1h_input_tokens"),),
        reasoning=(("output_token_details", "reasoning"),),
        total=("total_tokens",),
    ),
    # Anthropic messages, MiniMax, and Claude Code's logs, whose names are shorter.
    Shape(
        marks=(
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
            "cache_creation",
            "cache_creation_tokens",
            "iterations",
        ),
        input=("input_tokens",),
        output=("output_tokens",),
        cache_read=("cache_read_input_tokens", "cache_read_tokens"),
        cache_write=("cache_creation_input_tokens", "cache_creation_tokens"),
        cache_write_5m=(("cache_creation", "ephemeral_5m_input_tokens"),),
        cache_write_1h=(("cache_creation", "ephemeral_1h_input_tokens"),),
        reasoning=(("output_tokens_details", "thinking_tokens"),),
        total=("total_tokens",),
        cache_inside=False,
    ),
    # OpenAI responses, Codex `exec --json`, PydanticAI, and the bare pair of everybody else.
    Shape(
        marks=("input_tokens", "output_tokens"),
        input=("input_tokens",),
        output=("output_tokens",),
        cache_read=(
            ("input_tokens_details", "cached_tokens"),
            ("input_tokens_details", "cache_read_input_tokens"),  # Perplexity
            "cached_input_tokens",
            "cache_read_tokens",
        ),
        cache_write=(
            ("input_tokens_details", "cache_write_tokens"),
            "cache_write_input_tokens",
            "cache_write_tokens",
        ),
        reasoning=(
            ("output_tokens_details", "reasoning_tokens"),
            ("output_tokens_details", "thinking_tokens"),
            "reasoning_output_tokens",
            "reasoning_tokens",
        ),
        total=("total_tokens",),
    ),
    # Cohere: what it bills where it says so, else what it processed.
    Shape(
        marks=("billed_units",),
        input=(("billed_units", "input_tokens"),),
        output=(("billed_units", "output_tokens"),),
    ),
    Shape(
        marks=("tokens",),
        input=(("tokens", "input_tokens"),),
        output=(("tokens", "output_tokens"),),
        cache_read=("cached_tokens",),
    ),
    # Ollama's own API.
    Shape(
        marks=("prompt_eval_count", "eval_count"),
        input=("prompt_eval_count",),
        output=("eval_count",),
    ),
)
