"""Events are made fit to be stored: secrets masked before anything is cut, words bounded, calls priced."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from trace_agent.core.events import Event, Failure, Llm, Text, TextKind, Tokens
from trace_agent.core.fields import EventReader
from trace_agent.core.pricing import Basis
from trace_agent.core.redact import Redactor
from trace_agent.core.settings import TextPolicy
from trace_agent.store.preparation import AS_IT_CAME, Preparation
from trace_agent.store.price_list import SHIPPED
from trace_agent.store.prices import Prices

KEY = "sk-ant-api03-" + "Ab3_" * 23 + "-Zx9QAA"
READER = EventReader(lambda _: "made", lambda: None)


def call(**fields: object) -> Llm:
    """Return the call that a map of fields describes."""
    made = READER.read(
        {"type": "llm", "model": "claude-sonnet-4-5", "provider": "anthropic", **fields}, 0, "udp"
    )
    assert isinstance(made, Llm)
    return made


@pytest.fixture
def prices() -> Iterator[Prices]:
    """Open the shipped price table."""
    with Prices() as opened:
        yield opened


def test_as_it_came() -> None:
    """Without settings nothing is changed and nothing has a price."""
    plain = call(input=KEY, tokens={"input": 5, "output": 1})

    assert AS_IT_CAME.prepare(plain) is plain
    assert (AS_IT_CAME.cost(plain).nusd, AS_IT_CAME.cost(plain).basis) == (None, Basis.UNKNOWN)


def test_secrets_are_masked_everywhere() -> None:
    """A key is masked in words, attributes and messages, of calls, events and errors."""
    preparation = Preparation(redactor=Redactor())
    prepared = [
        preparation.prepare(call(input=f"use {KEY}", output=[{"role": "assistant", "content": KEY}])),
        preparation.prepare(call(attributes={"note": KEY}, error={"message": f"bad key {KEY}"})),
        preparation.prepare(
            Event("e", True, 0, 0, None, None, None, None, None, f'{{"key":"{KEY}"}}', name="started")
        ),
        preparation.prepare(
            Failure("f", True, 0, 0, None, None, None, None, None, None, kind="x", message=KEY, stack=KEY)
        ),
    ]

    assert KEY not in repr(prepared)
    assert repr(prepared).count("[redacted:") == 7


def test_a_secret_at_the_cut_is_masked_whole() -> None:
    """Masking comes before cutting: half a secret would not be known for one."""
    preparation = Preparation(redactor=Redactor(), limit_bytes=1000)
    prepared = preparation.prepare(call(input="word " * 195 + KEY))

    assert isinstance(prepared, Llm)
    assert prepared.input is not None
    assert KEY[:20] not in prepared.input.parts[0]


def test_text_modes() -> None:
    """`off` keeps no words, `hash` two words about them, and the numbers stay."""
    spoken = call(input="hello", output="there", tokens={"input": 3, "output": 1})
    off = Preparation(text=TextPolicy.OFF).prepare(spoken)
    hashed = Preparation(text=TextPolicy.HASH).prepare(spoken)

    assert off == evolve(spoken, input=None, output=None)
    assert isinstance(hashed, Llm)
    assert hashed.input != Text(TextKind.TEXT, ("hello",))
    assert '"bytes":5' in repr(hashed.input)


def test_twice_is_once() -> None:
    """A batch that has to be tried again comes out the same."""
    preparation = Preparation(redactor=Redactor(), limit_bytes=100)
    once = preparation.prepare(call(input=f"{KEY} " * 20))

    assert preparation.prepare(once) == once


def test_cost(prices: Prices) -> None:
    """A call is priced by its buckets: 12 at 3, 1500 at 0.3 and 5 at 15 dollars a million."""
    cost = Preparation(prices=prices).cost(call(tokens={"input": 12, "cache_read": 1500, "output": 5}))

    assert (cost.nusd, cost.basis) == (12 * 3_000 + 1500 * 300 + 5 * 15_000, Basis.LIST)


def test_a_broken_price_table_costs_no_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A table that cannot be read leaves the call without a price; the error is no damage of the database."""
    table = tmp_path / "prices.sqlite"
    table.write_bytes(SHIPPED.read_bytes())
    with Prices(table) as prices:
        # Behind the header and the first page, which were read when it was opened.
        table.write_bytes(table.read_bytes()[:8192] + b"\xff" * (table.stat().st_size - 8192))
        cost = Preparation(prices=prices).cost(call(tokens={"input": 1, "output": 1}))

    assert (cost.nusd, cost.basis) == (None, Basis.UNKNOWN)
    assert "price table cannot be read" in caplog.text


def test_a_cost_beyond_sqlite_is_unknown(prices: Prices) -> None:
    """Token counts that nobody can have used give no cost, not a call that cannot be stored."""
    absurd = evolve(call(), tokens=Tokens(input=2**53, output=2**53, total=2**54))

    assert Preparation(prices=prices).cost(absurd).nusd is None
