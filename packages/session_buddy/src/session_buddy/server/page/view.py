"""The window of time that a page shows, and the zone, as its address gives them."""

from datetime import datetime, timedelta, tzinfo
from typing import Final, NamedTuple, Self

from session_buddy.errors import InvalidQuery
from session_buddy.history import zones
from session_buddy.history.query import Clock
from session_buddy.history.timeline import Window
from session_buddy.history.times import parse_duration, parse_time

DEFAULT_SPAN: Final = "24h"
_SHORTEST: Final = timedelta(seconds=10)
_LONGEST: Final = timedelta(days=3660)

# So many places of a window can be told apart.
_TOLD_APART: Final = 500


class Zone(NamedTuple):
    """Where the reader is: the zone that times are read in, and the offsets for showing them, if given."""

    name: str
    zone: tzinfo
    given: zones.Offsets | None

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """A zone by its name or offset, see :func:`session_buddy.history.zones.read_zone`.

        Raises:
            InvalidQuery: it is none.
        """
        name = (text or "").strip() or "UTC"
        return cls(name, *zones.read_zone("tz", name))

    def offsets(self, window: Window) -> zones.Offsets:
        """What is added to UTC within a window."""
        return self.given or zones.offsets_of(self.zone, window.begin, window.end)


class View(NamedTuple):
    """A window, and how it was asked for.

    ``span`` is its length as given, ``None`` where its ends were; ``at`` the moment of which it is asked
    who was in; ``now`` when it was asked: no window ends later.
    """

    window: Window
    span: str | None
    at: datetime | None
    now: datetime

    @classmethod
    def parse(cls, clock: Clock, *, begin: str, end: str, span: str, at: str) -> Self:
        """A window from ``begin`` to ``end``, or ``span`` long up to now; around ``at`` if that was before.

        Raises:
            InvalidQuery: names the parameter, its value and what is allowed.
        """
        zone = clock.zone
        length = timedelta(seconds=parse_duration("span", span or DEFAULT_SPAN))
        if not _SHORTEST <= length <= _LONGEST:
            raise InvalidQuery("span", span, "a length from 10s to 3660d, such as 6h, 24h, 7d, 30d")
        moment = parse_time("at", at, clock.now, zone).begin if at else None
        if moment and moment > clock.now:
            raise InvalidQuery("at", at, "a moment that is not ahead")
        last = min(parse_time("to", end, clock.now, zone).begin, clock.now) if end else None
        first = parse_time("from", begin, clock.now, zone).begin if begin else None
        if first and not last:
            last = min(first + length, clock.now) if span else clock.now
        if last and not first:
            first = last - length
        if not (first and last):
            first, last = clock.now - length, clock.now
            if moment and moment < first:
                first, last = moment - length / 2, moment + length / 2
        if last - first < _SHORTEST or last - first > _LONGEST:
            raise InvalidQuery("from", begin or first.isoformat(), "10 s to 3660 days before `to`")
        is_given = bool(begin or end) or last < clock.now
        return cls(Window(first, last), None if is_given else span or DEFAULT_SPAN, moment, clock.now)

    def moved(self, share: float) -> Window | None:
        """The same length, so much of it later; ``None``: that is not yet."""
        length = self.window.end - self.window.begin
        end = self._end(self.window.end + share * length, length)
        return Window(end - length, end) if end != self.window.end else None

    def zoomed(self, factor: float) -> Window:
        """So many times as long, around the moment that is asked of, else the middle."""
        begin, end = self.window
        length = min(max((end - begin) * factor, _SHORTEST), _LONGEST)
        centre = self.at if self.at and begin <= self.at <= end else begin + (end - begin) / 2
        share = (centre - begin) / (end - begin)
        last = self._end(centre - share * length + length, length)
        return Window(last - length, last)

    def _end(self, end: datetime, length: timedelta) -> datetime:
        """Where a window ends that would end so: now, if that is nearer than can be seen."""
        return end if end < self.now - length / _TOLD_APART else self.now
