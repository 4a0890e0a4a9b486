"""What a database counted of sessions, as it is told; :mod:`session_buddy.store.measures` has it count."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from typing_extensions import TypedDict

from session_buddy.errors import InvalidQuery
from session_buddy.history import zones
from session_buddy.history.statistics import MEASURES, TIMES, Statistics
from session_buddy.history.times import TICK, iso

# More groups than this are no statistics, and too much to hold.
MOST_GROUPS: Final = 100_000
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_STEPS: Final[dict[str, timedelta]] = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "hour": timedelta(hours=1),
}


class StatisticsAnswer(TypedDict):
    """What the sessions that fit come to.

    Attributes:
        metric: what was counted.
        by: by what; ``None``: all together.
        since: where the period begins, ISO 8601; ``None``: it has no beginning.
        until: where it ends, itself not in it.
        rows: one a group: its name under that of the grouping (a day or a week as its first date, an hour as
            ISO 8601 with offset), and what was counted; times in order, others the largest first.
        groups: how many rows there are in all.
        sessions: how many sessions all of them have; of ``concurrency``, those that were open.
        truncated: whether ``rows`` has fewer than there are.
    """

    metric: str
    by: str | None
    since: str | None
    until: str | None
    rows: list[dict[str, Any]]
    groups: int
    sessions: int
    truncated: bool


def counted(asked: Statistics, found: Sequence[Sequence[Any]]) -> StatisticsAnswer:
    """What a database counted, as it is told; ``found`` is by ``session_buddy.store.measures.of_statistics``.

    Raises:
        InvalidQuery: there are too many groups.
    """
    _require_few(asked, len(found))
    names = (*asked.within, *MEASURES[asked.metric].columns, *["net"] * (asked.metric == "concurrency"))
    groups = [dict(zip(names, values, strict=True)) for values in found]
    sessions = sum(row["sessions"] for row in groups)
    if asked.by in TIMES:
        rows = _along(asked, groups)
        shown = rows[-asked.limit :]
    else:
        rows = sorted(groups, key=lambda row: _order(asked, row))
        shown = rows[: asked.limit]
    return StatisticsAnswer(
        metric=asked.metric,
        by=asked.by,
        since=iso(asked.span.after),
        until=iso(asked.span.before),
        rows=[_told(asked, row) for row in shown],
        groups=len(rows),
        sessions=sessions,
        truncated=len(shown) < len(rows),
    )


def _require_few(asked: Statistics, groups: int) -> None:
    if groups > MOST_GROUPS:
        raise InvalidQuery("by", asked.by, f"there are more than {MOST_GROUPS:,}; take a shorter period")


def _order(asked: Statistics, row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The largest first; those that are alike by their names."""
    largest = row[MEASURES[asked.metric].columns[0]]
    return (largest is None, -(largest or 0), *(str(row[name] or "") for name in asked.within))


def _told(asked: Statistics, row: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in row.items() if name != "net"}
    if asked.by in ("day", "week"):
        told[asked.by] = row[asked.by].date().isoformat()
    elif asked.by == "hour":
        told[asked.by] = zones.local(row[asked.by].replace(tzinfo=UTC), asked.offsets).isoformat()
    if "weekday" in told:
        told["weekday"] = WEEKDAYS[int(told["weekday"]) - 1]
    return told


def _along(asked: Statistics, counted: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows in order of time, with those in between of which there is nothing to count."""
    by = asked.by or ""
    rows = dict[datetime, list[dict[str, Any]]]()
    for row in sorted(counted, key=lambda row: _order(asked, row)):
        row[by] = row[by].replace(tzinfo=None)
        rows.setdefault(row[by], []).append(row)
    measure, found, still_open = MEASURES[asked.metric], list[dict[str, Any]](), 0
    for moment in _axis(asked, sorted(rows)):
        if moment in rows:
            found += rows[moment]
            still_open += rows[moment][0].get("net", 0)
        elif not measure.within:
            nothing = {name: None if name.endswith("_seconds") else 0 for name in measure.columns}
            found.append({by: moment, **nothing, **({"peak": still_open} if "peak" in nothing else {})})
    return found


def _axis(asked: Statistics, counted: Sequence[datetime]) -> Iterator[datetime]:
    """All days, weeks or hours of the period up to now; where it has no beginning, from the first one on."""
    step, now = _STEPS[asked.by or ""], asked.query.now
    ends = [*counted[:1], *counted[-1:]]
    if asked.span.after:
        ends.append(_begin(asked, asked.span.after))
        last = [time for time in (asked.span.before and asked.span.before - TICK, now) if time]
        ends.append(_begin(asked, min(last)))
    if ends:
        moment, last_one = min(ends), max(ends)
        _require_few(asked, (last_one - moment) // step)
        while moment <= last_one:
            yield moment
            moment += step


def _begin(asked: Statistics, moment: datetime) -> datetime:
    """Where the day, week or hour begins that a moment is in: in local time, that of an hour in UTC."""
    here = zones.local(moment, asked.offsets)
    if asked.by == "hour":
        begin = here.replace(minute=0, second=0, microsecond=0)
        return begin.astimezone(UTC).replace(tzinfo=None)
    day = datetime.combine(here.date(), datetime.min.time())
    return day - timedelta(days=day.weekday()) if asked.by == "week" else day
