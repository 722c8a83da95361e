"""Read single values of settings: text of a variable or a value of TOML in, a typed value or a remedy out.

Each reader takes whatever TOML can hold and raises `BadValueError` with what would be valid, as a
sentence that goes on from "listen = 127.0.0.1: ". Text comes without space around it, and not empty
except where a setting gives emptiness a meaning.
"""

import re
import shlex
import warnings
from collections.abc import Callable
from enum import StrEnum
from typing import Final, TypeVar

__all__ = [
    "DIGITS",
    "HIDDEN",
    "BadValueError",
    "Mode",
    "as_bool",
    "as_command",
    "as_line",
    "as_mode",
    "as_path",
    "as_paths",
    "as_pattern",
    "as_scalars",
    "as_socket_path",
    "choice",
    "items",
    "number",
    "optional",
    "shown",
    "shown_secret",
    "whole",
]

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

_SWITCH_WORDS: Final = {
    "true": True,
    "false": False,
    "1": True,
    "0": False,
    "yes": True,
    "no": False,
    "on": True,
    "off": False,
}
# How people say that there is none, so that a variable can undo what the file sets.
_NONE_WORDS: Final = frozenset({"none", "off", "false", "no"})
HIDDEN: Final = "****"
_SHOWN_CHARS: Final = 120
# Python prints no integer beyond 4,300 digits, and nobody reads one beyond these.
_SHOWN_INTEGER: Final = 10**_SHOWN_CHARS
# `sun_path` of Linux holds 108 bytes with the final NUL (unix(7)); macOS, with four less, tells at bind.
_SOCKET_PATH_BYTES: Final = 107
# A comma within an item is written with a backslash: a pattern has them in x{1,3}.
_COMMA: Final = re.compile(r"(?<!\\),")
DIGITS: Final = re.compile(r"[0-9]{1,20}")
_DECIMAL: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")


class BadValueError(Exception):
    """A value cannot be used; the message says what could be."""


class Mode(int):
    """Permission bits of a file, printed as people write them."""

    def __str__(self) -> str:
        return f"{int(self):04o}"


def as_line(value: object) -> str:
    """Return text that prints on one line."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise BadValueError("must be printable text")
    return value


def as_bool(value: object) -> bool:
    """Return a switch that is on or off."""
    if isinstance(value, str | bool) or value in (0, 1):
        switch = _SWITCH_WORDS.get(str(value).lower())
        if switch is not None:
            return switch
    raise BadValueError(f"must be one of {', '.join(_SWITCH_WORDS)}")


def choice(words: type[E]) -> Callable[[object], E]:
    """Make a reader of one of some words; TOML's true and false count as `on` and `off`."""

    def read(value: object) -> E:
        word = ("on" if value else "off") if isinstance(value, bool) else value
        for member in words:
            if isinstance(word, str) and word.lower() == member:
                return member
        raise BadValueError(f"must be one of {', '.join(words)}")

    return read


def whole(low: int, high: int) -> Callable[[object], int]:
    """Make a reader of whole numbers within limits."""

    def read(value: object) -> int:
        if isinstance(value, str) and DIGITS.fullmatch(value):
            value = int(value)
        if type(value) is not int or not low <= value <= high:
            raise BadValueError(f"must be a whole number from {low} to {high}")
        return value

    return read


def number(low: float, high: float, *, or_zero: bool = False) -> Callable[[object], float]:
    """Make a reader of numbers within limits; with `or_zero`, 0 is valid beside them."""

    def read(value: object) -> float:
        if isinstance(value, str) and _DECIMAL.fullmatch(value):
            value = float(value)
        # Compared before it is converted: `float` of a huge integer raises.
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and (low <= value <= high or (or_zero and value == 0))
        ):
            return float(value)
        raise BadValueError(f"must be {'0, or ' if or_zero else ''}a number from {low:g} to {high:g}")

    return read


def optional(read: Callable[[object], T]) -> Callable[[object], T | None]:
    """Make a reader that also takes the words for none."""

    def read_optional(value: object) -> T | None:
        return None if _is_none(value) else read(value)

    return read_optional


