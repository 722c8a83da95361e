"""Words for a person. Invariant: nothing that a terminal would obey gets through; JSON keeps its value."""

import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.views.building import NOW_MS, Terminal
from trace_agent.views.terminal import (
    ago,
    bytes_text,
    console_for,
    cost_text,
    count_text,
    duration_text,
    json_text,
    number_text,
    safe,
    things,
    tolerate,
    write_json,
)

# C0 but for the two that `lines` keeps, DEL and C1, what turns the writing direction, surrogates.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("größe 🚀", "größe 🚀"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\r\nb\tc", r"a\x0d b c"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\ud800", r"\ud800"),
    ],
)
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    """A terminal shows them and does not obey them; on one line, line ends and tabs are spaces."""
    assert safe(text) == shown


def test_lines_can_be_kept() -> None:
    """Where text is shown as a block, its line ends and tabs stay, and nothing else does."""
    assert safe("a\n\tb\x1b\r", lines=True) == "a\n\tb\\x1b\\x0d"


@given(st.text(st.characters(), max_size=40))
def test_nothing_obeyed_gets_through(text: str) -> None:
    """Any text is safe afterwards, as words and as JSON."""
    assert not OBEYED.search(safe(text, lines=True))
    assert "\n" not in safe(text)
    assert not OBEYED.search(json_text(text))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(json_values, st.sampled_from([None, 2]), st.booleans())
def test_json_reads_back_as_the_same_value(value: Any, indent: int | None, only_ascii: bool) -> None:  # noqa: ANN401 - JSON
    """Escaping changes how it looks, not what it says."""
    text = json_text(value, indent=indent, only_ascii=only_ascii)

    assert json.loads(text) == value
    assert not only_ascii or text.isascii()


def test_json_is_one_line_for_programs_and_indented_for_people() -> None:
    """Whoever looks decides the form."""
    pipe, person = io.StringIO(), Terminal()
    for stream in (pipe, person):
        write_json({"a": [1]}, stream)

    assert pipe.getvalue() == '{"a": [1]}\n'
    assert person.getvalue() == '{\n  "a": [\n    1\n  ]\n}\n'


def test_json_suits_the_encoding_of_the_stream() -> None:
    """Where the stream has no such character, JSON has a word for it."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1")
    write_json({"a": "ä→"}, stream)
    stream.flush()

    assert json.loads(raw.getvalue()) == {"a": "ä→"}


def test_other_words_are_tolerated() -> None:
    """A mark that an old terminal lacks becomes a question mark, not an error."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    tolerate(stream)
    tolerate(io.StringIO())
    stream.write("✓ ok")
    stream.flush()

    assert raw.getvalue() == b"? ok"


@pytest.mark.parametrize(
    ("age_ms", "words"),
    [(0, "0s"), (-5000, "0s"), (4_900, "4s"), (60_000, "1m"), (3_599_000, "59m"), (3_600_000, "1h"),
     (86_399_000, "23h"), (5 * 86_400_000, "5d"), (400 * 86_400_000, "400d")],
)  # fmt: skip
def test_ages(age_ms: int, words: str) -> None:
    """An age is one number and one unit; what is to come is now."""
    assert ago(NOW_MS - age_ms, NOW_MS) == words


@pytest.mark.parametrize(
    ("usd", "words"),
    [(None, "?"), (0, "$0"), (0.0018, "$0.0018"), (0.0123, "$0.0123"), (1, "$1.00"), (1234.5, "$1,234.50"),
     (0.00042, "$0.00042"), (0.000051, "$0.000051"), (3e-9, "$0.000000003"), (0.99999, "$1.0000")],
)  # fmt: skip
def test_costs(usd: float | None, words: str) -> None:
    """Small sums keep the digits that count, and an unknown price is never zero."""
    assert cost_text(usd) == words


@pytest.mark.parametrize(
    ("ms", "words"),
    [(None, "-"), (0, "0 ms"), (850.4, "850 ms"), (1240, "1.24 s"), (59_999, "60.00 s"), (125_000, "2m 5s"),
     (3_720_000, "1h 2m")],
)  # fmt: skip
def test_durations(ms: float | None, words: str) -> None:
    """Durations have the unit that people use for them."""
    assert duration_text(ms) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [(None, "-"), (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (5e12, "5.0 TB"),
     (7e15, "7000.0 TB")],
)  # fmt: skip
def test_sizes(size: float | None, words: str) -> None:
    """Sizes are decimal."""
    assert bytes_text(size) == words


def test_counts_and_numbers() -> None:
    """Thousands are separated; measured values have up to six digits; nouns follow their number."""
    assert [count_text(value) for value in (None, 0, 1_234_567)] == ["-", "0", "1,234,567"]
    assert [number_text(value) for value in (None, 5.0, 0.123456789, 1e20)] == ["-", "5", "0.123457", "1e+20"]
    assert [things(1, "call"), things(2000, "call"), things(0, "entry", "entries")] == [
        "1 call", "2,000 calls", "0 entries",
    ]  # fmt: skip


def test_pipes_are_never_cut_nor_coloured() -> None:
    """A pipe gets whole lines without escape sequences; COLUMNS still rules where it is set."""
    stream = io.StringIO()
    console = console_for(stream)
    console.print("[bold]x[/bold] :smile: " + "y" * 300, style="red")

    assert stream.getvalue() == "[bold]x[/bold] :smile: " + "y" * 300 + "\n"


def test_colours_follow_the_terminal_and_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's terminal has colours unless NO_COLOR is set."""
    coloured = Terminal()
    console_for(coloured).print("x", style="red")
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    console_for(plain).print("x", style="red")

    assert "\x1b[31m" in coloured.getvalue()
    assert "\x1b[31m" not in plain.getvalue()
