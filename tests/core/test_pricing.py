"""Costs from buckets and plans, in whole nano-dollars; the expected numbers are worked out by hand."""

import json
from fractions import Fraction
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.core.events import Tokens
from trace_agent.core.pricing import (
    AUSD_DIGITS,
    FREE,
    Level,
    Period,
    Plan,
    Rates,
    ausd_of,
    context_of,
    cost_nusd,
    explain,
    prompt_tokens,
    rates_at,
    read_plan,
)

USD: Final = 10**AUSD_DIGITS
HOUR_MS: Final = 60 * 60 * 1000
DAY_MS: Final = 24 * HOUR_MS
# 3, 15, 0.30, 3.75 and 6 USD per million.
SONNET: Final = Rates(
    input=3 * USD,
    cache_read=3 * USD // 10,
    cache_write=375 * USD // 100,
    cache_write_1h=6 * USD,
    output=15 * USD,
)


def plan_of(*rates: Rates) -> Plan:
    """Return a plan of one period with these rates above -1, 200,000, 400,000, .."""
    levels = [Level(-1 if not step else 200_000 * step, each) for step, each in enumerate(rates)]
    return Plan((Period(tuple(levels)),))


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


@pytest.mark.parametrize(("size", "price"), [(0, 1), (200_000, 1), (200_001, 2), (400_000, 2), (400_001, 3)])
def test_larger_requests(size: int, price: int) -> None:
    """Beyond a threshold, not at it, the whole request has the other price."""
    plan = plan_of(Rates(input=1), Rates(input=2), Rates(input=3))

    assert rates_at(plan, 0, size).input == price


def test_size_of_request() -> None:
    """A request is as large as all that went in, cached or not; the answer does not count."""
    assert prompt_tokens(Tokens(1, 2, 4, 8, 16, 32, 64)) == 15
    assert prompt_tokens(Tokens(output=3)) == 0


@pytest.mark.parametrize(
    ("ts_ms", "price"),
    [
        (0, 1),
        (10 * DAY_MS - 1, 1),
        (10 * DAY_MS, 2),
        (20 * DAY_MS - 0.5, 2),
        (20 * DAY_MS, 3),
        (99 * DAY_MS, 3),
    ],
)
def test_start_dates(ts_ms: float, price: int) -> None:
    """A price holds from its date on; a call before all of them has the first."""
    plan = Plan(
        (
            Period((Level(-1, Rates(input=1)),), from_ms=5 * DAY_MS),
            Period((Level(-1, Rates(input=2)),), from_ms=10 * DAY_MS),
            Period((Level(-1, Rates(input=3)),), from_ms=20 * DAY_MS),
        )
    )

    assert rates_at(plan, ts_ms, 1).input == price


@pytest.mark.parametrize(
    ("hours", "hour", "price"),
    [
        ((1, 4), 0, 1),
        ((1, 4), 1, 2),
        ((1, 4), 3.999, 2),
        ((1, 4), 4, 1),
        ((22, 4), 23, 2),  # across midnight
        ((22, 4), 3, 2),
        ((22, 4), 4, 1),
        ((22, 4), 12, 1),
        ((6, 6), 6, 1),  # no time at all
    ],
)
def test_hours_of_the_day(hours: tuple[int, int], hour: float, price: int) -> None:
    """A price for hours of the day holds then, in UTC, on every day."""
    daily = (hours[0] * HOUR_MS, hours[1] * HOUR_MS)
    plan = Plan(
        (
            Period((Level(-1, Rates(input=1)),)),
            Period((Level(-1, Rates(input=2)),), daily_ms=daily),
        )
    )

    assert rates_at(plan, 20_000 * DAY_MS + hour * HOUR_MS, 1).input == price


def test_time_without_a_price() -> None:
    """A model that was withdrawn from the list has no price from then on."""
    plan = Plan((Period((Level(-1, SONNET),)), Period((), from_ms=DAY_MS)))

    assert cost_nusd(Tokens(1, output=1), rates_at(plan, 0, 1)) == 18_000
    assert cost_nusd(Tokens(1, output=1), rates_at(plan, DAY_MS, 1)) is None


