"""``/patterns``: when, how long, how many at once, by whom, and how it ended."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

from starlette.responses import Response

from oneiric.visible import visible
from session_buddy.errors import InvalidQuery
from session_buddy.history.query import Clock, Query
from session_buddy.history.timeline import Window
from session_buddy.history.times import parse_duration
from session_buddy.history.words import MISSING, human_duration
from session_buddy.history.zones import local
from session_buddy.server.page import html
from session_buddy.server.page.address import address, narrowed, terms_of, written
from session_buddy.server.page.draw.crowd import Crowd, crowd
from session_buddy.server.page.draw.picture import HOW, NAMES
from session_buddy.server.page.draw.shares import Share, shares
from session_buddy.server.page.draw.week import Week, spans, week
from session_buddy.server.page.figures import LENGTHS, Figures, Period, Sums, figures
from session_buddy.server.page.timeline import Link
from session_buddy.server.page.view import Zone
from session_buddy.server.web.routes import Asked, Given

_PATH: Final = "/patterns"
DEFAULT_PERIOD: Final = "30d"
_PERIODS: Final = {"7d": "7 days", "30d": "30 days", "90d": "90 days"}
_SHORTEST, _LONGEST = timedelta(hours=1), timedelta(days=3660)
_BEFORE, _NONE = ", beside those of the period before", "; in the period before there were none"
# Of a longer period the hours of a week are too many dates for a query.
_LISTED: Final = timedelta(days=31)


class Wanted(Given):
    """What of the history.

    Attributes:
        q: which sessions.
        tz: the reader's zone; UTC if not given.
        period: how long up to now.
    """

    q: str = ""
    tz: str = ""
    period: str = DEFAULT_PERIOD


@dataclass(frozen=True, slots=True)
class Figure:
    """A number on top; ``before`` tells that of the period before, ``worse`` that it was better."""

    number: str
    label: str
    before: str
    worse: bool = False


@dataclass(frozen=True, slots=True)
class Patterns(html.Context):
    """The page."""

    template: ClassVar[str] = "patterns.html"
    heading: str
    tells: str
    periods: list[Link]
    empty: bool
    unfiltered: str
    longer: str
    figures: list[Figure]
    week: Week
    crowd: Crowd | None
    at_peak: str
    endings: list[Share]
    lengths: list[Share]
    people: list[Share]
    components: list[Share]


@dataclass(frozen=True, slots=True)
class _Page:
    wanted: Wanted
    period: Period
    zone: Zone
    window: Window

    @classmethod
    def of(cls, wanted: Wanted, now: datetime) -> "_Page":
        zone = Zone.parse(wanted.tz)
        text = wanted.period.strip() or DEFAULT_PERIOD
        span = timedelta(seconds=parse_duration("period", text))
        if not _SHORTEST <= span <= _LONGEST:
            raise InvalidQuery("period", text, "a length from 1h to 3660d, such as 7d, 30d or 90d")
        # What is wrong with the query is told before anything is added to it.
        Query.parse(wanted.q, clock=Clock(now, zone.zone))
        return cls(wanted, Period(text, span, wanted.q, zone.name, now), zone, Window(now - span, now))

    def link(self, **changes: str) -> str:
        """This view, with another value here or there."""
        period = "" if self.period.text == DEFAULT_PERIOD else self.period.text
        return address(_PATH, **{"q": self.wanted.q, "period": period, "tz": self.wanted.tz, **changes})

    def to_list(self, *terms: str) -> str:
        """The sessions of the period of which this is so."""
        query = narrowed(self.wanted.q, f"started:>{self.period.text.replace(' ', '')}", *terms)
        return address("/sessions", q=query, tz=self.wanted.tz)

    def to_timeline(self, window: Window) -> str:
        """Who was in, within a window."""
        begin, end = map(written, window)
        return address("/timeline", q=self.wanted.q, begin=begin, to=end, tz=self.wanted.tz)

    def to_hour(self, weekday: int, hour: int) -> str:
        """The sessions that began in an hour of a weekday; empty where those are too many dates."""
        if self.period.length > _LISTED:
            return ""
        first, last = (local(one, self.zone.offsets(self.window)).date() for one in self.window)
        return self.to_list(f"started:{spans(first, last, weekday, hour)}")


async def _answer(asked: Asked[Wanted]) -> Response:
    page = _Page.of(asked.given, datetime.now(UTC))
    found = await figures(asked.services.register.answers, page.period)
    return html.page(_context(page, found), asked=asked)


def _context(page: _Page, found: Figures) -> Patterns:
    words = _PERIODS.get(page.period.text) or human_duration(page.period.length.total_seconds())
    hours = {(row["weekday"], row["hour"]): row["sessions"] for row in found.hours["rows"]}
    heading, rows = f"The last {words}", found.at_once["rows"]
    at_once = crowd(rows, page.period.step, page.zone.offsets(page.window)) if rows else None
    begun = found.now.sessions
    return Patterns(
        title=heading,
        heading=heading,
        tells=f"of sessions that started in that time{_BEFORE if found.before.sessions else _NONE}",
        periods=[Link(name, page.link(period=name), name == page.period.text) for name in _PERIODS],
        empty=not begun,
        unfiltered=page.link(q="") if page.wanted.q else "",
        longer="" if page.period.length >= timedelta(days=90) else page.link(period="90d"),
        figures=_figures(found.now, found.before),
        week=week(hours, page.to_hour),
        crowd=at_once,
        at_peak=page.to_timeline(at_once.peak) if at_once else "",
        endings=shares(_endings(page, found)),
        lengths=shares(
            (name, number, "", page.to_list(terms))
            for (name, terms), number in zip(LENGTHS, found.lengths, strict=True)
        ),
        people=_named(page, found.people["rows"], "person"),
        components=_named(page, found.components["rows"], "component"),
    )


def _figures(now: Sums, before: Sums) -> list[Figure]:
    there = before.sessions > 0

    def figure(name: str, value: Callable[[Sums], str], *, worse: bool = False) -> Figure:
        return Figure(value(now), name, f"{value(before)} before" if there else "", worse)

    return [
        figure("session" if now.sessions == 1 else "sessions", lambda sums: f"{sums.sessions:,}"),
        figure("person" if now.people == 1 else "people", lambda sums: f"{sums.people:,}"),
        figure("median stay", lambda sums: _length(sums.seconds("p50_seconds"))),
        figure("95 % are shorter", lambda sums: _length(sums.seconds("p95_seconds"))),
        figure("ended badly", lambda sums: f"{sums.bad:,}", worse=there and now.bad > before.bad),
    ]


def _endings(page: _Page, found: Figures) -> list[tuple[str, int, str, str]]:
    rows = list[tuple[str, int, str, str]]()
    for row in found.now.endings["rows"]:
        status, how = row["status"], row["exit_reason"]
        terms = [f"status:{status}", *([f"exit:{how}"] if how else [])]
        name = HOW.get(how or "", NAMES[status])
        rows.append((name, row["sessions"], status, page.to_list(*terms)))
    return rows


def _named(page: _Page, rows: list[dict[str, object]], by: str) -> list[Share]:
    return shares(
        (
            visible(str(row[by])),
            int(str(row["sessions"])),
            "",
            page.link(q=narrowed(page.wanted.q, *terms_of(by, str(row[by])))),
        )
        for row in rows
    )


PATTERNS: Final = html.route(_PATH, "when, how long, by whom, and how it ended: a page", _answer, Wanted)


def _length(seconds: float | None) -> str:
    return MISSING if seconds is None else human_duration(seconds)
