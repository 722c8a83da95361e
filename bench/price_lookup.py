"""Measure what pricing a call costs: time with its names known and forgotten, and memory.

Run by hand: ``python bench/price_lookup.py``. Times are CPU time of the thread, the best of several rounds,
so that a busy machine does not count; memory is what the process holds privately.
"""

import sqlite3
import time
import timeit
from collections.abc import Callable
from functools import partial

import psutil

from trace_agent.core.events import Tokens
from trace_agent.core.usage import normalise
from trace_agent.store.price_list import SHIPPED
from trace_agent.store.prices import Call, Prices

NOW_MS = 1_795_348_800_000
TOKENS = Tokens(input=234, cache_read=1000, cache_write=0, output=56, reasoning=7, total=1290)
NAMES: list[tuple[str | None, str]] = [
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-sonnet-4-5-20250929"),
    ("openai", "gpt-5"),
    ("openai", "gpt-5.6-luna"),
    ("openrouter", "anthropic/claude-sonnet-4.5"),
    ("aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("google", "gemini-2.5-pro"),
    ("azure.ai.openai", "gpt-4.1"),
    (None, "claude-sonnet-4-5"),
    ("ollama", "llama3"),
    ("my-gateway", "nobody-knows"),
]
USAGES: dict[str, dict[str, object]] = {
    "openai chat": {
        "prompt_tokens": 1234,
        "completion_tokens": 56,
        "total_tokens": 1290,
        "prompt_tokens_details": {"cached_tokens": 1000},
        "completion_tokens_details": {"reasoning_tokens": 7},
    },
    "anthropic": {
        "input_tokens": 200,
        "output_tokens": 33,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 900,
        "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
    },
    "openclaw": {"input": 234, "output": 56, "cacheRead": 1000, "cacheWrite": 0, "totalTokens": 1290},
}


def best_us(function: Callable[[], object], number: int = 2000) -> float:
    """Return microseconds of CPU time per call, the best of seven rounds."""
    rounds = timeit.repeat(function, number=number, repeat=7, timer=time.thread_time)
    return min(rounds) / number * 1e6


def private_bytes() -> int:
    """Return the memory that this process shares with nobody."""
    return int(psutil.Process().memory_full_info().uss)


def times_us(prices: Prices, call: Call) -> tuple[float, float]:
    """Return the time to price a call whose names are known, and one whose names were forgotten."""

    def cold() -> None:
        prices.forget()
        prices.cost(call, TOKENS)

    return best_us(partial(prices.cost, call, TOKENS), 20_000), best_us(cold)


def listed() -> list[tuple[str, str]]:
    """Return provider and name of every model in the table."""
    connection = sqlite3.connect(f"{SHIPPED.as_uri()}?mode=ro", uri=True)
    rows = connection.execute("SELECT p.name, m.name FROM models m JOIN providers p ON p.id = m.provider")
    names = rows.fetchall()
    connection.close()
    return names


def main() -> None:
    """Print the figures."""
    print(f"table: {SHIPPED.stat().st_size} bytes")
    names = listed()
    # What has to be imported and allocated once is not the look-up's.
    with Prices() as warm_up:
        warm_up.cost(Call(*NAMES[0], None, NOW_MS), TOKENS)
    before = private_bytes()
    prices = Prices()
    opened = private_bytes()
    for provider, model in names:
        prices.cost(Call(provider, model, None, NOW_MS), TOKENS)
    print(f"memory: {opened - before} bytes opened, {private_bytes() - before} after {len(names)} models")

    print(f"{'':24}{'':50}{'warm':>8}{'cold':>8}  us per call")
    for sender, model in NAMES:
        warm_us, cold_us = times_us(prices, Call(sender, model, None, NOW_MS))
        print(f"{sender!s:24}{model:50}{warm_us:8.1f}{cold_us:8.1f}")
    prices.close()

    for name, usage in USAGES.items():
        print(f"normalise {name:64}{best_us(partial(normalise, usage, None)):8.1f}")


if __name__ == "__main__":
    main()
