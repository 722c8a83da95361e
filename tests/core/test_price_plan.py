"""Plans narrowed to rates by time, size and service; prices read exactly."""

import json
from fractions import Fraction
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.core.price_plan import (
    AUSD_DIGITS,
    Level,
    Period,
    Plan,
    Rates,
    ausd_of,
    rates_at,
    read_plan,
)

USD: Final = 10**AUSD_DIGITS
HOUR_MS: Final = 60 * 60 * 1000
DAY_MS: Final = 24 * HOUR_MS


def plan_of(*rates: Rates) -> Plan:
    """Return a plan of one period with these rates above -1, 200,000, 400,000, .."""
    levels = [Level(-1 if not step else 200_000 * step, each) for step, each in enumerate(rates)]
    return Plan((Period(tuple(levels)),))


@pytest.mark.parametrize(("size", "price"), [(0, 1), (200_000, 1), (200_001, 2), (400_000, 2), (400_001, 3)])
def test_larger_requests(size: int, price: int) -> None:
    """Beyond a threshold, not at it, the whole request has the other price."""
    plan = plan_of(Rates(input=1), Rates(input=2), Rates(input=3))

    assert rates_at(plan, 0, size).input == price


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


def test_variants() -> None:
    """How a call was served replaces the prices that the variant names, the first variant first."""
    prices = {"digits": 0, "periods": [{"levels": [[-1, 10, 1, None, None, 40]]}]}
    variants = {
        "digits": 1,
        "periods": [
            {"when": {"service_tier": "flex"}, "levels": [[-1, 55], [200, 66]]},
            {"when": {"service_tier": "flex"}, "levels": [[-1, 1, None, None, None, 200]]},
            {"when": {"service_tier": "flex", "speed": "fast"}, "levels": [[-1, None, None, None, None, 1]]},
            {"when": {"processing": "batch"}, "from": DAY_MS, "levels": [[-1, 50]]},
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
        '{"digits":2,"periods":[{"levels":[[-1,300,30],[200000,600]]},'
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
