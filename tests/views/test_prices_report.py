"""`prices show`, `explain` and `missing` on the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.views.building import NOW_MS, StoreBuilder
from tests.views.commanding import Done, command
from trace_agent.core.settings import Settings
from trace_agent.store.prices import Prices
from trace_agent.views import commands

SONNET = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
TOKENS = {"input": 234, "cache_read": 1000, "output": 56, "total": 1290}


@pytest.fixture(autouse=True)
def still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line's clock stands at NOW_MS."""
    monkeypatch.setattr(commands, "_now_ms", lambda: NOW_MS)


@pytest.fixture
def version() -> str:
    """Return the version of the shipped prices."""
    with Prices() as prices:
        return prices.version


def blocks(done: Done) -> list[list[str]]:
    """Return the lines of output, a list for each block between empty lines."""
    return [block.splitlines() for block in done.out.rstrip("\n").split("\n\n")]


def explain(
    capsys: pytest.CaptureFixture[str],
    store: StoreBuilder,
    settings: Settings,
    **columns: Any,  # noqa: ANN401 - whatever columns have
) -> list[list[str]]:
    """Store a call and explain it."""
    store.call(id="c", **columns)
    done = command(capsys, settings, "prices", "explain", "c")
    assert (done.code, done.err) == (0, "")
    return blocks(done)


def test_show(capsys: pytest.CaptureFixture[str], own_settings: Settings, version: str) -> None:
    """Prices stand in dollars a million, by size of request and way of serving."""
    done = command(capsys, own_settings, "prices", "show", "anthropic/claude-sonnet-4.5")
    lines, prices, note = blocks(done)

    assert (done.code, done.err) == (0, "")
    assert lines == [
        "model      anthropic/claude-sonnet-4.5",
        f"priced as  claude-sonnet-4-5 of anthropic (list, {version})",
    ]
    assert [line.split() for line in prices[:3]] == [
        ["WHEN", "PROMPT", "INPUT", "READ", "WRITE", "WRITE", "1H", "OUTPUT"],
        ["always", "any", "3", "0.3", "3.75", "6", "15"],
        ["always", ">", "200,000", "6", "0.6", "7.5", "12", "22.5"],
    ]
    assert prices[3].startswith("processing batch, since 2026-")
    assert note[0].startswith("USD per million tokens.")


def test_show_by_time_of_day(capsys: pytest.CaptureFixture[str], own_settings: Settings) -> None:
    """Where prices change with the time, those that hold now are marked."""
    done = command(capsys, own_settings, "prices", "show", "deepseek-chat", "--provider", "deepseek")
    _, prices, _ = blocks(done)

    # 12:00 UTC is within its hours.
    assert [line.split()[-1] == "now" for line in prices[1:]] == [False, True]
    assert "daily 00:30-16:30 UTC" in prices[2]


def test_show_own_prices(capsys: pytest.CaptureFixture[str], own_settings: Settings, tmp_path: Path) -> None:
    """The user's prices are shown before the list's, from when on and each call's among them."""
    file = tmp_path / "prices.toml"
    file.write_text(
        '[[price]]\nmodel = "gpt-5"\neffective_from = 2026-01-02T03:04:00Z\n'
        "input = 0.0000001\nper_call = 0.001\n"
    )
    settings = evolve(own_settings, prices_file=str(file))
    lines, prices, _ = blocks(command(capsys, settings, "prices", "show", "gpt-5"))

    assert lines[1].startswith("priced as  gpt-5 (override, override-")
    assert [line.split() for line in prices] == [
        ["WHEN", "PROMPT", "INPUT", "PER", "CALL"],
        ["since", "2026-01-02", "03:04", "any", "0.0000001", "0.001"],
    ]


def test_show_unknown(capsys: pytest.CaptureFixture[str], own_settings: Settings) -> None:
    """A model without a price is exit code 1, and a hint what to do; its name is shown safely."""
    done = command(capsys, own_settings, "prices", "show", "no\x1b[31m-such-model")

    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines()[0] == "no\\x1b[31m-such-model: no price is known for this model"
    assert "prices_file" in done.out


