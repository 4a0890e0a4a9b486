"""Statistics for people: bars beside their numbers, and a week by its hours."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final, TextIO

from rich.bar import Bar
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from session_buddy.cli.table import console_on
from session_buddy.history.counted import WEEKDAYS
from session_buddy.history.statistics import MEASURES, Statistics
from session_buddy.history.words import Record, human_duration, shown

_TITLES: Final = {
    "p50_seconds": "median",
    "p90_seconds": "90 %",
    "p95_seconds": "95 %",
    "p99_seconds": "99 %",
    "max_seconds": "longest",
    "mean_seconds": "mean",
    "total_seconds": "in all",
    "users": "people",
    "peak": "at once",
    "exit_reason": "reason",
}
# Not where there is little room.
_SPARE: Final = ("mean_seconds", "total_seconds")
_WIDE_FROM: Final = 110
_LONGEST_NAME: Final = 32
_BAR: Final = (8, 40)
_FILE_WIDTH: Final = 120
_GAP: Final = 2

_HOURS: Final = 24
_DAY_CELLS: Final = 4
_CELL: Final = (2, 5)
# From few to many; a terminal without colours has the numbers, a narrow one the shades.
_COLOURS: Final = (
    "",
    "black on color(195)",
    "black on color(117)",
    "white on color(32)",
    "bold white on color(24)",
)
_SHADES: Final = " ░▒▓█"


def write(found: Mapping[str, Any], asked: Statistics, stream: TextIO) -> None:
    """Draw an answer.

    Args:
        found: a :class:`session_buddy.history.counted.StatisticsAnswer` that has rows.
        asked: what was asked.
        stream: where.
    """
    console = console_on(stream)
    width = console.width if stream.isatty() else _FILE_WIDTH
    if asked.metric == "peak-hours":
        _heatmap(console, found["rows"], width)
    else:
        _bars(console, found["rows"], asked, width)


def _bars(console: Console, rows: Sequence[Record], asked: Statistics, width: int) -> None:
    """A line a group: its name, a bar as long as its first number, all numbers."""
    numbers = [name for name in MEASURES[asked.metric].columns if width >= _WIDE_FROM or name not in _SPARE]
    titles = [*asked.within, *numbers]
    lines = [
        [*(_name(name, row[name]) for name in asked.within), *(_number(name, row[name]) for name in numbers)]
        for row in rows
    ]
    heads = [_TITLES.get(name, name) for name in titles]
    widths = [max(map(cell_len, column)) for column in zip(heads, *lines, strict=True)]
    widths = [min(one, _LONGEST_NAME) for one in widths]
    room = max(_BAR[0], min(width - sum(widths) - _GAP * len(widths), _BAR[1]))
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for name, head in zip(titles, heads, strict=True):
        table.add_column(
            head, no_wrap=True, justify="right" if name in numbers else "left", max_width=_LONGEST_NAME
        )
    table.add_column("", width=room, no_wrap=True)
    largest = max((row[numbers[0]] or 0 for row in rows), default=0) or 1
    for row, line in zip(rows, lines, strict=True):
        table.add_row(*map(Text, line), Bar(largest, 0, row[numbers[0]] or 0, width=room, color="cyan"))
    console.print(table, width=width)


def _name(name: str, value: Any) -> str:  # noqa: ANN401 - whatever a row has
    if name == "hour":
        return f"{datetime.fromisoformat(value):%a %Y-%m-%d %H:%M}"
    return f"{date.fromisoformat(value):%a %Y-%m-%d}" if name in ("day", "week") else shown(value)


def _number(name: str, value: Any) -> str:  # noqa: ANN401 - likewise
    if value is None:
        return "-"
    return human_duration(value) if name.endswith("_seconds") else f"{value:,}"


def _heatmap(console: Console, rows: Sequence[Record], width: int) -> None:
    """Days of the week below each other, hours of the day beside each other."""
    found = {(row["weekday"], row["hour"]): row["sessions"] for row in rows}
    most = max(found.values())
    cell = max(_CELL[0], min((width - _DAY_CELLS) // _HOURS, _CELL[1]))
    step = 1 if cell > _CELL[0] else 3  # hours whose name has room
    hours = [f"{hour:>{cell}}" if hour % step == 0 else " " * cell for hour in range(_HOURS)]
    console.print(Text(" " * _DAY_CELLS + "".join(hours), "bold"), soft_wrap=True)
    for day in WEEKDAYS:
        line = Text(f"{day[:3].title():<{_DAY_CELLS}}", "bold")
        for hour in range(_HOURS):
            line.append(*_cell(found.get((day, hour), 0), most, cell))
        console.print(line, soft_wrap=True)


def _cell(number: int, most: int, cell: int) -> tuple[str, str]:
    shade = -(-number * (len(_SHADES) - 1) // most)
    if cell <= _CELL[0]:
        return _SHADES[shade] * cell, ""
    return f"{_short(number) if number else '·':>{cell - 1}} ", _COLOURS[shade]


def _short(number: int) -> str:
    """A number in three characters, mostly.

    >>> [_short(number) for number in (7, 850, 12_345, 7_000_000)]
    ['7', '850', '12k', '7M']
    """
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if number >= size:
            return f"{number // size}{unit}"
    return str(number)
