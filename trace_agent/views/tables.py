"""Print items as a table that fits its terminal: items in wire form in, lines out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TextIO

from trace_agent.views.columns import Column, is_bad
from trace_agent.views.rows import JsonMap
from trace_agent.views.terminal import console_for, is_person, safe

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["TablePrinter", "print_lines"]

_GAP: Final = 2
# Cut words are still told apart by this many characters.
_LEAST_WIDTH: Final = 8
# A cell is never longer than this, whatever a stranger put into a name.
_CELL_CHARS: Final = 200


class TablePrinter:
    """Prints tables of one kind of item on one stream.

    Args:
        fixed: widths do not follow the values, so that batches printed one by one stand in line.
    """

    def __init__(self, stream: TextIO, columns: Sequence[Column], *, fixed: bool = False) -> None:
        self._stream = stream
        self._console = console_for(stream)
        self._columns = [column for column in columns if column.from_width <= self._console.width]
        self._fixed = fixed
        self._headed = False

    def print(self, items: Sequence[JsonMap], now_ms: int) -> None:
        """Print items in the order given; the head comes with the first batch only."""
        from rich.table import Table  # noqa: PLC0415 - loaded by read commands that print, not by those before
        from rich.text import Text  # noqa: PLC0415

        rows = [[_cell(column.cell(item, now_ms)) for column in self._columns] for item in items]
        table = Table(
            box=None,
            pad_edge=False,
            padding=(0, _GAP, 0, 0),
            show_header=not self._headed,
            header_style="bold",
        )
        widths = self._widths(rows)
        for column, width in zip(self._columns, widths, strict=True):
            table.add_column(
                column.title, justify=column.justify, width=width, no_wrap=True, overflow="ellipsis"
            )
        for item, row in zip(items, rows, strict=True):
            red = is_bad(item)
            table.add_row(
                *(
                    Text(word, style="red" if red and column.bad_is_red else "")
                    for column, word in zip(self._columns, row, strict=True)
                )
            )
        self._headed = True
        print_lines(self._console, self._stream, table, sum(widths) + _GAP * len(widths))

    def _widths(self, rows: Sequence[Sequence[str]]) -> list[int]:
        from rich.cells import cell_len  # noqa: PLC0415

        widths = [
            max(len(column.title), *(cell_len(row[place]) for row in rows), 0)
            for place, column in enumerate(self._columns)
        ]
        if self._fixed:
            person = is_person(self._stream)
            return [
                column.width if column.may_be_cut and person else max(column.width, width)
                for column, width in zip(self._columns, widths, strict=True)
            ]
        spare = self._console.width - sum(widths) - _GAP * (len(widths) - 1)
        while spare < 0:
            cuttable = [
                place
                for place, column in enumerate(self._columns)
                if column.may_be_cut and widths[place] > _LEAST_WIDTH
            ]
            if not cuttable:
                break
            widest = max(cuttable, key=lambda place: widths[place])
            widths[widest] -= 1
            spare += 1
        return widths


def print_lines(console: "Console", stream: TextIO, renderable: "RenderableType", width: int) -> None:
    """Print something of rich's that is so wide; without spaces at line ends where nobody sees colours."""
    # `rich` would cut numbers to make it fit; a terminal that is too narrow wraps lines itself.
    console.width = max(console.width, width)
    if is_person(stream):
        console.print(renderable)
        return
    with console.capture() as capture:
        console.print(renderable)
    stream.writelines(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _cell(words: str) -> str:
    shown = safe(words)
    return shown if len(shown) <= _CELL_CHARS else f"{shown[: _CELL_CHARS - 1]}…"
