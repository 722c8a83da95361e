"""Write to a person's terminal: values in, short plain words out; nothing stored reaches it raw.

`rich` is imported here and in what prints with it, and only when a read command runs.
"""

import json
import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TextIO

from trace_agent.core.events import Json

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "UNKNOWN",
    "Clock",
    "ago",
    "bytes_text",
    "console_for",
    "cost_text",
    "count_text",
    "duration_text",
    "is_person",
    "json_text",
    "number_text",
    "safe",
    "speaks_utf8",
    "things",
    "tolerate",
    "write_json",
]

# Returns Unix milliseconds.
Clock = Callable[[], int]

UNKNOWN: Final = "?"
_NONE: Final = "-"

# What a terminal may obey, or what makes text look like other text: C0 and C1 controls, DEL, marks that
# turn the writing direction (CVE-2021-42574), line separators, surrogates that cannot be encoded.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]"
)
# Wide enough for every column: output that is not for a terminal is never cut.
_PLAIN_WIDTH: Final = 4096
_KILO: Final = 1000


def safe(text: str, *, lines: bool = False) -> str:
    r"""Return text that a terminal only shows: control characters are written out (`\x1b`).

    Args:
        text: anything.
        lines: keep line ends and tabs; otherwise they become spaces.
    """

    def replace(found: re.Match[str]) -> str:
        character = found[0]
        if character in "\n\t":
            return character if lines else " "
        code = ord(character)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return _UNSAFE.sub(replace, text)


def json_text(value: Json, *, indent: int | None = None, only_ascii: bool = False) -> str:
    """Return JSON that a terminal only shows, and that reads back as the same value."""
    text = json.dumps(value, ensure_ascii=only_ascii, indent=indent)
    # But for the line ends of indenting, these can only stand within strings, where each has a word in JSON.
    return _UNSAFE.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def write_json(value: Json, stream: TextIO) -> None:
    """Write one JSON value: on one line, or indented for a person."""
    indent = 2 if is_person(stream) else None
    stream.write(json_text(value, indent=indent, only_ascii=not speaks_utf8(stream)) + "\n")


def speaks_utf8(stream: TextIO) -> bool:
    """Return whether any character can be written to the stream."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"


def is_person(stream: TextIO) -> bool:
    """Return whether somebody looks at the stream, as against a pipe or file."""
    return stream.isatty()


def console_for(stream: TextIO) -> "Console":
    """Make a console that cuts and colours for terminals, and does neither for pipes and files.

    Colour follows https://no-color.org, which `rich` reads itself.
    """
    from rich.console import Console  # noqa: PLC0415 - 30 ms that only read commands pay

    # `rich` takes COLUMNS by itself, and falls back to 80 where there is no terminal.
    width = None if is_person(stream) or os.environ.get("COLUMNS", "").isdecimal() else _PLAIN_WIDTH
    # highlight and markup: stored text must not be taken for rich's own language.
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def tolerate(stream: TextIO) -> None:
    """Let characters that the stream's encoding lacks come out as `?` instead of an error."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None and stream is not sys.stdin:
        reconfigure(errors="replace")


def ago(then_ms: float, now_ms: float) -> str:
    """Return an age as one number and unit: 4s, 12m, 3h, 5d; what lies ahead is 0s."""
    age_s = max(0, int((now_ms - then_ms) / 1000))
    for unit, size_s in (("d", 86_400), ("h", 3600), ("m", 60)):
        if age_s >= size_s:
            return f"{age_s // size_s}{unit}"
    return f"{age_s}s"


def cost_text(usd: float | None) -> str:
    """Return dollars with as many decimals as they need; `?` for an unknown price."""
    if usd is None:
        return UNKNOWN
    if usd == 0:
        return "$0"
    if usd >= 1:
        return f"${usd:,.2f}"
    if usd >= 0.001:
        return f"${usd:.4f}"
    # Nano-dollars are the unit of the store: two digits that count, at most nine decimals.
    decimals = next((place for place in range(4, 9) if usd >= 10.0 ** -(place - 1)), 9)
    return f"${usd:.{decimals}f}"


def count_text(count: float | None) -> str:
    """Return a number with thousands separated; `-` for none."""
    return _NONE if count is None else f"{count:,.0f}"


def things(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun: `1 call`, `2,000 calls`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def number_text(value: float | None) -> str:
    """Return a measured value with up to six digits; `-` for none."""
    if value is None:
        return _NONE
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.6g}"


def duration_text(ms: float | None) -> str:
    """Return a duration as people say it; `-` for none."""
    if ms is None:
        return _NONE
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.2f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {seconds}s"


def bytes_text(size_bytes: float | None) -> str:
    """Return a size in decimal units, as disks are sold; `-` for none."""
    if size_bytes is None:
        return _NONE
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < _KILO:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= _KILO
    return f"{size_bytes:.1f} TB"
