"""Every provider's usage object becomes disjoint buckets; the expected numbers are worked out by hand."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.core import usage as usage_module
from trace_agent.core.errors import EventError, Reason
from trace_agent.core.events import Tokens
from trace_agent.core.usage import normalise, reported_nusd
from trace_agent.core.usage_shapes import SHAPES

# The call of most rows: 1,234 prompt tokens of which 1,000 came from the cache, 56 completion tokens of
# which 7 were reasoning. 1,234 - 1,000 = 234; 234 + 1,000 + 56 = 1,290.
PLAIN: Final = Tokens(input=234, cache_read=1000, output=56, total=1290)
REASONED: Final = Tokens(input=234, cache_read=1000, output=56, reasoning=7, total=1290)
# The same with reasoning told beside 49 tokens of answer: 49 + 7 = 56.
# Anthropic's: 200 fresh, 900 from the cache, 100 into it, 33 out: 200 + 900 + 100 + 33 = 1,233.
CLAUDE: Final = Tokens(input=200, cache_read=900, cache_write=100, output=33, total=1233)

CASES: Final[dict[str, tuple[dict[str, object], str | None, Tokens]]] = {
    "openai chat": (
        {
            "prompt_tokens": 1234,
            "completion_tokens": 56,
            "total_tokens": 1290,
            "prompt_tokens_details": {"cached_tokens": 1000, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 7, "accepted_prediction_tokens": 0},
        },
        "openai",
        REASONED,
    ),
    "openai chat with cache writes": (
        # 1,234 - 1,000 - 34 = 200
        {
            "prompt_tokens": 1234,
            "completion_tokens": 56,
            "total_tokens": 1290,
            "prompt_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 34},
        },
        "openai",
        Tokens(input=200, cache_read=1000, cache_write=34, output=56, total=1290),
    ),
    "openai responses": (
        {
            "input_tokens": 1234,
            "input_tokens_details": {"cached_tokens": 1000},
            "output_tokens": 56,
            "output_tokens_details": {"reasoning_tokens": 7},
            "total_tokens": 1290,
        },
        "openai",
        REASONED,
    ),
    "openai responses with cache writes": (
        {
            "input_tokens": 1234,
            "input_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 34},
            "output_tokens": 56,
        },
        "openai",
        Tokens(input=200, cache_read=1000, cache_write=34, output=56, total=1290),
    ),
    "openai realtime": (
        {
            "input_tokens": 1234,
            "input_token_details": {"text_tokens": 1234, "cached_tokens": 1000},
            "output_tokens": 56,
            "output_token_details": {"text_tokens": 56},
            "total_tokens": 1290,
        },
        "openai",
        PLAIN,
    ),
    "openai embeddings": (
        {"prompt_tokens": 8, "total_tokens": 8},
        "openai",
        Tokens(input=8, total=8),
    ),
    "anthropic": (
        {
            "input_tokens": 200,
            "cache_read_input_tokens": 900,
            "cache_creation_input_tokens": 100,
            "output_tokens": 33,
            "service_tier": "standard",
        },
        "anthropic",
        CLAUDE,
    ),
    "anthropic with both write times": (
        # 100 written, 40 of them for an hour, so 60 for five minutes.
        {
            "input_tokens": 200,
            "cache_read_input_tokens": 900,
            "cache_creation_input_tokens": 100,
            "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
            "output_tokens": 33,
        },
        "anthropic",
        Tokens(input=200, cache_read=900, cache_write=60, cache_write_1h=40, output=33, total=1233),
    ),
    "anthropic with the split alone": (
        {
            "input_tokens": 200,
            "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
            "output_tokens": 33,
        },
        "anthropic",
        Tokens(input=200, cache_write=60, cache_write_1h=40, output=33, total=333),
    ),
    "anthropic thinking": (
        {
            "input_tokens": 200,
            "cache_read_input_tokens": 900,
            "cache_creation_input_tokens": 100,
            "output_tokens": 33,
            "output_tokens_details": {"thinking_tokens": 20},
        },
        "anthropic",
        Tokens(input=200, cache_read=900, cache_write=100, output=33, reasoning=20, total=1233),
    ),
    "anthropic stream's last delta": (
        {"output_tokens": 33},
        "anthropic",
        Tokens(output=33),
    ),
    "anthropic compaction": (
        # The summary's own request is not in the counts on top: 23,000 + 180,000; 1,000 + 3,500.
        {
            "input_tokens": 23000,
            "output_tokens": 1000,
            "iterations": [
                {"type": "compaction", "input_tokens": 180000, "output_tokens": 3500},
                {"type": "message", "input_tokens": 23000, "output_tokens": 1000},
            ],
        },
        "anthropic",
        Tokens(input=203000, output=4500, total=207500),
    ),
    "claude code": (
        {
            "input_tokens": "200",
            "output_tokens": "33",
            "cache_read_tokens": "900",
            "cache_creation_tokens": "100",
            "model": "claude-sonnet-4-5",
        },
        "anthropic",
        CLAUDE,
    ),
    "claude agent sdk, per model": (
        {
            "inputTokens": 200,
            "outputTokens": 33,
            "cacheReadInputTokens": 900,
            "cacheCreationInputTokens": 100,
            "webSearchRequests": 0,
            "costUSD": 0.00174,
        },
        None,
        CLAUDE,
    ),
    "gemini": (
        # The prompt includes what was cached; thoughts stand beside the candidates: 49 + 7 = 56.
        {
            "promptTokenCount": 1234,
            "cachedContentTokenCount": 1000,
            "candidatesTokenCount": 49,
            "thoughtsTokenCount": 7,
            "totalTokenCount": 1290,
        },
        "google",
        REASONED,
    ),
    "gemini with tool prompts": (
        # Results of built-in tools are prompt tokens that promptTokenCount leaves out: 100 + 30.
        {
            "promptTokenCount": 100,
            "toolUsePromptTokenCount": 30,
            "candidatesTokenCount": 10,
            "totalTokenCount": 140,
        },
        "google",
        Tokens(input=130, output=10, total=140),
    ),
    "gemini that only thought": (
        {"promptTokenCount": 21, "thoughtsTokenCount": 60, "totalTokenCount": 81},
        "google",
        Tokens(input=21, output=60, reasoning=60, total=81),
    ),
    "gemini, python names": (
        {
            "prompt_token_count": 1234,
            "cached_content_token_count": 1000,
            "candidates_token_count": 49,
            "thoughts_token_count": 7,
            "total_token_count": 1290,
            "traffic_type": None,
        },
        None,
        REASONED,
    ),
    "gemini live": (
        {"promptTokenCount": 10, "responseTokenCount": 5, "totalTokenCount": 15},
        None,
        Tokens(input=10, output=5, total=15),
    ),
    "gemini interactions": (
        {
            "total_input_tokens": 1234,
            "total_cached_tokens": 1000,
            "total_output_tokens": 49,
            "total_thought_tokens": 7,
            "total_tokens": 1290,
        },
        None,
        REASONED,
    ),
    "gemini, openai endpoint": (
        # Thoughts are in the total alone: 1,290 - 1,234 - 49 = 7 more of output.
        {"prompt_tokens": 1234, "completion_tokens": 49, "total_tokens": 1290},
        "google",
        Tokens(input=1234, output=56, total=1290),
    ),
    "gemini cli": (
        {
            "input_token_count": 1234,
            "output_token_count": 49,
            "cached_content_token_count": 1000,
            "thoughts_token_count": 7,
            "tool_token_count": 0,
            "total_token_count": 1290,
        },
        "gcp.gemini",
        REASONED,
    ),
    "codex": (
        {
            "input_token_count": "1234",
            "output_token_count": "56",
            "cached_token_count": 1000,
            "cache_write_token_count": 0,
            "reasoning_token_count": 7,
            "tool_token_count": "1290",
        },
        "openai",
        Tokens(input=234, cache_read=1000, cache_write=0, output=56, reasoning=7, total=1290),
    ),
    "codex exec": (
        {
            "input_tokens": 1234,
            "cached_input_tokens": 1000,
            "output_tokens": 56,
            "reasoning_output_tokens": 7,
            "total_tokens": 1290,
        },
        "openai",
        REASONED,
    ),
    "bedrock converse": (
        {
            "inputTokens": 200,
            "outputTokens": 33,
            "totalTokens": 1233,
            "cacheReadInputTokens": 900,
            "cacheWriteInputTokens": 100,
        },
        "aws.bedrock",
        CLAUDE,
    ),
    "bedrock converse with write times": (
        {
            "inputTokens": 200,
            "outputTokens": 33,
            "totalTokens": 1233,
            "cacheReadInputTokens": 900,
            "cacheWriteInputTokens": 100,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 40}, {"ttl": "5m", "inputTokens": 60}],
        },
        "aws.bedrock",
        Tokens(input=200, cache_read=900, cache_write=60, cache_write_1h=40, output=33, total=1233),
    ),
    "bedrock converse without cache": (
        {"inputTokens": 200, "outputTokens": 33, "totalTokens": 233},
        "aws.bedrock",
        Tokens(input=200, output=33, total=233),
    ),
    "cursor": (
        {"inputTokens": 200, "outputTokens": 33, "cacheReadTokens": 900, "cacheWriteTokens": 100},
        "cursor",
        CLAUDE,
    ),
    "openclaw transcript": (
        {
            "input": 234,
            "output": 56,
            "cacheRead": 1000,
            "cacheWrite": 0,
            "reasoningTokens": 7,
            "totalTokens": 1290,
            "cost": {"total": 0.001842},
        },
        "probe",
        Tokens(input=234, cache_read=1000, cache_write=0, output=56, reasoning=7, total=1290),
    ),
    "openclaw diagnostic event": (
        {
            "input": 234,
            "output": 56,
            "cacheRead": 1000,
            "cacheWrite": 0,
            "promptTokens": 1234,
            "total": 1290,
        },
        "probe",
        Tokens(input=234, cache_read=1000, cache_write=0, output=56, total=1290),
    ),
    "openclaw span": (
        {
            "openclaw.tokens.input": 234,
            "openclaw.tokens.output": 56,
            "openclaw.tokens.cache_read": 1000,
            "openclaw.tokens.total": 1290,
            "gen_ai.usage.input_tokens": 1234,
            "gen_ai.usage.output_tokens": 56,
        },
        "openai",
        PLAIN,
    ),
    "our own names": (
        {"input": 1, "cache_read": 2, "cache_write": 3, "cache_write_1h": 4, "output": 5, "reasoning": 1},
        None,
        Tokens(1, 2, 3, 4, 5, 1, 15),
    ),
    "opentelemetry": (
        {
            "gen_ai.usage.input_tokens": 1234,
            "gen_ai.usage.cache_read.input_tokens": 1000,
            "gen_ai.usage.output_tokens": 56,
            "gen_ai.usage.reasoning.output_tokens": 7,
        },
        "openai",
        REASONED,
    ),
    "opentelemetry, anthropic": (
        # The convention wants the prompt whole: 200 + 900 + 100.
        {
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.cache_read.input_tokens": 900,
            "gen_ai.usage.cache_creation.input_tokens": 100,
            "gen_ai.usage.output_tokens": 33,
        },
        "anthropic",
        CLAUDE,
    ),
    "opentelemetry, former names, exclusive against the convention": (
        # 900 + 100 cached cannot be part of 200.
        {
            "gen_ai.usage.prompt_tokens": 200,
            "gen_ai.usage.cache_read_input_tokens": 900,
            "gen_ai.usage.cache_creation_input_tokens": 100,
            "gen_ai.usage.completion_tokens": 33,
        },
        "anthropic",
        CLAUDE,
    ),
    "opentelemetry, exclusive by its total": (
        # 1,000 + 56 + 300 = 1,356: the 300 stand beside the 1,000.
        {
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.cache_read_input_tokens": 300,
            "gen_ai.usage.output_tokens": 56,
            "llm.usage.total_tokens": 1356,
        },
        None,
        Tokens(input=1000, cache_read=300, output=56, total=1356),
    ),
    "openllmetry": (
        {
            "gen_ai.usage.input_tokens": 1234,
            "gen_ai.usage.output_tokens": 56,
            "gen_ai.usage.total_tokens": 1290,
            "gen_ai.usage.cache_read.input_tokens": 1000,
            "gen_ai.usage.reasoning_tokens": 7,
        },
        "openai",
        REASONED,
    ),
    "openinference": (
        {
            "llm.token_count.prompt": 1234,
            "llm.token_count.completion": 56,
            "llm.token_count.total": 1290,
            "llm.token_count.prompt_details.cache_read": 1000,
            "llm.token_count.completion_details.reasoning": 7,
        },
        "openai",
        REASONED,
    ),
    "ai sdk 4 span": (
        {"ai.usage.promptTokens": 1234, "ai.usage.completionTokens": 56},
        "openai.chat",
        Tokens(input=1234, output=56, total=1290),
    ),
    "ai sdk 5 span": (
        {
            "ai.usage.inputTokens": 1234,
            "ai.usage.outputTokens": 56,
            "ai.usage.cachedInputTokens": 1000,
            "ai.usage.reasoningTokens": 7,
            "ai.usage.totalTokens": 1290,
        },
        "openai.responses",
        REASONED,
    ),
    "ai sdk 5 span, anthropic": (
        # Before 6 Anthropic's input went through exclusive, and the total left the cache out.
        {
            "ai.usage.inputTokens": 1100,
            "ai.usage.outputTokens": 33,
            "ai.usage.cachedInputTokens": 900,
            "ai.usage.totalTokens": 1133,
        },
        "anthropic.messages",
        Tokens(input=1100, cache_read=900, output=33, total=2033),
    ),
    "ai sdk 6 span": (
        {
            "ai.usage.inputTokens": 1234,
            "ai.usage.inputTokenDetails.noCacheTokens": 234,
            "ai.usage.inputTokenDetails.cacheReadTokens": 1000,
            "ai.usage.outputTokens": 56,
            "ai.usage.outputTokenDetails.textTokens": 49,
            "ai.usage.outputTokenDetails.reasoningTokens": 7,
            "ai.usage.totalTokens": 1290,
            "ai.usage.reasoningTokens": 7,
            "ai.usage.cachedInputTokens": 1000,
            "gen_ai.usage.input_tokens": 1234,
            "gen_ai.usage.output_tokens": 56,
        },
        "openai.chat",
        REASONED,
    ),
    "ai sdk 6 span, anthropic": (
        {
            "ai.usage.inputTokens": 1200,
            "ai.usage.inputTokenDetails.noCacheTokens": 200,
            "ai.usage.inputTokenDetails.cacheReadTokens": 900,
            "ai.usage.inputTokenDetails.cacheWriteTokens": 100,
            "ai.usage.outputTokens": 33,
            "ai.usage.totalTokens": 1233,
        },
        "anthropic.messages",
        CLAUDE,
    ),
    "ai sdk 7 span": (
        {
            "gen_ai.usage.input_tokens": 1234,
            "gen_ai.usage.output_tokens": 56,
            "gen_ai.usage.cache_read.input_tokens": 1000,
        },
        "openai",
        PLAIN,
    ),
    "ai sdk 4 result": (
        {"promptTokens": 787, "completionTokens": 60, "totalTokens": 847},
        "anthropic",
        Tokens(input=787, output=60, total=847),
    ),
    "ai sdk 5 result": (
        {
            "inputTokens": 1234,
            "outputTokens": 56,
            "totalTokens": 1290,
            "reasoningTokens": 7,
            "cachedInputTokens": 1000,
        },
        "openai.responses",
        REASONED,
    ),
    "ai sdk 6 result": (
        {
            "inputTokens": 1234,
            "inputTokenDetails": {"noCacheTokens": 234, "cacheReadTokens": 1000, "cacheWriteTokens": None},
            "outputTokens": 56,
            "outputTokenDetails": {"textTokens": 49, "reasoningTokens": 7},
            "totalTokens": 1290,
        },
        "anthropic",
        REASONED,
    ),
    "ai sdk provider's own": (
        {
            "inputTokens": {"total": 1234, "noCache": 234, "cacheRead": 1000, "cacheWrite": 0},
            "outputTokens": {"total": 56, "text": 49, "reasoning": 7},
        },
        "openai",
        Tokens(input=234, cache_read=1000, cache_write=0, output=56, reasoning=7, total=1290),
    ),
    "openrouter sdk": (
        {
            "promptTokens": 1234,
            "promptTokensDetails": {"cachedTokens": 1000},
            "completionTokens": 56,
            "completionTokensDetails": {"reasoningTokens": 7},
            "totalTokens": 1290,
        },
        "openrouter",
        REASONED,
    ),
    "openrouter": (
        {
            "prompt_tokens": 1234,
            "prompt_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 34, "audio_tokens": 0},
            "completion_tokens": 56,
            "completion_tokens_details": {"reasoning_tokens": 7},
            "total_tokens": 1290,
            "cost": 0.95,
        },
        "openrouter",
        Tokens(input=200, cache_read=1000, cache_write=34, output=56, reasoning=7, total=1290),
    ),
    "litellm for anthropic": (
        # 1,200 = 200 + 900 + 100; 40 of the 100 for an hour.
        {
            "prompt_tokens": 1200,
            "completion_tokens": 33,
            "total_tokens": 1233,
            "cache_read_input_tokens": 900,
            "cache_creation_input_tokens": 100,
            "prompt_tokens_details": {
                "cached_tokens": 900,
                "cache_creation_tokens": 100,
                "cache_creation_token_details": {
                    "ephemeral_5m_input_tokens": 60,
                    "ephemeral_1h_input_tokens": 40,
                },
            },
        },
        "litellm",
        Tokens(input=200, cache_read=900, cache_write=60, cache_write_1h=40, output=33, total=1233),
    ),
    "deepseek": (
        {
            "prompt_tokens": 1234,
            "completion_tokens": 56,
            "total_tokens": 1290,
            "prompt_cache_hit_tokens": 1000,
            "prompt_cache_miss_tokens": 234,
            "completion_tokens_details": {"reasoning_tokens": 7},
        },
        "deepseek",
        REASONED,
    ),
    "moonshot": (
        {"prompt_tokens": 1234, "completion_tokens": 56, "total_tokens": 1290, "cached_tokens": 1000},
        "moonshot",
        PLAIN,
    ),
    "qwen": (
        {
            "prompt_tokens": 1234,
            "completion_tokens": 56,
            "total_tokens": 1290,
            "prompt_tokens_details": {"cached_tokens": 1000, "cache_creation_input_tokens": 34},
        },
        "dashscope",
        Tokens(input=200, cache_read=1000, cache_write=34, output=56, total=1290),
    ),
    "xai": (
        # A payload of xAI's: 10,120 + 1,499 + 2,809 = 14,428, so reasoning stands beside.
        # 10,120 - 128 = 9,992; 1,499 + 2,809 = 4,308.
        {
            "prompt_tokens": 10120,
            "completion_tokens": 1499,
            "total_tokens": 14428,
            "prompt_tokens_details": {"cached_tokens": 128},
            "completion_tokens_details": {"reasoning_tokens": 2809},
        },
        "x-ai",
        Tokens(input=9992, cache_read=128, output=4308, reasoning=2809, total=14428),
    ),
    "xai, provider not told": (
        {
            "prompt_tokens": 10120,
            "completion_tokens": 1499,
            "total_tokens": 14428,
            "completion_tokens_details": {"reasoning_tokens": 1400},
        },
        None,
        # 14,428 is not 10,120 + 1,499 + 1,400: nothing proves that reasoning stands beside.
        Tokens(input=10120, output=1499, reasoning=1400, total=11619),
    ),
    "reasoning beside by the total": (
        {
            "prompt_tokens": 12,
            "completion_tokens": 500,
            "total_tokens": 898,
            "completion_tokens_details": {"reasoning_tokens": 386},
        },
        None,
        Tokens(input=12, output=886, reasoning=386, total=898),
    ),
    "reasoning beside because it is more than output": (
        {
            "prompt_tokens": 12,
            "completion_tokens": 1,
            "completion_tokens_details": {"reasoning_tokens": 386},
        },
        None,
        Tokens(input=12, output=387, reasoning=386, total=399),
    ),
    "xai responses": (
        {
            "input_tokens": 1234,
            "input_tokens_details": {"cached_tokens": 1000},
            "output_tokens": 56,
            "output_tokens_details": {"reasoning_tokens": 7},
            "total_tokens": 1290,
            "cost_in_usd_ticks": 318319000,
        },
        "xai",
        REASONED,
    ),
    "perplexity": (
        # Citations are read and priced as input, reasoning stands beside: 33 + 28,293; 7,163 + 193,944.
        {
            "prompt_tokens": 33,
            "completion_tokens": 7163,
            "citation_tokens": 28293,
            "reasoning_tokens": 193944,
            "num_search_queries": 18,
            "total_tokens": 7196,
        },
        "perplexity",
        Tokens(input=28326, output=201107, reasoning=193944, total=229433),
    ),
    "databricks": (
        {
            "prompt_tokens": 1234,
            "completion_tokens": 56,
            "total_tokens": 1290,
            "cache_read_input_tokens": 1000,
            "reasoning_tokens": 7,
        },
        "databricks",
        REASONED,
    ),
    "cohere": (
        {
            "billed_units": {"input_tokens": 5, "output_tokens": 418},
            "tokens": {"input_tokens": 71, "output_tokens": 418},
        },
        "cohere",
        Tokens(input=5, output=418, total=423),
    ),
    "cohere, processed": (
        {"tokens": {"input_tokens": 1234, "output_tokens": 56}, "cached_tokens": 1000},
        "cohere",
        PLAIN,
    ),
    "langchain": (
        {
            "input_tokens": 1200,
            "output_tokens": 33,
            "total_tokens": 1233,
            "input_token_details": {"cache_read": 900, "cache_creation": 100},
            "output_token_details": {"reasoning": 7},
        },
        "anthropic",
        Tokens(input=200, cache_read=900, cache_write=100, output=33, reasoning=7, total=1233),
    ),
    "pydantic ai": (
        {"input_tokens": 1200, "cache_read_tokens": 900, "cache_write_tokens": 100, "output_tokens": 33},
        "anthropic",
        CLAUDE,
    ),
    "ollama": (
        {"prompt_eval_count": 26, "eval_count": 298, "total_duration": 5043500667},
        "ollama",
        Tokens(input=26, output=298, total=324),
    ),
    "a whole response": (
        {"id": "chatcmpl-1", "usage": {"prompt_tokens": 10, "completion_tokens": 5}},
        None,
        Tokens(input=10, output=5, total=15),
    ),
    "a whole gemini response": (
        {"usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5}},
        None,
        Tokens(input=10, output=5, total=15),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_buckets(case: str) -> None:
    """Each dialect's object gives the buckets worked out beside it."""
    usage, provider, expected = CASES[case]

    assert normalise(usage, provider) == expected


