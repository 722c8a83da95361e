"""The user's own prices: a TOML document in, plans by name out, and every mistake named."""

import tomllib
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.core.errors import SettingsError
from trace_agent.core.events import Tokens
from trace_agent.core.price_overrides import NO_OVERRIDES, Overrides, read_overrides
from trace_agent.core.price_plan import rates_at
from trace_agent.core.pricing import cost_nusd, prompt_tokens

DAY_MS: Final = 24 * 60 * 60 * 1000
# 2026-01-01 is 20,454 days after 1970-01-01.
NEW_YEAR_MS: Final = 20_454 * DAY_MS


def read(text: str) -> Overrides:
    """Read a document as the settings do, with exact decimals."""
    return read_overrides(tomllib.loads(text, parse_float=str))


def cost(
    overrides: Overrides, model: str, tokens: Tokens, provider: str | None = None, ts_ms: float = NEW_YEAR_MS
) -> int | None:
    """Return what a call costs by the user's prices, or -1 if they say nothing of it."""
    plan = overrides.find(provider, model)
    if plan is None:
        return -1
    return cost_nusd(tokens, rates_at(plan, ts_ms, prompt_tokens(tokens)))


def test_every_key() -> None:
    """Each bucket has its price, each call one more, and larger requests others."""
    overrides = read("""
        [[price]]
        model = "my-model"
        input = 2.70
        output = 13.50
        cache_read = 0.27
        cache_write = 3.375
        cache_write_1h = 5.40
        reasoning = 20
        per_call = 0.001
        [[price.above]]
        tokens = 1000
        input = 5.40
        per_call = 0.002
        [[price.above]]
        tokens = 2000
        output = 100
    """)

    # 100 x 2,700 + 200 x 270 + 300 x 3,375 + 10 x 5,400 + 6 x 13,500 + 4 x 20,000 + 1,000,000
    small = Tokens(100, 200, 300, 10, 10, 4)
    assert cost(overrides, "my-model", small) == 2_551_500
    # What the larger request does not name stays: 1,001 x 5,400 + 1 x 13,500 + 2,000,000.
    assert cost(overrides, "my-model", Tokens(1001, output=1)) == 7_418_900
    assert cost(overrides, "my-model", Tokens(1000, output=1)) == 3_713_500
    # 2,001 x 5,400 + 1 x 100,000 + 2,000,000
    assert cost(overrides, "my-model", Tokens(2001, output=1)) == 12_905_400


def test_exact_decimals() -> None:
    """A price is what the file says in decimal, whether TOML was read with floats or without."""
    text = '[[price]]\nmodel = "m"\ninput = 0.1\noutput = 1e-3\n'

    for document in (tomllib.loads(text), tomllib.loads(text, parse_float=str)):
        # 3 x 100 + 500 x 1
        assert cost(read_overrides(document), "m", Tokens(3, output=500)) == 800


@pytest.mark.parametrize(
    ("model", "provider", "fits"),
    [
        ("gpt-4o", None, True),
        ("GPT-4o", "openai", True),
        ("openai/gpt-4o", None, True),
        ("gpt-4o-2024-08-06", "openai", True),
        ("gpt-4o-mini", "openai", False),
        ("team-gpt", "openai", True),
        ("nothing", "openai", False),
    ],
)
def test_names(model: str, provider: str | None, fits: bool) -> None:
    """A price is for its model in any spelling, and for its aliases."""
    overrides = read('[[price]]\nmodel = "gpt-4o"\naliases = ["Team-GPT"]\ninput = 1\noutput = 1\n')

    assert (overrides.find(provider, model) is not None) is fits


@pytest.mark.parametrize(
    ("model", "provider", "nusd"),
    [
        ("anything", "my-gateway", 2000),
        ("anything", "MY-GATEWAY", 2000),
        ("anything", None, 1000),
        ("anything", "other", 1000),
        ("claude-opus-4-5", "other", 3000),
        ("claude-opus-4-5", "eu-west", 4000),
        ("x", "eu/west", 5000),
    ],
)
def test_patterns(model: str, provider: str | None, nusd: int) -> None:
    """`*` matches anything, a provider narrows, and the last price that fits wins."""
    overrides = read("""
        [[price]]
        model = "*"
        input = 1
        [[price]]
        model = "*"
        provider = "my-gateway"
        input = 2
        [[price]]
        model = "claude-*"
        input = 3
        [[price]]
        model = "claude-opus-*"
        provider = "eu-*"
        input = 4
        [[price]]
        model = "eu/*/x"
        input = 5
    """)

    assert cost(overrides, model, Tokens(1, output=0), provider) == nusd


def test_effective_from() -> None:
    """A price holds from its date on, and before all of them none does."""
    overrides = read("""
        [[price]]
        model = "m"
        effective_from = 2026-01-01
        input = 1
        [[price]]
        model = "m"
        effective_from = 2026-01-03T12:00:00+12:00
        input = 2
        [[price]]
        model = "m"
        effective_from = "2026-01-05T06:00:00"
        input = 3
    """)
    plan = overrides.find(None, "m")
    assert plan is not None

    days = [(0, 1), (1.99, 1), (2, 2), (4.249, 2), (4.25, 3)]
    assert [
        cost_nusd(Tokens(1, output=0), rates_at(plan, NEW_YEAR_MS + day * DAY_MS, 1)) for day, _ in days
    ] == [price * 1000 for _, price in days]
    assert not any(period.holds(NEW_YEAR_MS - 1) for period in plan.periods)


