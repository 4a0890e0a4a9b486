"""Times and lengths of time, as operators write them."""

import re
from calendar import isleap, monthrange
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, NamedTuple

from session_buddy.errors import InvalidQuery

_TIMES: Final = (
    "a time such as 17:28, yesterday 9:00, monday, last week, 2h ago, 2026-01-31 or 2026-01-31T09:30"
)
_BOUNDS: Final = f"{_TIMES}; also >2h, <=monday, or a range such as 14:00..16:00"
_OVERLAP: Final = f"{_TIMES}; or a range such as 14:00..16:00; not with > or <"
_LENGTHS: Final = "a length such as 90s, 30min, 1.5h, 1h30m, 7d or 4w; the units are s, m or min, h, d and w"
# Before it no time is meant; to reckon from one then would leave the calendar.
_FIRST_YEAR: Final = 1900
TICK: Final = timedelta(microseconds=1)
_DAY: Final = timedelta(days=1)


class Time(NamedTuple):
    """A moment, or a whole span such as a day; in UTC, ``end`` not in it.

    A moment ends where what it is written to ends, e.g. a minute.
    """

    begin: datetime
    end: datetime
    whole: bool

    @property
    def behind(self) -> datetime:
        """The first microsecond that is later."""
        return self.end if self.whole else self.begin + TICK


class Span(NamedTuple):
    """From ``after``, itself in it, up to ``before``, itself not in it; ``None`` is no bound."""

    after: datetime | None
    before: datetime | None


def parse_time(field: str, text: str, now: datetime, zone: tzinfo | None) -> Time:
    """What a text means at ``now`` in ``zone``, ``None`` for the system's.

    Raises:
        InvalidQuery: it means no time; names the field and what is allowed.

    >>> noon = datetime(2026, 1, 2, 12, tzinfo=UTC)  # a Friday
    >>> [f"{parse_time('at', text, noon, UTC).begin:%a %d %H:%M}" for text in ("2h ago", "17:28", "thursday")]
    ['Fri 02 10:00', 'Thu 01 17:28', 'Thu 01 00:00']
    """
    return _parse(field, text, _Here(now, zone), _TIMES)


def parse_bounds(field: str, text: str, now: datetime, zone: tzinfo | None) -> Span:
    """When something began or ended: in a time, before or after it with ``<`` or ``>``, or in a range.

    Raises:
        InvalidQuery: it is none of these, e.g. a lone ``2h``; or the range ends before it begins.

    >>> noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    >>> [str(bound) for bound in parse_bounds("started", "monday 22:00..02:00", noon, UTC)]
    ['2025-12-29 22:00:00+00:00', '2025-12-30 02:00:00.000001+00:00']
    """
    here = _Here(now, zone)
    sign = next(sign for sign in (">=", "<=", ">", "<", "") if text.strip().startswith(sign))
    rest = text.strip().removeprefix(sign).strip()
    if ".." in rest and not sign:
        return _parse_range(field, text, here, _BOUNDS)
    found = _parse(field, rest, here, _BOUNDS)
    if not (sign or found.whole or _CLOCK.search(_plain(rest))):
        raise InvalidQuery(
            field, text, f">{rest} for after that moment, <{rest} for before it, or e.g. last 2h"
        )
    after = {">": found.behind, ">=": found.begin, "": found.begin}.get(sign)
    return Span(after, {"<": found.begin, "<=": found.behind, "": found.end}.get(sign))


def parse_overlap(field: str, text: str, now: datetime, zone: tzinfo | None) -> Span:
    """When something was there: at a moment, or at any of a day, another span or a range.

    Raises:
        InvalidQuery: it is none of these, or the range ends before it begins.

    >>> noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    >>> [str(bound) for bound in parse_overlap("at", "11:00", noon, UTC)]
    ['2026-01-02 11:00:00+00:00', '2026-01-02 11:00:00.000001+00:00']
    """
    here = _Here(now, zone)
    if ".." in text:
        return _parse_range(field, text, here, _OVERLAP)
    found = _parse(field, text, here, _OVERLAP)
    return Span(found.begin, found.behind)


def iso(time: datetime | None) -> str | None:
    """A time as ISO 8601, if there is one."""
    return None if time is None else time.isoformat()


def parse_duration(field: str, text: str) -> float:
    """A length of time, in seconds.

    Raises:
        InvalidQuery: it is none; names the units.

    >>> parse_duration("duration", "1h 30min")
    5400.0
    """
    seconds = _seconds(_plain(text))
    if seconds is None:
        raise InvalidQuery(field, text, _LENGTHS)
    return round(seconds, 6)


class _Here(NamedTuple):
    """When and where a text is read."""

    now: datetime
    zone: tzinfo | None

    def local(self, moment: datetime) -> datetime:
        """What calendar and clock show here, without an offset."""
        return moment.astimezone(self.zone).replace(tzinfo=None)

    def utc(self, local: datetime) -> datetime:
        """When calendar and clock show this here; the first time, where they do so twice."""
        return (local.replace(tzinfo=self.zone) if self.zone else local).astimezone(UTC)

    def days(self, begin: date, number: int) -> Time:
        """So many whole days, be they of 23, 24 or 25 hours."""
        first = datetime.combine(begin, time())
        return Time(self.utc(first), self.utc(first + number * _DAY), whole=True)


