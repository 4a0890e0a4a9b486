"""Where marks stand on an axis of time, and what they say: local time, round numbers of it."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

from session_buddy.history.timeline import Window
from session_buddy.history.zones import Offsets, local

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_STEPS: Final = (
    *(timedelta(seconds=number) for number in (1, 5, 10, 30)),
    *(_MINUTE * number for number in (1, 5, 10, 30)),
    *(_HOUR * number for number in (1, 3, 6, 12)),
    *(_DAY * number for number in (1, 2, 7, 28)),
    *(_DAY * 28 * number for number in (3, 12, 60, 240)),
)
# A Monday.
_FIRST: Final = datetime(1970, 1, 5)  # noqa: DTZ001 - local time
# So many have room on the narrowest screen, and so many on others.
_FEW, _MANY = 5, 14


class Tick(NamedTuple):
    """A mark; ``spare`` ones go where there is little room, at ``day`` ones a day begins."""

    moment: datetime
    label: str
    spare: bool
    day: bool


def ticks(window: Window, offsets: Offsets) -> list[Tick]:
    """The marks of a window, in order of time."""
    length = window.end - window.begin
    coarse = next((step for step in _STEPS if length / step <= _FEW), _STEPS[-1])
    fine = next(step for step in _STEPS if step == coarse or (length / step <= _MANY and not coarse % step))
    kept = set(_moments(window, offsets, coarse))
    return [
        Tick(moment, _label(here := local(moment, offsets), fine), moment not in kept, here.time() == time())
        for moment in _moments(window, offsets, fine)
    ]


def _moments(window: Window, offsets: Offsets, step: timedelta) -> Iterator[datetime]:
    """All multiples of a step that clocks show within a window."""
    begins = [window.begin, *(one.since for one in offsets[1:] if window.begin < one.since < window.end)]
    for begin, end in pairwise([*begins, window.end]):
        here = local(begin, offsets)
        added, first = here.utcoffset() or timedelta(), here.replace(tzinfo=None)
        moment = _FIRST - -(first - _FIRST) // step * step
        while (found := (moment - added).replace(tzinfo=UTC)) < end:
            yield found
            moment += step


def _label(here: datetime, step: timedelta) -> str:
    if step < _DAY and here.time() != time():
        return f"{here:%H:%M}" if step >= _MINUTE else f"{here:%H:%M:%S}"
    if step > 300 * _DAY:
        return f"{here:%Y}"
    return f"{here.day} {here:%b}" if step > _DAY else f"{here:%a} {here.day}"
