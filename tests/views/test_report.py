"""The listings of the command line, for people and for programs."""

import io
import json
import sys
from collections.abc import Callable, Iterator

import pytest
from attrs import evolve

from tests.views.building import NOW_MS, StoreBuilder, Terminal
from tests.views.commanding import command, parse
from trace_agent.core.settings import Settings
from trace_agent.views import commands
from trace_agent.views.report import run_events, run_traces

ALL = ("traces", "events", "errors", "metrics")


@pytest.fixture(autouse=True)
def still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line's clock stands at NOW_MS."""
    monkeypatch.setattr(commands, "_now_ms", lambda: NOW_MS)


def fill(store: StoreBuilder) -> None:
    """Add some of everything."""
    for number in range(3):
        store.call(
            id=f"01a204c4-70d5-7a76-b24f-89712a4e287{number}", agent="planner", session="s1",
            model="anthropic/claude-opus-4.5-with-a-name-that-does-not-end", tokens={"input": 1234 + number,
            "cache_read": 100_000, "output": 567, "total": 101_801}, latency_ms=1234.0, ttft_ms=99.0,
            reported_nusd=1_800_000 if number else None, ts_ms=NOW_MS - 60_000 * number,
        )  # fmt: skip
    store.call(status="error", error_kind="rate_limit", model="gpt", ts_ms=NOW_MS - 7_200_000)
    store.event(name="tool.run", duration_ms=12.0, attributes='{"tool":"grep"}')
    store.error(kind="process.crash", message="it fell over " * 20, severity="fatal")
    store.metric(name="queue", kind="gauge", last=3.0, tags=("env:prod",))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("columns", [40, 80, 100, 140, 200])
def test_tables_fit_their_terminal(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    store: StoreBuilder,
    own_settings: Settings,
    name: str,
    columns: int,
) -> None:
    """No line of a table is longer than the terminal from 80 columns on, and numbers are never cut."""
    fill(store)
    monkeypatch.setenv("COLUMNS", str(columns))
    done = command(capsys, own_settings, name)
    head, *_ = done.out.splitlines()

    assert (done.code, done.err) == (0, "")
    assert head.lstrip().startswith("AGE")
    assert name != "traces" or "101,236" in done.out
    assert max(map(len, done.out.split("\n\n")[0].splitlines())) <= max(columns, 80)


def test_calls_show_what_people_look_for(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    store: StoreBuilder,
    own_settings: Settings,
) -> None:
    """Ages, tokens with thousands (all that went in), costs with `?` for unknown, the kind of an error."""
    fill(store)
    monkeypatch.setenv("COLUMNS", "80")
    lines = command(capsys, own_settings, "traces").out.splitlines()

    assert lines[0].split() == ["AGE", "MODEL", "STATUS", "IN", "OUT", "COST", "TIME"]
    assert lines[1].split() == ["2h", "gpt", "rate_limit", "-", "-", "?", "-"]
    assert lines[2].split()[-6:] == ["ok", "101,236", "567", "$0.0018", "1.23", "s"]
    assert lines[4].split()[-3:] == ["?", "1.23", "s"]
    assert lines[-1] == "4 model calls · 1 failed · 305,403 tokens · $0.0036 + 2 of unknown price"


def test_ids_are_whole_where_they_are_shown(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    store: StoreBuilder,
    own_settings: Settings,
) -> None:
    """An id that is cut would be of no use to `--id`."""
    fill(store)
    monkeypatch.setenv("COLUMNS", "120")

    assert "01a204c4-70d5-7a76-b24f-89712a4e2872" in command(capsys, own_settings, "traces").out


