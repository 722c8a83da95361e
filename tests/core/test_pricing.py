"""Costs from buckets and rates, in whole nano-dollars; the expected numbers are worked out by hand."""

from fractions import Fraction
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.core.events import Tokens
from trace_agent.core.price_plan import AUSD_DIGITS, FREE, Level, Period, Plan, Rates, ausd_of, rates_at
from trace_agent.core.pricing import context_of, cost_nusd, explain, prompt_tokens

USD: Final = 10**AUSD_DIGITS
DAY_MS: Final = 24 * 60 * 60 * 1000
# 3, 15, 0.30, 3.75 and 6 USD per million.
SONNET: Final = Rates(
    input=3 * USD,
    cache_read=3 * USD // 10,
    cache_write=375 * USD // 100,
    cache_write_1h=6 * USD,
    output=15 * USD,
)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        # 234 x 3,000 + 1,000 x 300 + 56 x 15,000 nano-dollars
        (Tokens(input=234, cache_read=1000, output=56, reasoning=7, total=1290), 1_842_000),
        # 200 x 3,000 + 900 x 300 + 100 x 3,750 + 33 x 15,000
        (Tokens(input=200, cache_read=900, cache_write=100, output=33), 1_740_000),
        # 60 x 3,750 + 40 x 6,000
        (Tokens(input=0, cache_write=60, cache_write_1h=40, output=0), 465_000),
        (Tokens(input=0, output=0), 0),
        # An embedding has no output, an interrupted stream may have lost its input.
        (Tokens(input=8, total=8), 24_000),
        (Tokens(output=33), 495_000),
        # A total alone cannot be priced.
        (Tokens(total=8), None),
        (Tokens(cache_read=8), None),
        (Tokens(), None),
    ],
)
def test_cost(tokens: Tokens, expected: int | None) -> None:
    """Each bucket costs its own price; what says too little has no cost."""
    assert cost_nusd(tokens, SONNET) == expected