def test_show_needs_no_database(capsys: pytest.CaptureFixture[str], settings: Settings) -> None:
    """Prices can be looked up before there is a database, and as JSON."""
    done = command(capsys, settings, "prices", "show", "gpt-5", "--json")
    shown = json.loads(done.out)

    assert done.code == 0
    assert (shown["model"], shown["priced_as"]["model"], shown["why"]) == ("gpt-5", "gpt-5", None)


def test_explain(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings, version: str
) -> None:
    """Each line is tokens times a price, to the last digit, with what they add up to."""
    head, lines, verdict = explain(
        capsys, store, own_settings, **SONNET, response_model="claude-sonnet-4-5-20250929",
        tokens=TOKENS, computed_nusd=1_842_000, cost_basis="list", price_version=version,
    )  # fmt: skip

    assert head == [
        "id         c",
        "time       2026-11-22 12:00:00.000+00:00",
        "model      claude-sonnet-4-5, answered by claude-sonnet-4-5-20250929",
        "provider   anthropic",
        "cost       $0.001842 (list)",
        "sender's   -",
        f"ours       $0.001842 ({version})",
        f"priced as  claude-sonnet-4-5 of anthropic (list, {version})",
        "prompt     1,234 tokens",
    ]
    assert [line.split() for line in lines] == [
        ["BUCKET", "COUNT", "USD", "PER", "MILLION", "USD"],
        ["input", "234", "3", "0.000702"],
        ["cache_read", "1,000", "0.3", "0.0003"],
        ["output", "56", "15", "0.00084"],
        ["sum", "-", "-", "0.001842"],
    ]
    assert verdict == ["So it is stored."]


def test_explain_what_the_sender_says(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings, version: str
) -> None:
    """A reported cost counts, and ours stands beside it."""
    head, _, verdict = explain(
        capsys, store, own_settings, **SONNET, tokens=TOKENS, reported_nusd=2_000_000,
        computed_nusd=1_842_000, cost_basis="reported", price_version=version,
    )  # fmt: skip

    assert head[4:7] == [
        "cost       $0.002 (reported)",
        "sender's   $0.002",
        f"ours       $0.001842 ({version})",
    ]
    assert verdict == ["What the sender reports counts."]


@pytest.mark.parametrize(
    ("columns", "ending"),
    [
        ({"computed_nusd": 5, "cost_basis": "list"}, "prices were others when the call was stored."),
        ({}, "no price was known when the call was stored."),
    ],
)
def test_explain_says_what_has_changed(
    capsys: pytest.CaptureFixture[str],
    store: StoreBuilder,
    own_settings: Settings,
    version: str,
    columns: dict[str, Any],
    ending: str,
) -> None:
    """Where prices have changed since the call came, both costs are told."""
    *_, verdict = explain(capsys, store, own_settings, **SONNET, tokens=TOKENS, **columns)

    assert verdict == [f"By the prices in use now ({version}) it is $0.001842; {ending}"]


