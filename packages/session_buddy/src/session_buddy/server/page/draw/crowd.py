"""How many were in at once, along time: a line in steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from session_buddy.history.timeline import Window
from session_buddy.history.zones import Offset, Offsets
from session_buddy.server.page.draw.picture import Mark
from session_buddy.server.page.draw.scale import percent, place
from session_buddy.server.page.draw.steps import axis, stairs
from session_buddy.server.page.draw.ticks import ticks

UNIT: Final = 100
_DAYS: Final[Offsets] = (Offset(datetime.min.replace(tzinfo=UTC), timedelta()),)


@dataclass(frozen=True, slots=True)
class Crowd:
    """The line and the area below it, in units of ``width`` by ``unit``; levels with their places."""

    width: int
    line: str
    area: str
    levels: list[tuple[str, int]]
    marks: list[Mark]
    tells: str
    unit: int = UNIT


def crowd(rows: Sequence[Mapping[str, Any]], by: str, offsets: Offsets) -> Crowd:
    """The peaks of each hour or day, in order of time.

    Args:
        rows: of a :class:`session_buddy.history.counted.StatisticsAnswer`; one at the least.
        by: ``hour`` or ``day``.
        offsets: of the reader's zone.
    """
    # The days of a calendar are all of one length here: they are the columns.
    offsets = offsets if by == "hour" else _DAYS
    begin, last = (datetime.fromisoformat(rows[at][by]) for at in (0, -1))
    if by == "day":
        begin, last = begin.replace(tzinfo=UTC), last.replace(tzinfo=UTC)
    window = Window(
        begin.astimezone(UTC),
        last.astimezone(UTC) + (timedelta(hours=1) if by == "hour" else timedelta(days=1)),
    )
    numbers = [int(row["peak"]) for row in rows]
    levels = axis(max(numbers))
    line, area = stairs(numbers, levels[-1], UNIT)
    largest = rows[numbers.index(max(numbers))][by]
    at = datetime.fromisoformat(largest)
    when = f"on {at:%a} {at.day} {at:%b}" + f" at {at:%H}:00" * (by == "hour")
    return Crowd(
        len(rows),
        line,
        area,
        [(percent(100 - 100 * level / levels[-1]), level) for level in levels],
        [
            Mark(percent(place(window, one.moment)), one.label, "spare" * one.spare)
            for one in ticks(window, offsets)
        ],
        f"At most {max(numbers):,} at once, {when}",
    )
