"""A week as a heatmap: days below each other, hours beside each other, in five steps from few to many."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Final, NamedTuple

from session_buddy.history.counted import WEEKDAYS
from session_buddy.history.words import count
from session_buddy.server.page.draw.scale import percent
from session_buddy.server.page.draw.steps import Class, class_of, classes

HOURS: Final = 24
# Pixels: what stands above, a row, and what parts two.
_HEAD, _ROW, _GAP = 20, 26, 3
# In percent of the width.
_PART: Final = 0.35
_EVERY: Final = 3
_DAY: Final = timedelta(days=1)


class Cell(NamedTuple):
    """An hour of a weekday; ``step`` is 0 where there is nothing, 1 to 5."""

    x: str
    y: int
    width: str
    height: int
    step: int
    number: int
    tells: str
    href: str


class Week(NamedTuple):
    """The heatmap, and the same as a table: of each day its numbers, hour by hour."""

    height: int
    hours: list[tuple[str, str]]
    days: list[tuple[str, int]]
    cells: list[Cell]
    steps: list[Class]
    table: list[tuple[str, list[int]]]
    tells: str


def week(found: Mapping[tuple[str, int], int], link: Callable[[int, int], str]) -> Week:
    """A week.

    ``found``: how many, by the day's name and the hour. ``link``: the address of an hour of a weekday
    (Monday 0), empty where there is none.
    """
    steps = classes(list(found.values()))
    table = [(day, [found.get((day, hour), 0) for hour in range(HOURS)]) for day in WEEKDAYS]
    cells = [
        Cell(
            percent(100 * hour / HOURS),
            _HEAD + place * _ROW,
            percent(100 / HOURS - _PART),
            _ROW - _GAP,
            class_of(number, steps),
            number,
            f"{day.title()} {hour:02}:00 to {(hour + 1) % HOURS:02}:00: {count(number, 'session')}",
            link(place, hour) if number else "",
        )
        for place, (day, numbers) in enumerate(table)
        for hour, number in enumerate(numbers)
    ]
    return Week(
        height=_HEAD + len(table) * _ROW,
        hours=[(percent(100 * (hour + 0.5) / HOURS), f"{hour:02}") for hour in range(0, HOURS, _EVERY)],
        days=[
            (day[:3].title(), _HEAD + place * _ROW + (_ROW - _GAP) // 2) for place, day in enumerate(WEEKDAYS)
        ],
        cells=cells,
        steps=steps,
        table=table,
        tells=_busiest(cells),
    )


def spans(first: date, last: date, weekday: int, hour: int) -> str:
    """All of an hour of a weekday between two days, as the values of a query's term.

    >>> spans(date(2026, 1, 1), date(2026, 1, 13), 0, 9)
    '2026-01-05T09:00..09:59:59.999999,2026-01-12T09:00..09:59:59.999999'
    """
    day, found = first + (weekday - first.weekday()) % 7 * _DAY, list[str]()
    while day <= last:
        found.append(f"{day}T{hour:02}:00..{hour:02}:59:59.999999")
        day += 7 * _DAY
    return ",".join(found)


def _busiest(cells: list[Cell]) -> str:
    cell = max(cells, key=lambda cell: cell.number)
    return f"Most begin on {cell.tells}" if cell.number else "None began"
