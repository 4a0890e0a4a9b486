"""``GET /api/v1/statistics`` and ``/api/v1/timeline``: what sessions come to, and what happened when."""

from typing import Annotated, Final

from pydantic import Field

from session_buddy.history.counted import StatisticsAnswer
from session_buddy.history.query import Query
from session_buddy.history.statistics import GROUPS, MAX_ROWS, METRICS, Statistics
from session_buddy.history.timeline import DEFAULT_EVENTS, MOST_EVENTS, TimelineAnswer, Window
from session_buddy.server.web.routes import Asked, Given, route
from session_buddy.server.words import OffsetsText, QueryText, Words


class StatisticsWanted(Given):
    """What is counted, by what, of which sessions."""

    metric: Annotated[Words, Field(description=f"one of {', '.join(METRICS)}")] = "sessions"
    by: Annotated[Words, Field(description=f"one of {', '.join(GROUPS)}, or none; of the metric")] = ""
    period: Annotated[Words, Field(description="24h, 7d, today, last week, 2026-01, all; 7d")] = ""
    query: QueryText = ""
    timezone: Annotated[OffsetsText, Field(description="when days begin: Europe/Berlin, +01:00; UTC")] = ""
    limit: Annotated[int | None, Field(ge=1, le=MAX_ROWS, description="at most so many rows")] = None


class TimelineWanted(Given):
    """A window of time, and whose."""

    query: QueryText = ""
    since: Annotated[Words, Field(description="where it begins: 2h ago, monday 14:00; an hour ago")] = ""
    until: Annotated[Words, Field(description="where it ends; now")] = ""
    at: Annotated[Words, Field(description="both in one: yesterday, monday 14:00..16:00")] = ""
    limit: Annotated[int, Field(ge=1, le=MOST_EVENTS, description="at most so many events")] = DEFAULT_EVENTS


async def _statistics(asked: Asked[StatisticsWanted]) -> StatisticsAnswer:
    wanted, answers = asked.given, asked.services.register.answers
    statistics = Statistics.parse(
        wanted.query,
        now=answers.clock.now,
        metric=wanted.metric,
        by=wanted.by,
        period=wanted.period,
        timezone=wanted.timezone,
        limit=wanted.limit,
    )
    return await answers.statistics(statistics)


async def _timeline(asked: Asked[TimelineWanted]) -> TimelineAnswer:
    wanted, answers = asked.given, asked.services.register.answers
    clock = answers.clock
    window = Window.parse(clock, since=wanted.since, until=wanted.until, at=wanted.at)
    return await answers.timeline(Query.parse(wanted.query, clock=clock, limit=wanted.limit), window)


STATISTICS: Final = route("GET", "/api/v1/statistics", "what sessions come to", _statistics)
TIMELINE: Final = route("GET", "/api/v1/timeline", "what happened in a window of time", _timeline)
