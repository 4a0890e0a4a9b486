"""How many were in at once, along time: a line in steps."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from session_buddy.history.timeline import Window
from session_buddy.history.zones import Offset, Offsets, local
from session_buddy.server.page.draw.picture import Mark
from session_buddy.server.page.draw.scale import percent, place
from session_buddy.server.page.draw.steps import axis, stairs
from session_buddy.server.page.draw.ticks import ticks

UNIT: Final = 100
_STEPS: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_DAYS: Final[Offsets] = (Offset(datetime.min.replace(tzinfo=UTC), timedelta()),)


class Crowd(NamedTuple):
    """The line and the area below it, in units of ``width`` by ``unit``; levels with their places.

    ``peak`` is when most were in.
    """

    width: int
    line: str
    area: str
    levels: list[tuple[str, int]]
    marks: list[Mark]
    tells: str
    peak: Window
    unit: int = UNIT


def crowd(rows: Sequence[Mapping[str, Any]], by: str, offsets: Offsets) -> Crowd:
    """The peaks of each hour or day, in order of time.

    ``rows``, one at least, are those of a :class:`session_buddy.history.counted.StatisticsAnswer`.
    """
    # The days of a calendar are all of one length here: they are the columns.
    axis_offsets = offsets if by == "hour" else _DAYS
    step = _STEPS[by]
    moments = [datetime.fromisoformat(row[by]) for row in rows]
    begun = [one if one.tzinfo else one.replace(tzinfo=UTC) for one in moments]
    window = Window(begun[0].astimezone(UTC), begun[-1].astimezone(UTC) + step)
    numbers = [int(row["peak"]) for row in rows]
    levels = axis(max(numbers))
    line, area = stairs(numbers, levels[-1], UNIT)
    largest = numbers.index(max(numbers))
    at = begun[largest]
    when = f"on {at:%a} {at.day} {at:%b}" + f" at {at:%H}:00" * (by == "hour")
    return Crowd(
        len(rows),
        line,
        area,
        [(percent(100 - 100 * level / levels[-1]), level) for level in levels],
        [
            Mark(percent(place(window, one.moment)), one.label, "spare" * one.spare)
            for one in ticks(window, axis_offsets)
        ],
        f"At most {numbers[largest]:,} at once, {when}",
        _meant(at, step, offsets if by == "day" else None),
    )


def _meant(begin: datetime, step: timedelta, offsets: Offsets | None) -> Window:
    """When a column is; ``offsets`` are added to a day of the calendar that begins as if in UTC."""
    added = local(begin, offsets).utcoffset() if offsets else None
    first = begin.astimezone(UTC) - (added or timedelta())
    return Window(first, first + step)