def test_variants() -> None:
    """How a call was served replaces the prices that the variant names, the first variant first."""
    prices = {"digits": 0, "periods": [{"levels": [[-1, {"input": 10, "cache_read": 1, "output": 40}]]}]}
    variants = {
        "digits": 1,
        "periods": [
            {"when": {"service_tier": "flex"}, "levels": [[-1, {"input": 55}], [200, {"input": 66}]]},
            {"when": {"service_tier": "flex"}, "levels": [[-1, {"input": 1, "output": 200}]]},
            {"when": {"service_tier": "flex", "speed": "fast"}, "levels": [[-1, {"output": 1}]]},
            {"when": {"processing": "batch"}, "from": DAY_MS, "levels": [[-1, {"input": 50}]]},
        ],
    }
    plan = read_plan(json.dumps(prices), json.dumps(variants))

    def at(context: dict[str, str] | None, size: int = 1, ts_ms: int = 0) -> list[float]:
        rates = rates_at(plan, ts_ms, size, context)
        return [(price or 0) / USD for price in (rates.input, rates.cache_read, rates.output)]

    assert at(None) == at({}) == at({"service_tier": "default"}) == [10, 1, 40]
    assert at({"service_tier": "flex"}) == [5.5, 1, 20]
    assert at({"service_tier": "flex"}, size=201) == [6.6, 1, 20]
    assert at({"processing": "batch"}) == [10, 1, 40]
    assert at({"processing": "batch"}, ts_ms=DAY_MS) == [5, 1, 40]


def test_read_plan() -> None:
    """A plan is read as the table keeps it: sizes, start date, hours, prices in its own unit."""
    text = (
        '{"digits":2,"periods":[{"levels":[[-1,{"input":300,"cache_read":30}],[200000,{"input":600}]]},'
        '{"from":86400000,"daily":[3600000,7200000],"levels":[]}]}'
    )

    assert read_plan(text, "{}") == Plan(
        (
            Period(
                (
                    Level(-1, Rates(input=3 * USD, cache_read=3 * USD // 10)),
                    Level(200_000, Rates(input=6 * USD)),
                )
            ),
            Period((), from_ms=86_400_000, daily_ms=(3_600_000, 7_200_000)),
        ),
        "{}",
    )


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


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3 * USD),
        (0, 0),
        ("3.75", 375 * USD // 100),
        ("0.000000000000000001", 1),
        ("0.0000000000000000019", 1),  # finer than an attodollar: cut
        (0.3, 3 * USD // 10),
        (0.1 + 0.2, 300000000000000040),  # prints 0.30000000000000004
        (1e-05, 10**13),
        (2.5e3, 2500 * USD),
        ("1E+2", 100 * USD),
        (".5", USD // 2),
        ("5.", 5 * USD),
        (-1, None),
        ("-0.5", None),
        ("", None),
        (".", None),
        ("1.2.3", None),
        ("1e", None),
        ("1e999", None),
        ("1e-99", 0),
        pytest.param(10**5000, None, id="no end"),
        ("1_000", None),
        ("٣", None),
        ("nan", None),
        (float("nan"), None),
        (float("inf"), None),
        ("9" * 41, None),
        (True, None),
        (None, None),
        ([3], None),
    ],
)
def test_ausd_of(value: object, expected: int | None) -> None:
    """Numbers and their texts are read without a float's error; what is no price is None."""
    assert ausd_of(value) == expected


@given(st.decimals(min_value=0, max_value=10**9, allow_nan=False, places=18))
def test_ausd_of_any_decimal(value: object) -> None:
    """Any decimal price is read exactly."""
    assert ausd_of(str(value)) == int(Fraction(str(value)) * USD)


@given(st.text(max_size=20) | st.floats() | st.integers() | st.none())
def test_ausd_of_anything(value: object) -> None:
    """Any value is a price that is not negative, or none."""
    ausd = ausd_of(value)

    assert ausd is None or ausd >= 0


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
