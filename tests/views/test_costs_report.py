"""`costs` on the command line, for people and for programs."""

import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.views.building import NOW_MS, StoreBuilder
from tests.views.commanding import Done, command
from tests.views.test_api import ask_json, made
from trace_agent.core.errors import StoreError
from trace_agent.core.settings import Settings
from trace_agent.views import commands
from trace_agent.views.costs_report import bar, money_places, money_text, run_costs

DAY_MS = 86_400_000


@pytest.fixture(autouse=True)
def still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line's clock stands at NOW_MS."""
    monkeypatch.setattr(commands, "_now_ms", lambda: NOW_MS)


def fill(store: StoreBuilder) -> None:
    """Add three days with calls, and one between them without."""
    store.call(
        model="claude", agent="a", reported_nusd=2_000_000_000, computed_nusd=2_500_000_000,
        tokens={"input": 1000, "cache_read": 3000, "cache_write": 400, "output": 50, "total": 4450},
    )  # fmt: skip
    store.call(
        model="claude", agent="a", computed_nusd=500_000_000, ts_ms=NOW_MS - DAY_MS, tokens={"input": 10}
    )
    store.call(model="claude", agent="b", status="error", ts_ms=NOW_MS - DAY_MS)
    store.call(model="gpt", agent="b", computed_nusd=120_000, ts_ms=NOW_MS - 3 * DAY_MS)


def table(done: Done) -> list[list[str]]:
    """Return the words of a table, head first."""
    return [line.split() for line in done.out.split("\n\n")[0].splitlines()]