def _parse(field: str, text: str, here: _Here, allowed: str, first: Time | None = None) -> Time:
    """A time; of a range that begins with ``first``, its end."""
    plain = _plain(text)
    with suppress(ValueError, OverflowError, OSError):  # no such date, or none that Python or the system has
        if first and (clock := _CLOCK.fullmatch(plain)):
            day = here.local(first.end - TICK).date()
            found = _at(day, clock, here)
            return found if found.begin >= first.begin else _at(day + _DAY, clock, here)
        for form in (_span, _clock_time, _ago, _otherwise):
            if (meant := form(plain, here)) and meant.begin.year >= _FIRST_YEAR:
                return meant
    raise InvalidQuery(field, text, allowed)


def _parse_range(field: str, text: str, here: _Here, allowed: str) -> Span:
    first, _, last = (part.strip() for part in text.partition(".."))
    if not first and not last:
        raise InvalidQuery(field, text, allowed)
    begin = _parse(field, first, here, allowed) if first else None
    end = _parse(field, last, here, allowed, begin) if last else None
    if begin and end and end.behind <= begin.begin:
        meant = text
        with suppress(OverflowError):  # here the calendar ends
            meant = " to ".join(f"{here.local(found.begin):%Y-%m-%d %H:%M}" for found in (begin, end))
        raise InvalidQuery(field, text, f"the range ends before it begins: it means {meant}")
    return Span(begin and begin.begin, end and end.behind)


def _plain(text: str) -> str:
    """A text in its simplest form.

    >>> _plain(" On Monday  at noon ")
    'monday 12:00'
    """
    text = re.sub(r"\b(?:at|on|the) ", "", " ".join(text.lower().split()))
    return re.sub(r"\bnoon$", "12:00", re.sub(r"\bmidnight$", "0:00", text))


_UNITS: Final = {
    "w(?:eeks?)?": 604_800,
    "d(?:ays?)?": 86_400,
    "h(?:(?:ou)?rs?)?": 3600,
    "m(?:in(?:ute)?s?)?": 60,
    "s(?:ec(?:ond)?s?)?": 1,
}
_LENGTH: Final = re.compile(
    "".join(rf"(?:(\d{{1,7}}(?:\.\d{{1,6}})?) ?{unit} ?)?" for unit in _UNITS), re.ASCII
)


def _seconds(text: str) -> float | None:
    found = _LENGTH.fullmatch(text)
    if not text or not found:
        return None
    return sum(
        float(number or 0) * unit for number, unit in zip(found.groups(), _UNITS.values(), strict=True)
    )


_BEFORE: Final = re.compile(r"(?:(?P<recent>last |past )|(?:now ?)?- ?)?(?P<length>.+?)(?: ago)?")


def _ago(text: str, here: _Here) -> Time | None:
    """So long before now: ``2h``, ``-2h``, ``an hour ago``; ``last 2h`` is all the time since then."""
    now = here.now.astimezone(UTC)
    found = _BEFORE.fullmatch(re.sub(r"^an? |(?<=^last |^past )(?=[a-z])", "1 ", text))
    length = 0 if text == "now" else found and _seconds(found["length"])
    if length is None:
        return None
    begin = now - timedelta(seconds=length)
    if found and found["recent"]:
        return Time(begin, now, whole=True)
    return Time(begin, begin + TICK, whole=False)


_MONTH: Final = re.compile(r"\d{4}-\d\d", re.ASCII)
_CALENDAR: Final = re.compile("(this|last) (week|month|year)")


def _span(text: str, here: _Here) -> Time | None:
    """A day, a week, a month, a year, or ``last night``."""
    today = here.local(here.now).date()
    if text == "last night":
        evening = datetime.combine(today - _DAY, time(18))
        return Time(here.utc(evening), here.utc(evening + timedelta(hours=12)), whole=True)
    if found := _CALENDAR.fullmatch(text):
        begin, length = _around(today, found[2])
        return here.days(*(_around(begin - _DAY, found[2]) if found[1] == "last" else (begin, length)))
    if _MONTH.fullmatch(text):
        return here.days(*_around(date.fromisoformat(f"{text}-01"), "month"))
    day = _day(text, today) if text else None
    return here.days(day[0], 1) if day else None


def _around(day: date, unit: str) -> tuple[date, int]:
    """The first day, and how many there are, of the week, month or year that has this day."""
    if unit == "week":
        return day - day.weekday() * _DAY, 7
    if unit == "month":
        return day.replace(day=1), monthrange(day.year, day.month)[1]
    return day.replace(month=1, day=1), 365 + isleap(day.year)


_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_BACK: Final = {"": 0, "today": 0, "yesterday": 1, "day before yesterday": 2}
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKDAY: Final = re.compile("(last )?(mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?")