def test_aliases() -> None:
    """A name of the agent's stands for one of the list's, alone or for one provider."""
    overrides = read("""
        [aliases]
        "Prod-Chat" = "azure/gpt-4o"
        "my-gateway/fast" = "claude-haiku-4-5"
    """)

    assert overrides.alias_of("any", "prod-chat") == "azure/gpt-4o"
    assert overrides.alias_of(None, "prod-chat") == "azure/gpt-4o"
    assert overrides.alias_of("my-gateway", "Fast") == "claude-haiku-4-5"
    assert overrides.alias_of("other", "fast") is None
    assert overrides.alias_of(None, "fast") is None


def test_version() -> None:
    """The version of the prices changes with them, and only with them."""
    one = read('[[price]]\nmodel = "m"\ninput = 1\n')
    same = read('# the same\n[[price]]\ninput = 1\nmodel = "m"\n')
    other = read('[[price]]\nmodel = "m"\ninput = 2\n')

    assert one.version == same.version
    assert one.version != other.version
    assert read("") is NO_OVERRIDES
    assert NO_OVERRIDES.version is None


@pytest.mark.parametrize(
    ("text", "key", "value", "remedy"),
    [
        ("prices = 1", "prices", "1", "known are price, aliases"),
        ("price = 1", "price", "1", "[[price]]"),
        ("[price]\nmodel = 'm'", "price", "{'model': 'm'}", "[[price]]"),
        ("[[price]]\ninput = 1", "price[1].model", "missing", "name of a model"),
        ("[[price]]\nmodel = ''\ninput = 1", "price[1].model", "", "name of a model"),
        ("[[price]]\nmodel = 'm'", "price[1].input", "missing", "input, output or both"),
        ("[[price]]\nmodel = 'm'\ncache_read = 1", "price[1].input", "missing", "input, output or both"),
        ("[[price]]\nmodel = 'm'\ninput = -1", "price[1].input", "-1", "a million tokens in USD"),
        ("[[price]]\nmodel = 'm'\ninput = 'much'", "price[1].input", "much", "a million tokens in USD"),
        ("[[price]]\nmodel = 'm'\ninput = nan", "price[1].input", "nan", "a million tokens in USD"),
        ("[[price]]\nmodel = 'm'\ninput = true", "price[1].input", "True", "a million tokens in USD"),
        # 3 USD per token: somebody mistook the unit.
        ("[[price]]\nmodel = 'm'\ninput = 3e6", "price[1].input", "3e6", "a million tokens in USD"),
        ("[[price]]\nmodel = 'm'\ninput = 1\nper_call = 'x'", "price[1].per_call", "x", "each call in USD"),
        ("[[price]]\nmodel = 'm'\ninputs = 1", "price[1].inputs", "1", "known are model, provider"),
        ("[[price]]\nmodel = 'm'\ninput = 1\naliases = 'x'", "price[1].aliases", "x", "a list of names"),
        ("[[price]]\nmodel = 'm'\ninput = 1\naliases = [1]", "price[1].aliases", "[1]", "a list of names"),
        ("[[price]]\nmodel = 'm'\ninput = 1\nprovider = 1", "price[1].provider", "1", "name of a provider"),
        (
            "[[price]]\nmodel = 'm'\ninput = 1\neffective_from = 'soon'",
            "price[1].effective_from",
            "soon",
            "a date such as 2026-01-31",
        ),
        (
            "[[price]]\nmodel = 'm'\ninput = 1\neffective_from = 12:00:00",
            "price[1].effective_from",
            "12:00:00",
            "a date such as 2026-01-31",
        ),
        ("[[price]]\nmodel = 'm'\ninput = 1\nabove = 2", "price[1].above", "2", "[[price.above]]"),
        (
            "[[price]]\nmodel = 'm'\ninput = 1\n[[price.above]]\ninput = 2",
            "price[1].above[1].tokens",
            "missing",
            "a number of tokens",
        ),
        (
            "[[price]]\nmodel = 'm'\ninput = 1\n[[price.above]]\ntokens = 5\n[[price.above]]\ntokens = 5",
            "price[1].above[2].tokens",
            "5",
            "larger than the one before",
        ),
        (
            "[[price]]\nmodel = 'm'\ninput = 1\n[[price.above]]\ntokens = 5\nmodel = 'n'",
            "price[1].above[1].model",
            "n",
            "known are tokens, input",
        ),
        ("[[price]]\nmodel = 'm'\ninput = 1\n[[price]]\ninput = 2", "price[2].model", "missing", "name of"),
        ("aliases = 1", "aliases", "1", "a table of"),
        ("[aliases]\nx = 1", 'aliases."x"', "1", "a name in the price list"),
        ("[aliases]\nx = ''", 'aliases."x"', "", "a name in the price list"),
    ],
)
def test_mistakes(text: str, key: str, value: str, remedy: str) -> None:
    """A mistake is told with its place, its value and what would be right."""
    with pytest.raises(SettingsError) as caught:
        read(text)

    assert caught.value.key == f"prices_file: {key}"
    assert caught.value.value == value
    assert remedy in caught.value.remedy


ANYTHING: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["model", "input", "output", "above", "tokens", "aliases", "effective_from"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["price", "aliases", "x"]), ANYTHING, max_size=3))
def test_any_document(document: dict[str, object]) -> None:
    """Any document is read, or refused with a SettingsError and nothing else."""
    try:
        overrides = read_overrides(document)
    except SettingsError:
        return

    overrides.find("provider", "model")
    overrides.alias_of("provider", "model")
    assert (overrides.version is None) == (not overrides.entries and not overrides.aliases)
