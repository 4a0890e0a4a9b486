"""How far local time is from UTC, and since when: what days and hours of a history are cut by.

Databases do not know the same names of zones, nor that of the machine that asks: offsets are handed over.
"""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from session_buddy.errors import InvalidQuery

# No zone changes its offset, and back, within fewer days.
_STEP: Final = timedelta(days=7)
_EXACT: Final = timedelta(seconds=1)
# So much of what has no beginning is looked at.
_YEARS: Final = timedelta(days=20 * 366)
_ALLOWED: Final = "a name such as Europe/Berlin, or an offset such as +01:00"
_OFFSET: Final = re.compile(
    r"(?P<sign>[+-])(?P<hours>[01]\d|2[0-3]):(?P<minutes>[0-5]\d)(?::(?P<seconds>[0-5]\d))?", re.ASCII
)


class Offset(NamedTuple):
    """What is added to UTC, from a moment on; of the first one, from ever."""

    since: datetime
    added: timedelta


Offsets = tuple[Offset, ...]


def offsets_of(zone: tzinfo | None, first: datetime | None, last: datetime) -> Offsets:
    """The offsets of a zone, ``None``: this machine's, between two moments; each change to the second.

    >>> changes = offsets_of(ZoneInfo("Europe/Berlin"), None, datetime(2026, 7, 1, tzinfo=UTC))[-2:]
    >>> [f"{one.since:%m-%d %H:%M} {one.added}" for one in changes]
    ['10-26 01:00 1:00:00', '03-29 01:00 2:00:00']
    """
    last = last.astimezone(UTC).replace(microsecond=0)
    at = max(first or last - _YEARS, last - _YEARS).astimezone(UTC).replace(microsecond=0)
    found = [Offset(at, _added(at, zone))]
    while at < last:
        ahead = min(at + _STEP, last)
        if _added(ahead, zone) != found[-1].added:
            found.append(_change(at, ahead, zone))
        at = ahead
    return tuple(found)


def written(offsets: Offsets) -> str:
    """The offsets as :func:`read_zone` takes them.

    >>> begin = datetime(2026, 1, 2, tzinfo=UTC)
    >>> written((Offset(begin, timedelta(hours=1)), Offset(begin + timedelta(days=99), timedelta(hours=2))))
    '+01:00,2026-04-11T00:00:00+00:00=+02:00'
    """
    first, *later = offsets
    changes = [f"{one.since.isoformat()}={_text(one.added)}" for one in later]
    return ",".join([_text(first.added), *changes])


def read_zone(field: str, text: str) -> tuple[tzinfo, Offsets | None]:
    """A zone by its name or its offset; or offsets that were written, whose own times are UTC.

    Raises:
        InvalidQuery: it is none; names the field and what is allowed.
    """
    first, *changes = text.strip().split(",")
    if (offset := _read(first)) is not None:
        offsets = [Offset(datetime.min.replace(tzinfo=UTC), offset)]
        for change in changes:
            moment, _, added = change.partition("=")
            offsets.append(Offset(_moment(field, text, moment), _required(field, text, added)))
        return (UTC, tuple(offsets)) if changes else (timezone(offset), None)
    try:
        return ZoneInfo(text.strip()), None
    except (KeyError, ValueError, OSError):  # there is none, or it is no name
        raise InvalidQuery(field, text, _ALLOWED) from None


def local(moment: datetime, offsets: Offsets) -> datetime:
    """What clocks show at a moment, with the offset."""
    added = next((one.added for one in reversed(offsets) if one.since <= moment), offsets[0].added)
    return moment.astimezone(timezone(added))


def _added(at: datetime, zone: tzinfo | None) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _change(before: datetime, behind: datetime, zone: tzinfo | None) -> Offset:
    """The first moment of the offset that holds ``behind``."""
    was = _added(before, zone)
    while behind - before > _EXACT:
        middle = (before + (behind - before) / 2).replace(microsecond=0)
        before, behind = (middle, behind) if _added(middle, zone) == was else (before, middle)
    return Offset(behind, _added(behind, zone))


def _text(added: timedelta) -> str:
    sign, seconds = ("-", -added) if added < timedelta() else ("+", added)
    whole = int(seconds.total_seconds())
    rest = f":{whole % 60:02}" * bool(whole % 60)
    return f"{sign}{whole // 3600:02}:{whole // 60 % 60:02}{rest}"


def _read(text: str) -> timedelta | None:
    found = _OFFSET.fullmatch(text)
    if text.upper() in ("UTC", "Z"):
        return timedelta()
    if not found:
        return None
    hours, minutes, seconds = (int(found[name] or 0) for name in ("hours", "minutes", "seconds"))
    length = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return -length if found["sign"] == "-" else length


def _required(field: str, text: str, written_offset: str) -> timedelta:
    offset = _read(written_offset)
    if offset is None:
        raise InvalidQuery(field, text, _ALLOWED)
    return offset


def _moment(field: str, text: str, moment: str) -> datetime:
    try:
        return datetime.fromisoformat(moment).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidQuery(field, text, _ALLOWED) from None