def _day(text: str, today: date) -> tuple[date, int] | None:
    """The day that is meant, and how many earlier if a clock time of it is still to come; 0 if it may be."""
    if text in _BACK:
        return today - _BACK[text] * _DAY, 0 if text else 1
    if found := _WEEKDAY.fullmatch(text):
        back = (today.weekday() - _WEEKDAYS.index(found[2][:3])) % 7
        return (today - (back or 7) * _DAY, 0) if found[1] else (today - back * _DAY, 7)
    return (date.fromisoformat(text), 0) if _DATE.fullmatch(text) else None


_CLOCK: Final = re.compile(
    r"\b(?=\d\d?(?::| ?[ap]m\b))(?P<hour>\d\d?)"
    r"(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?)?(?: ?(?P<half>[ap])m)?",
    re.ASCII,
)
_CLOCK_TIME: Final = re.compile(
    rf"(?:(?P<day>.+?) )??{_CLOCK.pattern}(?: ?(?P<offset>z|utc|[+-]\d\d(?::?\d\d)?)| (?P<behind>[a-z ]+))?",
    re.ASCII,
)


def _clock_time(text: str, here: _Here) -> Time | None:
    """A clock time of a day, ``monday 9:00``, ``9am yesterday``; without a day the last such one."""
    found = _CLOCK_TIME.fullmatch(re.sub(r"(?<=^....-..-..)t", " ", text))
    named = " ".join(filter(None, found.group("day", "behind"))) if found else ""
    if found and found["offset"] and _DATE.fullmatch(named):
        offset = found["offset"].replace("utc", "z").upper()
        here = here._replace(zone=datetime.fromisoformat(f"2000-01-01T00:00{offset}").tzinfo)
    elif not found or found["offset"]:
        return None
    day, back = _day(named, here.local(here.now).date()) or (None, 0)
    if not day:
        return None
    clock = _at(day, found, here)
    return _at(day - back * _DAY, found, here) if clock.begin > here.now else clock


def _at(day: date, found: re.Match[str], here: _Here) -> Time:
    """A clock time, as ``_CLOCK`` found it, of a day."""
    hour, minute, second = (int(number or 0) for number in found.group("hour", "minute", "second"))
    if found["half"] and hour not in range(1, 13):
        raise ValueError(hour)
    hour = hour % 12 + 12 * (found["half"] == "p") if found["half"] else hour
    fraction = found["fraction"] or ""
    begin = here.utc(datetime.combine(day, time(hour, minute, second, int(fraction[:6].ljust(6, "0")))))
    return _moment(begin, found)


def _moment(begin: datetime, found: re.Match[str]) -> Time:
    written_to = TICK if found["fraction"] else timedelta(seconds=1 if found["second"] else 60)
    return Time(begin, begin + written_to, whole=False)


_WRITTEN: Final = re.compile("[a-z0-9 :.,/+-]{,60}")
_MONTHS: Final = (
    "(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    "|sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DATED: Final = re.compile(rf"{_MONTHS}|(?=.*\d)(?:.*[^a-z])?{_MONTHS}(?:[^a-z].*)?")
_LONG_AGO: Final = re.compile(
    r"(?:(?:\d+|an?|one|two|three|four|five|six|seven|eight|nine|ten)"
    r" (?:second|minute|hour|day|week|month|year)s?,?(?: and)? )+ago"
)


def _otherwise(text: str, here: _Here) -> Time | None:
    """A date with the name of a month, ``jan 31``, ``31 january 2026 9:00``; ``two months ago``."""
    ago, clock = text.endswith(" ago"), _CLOCK.search(text)
    here = here._replace(zone=UTC) if ago else here
    at, parts = _dateparser(text, here.local(here.now))
    if not at or (ago and clock):
        return None
    begin = at.astimezone(UTC) if at.tzinfo else here.utc(at)
    if ago:
        return Time(begin, begin + TICK, whole=False)
    if clock:
        return _moment(begin, clock) if {"day", "time", "year" if at.tzinfo else "day"} <= parts else None
    if "time" in parts or at.tzinfo or "month" not in parts:
        return None
    return here.days(at.date(), 1) if "day" in parts else here.days(*_around(at.date(), "month"))


def _dateparser(text: str, local: datetime) -> tuple[datetime | None, set[str]]:
    """What dateparser reads, and which parts of it the text says; it is not asked what it would guess at."""
    if not (_WRITTEN.fullmatch(text) and (_DATED.fullmatch(text) or _LONG_AGO.fullmatch(text))):
        return None, set()
    from dateparser import DateDataParser  # type: ignore[import-untyped]

    # With "local", the default, it looks up the system's zone, and fails where TZ is no name.
    settings = {"PREFER_DATES_FROM": "past", "RELATIVE_BASE": local, "TIMEZONE": "UTC"}
    found = None
    with suppress(Exception):  # it was made for other texts, and may raise anything
        found = DateDataParser(languages=["en"], settings=settings).get_date_data(text)
    return (found.date_obj, set(found.parts)) if found else (None, set())