def test_a_pipe_gets_whole_plain_lines(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """Nothing is cut, coloured, framed or padded where no person looks."""
    fill(store)
    out = command(capsys, own_settings, "errors").out

    assert "it fell over " * 14 in out
    assert "\x1b" not in out
    assert not any(line.endswith(" ") for line in out.splitlines())
    assert not set(out) & set("│─┃━|")


def test_errors_are_red_for_people(
    monkeypatch: pytest.MonkeyPatch, store: StoreBuilder, own_settings: Settings
) -> None:
    """A failed call stands out on a terminal, a good one does not."""
    store.call(status="error", error_kind="timeout", model="m")
    store.call(model="m")
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    args = parse("traces")

    assert args.perform(args, own_settings) == 0
    assert "\x1b[31mtimeout" in stream.getvalue()
    assert "\x1b[31mok" not in stream.getvalue()


@pytest.mark.parametrize(
    "words", [("traces", "--text"), ("events",), ("errors",), ("metrics",), ("traces", "--json", "--text")]
)
def test_stored_escape_sequences_stay_words(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings, words: tuple[str, ...]
) -> None:
    """Whatever an agent was told to say, it does not reach the terminal raw."""
    evil = "\x1b]0;owned\x07\x9b2J\u202e[red]x[/red]"
    store.call(
        model=evil, agent=evil, input=evil, output=[{"role": evil, "content": evil}], error_message=evil
    )
    store.event(name=evil, attributes=json.dumps({evil: evil}))
    store.error(kind=evil, message=evil)
    store.metric(name=evil, tags=(evil,))
    out = command(capsys, own_settings, *words).out

    assert not set(out) & set("\x1b\x07\x9b\u202e")
    assert "owned" in out
    assert "[red]x" in out


@pytest.mark.parametrize("name", ALL)
def test_an_empty_store_says_how_to_fill_it(
    capsys: pytest.CaptureFixture[str], own_settings: Settings, name: str
) -> None:
    """Nothing stored is no error, and the way on is shown; filters that match nothing say that instead."""
    empty = command(capsys, own_settings, name)
    filtered = command(capsys, own_settings, name, "--since", "1h")
    beyond = command(capsys, own_settings, name, "--cursor", "1")

    assert (empty.code, filtered.code) == (0, 0)
    assert "stored yet. To send one: trace-agent emit" in empty.out
    assert "match." in filtered.out
    assert "No more" in beyond.out


def test_json_is_what_http_gives(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """The same keys, filters and cursors as the route."""
    fill(store)
    page = json.loads(command(capsys, own_settings, "traces", "--json", "--limit", "1", "--model", "gpt").out)
    first = json.loads(command(capsys, own_settings, "traces", "--json", "--limit", "2").out)
    rest = json.loads(command(capsys, own_settings, "traces", "--json", "--cursor", first["next"]).out)

    assert (page["items"][0]["model"], page["next"]) == ("gpt", None)
    assert (len(first["items"]), len(rest["items"]), rest["next"]) == (2, 2, None)


def test_a_page_that_is_not_all_says_so(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """The line below a table counts what is above it."""
    fill(store)

    assert "newest 2 model calls" in command(capsys, own_settings, "traces", "--limit", "2").out


def test_unknown_costs_alone_are_not_zero(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """When no price is known, the sum is not known."""
    store.call()

    assert command(capsys, own_settings, "traces").out.splitlines()[-1].endswith("· ?")


def test_one_call_is_shown_with_everything(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """`--id` shows each field, and with `--text` the words, message by message."""
    store.call(
        id="c1", model="m", tokens={"input": 1500, "output": 2}, reported_nusd=5_000_000,
        cost_basis="reported", latency_ms=1500.0, status="error",
        error_kind="timeout", error_code=504, error_message="slow", attributes='{"k":1}', sources="udp,otlp",
        output="line one\nline two",
        input=[{"role": "user", "content": "hi"}, {"role": "tool", "content": [1], "id": "t"}, "bare"],
    )  # fmt: skip
    out = command(capsys, own_settings, "traces", "--id", "c1", "--text").out
    bare = command(capsys, own_settings, "traces", "--id", "c1").out

    for words in (
        "tokens      input 1,500, output 2", "cost        $0.0050 (reported)", "error       timeout 504 slow",
        "latency_ms  1.50 s", 'attributes  {"k": 1}', "sources     udp, otlp", "[user] hi",
        "line one\nline two", "bare",
    ):  # fmt: skip
        assert words in out
    assert "line one" not in bare


def test_other_words_are_shown_as_json(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """Input that is neither text nor messages is JSON; what a message has beside its content is not lost."""
    store.call(id="c1", input={"a": [1]}, output=[{"role": "assistant", "content": "x", "tool_calls": []}])
    out = command(capsys, own_settings, "traces", "--id", "c1", "--text").out

    assert '"a": [' in out
    assert '[assistant] x\n{"tool_calls": []}' in out


def test_one_call_as_json(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """`--json` gives the call as HTTP does."""
    store.call(id="c1", input="words")

    assert json.loads(command(capsys, own_settings, "traces", "--id", "c1", "--json").out)["id"] == "c1"
    assert "words" in command(capsys, own_settings, "traces", "--id", "c1", "--json", "--text").out


def test_a_call_that_is_not_there_is_a_problem(
    capsys: pytest.CaptureFixture[str], own_settings: Settings
) -> None:
    """Exit code 1 and a sentence on stderr, without obeying the id."""
    done = command(capsys, own_settings, "traces", "--id", "\x1b[31m")

    assert (done.code, done.out, done.err) == (1, "", "trace-agent: there is no call with id \\x1b[31m\n")


@pytest.mark.parametrize("words", [("--limit", "0"), ("--since", "soon"), ("--agent", "")])
def test_options_that_cannot_be_read_are_wrong_usage(
    capsys: pytest.CaptureFixture[str], own_settings: Settings, words: tuple[str, str]
) -> None:
    """Exit code 2 names the option."""
    done = command(capsys, own_settings, "traces", *words)

    assert (done.code, done.out) == (2, "")
    assert words[0][2:] in done.err


def test_a_missing_store_is_exit_code_3(capsys: pytest.CaptureFixture[str], own_settings: Settings) -> None:
    """Without a database there is nothing to read, and the message says what to do."""
    done = command(capsys, evolve(own_settings, db="/nowhere/at/all.db"), "events")

    assert (done.code, done.out) == (3, "")
    assert "trace-agent run" in done.err


def following(steps: list[Callable[[], object]]) -> Callable[[float], None]:
    """Make a sleep that takes one step each time, and then the person's Ctrl-C."""
    left: Iterator[Callable[[], object]] = iter(steps)

    def sleep(seconds: float) -> None:
        assert seconds < 2
        step = next(left, None)
        if step is None:
            raise KeyboardInterrupt
        step()

    return sleep


def test_following_shows_what_arrives(
    monkeypatch: pytest.MonkeyPatch, store: StoreBuilder, own_settings: Settings
) -> None:
    """The newest ones first in order of arrival, then each new one once, under one head."""
    for number in range(20):
        store.event(name=f"old.{number:02}")
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    sleep = following([
        lambda: store.event(name="new.1"),
        lambda: None,
        lambda: [store.event(name="new.2"), store.event(name="new.3")],
    ])  # fmt: skip
    code = run_events(parse("events", "-f"), own_settings, lambda: NOW_MS, sleep)
    lines = stream.getvalue().splitlines()

    assert code == 0
    assert [line.split()[1] for line in lines] == [
        "NAME", *(f"old.{number}" for number in range(10, 20)), "new.1", "new.2", "new.3",
    ]  # fmt: skip


def test_following_as_json_is_a_line_each(
    monkeypatch: pytest.MonkeyPatch, store: StoreBuilder, own_settings: Settings
) -> None:
    """A program reads it line by line; filters hold for what arrives as well."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    sleep = following([lambda: [store.call(id="a", model="m"), store.call(id="b", model="n")]])
    run_traces(parse("tail", "-f", "--json", "--model", "m"), own_settings, lambda: NOW_MS, sleep)

    assert [json.loads(line)["id"] for line in stream.getvalue().splitlines()] == ["a"]


def test_following_goes_on_in_a_new_database(
    monkeypatch: pytest.MonkeyPatch, store: StoreBuilder, own_settings: Settings
) -> None:
    """When a damaged database was replaced by an empty one, its rows are shown from the first on."""
    for _ in range(5):
        store.event(name="before")
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    sleep = following([
        lambda: store.connection.execute("DELETE FROM events"),
        lambda: store.event(name="after"),
    ])  # fmt: skip
    run_events(parse("events", "-f", "--limit", "1"), own_settings, lambda: NOW_MS, sleep)

    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["NAME", "before", "after"]


def test_following_catches_up_without_pauses(
    monkeypatch: pytest.MonkeyPatch, store: StoreBuilder, own_settings: Settings
) -> None:
    """A burst larger than a page is shown at once."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    sleep = following([lambda: [store.event(name=f"n{number}") for number in range(250)]])
    run_events(parse("events", "-f"), own_settings, lambda: NOW_MS, sleep)

    assert len(stream.getvalue().splitlines()) == 251
