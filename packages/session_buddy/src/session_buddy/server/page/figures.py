"""The numbers of a period, and of the one before: the same that ``analytics`` tells."""

import asyncio
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from session_buddy.history.counted import StatisticsAnswer
from session_buddy.history.query import span_text
from session_buddy.history.statistics import MAX_ROWS, Statistics
from session_buddy.history.times import Span
from session_buddy.server.answers import Answers
from session_buddy.server.page.address import narrowed

BAD: Final = ("crashed", "lost")
# How people speak of how long something lasted: of each its words, and the terms that mean it.
LENGTHS: Final = (
    ("under a minute", "duration:<1m"),
    ("1 to 5 minutes", "duration:>=1m duration:<5m"),
    ("5 to 30 minutes", "duration:>=5m duration:<30m"),
    ("½ to 2 hours", "duration:>=30m duration:<2h"),
    ("2 to 8 hours", "duration:>=2h duration:<8h"),
    ("8 hours and more", "duration:>=8h"),
)
MOST_NAMED: Final = 8
# Longer periods have a column a day.
_HOURS_UP_TO: Final = timedelta(days=8)


class Period(NamedTuple):
    """A length of time up to now, and of which sessions; ``text`` is the length as given, e.g. ``30d``."""

    text: str
    length: timedelta
    query: str
    timezone: str
    now: datetime

    @property
    def step(self) -> str:
        """What has a column of its own where many are drawn along time."""
        return "hour" if self.length <= _HOURS_UP_TO else "day"

    def asked(self, metric: str, by: str = "none", *, more: str = "", limit: int = MAX_ROWS) -> Statistics:
        """What is asked of the database."""
        return self._asked(self.text, metric, by, narrowed(self.query, more), limit)

    def asked_before(self, metric: str) -> Statistics:
        """The same of the period before."""
        begin = self.now - self.length
        before = span_text(Span(begin - self.length, begin))
        return self._asked(before, metric, "none", self.query, MAX_ROWS)

    def _asked(self, period: str, metric: str, by: str, query: str, limit: int) -> Statistics:
        return Statistics.parse(
            query, now=self.now, metric=metric, by=by, period=period, timezone=self.timezone, limit=limit
        )


class Sums(NamedTuple):
    """What a period came to: how they ended, how long they lasted, how many people."""

    endings: StatisticsAnswer
    durations: StatisticsAnswer
    users: StatisticsAnswer

    @property
    def sessions(self) -> int:
        """How many started."""
        return self.endings["sessions"]

    @property
    def people(self) -> int:
        """How many people started some."""
        return sum(row["users"] for row in self.users["rows"])

    @property
    def bad(self) -> int:
        """How many ended badly."""
        return sum(row["sessions"] for row in self.endings["rows"] if row["status"] in BAD)

    def seconds(self, name: str) -> float | None:
        """One number of how long they lasted; ``None``: there are none."""
        rows = self.durations["rows"]
        return rows[0][name] if rows else None


class Figures(NamedTuple):
    """All of it; ``lengths`` has how many lasted as long as each of :data:`LENGTHS` says."""

    now: Sums
    before: Sums
    hours: StatisticsAnswer
    at_once: StatisticsAnswer
    people: StatisticsAnswer
    components: StatisticsAnswer
    lengths: list[int]


async def figures(answers: Answers, period: Period) -> Figures:
    """Count all numbers of the page, at once.

    Raises:
        InvalidQuery: the query means nothing, or there is too much of it.
    """
    asked = period.asked
    whole = [each(one) for each in (asked, period.asked_before) for one in ("endings", "duration", "users")]
    drawn = [asked("peak-hours"), asked("concurrency", period.step)]
    named = [asked("sessions", by, limit=MOST_NAMED) for by in ("person", "component")]
    lengths = [asked("sessions", more=terms) for _, terms in LENGTHS]
    found = await asyncio.gather(*map(answers.statistics, [*whole, *drawn, *named, *lengths]))
    now, before = Sums(*found[:3]), Sums(*found[3:6])
    hours, at_once, people, components, *counted = found[6:]
    return Figures(now, before, hours, at_once, people, components, [one["sessions"] for one in counted])