def test_every_dialect_has_a_case() -> None:
    """No row of the table goes untested: each is the first that knows some case's object."""
    ranks = {usage_module._rank(usage) for usage, _, _ in CASES.values()}

    assert ranks - {None} == set(range(len(SHAPES)))


def test_reported_zero_is_a_value() -> None:
    """A count of 0 stays 0, one that is absent or null stays None."""
    tokens = normalise(
        {
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": None,
        },
        "openai",
    )

    assert tokens == Tokens(input=0, cache_read=0, output=0, total=0)


@pytest.mark.parametrize(
    "usage",
    [{}, {"pages": 3}, {"prompt_tokens": None}, {"usage": {"pages": 3}}, {"input_tokens_details": {}}],
)
def test_unknown_object(usage: dict[str, object]) -> None:
    """What no dialect knows gives no count at all, rather than an error or a 0."""
    assert normalise(usage, "somebody") == Tokens()


@pytest.mark.parametrize("value", [-1, 1.5, "many", True, [1], {"value": 1}, float("nan"), 2**60])
def test_no_count(value: object) -> None:
    """A count that is no whole number from 0 to 2^53 refuses the event and names the field, not the value."""
    with pytest.raises(EventError) as caught:
        normalise({"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": value}}, None)

    assert caught.value.reason is Reason.BAD_FIELD
    assert caught.value.detail.startswith("prompt_tokens_details.cached_tokens must ")


