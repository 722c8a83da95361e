"""Describe a setting: a field of a class and, as the field's metadata, the row of a table about it.

In goes what a programmer knows of a setting, out come a typed field and its `Row`.
"""

from collections.abc import Callable
from typing import Final, TypeVar, cast

import attrs
from attrs import frozen

from trace_agent.core.settings_values import as_line, shown

__all__ = ["ROW", "MachineFacts", "Row", "rows_of", "setting", "tables"]

T = TypeVar("T")

# The key of a field's metadata under which its row is.
ROW: Final = "setting"


@frozen
class MachineFacts:
    """What defaults depend on.

    Attributes:
        uid: of the user who runs trace-agent; 0 is root.
        home: the home directory, absolute.
        xdg_runtime_dir: the variable of that name, None or empty when unset.
        xdg_state_home: likewise.
        data_writable: whether a directory can be made in `/data`.
        openclaw_home_exists: whether `~/.openclaw` is there.
    """

    uid: int
    home: str
    xdg_runtime_dir: str | None
    xdg_state_home: str | None
    data_writable: bool
    openclaw_home_exists: bool


@frozen
class Row:
    """One setting.

    Attributes:
        name: as the file has it; the variable is `TRACE_AGENT_` and the same in capitals.
        help: one line.
        default_shown: the default as documents have it.
        read: text or TOML value to typed value, or `BadValueError`; not used where `table` is set.
        default: what `read` makes the default of, or None; or how it follows from the machine.
        required: there is no default (within tables only).
        show: makes a value, read or not, fit to be seen; hides what is secret.
        empty_is_none: an empty variable means an empty list instead of the default.
        in_home: a leading `~/` stands for the home directory.
        table: the class of the elements, for a list of tables; such settings stand in the file only.
    """

    name: str
    help: str
    default_shown: str
    read: Callable[[object], object]
    default: "Default"
    required: bool
    show: Callable[[object], str]
    empty_is_none: bool
    in_home: bool
    table: type | None


Default = str | None | Callable[[MachineFacts], str | None]


def setting(  # noqa: PLR0913 - the columns of the table
    read: Callable[[object], T],
    default: Default,
    line: str,
    *,
    default_shown: str | None = None,
    required: bool = False,
    show: Callable[[object], str] = shown,
    empty_is_none: bool = False,
    in_home: bool = False,
    table: type | None = None,
) -> T:
    """Make a field of a settings class, with its row of the table as metadata."""
    if default_shown is None:
        default_shown = default if isinstance(default, str) and default else "none"
    row = Row("", line, default_shown, read, default, required, show, empty_is_none, in_home, table)
    # attrs returns its own placeholder here, and the type checker is told the type of the value.
    return cast("T", attrs.field(metadata={ROW: row}, repr=show))


def tables(of: type[T], line: str) -> tuple[T, ...]:
    """Make a field that holds a list of tables of the file."""
    return cast("tuple[T, ...]", setting(as_line, "", line, table=of))


def rows_of(table: type) -> tuple[Row, ...]:
    """Return the rows of `Settings`, or of the class of one of its tables, in their order."""
    return tuple(
        attrs.evolve(cast("Row", field.metadata[ROW]), name=field.name)
        for field in attrs.fields(table)
        if ROW in field.metadata
    )