def test_models_for_people(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """A line a model, the dearest first, with what is unknown apart, and what it all comes to below."""
    fill(store)
    done = command(capsys, own_settings, "costs")

    assert (done.code, done.err) == (0, "")
    assert table(done) == [
        ["MODEL", "CALLS", "FAILED", "IN", "FRESH", "READ", "WRITTEN", "CACHED", "OUT", "COST", "UNPRICED",
         "SENDER'S", "OURS"],
        ["claude", "3", "1", "4,410", "1,010", "3,000", "400", "68.2%", "50", "$2.50000", "1",
         "$2.00000", "$2.50000"],
        ["gpt", "1", "0", "-", "-", "-", "-", "-", "-", "$0.00012", "0", "-", "-"],
    ]  # fmt: skip
    total, *rest = done.out.split("\n\n")[1].splitlines()
    assert total == (
        "4 model calls · 1 failed · 4,410 tokens in (68.2% from a cache) · 50 out"
        " · $2.50012 + 1 call of unknown price"
    )
    assert rest == [
        "Why a price is unknown: trace-agent prices missing",
        "Of 1 call both costs are known: the sender's $2.00000, ours $2.50000 (+25.0%)",
    ]


def test_days_have_bars(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    store: StoreBuilder,
    own_settings: Settings,
) -> None:
    """Bars are to scale with the cost and fill the line; a day without calls costs nothing and has none."""
    fill(store)
    monkeypatch.setenv("COLUMNS", "80")
    lines = table(command(capsys, own_settings, "costs", "--by", "day"))

    assert lines == [
        ["DAY", "(UTC)", "CALLS", "IN", "CACHED", "OUT", "COST", "UNPRICED"],
        ["2026-11-19", "1", "-", "-", "-", "$0.00012", "0", "▏"],
        ["2026-11-20", "0", "-", "-", "-", "$0", "0"],
        ["2026-11-21", "2", "10", "-", "-", "$0.50000", "1", "█████▎"],
        ["2026-11-22", "1", "4,400", "68.2%", "50", "$2.00000", "0", "█" * 21],
    ]  # fmt: skip


def test_hours_and_several_fields(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """Hours say which of UTC; with a second field there are no lines for what had no calls."""
    fill(store)
    hours = table(command(capsys, own_settings, "costs", "--by", "hour", "--since", "25h"))
    both = table(command(capsys, own_settings, "costs", "--by", "day,agent"))

    assert hours[0][:2] == ["HOUR", "(UTC)"]
    assert [line[:2] for line in hours[1::24]] == [["2026-11-21", "12:00"], ["2026-11-22", "12:00"]]
    assert len(hours) == 1 + 25
    assert [line[:3] for line in both[1:]] == [
        ["2026-11-19", "b", "1"], ["2026-11-21", "a", "1"],
        ["2026-11-21", "b", "1"], ["2026-11-22", "a", "1"],
    ]  # fmt: skip


def test_gaps_are_not_filled_without_end(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """A call of 1970 does not make twenty thousand lines."""
    store.call(ts_ms=0)
    store.call()

    assert len(table(command(capsys, own_settings, "costs", "--by", "day"))) == 3


def test_without_any_price(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """Unknown is `?`, in lines and in the sum, and has no bar."""
    store.call(tokens={"input": 5})
    done = command(capsys, own_settings, "costs", "--by", "day")

    assert table(done)[1] == ["2026-11-22", "1", "0", "5", "5", "-", "-", "-", "-", "?", "1"]
    assert "· ?\n" in done.out


@pytest.mark.parametrize("columns", [40, 80, 100, 140, 200])
@pytest.mark.parametrize("by", ["model", "day", "hour", "day,model"])
def test_tables_fit_their_terminal(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    store: StoreBuilder,
    own_settings: Settings,
    columns: int,
    by: str,
) -> None:
    """No line of a table is longer than the terminal from 80 columns on, and names are cut before numbers."""
    fill(store)
    store.call(model="a-name-that-does-not-end-" * 9, computed_nusd=1_000_000)
    monkeypatch.setenv("COLUMNS", str(columns))
    done = command(capsys, own_settings, "costs", "--by", by)

    assert "$2.00000" in done.out or "$2.50000" in done.out
    assert max(map(len, done.out.split("\n\n")[0].splitlines())) <= max(columns, 80)


def test_the_limit_is_told(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """What is left out is said, and which it is."""
    fill(store)
    models = command(capsys, own_settings, "costs", "--limit", "1").out
    days = command(capsys, own_settings, "costs", "--by", "day", "--limit", "1").out

    assert models.endswith("1 more line not shown: these are the most expensive\n")
    assert days.endswith("2 more lines not shown: these are the newest\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [((), "No model calls are stored yet. To send one"), (("--agent", "nobody"), "No model calls match.")],
)
def test_nothing_to_sum_up(
    capsys: pytest.CaptureFixture[str], own_settings: Settings, words: tuple[str, ...], sentence: str
) -> None:
    """Without calls there is a sentence instead of a table."""
    done = command(capsys, own_settings, "costs", *words)

    assert (done.code, done.out.startswith(sentence)) == (0, True)


async def test_json_is_what_http_gives(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """`--json` prints the answer of `/v1/costs`, without lines for what had no calls."""
    fill(store)
    done = command(capsys, own_settings, "costs", "--by", "day,agent", "--since", "2d", "--json")

    assert json.loads(done.out) == await ask_json(made(store.path), "/v1/costs", by="day,agent", since="2d")


@pytest.mark.parametrize("words", [("--by", "cost"), ("--since", "yesterday"), ("--limit", "0")])
def test_wrong_usage(
    capsys: pytest.CaptureFixture[str], own_settings: Settings, words: tuple[str, str]
) -> None:
    """An option that cannot be read is exit code 2, and named."""
    done = command(capsys, own_settings, "costs", *words)

    assert (done.code, done.out) == (2, "")
    assert words[0].removeprefix("--") in done.err


def test_no_store(capsys: pytest.CaptureFixture[str], settings: Settings) -> None:
    """Without a database the exit code is 3."""
    assert command(capsys, settings, "costs").code == 3


def test_names_of_strangers_are_shown_safely(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """Escape sequences in a model's name do not reach the terminal."""
    store.call(model="\x1b[31mred[/red]")
    out = command(capsys, own_settings, "costs").out

    assert "\x1b" not in out
    assert "\\x1b[31mred[/red]" in out


def test_bars_for_streams_without_blocks(
    monkeypatch: pytest.MonkeyPatch, store: StoreBuilder, own_settings: Settings
) -> None:
    """Where the stream has no block characters, bars are of `#`."""
    fill(store)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    from tests.views.commanding import parse  # noqa: PLC0415 - beside what it is for

    code = run_costs(parse("costs", "--by", "day"), own_settings, lambda: NOW_MS)
    stream.flush()
    raw = stream.buffer
    assert isinstance(raw, io.BytesIO)
    lines = raw.getvalue().decode("ascii").splitlines()

    assert code == 0
    assert [line.count("#") for line in lines[1:5]] == [1, 0, 8, 30]


def test_store_errors_are_raised(settings: Settings) -> None:
    """The command leaves it to its caller to tell of a store that cannot be opened."""
    from tests.views.commanding import parse  # noqa: PLC0415

    with pytest.raises(StoreError):
        run_costs(parse("costs"), settings, lambda: NOW_MS)


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, ""), (1e-9, "▏"), (0.125, "█"), (0.5, "████"), (0.51, "████▏"), (0.99, "███████▉"), (1, "████████")],
)
def test_bar(share: float, shown: str) -> None:
    """A bar is in eighths of a character; the least share shows."""
    assert bar(share, 8) == shown


@given(st.floats(0, 1), st.integers(1, 60), st.booleans())
def test_bars_never_exceed_their_place(share: float, cells: int, blocks: bool) -> None:
    """A bar has at most its cells, none for 0, and all of them for 1."""
    shown = bar(share, cells, blocks=blocks)

    assert len(shown) <= cells
    assert (not shown) == (share == 0)
    assert len(bar(1, cells, blocks=blocks)) == cells


@pytest.mark.parametrize(
    ("amounts", "places", "shown"),
    [
        ([], 4, []),
        ([None, 0], 4, ["?", "$0"]),
        ([1234.5, 2], 4, ["$1,234.5000", "$2.0000"]),
        ([5, 0.001], 4, ["$5.0000", "$0.0010"]),
        ([5, 0.00098], 5, ["$5.00000", "$0.00098"]),
        ([0.000018], 6, ["$0.000018"]),
        ([0.0000018], 7, ["$0.0000018"]),
        ([1e-9], 9, ["$0.000000001"]),
        ([0.123456789], 4, ["$0.1235"]),
    ],
)
def test_money(amounts: list[float | None], places: int, shown: list[str]) -> None:
    """A column has the decimals that its smallest amount needs, from four to nine."""
    assert money_places(amounts) == places
    assert [money_text(amount, places) for amount in amounts] == shown
