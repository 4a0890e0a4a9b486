"""What can be counted of sessions, and by what: how many, how long, how many at once, by whom and when."""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, NamedTuple, Self, cast, get_args

from session_buddy.errors import InvalidQuery
from session_buddy.history import zones
from session_buddy.history.keys import nearest_first, one_of
from session_buddy.history.query import Clock, Query, Term
from session_buddy.history.times import TICK, Span, parse_duration, parse_overlap

Metric = Literal["sessions", "duration", "users", "concurrency", "peak-hours", "endings", "idle"]
By = Literal["person", "component", "host", "type", "actor", "day", "week", "hour"]
METRICS: Final[tuple[Metric, ...]] = get_args(Metric)
GROUPS: Final[tuple[By, ...]] = get_args(By)
TIMES: Final[tuple[By, ...]] = ("day", "week", "hour")
NOTHING: Final = "none"
DEFAULT_PERIOD: Final = "7d"
ALL: Final = "all"
DEFAULT_ROWS: Final = 50
MAX_ROWS: Final = 10_000

_PERIODS: Final = (
    "today",
    "yesterday",
    "this week",
    "last week",
    "this month",
    "last month",
    "this year",
    ALL,
)
_LENGTHS: Final = "or a length such as 24h, 7d, 4w; 2026-01; a range such as monday..wednesday"
_HOURS_OF_A_WEEK: Final = 168


class Measure(NamedTuple):
    """What one metric is.

    Attributes:
        tells: in words, what is counted.
        by: by what, where nobody says; ``None``: all together.
        columns: the names of what is counted, the first of which orders the rows and is drawn.
        within: further groups, within each.
        key: the key of a query that a period stands for: of sessions that started in it, or that were open.
    """

    tells: str
    by: By | None
    columns: tuple[str, ...]
    within: tuple[str, ...] = ()
    key: Literal["started", "at"] = "started"


_LENGTH_COLUMNS: Final = (
    "p50_seconds",
    "p90_seconds",
    "p95_seconds",
    "p99_seconds",
    "max_seconds",
    "mean_seconds",
    "total_seconds",
    "sessions",
)
MEASURES: Final[dict[Metric, Measure]] = {
    "sessions": Measure("how many started, and how many of them are active", "day", ("sessions", "active")),
    "duration": Measure("how long they lasted, or have lasted so far", "component", _LENGTH_COLUMNS),
    "users": Measure("how many people started some", "day", ("users", "sessions")),
    "concurrency": Measure(
        "how many were open at once, at most, and how many began", "day", ("peak", "sessions"), key="at"
    ),
    "peak-hours": Measure(
        "at which hours of which days of the week they start", None, ("sessions",), ("weekday", "hour")
    ),
    "endings": Measure("how they ended", None, ("sessions",), ("status", "exit_reason")),
    "idle": Measure("for how long nothing has been done in those that are active", "person", _LENGTH_COLUMNS),
}


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is asked.

    Attributes:
        query: of which sessions; the period is one of its terms.
        metric: what is counted.
        by: by what.
        span: the period.
        offsets: local time of those who ask.
        limit: at most so many rows; of times the latest.
    """

    query: Query
    metric: Metric
    by: By | None
    span: Span
    offsets: zones.Offsets
    limit: int

    @classmethod
    def parse(
        cls,
        query: str = "",
        *,
        now: datetime,
        metric: str = "sessions",
        by: str | None = None,
        period: str | None = None,
        timezone: str | None = None,
        limit: int | None = None,
    ) -> Self:
        """What is asked, as texts.

        Args:
            query: of which sessions.
            now: when it is asked.
            metric: one of :data:`METRICS`.
            by: one of :data:`GROUPS`, or ``none`` for all together; of the metric, if not given.
            period: see :func:`parse_period`; ``7d`` if not given, of ``idle`` all time.
            timezone: in which days begin; see :func:`session_buddy.history.zones.read_zone`.
            limit: 1 to 10,000; 50 if not given, of ``peak-hours`` the whole week.

        Raises:
            InvalidQuery: names the argument, its value and what is allowed, the nearest first.
        """
        counted = cast("Metric", one_of("metric", metric, METRICS))
        if limit is None:
            limit = DEFAULT_ROWS if counted != "peak-hours" else _HOURS_OF_A_WEEK
        if not 1 <= limit <= MAX_ROWS:
            raise InvalidQuery("limit", limit, f"a number from 1 to {MAX_ROWS}")
        measure = MEASURES[counted]
        zone, steps = zones.read_zone("timezone", timezone or "UTC")
        clock = Clock(now, zone)
        span = parse_period("period", period or default_period(counted), clock)
        asked = Query.parse(query, clock=clock)
        if span != Span(None, None):
            asked = replace(asked, terms=(*asked.terms, Term(measure.key, (span,))))
        offsets = steps or zones.offsets_of(zone, span.after, now)
        return cls(asked, counted, _by(by, counted), span, offsets, limit)

    @property
    def needs_heartbeats(self) -> bool:
        """Whether it looks at what heartbeats tell."""
        return self.metric in ("duration", "idle") or self.query.needs_heartbeats

    @property
    def within(self) -> tuple[str, ...]:
        """The names of all groups of a row."""
        return (*([self.by] if self.by else []), *MEASURES[self.metric].within)


def default_period(metric: str) -> str:
    """The period that is meant where none is given; who is active may have started at any time."""
    return ALL if metric == "idle" else DEFAULT_PERIOD


def parse_period(field: str, text: str, clock: Clock) -> Span:
    """A day, a week, another span, a length of time up to now, or all time.

    Raises:
        InvalidQuery: it is none; names the field and what is allowed, the nearest first.
    """
    plain = " ".join(text.lower().split())
    if plain == ALL:
        return Span(None, None)
    if re.fullmatch("[0-9]{4}", plain):
        plain = f"{plain}-01-01..{plain}-12-31"
    try:
        parse_duration(field, plain)
        plain = f"last {plain}"
    except InvalidQuery:
        pass
    allowed = f"one of {nearest_first(plain, _PERIODS)}; {_LENGTHS}"
    try:
        span = parse_overlap(field, plain, clock.now, clock.zone)
    except InvalidQuery as error:
        raise (error if ".." in plain else InvalidQuery(field, text, allowed)) from None
    if span.after and span.before and span.before - span.after <= TICK:
        raise InvalidQuery(field, text, f"that is a moment; {allowed}")
    return span


def _by(by: str | None, metric: Metric) -> By | None:
    if metric == "peak-hours" and by not in (None, "", NOTHING):
        raise InvalidQuery("by", by, "peak-hours are by weekday and hour alone")
    if not by:
        return MEASURES[metric].by
    found = one_of("by", by, (*GROUPS, NOTHING))
    return None if found == NOTHING else cast("By", found)