def items(read: Callable[[object], T]) -> Callable[[object], tuple[T, ...]]:
    """Make a reader of lists: TOML's own, or text with commas between the items."""

    def read_items(value: object) -> tuple[T, ...]:
        if _is_none(value):
            return ()
        if isinstance(value, str):
            parts = (part.strip().replace("\\,", ",") for part in _COMMA.split(value))
            value = [part for part in parts if part]
        if not isinstance(value, list):
            raise BadValueError("must be a list, or text with commas between the items")
        return tuple(_item(read, item, place) for place, item in enumerate(value, start=1))

    return read_items


def as_path(value: object) -> str:
    """Return a path; `~/` at its start is left to the caller, who knows the home directory."""
    path = as_line(value)
    if path.startswith("~") and not path.startswith("~/"):
        raise BadValueError("must be a path; of home directories, only one's own can be written as ~/")
    return path


def as_socket_path(value: object) -> str:
    """Return a path that the system's socket addresses have room for."""
    path = as_path(value)
    if len(path.encode()) > _SOCKET_PATH_BYTES:
        raise BadValueError(f"must be at most {_SOCKET_PATH_BYTES} bytes, the limit of Unix sockets")
    return path


def as_mode(value: object) -> Mode:
    """Return permission bits from octal text.

    TOML's integers are refused, since 600 and 0o600 are different modes and look like the same one.
    """
    if isinstance(value, str) and re.fullmatch(r"(0|0o)?[67][0-7]{2}", value):
        return Mode(int(value, 8))
    raise BadValueError('must be octal text with read and write for the owner: "0600", "0660", "0666"')


def as_pattern(value: object) -> str:
    """Return the source of a regular expression that compiles and matches no empty text."""
    source = as_line(value)
    try:
        with warnings.catch_warnings():
            # What Python warns about today means something else in a later version.
            warnings.simplefilter("error")
            matches_nothing = re.compile(source).search("") is not None
    except (re.error, OverflowError, RecursionError, Warning) as exc:
        raise BadValueError(f"must be a regular expression of Python's re ({exc})") from None
    if matches_nothing:
        raise BadValueError("must be a regular expression that does not match the empty text")
    return source


def as_command(value: object) -> tuple[str, ...]:
    """Return a program and its arguments, from a list or from text split as a shell does."""
    if _is_none(value):
        return ()
    if isinstance(value, str):
        try:
            value = list(shlex.split(as_line(value)))
        except ValueError:  # an open quotation, a trailing backslash
            value = None
    if isinstance(value, list) and value:
        return tuple(_item(as_line, part, place) for place, part in enumerate(value, start=1))
    raise BadValueError("must be a program and its arguments, as text with closed quotes or as a list")


def as_scalars(value: object) -> tuple[tuple[str, str | int | float | bool], ...]:
    """Return the keys and plain values of a table; nothing for a word that means none."""
    if _is_none(value):
        return ()
    if isinstance(value, dict) and all(isinstance(item, str | int | float) for item in value.values()):
        return tuple(value.items())
    raise BadValueError("must be a table of texts, numbers, true or false")


def as_paths(value: object) -> tuple[tuple[str, str], ...]:
    """Return the keys and texts of a table that is not empty."""
    if isinstance(value, dict) and value and all(isinstance(item, str) for item in value.values()):
        return tuple(value.items())
    raise BadValueError("must be a table of texts, with at least one")


def shown(value: object) -> str:
    """Return a value, read or not, in a form fit for one line of a terminal or a log."""
    match value:
        case None | () | []:
            return "none"
        case bool():
            return "true" if value else "false"
        case int() if abs(value) > _SHOWN_INTEGER:
            return "a huge number"
        case float():
            return f"{value:.12g}"
        case tuple():
            text = ", ".join(
                ": ".join(map(shown, item)) if isinstance(item, tuple) else str(item) for item in value
            )
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "a table"
        case _:
            text = str(value)
    cut = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
    return cut if cut.isprintable() and cut else repr(cut)


def shown_secret(value: object) -> str:
    """Return only whether there is a value."""
    return "none" if value is None or value == () else HIDDEN


def _is_none(value: object) -> bool:
    return value is False or (isinstance(value, str) and value.lower() in _NONE_WORDS)


def _item(read: Callable[[object], T], value: object, place: int) -> T:
    try:
        return read(value)
    except BadValueError as exc:
        raise BadValueError(f"item {place} {exc}") from None
