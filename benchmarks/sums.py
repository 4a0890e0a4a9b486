"""Each metric of a million sessions: beside SQL by hand, and as a whole command."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from benchmarks.measure import Effort, Row, duration, median, pairs
from benchmarks.queries import MOST, ByHand
from benchmarks.starts import command
from session_buddy.history.statistics import Statistics
from session_buddy.store import Store
from tests.world import World

_PARTS = "percentile_cont(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (ORDER BY {0})"
_LENGTHS = f"{_PARTS}, max({{0}}), avg({{0}}), sum({{0}}), count(*)"
# How long one has lasted, where no clock was set.
_LASTED = "coalesce(duration_seconds, extract(epoch FROM (TIMESTAMP '{0}' - start_time)))"
_IDLE = "extract(epoch FROM (TIMESTAMP '{0}' - coalesce(last_activity, start_time)))"
_DAY, _PERSON = (
    "date_trunc('day', listed_at)",
    """
    CASE WHEN person IS NULL THEN username WHEN person_evidence IN ('login', 'sudo', 'account', 'ssh_key')
    THEN person ELSE concat(username, ', says ', person) END
""",
)
_STARTED = "FROM sessions WHERE status IS NOT NULL GROUP BY 1"
_RUNNING = """
    SELECT {2} max(running) FROM (
        SELECT moment, named, sum(change) OVER (
            {1} ORDER BY moment, change DESC ROWS UNBOUNDED PRECEDING
        ) AS running FROM (
            SELECT listed_at AS moment, 1 AS change, {0} AS named FROM sessions WHERE status IS NOT NULL
            UNION ALL SELECT listed_until, -1, {0} FROM sessions WHERE listed_until IS NOT NULL
        ) AS changes
    ) AS counted {3}
"""
# What an engineer would write of all time; {0}: when it is asked.
_BY_HAND = {
    ("sessions", "day"): f"SELECT {_DAY}, count(*), count(*) FILTER (WHERE status = 'active') {_STARTED}",
    (
        "sessions",
        "person",
    ): f"SELECT {_PERSON}, count(*), count(*) FILTER (WHERE status = 'active') {_STARTED}",
    ("sessions", "host"): f"SELECT hostname, count(*), count(*) FILTER (WHERE status = 'active') {_STARTED}",
    ("duration", "component"): f"SELECT component, {_LENGTHS.format(_LASTED)} {_STARTED}",
    ("duration", "day"): f"SELECT {_DAY}, {_LENGTHS.format(_LASTED)} {_STARTED}",
    ("users", "day"): f"SELECT {_DAY}, count(DISTINCT {_PERSON}), count(*) {_STARTED}",
    ("concurrency", "none"): _RUNNING.format("1", "", "", ""),
    ("concurrency", "day"): _RUNNING.format("1", "", "date_trunc('day', moment),", "GROUP BY 1"),
    ("concurrency", "component"): _RUNNING.format("component", "PARTITION BY named", "named,", "GROUP BY 1"),
    ("peak-hours", "none"): f"""
        SELECT extract(isodow FROM listed_at), extract(hour FROM listed_at), count(*) {_STARTED}, 2
    """,  # noqa: S608 - ours
    ("endings", "none"): f"SELECT status, exit_reason, count(*) {_STARTED}, 2",
    ("idle", "person"): f"""
        SELECT {_PERSON}, {_LENGTHS.format(_IDLE)} FROM sessions
        WHERE status = 'active' AND (last_activity IS NOT NULL OR commands IS NOT NULL) GROUP BY 1
    """,  # noqa: S608 - ours
}


def statistics(store: Store, by_hand: ByHand, what: str, rounds: int) -> Iterator[Row]:
    """What the store counts of all time, in UTC, in turns with SQL by hand."""
    now = datetime.now(UTC)
    for (metric, by), statement in _BY_HAND.items():
        asked = Statistics.parse(now=now, metric=metric, by=by, period="all")
        theirs = partial(by_hand, statement.format(f"{now:%Y-%m-%d %H:%M:%S.%f}"), [])
        if len(theirs()) != len(store.measured(asked)):
            raise RuntimeError(f"{metric} by {by}: by hand there are other groups")
        ours, hand = pairs(partial(store.measured, asked), theirs, rounds)
        figure = f"{ours / hand:.2f} times ({ours * 1000:.0f} ms, by hand {hand * 1000:.0f} ms)"
        yield Row(f"{what}: {metric} by {by} / the same by hand", figure, f"≤ {MOST}", ours / hand <= MOST)


def counted(world: World, what: str, effort: Effort) -> Iterator[Row]:
    """Whole commands, with a server."""
    for words in (["--metric", "sessions"], ["--metric", "concurrency"], ["--metric", "duration"]):
        arguments: list[Any] = ["session-buddy", "analytics", *words, "--period", "all"]
        taken = median(command(world, *arguments), effort.rounds)
        yield duration(f"{what}: analytics {' '.join(words)} --period all", taken)