def test_details_that_are_no_details() -> None:
    """An inner object that is none is passed over: the headline counts are worth having."""
    assert normalise({"prompt_tokens": 1, "prompt_tokens_details": 7}, None) == Tokens(input=1)


def test_split_that_exceeds_its_sum() -> None:
    """Cache writes told apart count in full where they contradict their sum."""
    tokens = normalise(
        {
            "input_tokens": 1,
            "output_tokens": 1,
            "cache_creation_input_tokens": 10,
            "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 40},
        },
        "anthropic",
    )

    assert (tokens.cache_write, tokens.cache_write_1h) == (5, 40)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"cost_in_usd_ticks": 232856000}, 23_285_600),  # xAI: 232,856,000 / 10^10 = 0.0232856 USD
        ({"cost": 0.00014}, 140_000),  # OpenRouter
        ({"cost": 0.95, "is_byok": True, "cost_details": {"upstream_inference_cost": 19}}, 19_950_000_000),
        ({"cost": 0.95, "is_byok": False, "cost_details": {"upstream_inference_cost": 19}}, 950_000_000),
        ({"cost": 0.95, "is_byok": True}, 950_000_000),
        ({"cost": {"total_cost": 0.409, "input_tokens_cost": 0.0}}, 409_000_000),  # Perplexity
        ({"cost": {"input": 0.000702, "total": 0.0018419999999999999}}, 1_842_000),  # OpenClaw
        ({"cost": {"input": 0, "output": 0, "total": 0}}, None),
        ({"cost": 0}, None),
        ({"cost": -1}, None),
        ({"cost": 2_000_000}, None),
        ({"cost": "cheap"}, None),
        ({"cost_in_usd_ticks": [1]}, None),
        ({"cost": {}}, None),
        ({}, None),
    ],
)
def test_reported_cost(usage: dict[str, object], expected: int | None) -> None:
    """A cost that the object states is read in nano-dollars; 0 and nonsense state none."""
    assert reported_nusd(usage) == expected