@pytest.mark.parametrize(
    ("rates", "tokens", "expected"),
    [
        # Cache tokens without a price are input: (1 + 2 + 3 + 4) x 1,000.
        (Rates(input=USD, output=2 * USD), Tokens(1, 2, 3, 4, 0), 10_000),
        # An hour's write without a price is a write: 3 x 1,250 + 4 x 1,250.
        (Rates(input=USD, cache_write=5 * USD // 4, output=0), Tokens(0, 0, 3, 4, 0), 8_750),
        # A price of 0 is a price.
        (Rates(input=USD, cache_read=0, output=USD), Tokens(1, 1000, 0, 0, 0), 1_000),
        # Reasoning apart: 49 x 8,000 + 7 x 3,000.
        (Rates(input=USD, output=8 * USD, reasoning=3 * USD), Tokens(0, output=56, reasoning=7), 413_000),
        # More reasoning than output cannot be: all of it is reasoning.
        (Rates(input=USD, output=8 * USD, reasoning=3 * USD), Tokens(0, output=5, reasoning=7), 15_000),
        # 12 USD per thousand calls, and a token.
        (Rates(input=USD, output=USD, request=12_000 * USD), Tokens(1, output=0), 12_001_000),
        # No price for output: fine while there is none, else the cost is unknown, not a part of it.
        (Rates(input=USD), Tokens(7, output=0), 7_000),
        (Rates(input=USD), Tokens(7, output=1), None),
        (Rates(output=USD), Tokens(7, output=1), None),
        (Rates(), Tokens(7, output=1), None),
        (Rates(), Tokens(0, output=0), 0),
    ],
)
def test_prices_of_what_it_is_part_of(rates: Rates, tokens: Tokens, expected: int | None) -> None:
    """A bucket without a price of its own is billed as the bucket around it, and never for nothing."""
    assert cost_nusd(tokens, rates) == expected


@pytest.mark.parametrize(
    ("price", "tokens", "expected"),
    [
        ("0.0005", 1, 1),  # half a nano-dollar goes up
        ("0.000499999999999999", 1, 0),
        ("0.0005", 3, 2),  # 1.5
        ("0.0001", 4, 0),
        ("0.0001", 5, 1),
    ],
)
def test_rounding(price: str, tokens: int, expected: int) -> None:
    """A cost is rounded to the nearest nano-dollar, half up."""
    assert cost_nusd(Tokens(tokens, output=0), Rates(input=ausd_of(price), output=0)) == expected


def test_rounded_once() -> None:
    """Fractions of nano-dollars in several buckets add up before they are rounded."""
    price = ausd_of("0.0004")

    # 0.4 + 0.4 + 0.4 = 1.2, where rounding each would give 0
    assert cost_nusd(Tokens(1, 1, output=1), Rates(input=price, output=price)) == 1


def test_big_numbers_are_exact() -> None:
    """No float takes part: 2^53 tokens at an awkward price come out to the nano-dollar."""
    cost = cost_nusd(Tokens(2**53, output=0), Rates(input=ausd_of("0.041666666666666664"), output=0))

    # 9007199254740992 x 41.666666666666664 nano-dollars
    assert cost == round(Fraction(2**53) * Fraction("41.666666666666664"))


def test_size_of_request() -> None:
    """A request is as large as all that went in, cached or not; the answer does not count."""
    assert prompt_tokens(Tokens(1, 2, 4, 8, 16, 32, 64)) == 15
    assert prompt_tokens(Tokens(output=3)) == 0


def test_time_without_a_price() -> None:
    """A model that was withdrawn from the list has no price from then on."""
    plan = Plan((Period((Level(-1, SONNET),)), Period((), from_ms=DAY_MS)))

    assert cost_nusd(Tokens(1, output=1), rates_at(plan, 0, 1)) == 18_000
    assert cost_nusd(Tokens(1, output=1), rates_at(plan, DAY_MS, 1)) is None


def test_free_is_a_price() -> None:
    """A free model costs 0, cached or not, which is not unknown."""
    assert cost_nusd(Tokens(1, 2, 3, 4, 5), rates_at(FREE, 0, 1)) == 0


def test_explain() -> None:
    """An explanation has a line for each bucket with tokens, exact and unrounded."""
    lines = explain(
        Tokens(input=234, cache_read=1000, cache_write=0, output=56, reasoning=7),
        Rates(input=3 * USD, cache_read=ausd_of("0.3"), output=15 * USD, request=ausd_of("0.0005")),
    )

    assert [(line.bucket, line.count, line.usd_per_million, line.nusd) for line in lines] == [
        ("input", 234, "3", "702000"),
        ("cache_read", 1000, "0.3", "300000"),
        ("output", 56, "15", "840000"),
        ("request", 1, "0.0005", "0.5"),
    ]


def test_explain_what_is_missing() -> None:
    """An explanation names the bucket that has no price."""
    lines = explain(Tokens(input=2, output=3), Rates(input=USD))

    assert [(line.bucket, line.usd_per_million, line.nusd) for line in lines] == [
        ("input", "1", "2000"),
        ("output", None, None),
    ]


COUNTS: Final = st.none() | st.integers(min_value=0, max_value=2**53)
PRICES: Final = st.none() | st.integers(min_value=0, max_value=10**22)


@given(st.builds(Tokens, *[COUNTS] * 7), st.builds(Rates, *[PRICES] * 7))
def test_lines_add_up(tokens: Tokens, rates: Rates) -> None:
    """The lines of an explanation add up to the cost, rounded once; a line without a price leaves none."""
    lines = explain(tokens, rates)
    cost = cost_nusd(tokens, rates)

    untold = tokens.input is None and tokens.output is None
    if untold or any(line.nusd is None for line in lines):
        assert cost is None
    else:
        total = sum((Fraction(line.nusd or 0) for line in lines), Fraction(0))
        assert cost is not None
        assert Fraction(-1, 2) < cost - total <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ((None, None), None),
        (('{"input_tokens":1}', '{"service":"mine"}'), None),
        (('{"input_tokens":1,"service_tier":"flex"}', None), {"service_tier": "flex"}),
        # Anthropic's word for what the list calls processing.
        (('{"service_tier":"batch"}',), {"service_tier": "batch", "processing": "batch"}),
        (('{"speed":"fast"}',), {"speed": "fast"}),
        (('{"speed":"Fast","service_tier":null}',), {"speed": "fast"}),
        (('{"processing":"batch"}',), {"processing": "batch"}),
        # What was given before what was asked for, the usage before the attributes.
        (
            (
                None,
                '{"openai.request.service_tier":"auto","openai.response.service_tier":"priority"}',
            ),
            {"service_tier": "priority"},
        ),
        (('{"service_tier":"default"}', '{"service_tier":"flex"}'), {"service_tier": "default"}),
        (('{"service_tier":7}',), None),
        (('["service_tier"]',), None),
        (('{"text":"the service_tier is a word"}',), None),
        (('{"inner":{"service_tier":"flex"}}',), None),
    ],
)
def test_context(objects: tuple[str | None, ...], expected: dict[str, str] | None) -> None:
    """How a call was served is read from its usage and attributes, where they say so themselves."""
    assert context_of(*objects) == expected
