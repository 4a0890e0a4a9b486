"""Tables of sessions for people: they fit the terminal, and no id is cut but to its last eight digits."""

from collections.abc import Sequence
from typing import Final, NamedTuple, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from session_buddy.cli.columns import Column, Layout, that_say_something
from session_buddy.cli.text import hanging
from session_buddy.history.query import Clock
from session_buddy.history.words import Record

_GAP: Final = 2
_ANY: Final = 10_000
_COLOURS: Final = {"active": "green", "crashed": "red", "lost": "yellow", "unreachable": "yellow"}


class _Form(NamedTuple):
    """One way to draw a table.

    Attributes:
        columns: those that are there.
        short: the titles of those that say less.
        cut: to how many times the least of a column its texts are cut where that makes room; 0: they are not.
    """

    columns: Sequence[Column]
    short: frozenset[str]
    cut: int


def write_rows(records: Sequence[Record], stream: TextIO, layout: Layout, moment: Clock) -> None:
    """Write a table: as many of the columns as the width of ``stream``'s terminal holds."""
    console = console_on(stream)
    there = that_say_something(layout.columns, records, moment)
    for form in _forms(there, layout):
        cells = _cells(form, records, moment)
        widths = _widths(form, cells, console.width)
        if _needed(widths) <= console.width:
            break
    _print(console, [[column.title for column in form.columns], *cells], widths)
    gone = [column.title for column in there if column not in form.columns]
    if gone:
        line = f"Too narrow for: {', '.join(gone)}; session-buddy show-session ID shows all of one"
        console.print(Text("\n".join(hanging(line, 0, console.width)), style="dim"), soft_wrap=True)


def console_on(stream: TextIO) -> Console:
    """A terminal has its width; a file takes lines of any length."""
    return Console(file=stream, highlight=False, width=None if stream.isatty() else _ANY)


def style_of(status: str) -> str:
    """The colour of a status, whatever stands behind it."""
    return _COLOURS.get(status.partition(" ")[0], "")


def _forms(columns: Sequence[Column], layout: Layout) -> list[_Form]:
    """All ways to draw it, the widest first."""
    none, by_id = frozenset[str](), frozenset({"session"})
    every = by_id | {"status"}
    forms = [_Form(columns, none, 0), _Form(columns, by_id, 0), _Form(columns, by_id, 2)]
    left = list(columns)
    for cut, leaving in ((2, layout.spare), (1, layout.leaving)):
        for title in ("", *leaving):
            left = [column for column in left if column.title != title]
            forms.append(_Form(tuple(left), every, cut))
    return forms


def _cells(form: _Form, records: Sequence[Record], moment: Clock) -> list[list[str]]:
    texts = [
        column.short if column.title in form.short and column.short else column.text
        for column in form.columns
    ]
    return [[text(record, moment) for text in texts] for record in records]


def _widths(form: _Form, cells: Sequence[Sequence[str]], width: int) -> list[int]:
    """Of each column; the widest are cut first, as far as that makes the table fit."""
    titles = [column.title for column in form.columns]
    widths = [max(map(cell_len, column)) for column in zip(titles, *cells, strict=True)]
    least = [
        max(cell_len(column.title), form.cut * column.least) if form.cut and column.least else widths[at]
        for at, column in enumerate(form.columns)
    ]
    while (over := _needed(widths) - width) > 0:
        widest = max(range(len(widths)), key=lambda at: widths[at] if widths[at] > least[at] else 0)
        if widths[widest] <= least[widest]:
            break
        others = [widths[at] for at in range(len(widths)) if at != widest and widths[at] > least[at]]
        # Down to the next one, then both.
        target = max([least[widest], widths[widest] - over, *(one - 1 for one in others)])
        widths[widest] = min(target, widths[widest] - 1)
    return widths


def _needed(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _print(console: Console, lines: Sequence[Sequence[str]], widths: Sequence[int]) -> None:
    titles = lines[0]
    for number, cells in enumerate(lines):
        styles = [
            "bold" if number == 0 else style_of(cell) if title == "status" else ""
            for title, cell in zip(titles, cells, strict=True)
        ]
        print_line(console, cells, widths, styles)


def print_line(console: Console, cells: Sequence[str], widths: Sequence[int], styles: Sequence[str]) -> None:
    """Write texts beside each other, each cut to its width."""
    line = Text()
    for cell, width, style in zip(cells, widths, styles, strict=True):
        # Half of a wide character is no part of it, and would be filled with a blank.
        text = cell if cell_len(cell) <= width else set_cell_size(cell, width - 1).rstrip() + "…"
        line.append(text, style)
        line.append(" " * (width + _GAP - cell_len(text)))
    line.rstrip()
    console.print(line, soft_wrap=True)