KEYS: Final = sorted(
    {
        key
        for shape in SHAPES
        for paths in (
            shape.marks,
            shape.input,
            shape.output,
            shape.cache_read,
            shape.cache_write,
            shape.total,
        )
        for path in paths
        for key in ((path,) if isinstance(path, str) else path)
    }
    | {"usage", "iterations", "cost", "type", "ttl", "cache_creation", "cacheDetails"}
)
VALUES: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=0, max_value=3000)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["compaction", "5m", "1h", "12"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=10,
)


@given(
    usage=st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), VALUES, max_size=8),
    provider=st.none() | st.sampled_from(["openai", "x-ai", "google", "anthropic.messages"]),
)
def test_anything(usage: dict[str, object], provider: str | None) -> None:
    """Any map gives buckets that are never negative and add up to their total, or a named refusal."""
    refused: Reason | None = None
    try:
        tokens = normalise(usage, provider)
    except EventError as error:
        refused = error.reason
        tokens = Tokens()
    cost = reported_nusd(usage)

    assert refused in {None, Reason.BAD_FIELD}
    assert cost is None or cost > 0
    buckets = (tokens.input, tokens.cache_read, tokens.cache_write, tokens.cache_write_1h, tokens.output)
    assert all(count is None or count >= 0 for count in (*buckets, tokens.reasoning, tokens.total))
    if tokens.input is not None and tokens.output is not None:
        assert tokens.total == sum(count or 0 for count in buckets)
        assert (tokens.reasoning or 0) <= tokens.output


@given(
    fresh=st.integers(min_value=0, max_value=10**6),
    read=st.integers(min_value=0, max_value=10**6),
    write=st.integers(min_value=0, max_value=10**6),
    out=st.integers(min_value=0, max_value=10**6),
)
def test_dialects_agree(fresh: int, read: int, write: int, out: int) -> None:
    """The same call told inclusively by one provider and exclusively by another has the same buckets."""
    exclusive: dict[str, object] = {
        "input_tokens": fresh,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": write,
        "output_tokens": out,
    }
    inclusive: dict[str, object] = {
        "prompt_tokens": fresh + read + write,
        "completion_tokens": out,
        "total_tokens": fresh + read + write + out,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": write},
    }

    assert normalise(exclusive, "anthropic") == normalise(inclusive, "openai")