def test_explain_the_unknown(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """An unknown cost is `?`, and why it is so is said; a reported one counts all the same."""
    head, verdict = explain(capsys, store, own_settings, model="no-such-model", tokens=TOKENS)
    store.call(id="told", model="no-such-model", reported_nusd=1_500_000_000, cost_basis="reported")
    told = blocks(command(capsys, own_settings, "prices", "explain", "told"))

    assert head[2:] == [
        "model     no-such-model", "provider  -", "cost      ? (unknown)", "sender's  -", "ours      ?",
    ]  # fmt: skip
    why = "By the prices in use now the cost is unknown: no price is known for this model."
    assert verdict == [why]
    assert told[-1] == [f"{why} The stored $1.5 counts."]


def test_explain_notes_size_and_missing_lines(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings, tmp_path: Path
) -> None:
    """What chose other prices is noted; a bucket without a price is a line with `?`, and so is the sum."""
    file = tmp_path / "prices.toml"
    file.write_text('[[price]]\nmodel = "mine"\ninput = 2\n[[price.above]]\ntokens = 1000\ninput = 12345.5\n')
    settings = evolve(own_settings, prices_file=str(file))
    head, lines, verdict = explain(capsys, store, settings, model="mine", tokens=TOKENS)

    assert head[-1] == "note       prices for requests of this size, 1,234 prompt tokens"
    # Cache tokens cost what input does: 1,234 of them at 0.0123455 USD each.
    assert [line.split() for line in lines[1:]] == [
        ["input", "234", "12,345.5", "2.888847"],
        ["cache_read", "1,000", "12,345.5", "12.3455"],
        ["output", "56", "?", "?"],
        ["sum", "-", "-", "?"],
    ]
    assert verdict[0].endswith("mine has no price for output tokens, and a part of a cost is no cost.")


def test_explain_nothing(capsys: pytest.CaptureFixture[str], own_settings: Settings) -> None:
    """An id that is not stored is exit code 1."""
    done = command(capsys, own_settings, "prices", "explain", "no\x1bne")

    assert (done.code, done.out) == (1, "")
    assert done.err == "trace-agent: there is no call with id no\\x1bne\n"


def test_explain_as_json(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """Programs get the same as numbers."""
    store.call(id="c", **SONNET, tokens=TOKENS)
    explained = json.loads(command(capsys, own_settings, "prices", "explain", "c", "--json").out)

    assert (explained["stored"]["cost_usd"], explained["now"]["sum_usd"]) == (None, 0.001842)


def test_missing(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    store: StoreBuilder,
    own_settings: Settings,
) -> None:
    """Models without a price come with their calls, the most used first, and what to do about them."""
    for number in range(3):
        store.call(model="asked", response_model="answered", provider="gw", tokens=TOKENS, status="error",
                   ts_ms=NOW_MS - 7_200_000 - number)  # fmt: skip
    store.call(**SONNET, id="untold")
    store.call(**SONNET, computed_nusd=1)
    plain = command(capsys, own_settings, "prices", "missing")
    monkeypatch.setenv("COLUMNS", "80")
    narrow = command(capsys, own_settings, "prices", "missing")
    lines, footer = blocks(plain)

    assert (plain.code, plain.err) == (0, "")
    assert [line.split() for line in lines] == [
        ["MODEL", "PROVIDER", "CALLS", "FAILED", "LAST", "WHY", "EXAMPLE"],
        ["answered", "gw", "3", "3", "2h", *["no", "price", "is", "known", "for", "this", "model", "llm-1"]],
        [
            "claude-sonnet-4-5",
            "anthropic",
            "1",
            "0",
            "0s",
            *["the", "sender", "told", "no", "tokens", "untold"],
        ],
    ]
    assert footer[0].startswith("4 calls of unknown price. Own prices,")
    assert max(map(len, blocks(narrow)[0])) <= 80


def test_missing_filters_and_limits(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """Options choose the calls; what is beyond the limit is said."""
    for model in ("a", "b", "b", "c"):
        store.call(model=model, agent=f"agent-{model}", tokens=TOKENS, ts_ms=NOW_MS - 1)
    limited = command(capsys, own_settings, "prices", "missing", "--limit", "1").out
    chosen = command(capsys, own_settings, "prices", "missing", "--agent", "agent-c", "--json")
    newer = command(capsys, own_settings, "prices", "missing", "--since", "0s")
    wrong = command(capsys, own_settings, "prices", "missing", "--limit", "none")

    assert "2 calls of unknown price, and those of 2 models more." in limited
    assert [item["model"] for item in json.loads(chosen.out)["items"]] == ["c"]
    assert (newer.code, newer.out) == (0, "No call is of unknown price.\n")
    assert (wrong.code, wrong.out) == (2, "")


@pytest.mark.parametrize("words", [("explain", "x"), ("missing",)])
def test_no_store(capsys: pytest.CaptureFixture[str], settings: Settings, words: tuple[str, ...]) -> None:
    """Without a database the exit code is 3."""
    assert command(capsys, settings, "prices", *words).code == 3
