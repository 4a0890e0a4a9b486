"""What is counted is the same on DuckDB, on PostgreSQL and by hand; and how it is asked for and told."""

import csv
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from oneiric.paths import Paths
from session_buddy.errors import InvalidQuery
from session_buddy.history import zones
from session_buddy.history.counted import WEEKDAYS, counted
from session_buddy.history.query import Clock, Query
from session_buddy.history.record import person, to_record
from session_buddy.history.statistics import (
    GROUPS,
    MAX_ROWS,
    MEASURES,
    METRICS,
    TIMES,
    Statistics,
    parse_period,
)
from session_buddy.history.times import Span
from session_buddy.store import open_store
from tests.engines import PostgresDatabase
from tests.random_history import NOW, Session, history, on_both_engines
from tests.samples import arrival, end_event, seeded, session_id_of, start_event
from tests.serverprocess import ServerProcess
from tests.terminal import printed

Cli = Callable[..., Any]
Rows = list[dict[str, Any]]
ZONES = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "-03:30"]
QUERIES: list[tuple[str, Callable[[Any], bool]]] = [
    ("", lambda _: True),
    ("host:web*", lambda record: record["hostname"].startswith("web")),
    ("-status:active", lambda record: record["status"] != "active"),
]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

# --- by hand


def name_of(one: Session, by: str | None, zone: Any) -> Any:
    if by in TIMES:
        return bucket(one.begin, by, zone)
    record: Any = one.record
    fields = {"component": "component", "host": "hostname", "type": "session_type", "actor": "actor"}
    return person(record) if by == "person" else record[fields[by]] if by else None


def bucket(moment: datetime, by: str, zone: Any) -> str:
    local = moment.astimezone(zone)
    if by == "hour":
        offset = local.utcoffset() or timedelta()
        begin = (moment + offset).replace(minute=0, second=0, microsecond=0) - offset
        return begin.astimezone(zone).isoformat()
    day = local.date()
    return (day - timedelta(days=day.weekday() if by == "week" else 0)).isoformat()


def percentile(values: Sequence[float], share: float) -> float:
    place = (len(values) - 1) * share
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


def lengths(values: list[float]) -> dict[str, Any]:
    values.sort()
    return {
        "p50_seconds": percentile(values, 0.5),
        "p90_seconds": percentile(values, 0.9),
        "p95_seconds": percentile(values, 0.95),
        "p99_seconds": percentile(values, 0.99),
        "max_seconds": values[-1],
        "mean_seconds": sum(values) / len(values),
        "total_seconds": sum(values),
        "sessions": len(values),
    }


def is_open(one: Session, at: datetime) -> bool:
    return one.begin <= at and (one.end is None or one.end >= at)


def at_once(group: list[Session], since: datetime | None) -> dict[str, Any]:
    moments = [max(one.begin, since) if since else one.begin for one in group]
    peak = max(sum(is_open(one, moment) for one in group) for moment in moments)
    return {"peak": peak, "sessions": len(group)}


def at_once_by_time(group: list[Session], span: Span, by: str, zone: Any) -> Iterator[Any]:
    """Each bucket in which one begins or ends; how many were open when it began counts, too."""
    since, before = span
    changes = defaultdict[str, set[datetime]](set)
    begun = Counter[str]()
    for one in group:
        begin = max(one.begin, since) if since else one.begin
        begun[bucket(begin, by, zone)] += 1
        for moment in (begin, one.end):
            if moment and (not before or moment < before):
                changes[bucket(moment, by, zone)].add(moment)
    for name, moments in changes.items():
        first = min(moments)
        carried = sum(
            (max(one.begin, since) if since else one.begin) < first and (one.end is None or one.end >= first)
            for one in group
        )
        peak = max(carried, *(sum(is_open(one, moment) for one in group) for moment in moments))
        yield name, {"peak": peak, "sessions": begun[name]}


def groups_of(asked: Statistics, sessions: list[Session], zone: Any) -> dict[tuple[Any, ...], list[Session]]:
    groups = defaultdict[tuple[Any, ...], list[Session]](list)
    for one in sessions:
        more: tuple[Any, ...] = ()
        if asked.metric == "peak-hours":
            local = one.begin.astimezone(zone)
            more = WEEKDAYS[local.weekday()], local.hour
        elif asked.metric == "endings":
            more = one.record["status"], one.record["exit_reason"]
        elif asked.metric == "idle" and one.record["idle_seconds"] is None:
            continue
        named = (name_of(one, asked.by, zone),) if asked.by else ()
        groups[*named, *more].append(one)
    return groups


def by_hand(asked: Statistics, sessions: list[Session], zone: Any) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Each row by its names; without those in which there is nothing."""
    since, _ = asked.span
    if asked.metric == "concurrency" and asked.by in TIMES:
        return {(name,): row for name, row in at_once_by_time(sessions, asked.span, asked.by, zone)}
    groups = groups_of(asked, sessions, zone)
    match asked.metric:
        case "duration":
            return {
                name: lengths([one.record["duration_seconds"] for one in group])
                for name, group in groups.items()
            }
        case "idle":
            return {
                name: lengths([one.record["idle_seconds"] or 0 for one in group])
                for name, group in groups.items()
            }
        case "concurrency":
            return {name: at_once(group, since) for name, group in groups.items()}
    counts = {name: {"sessions": len(group)} for name, group in groups.items()}
    for name, group in groups.items():
        if asked.metric == "sessions":
            counts[name]["active"] = sum(one.record["status"] == "active" for one in group)
        elif asked.metric == "users":
            counts[name]["users"] = len({person(one.record) for one in group})
    return counts


def test_what_is_counted_is_the_same_on_each_engine_and_by_hand(
    tmp_path: Path, database: PostgresDatabase, size: Callable[[int, int], int]
) -> None:
    chance = seeded(20261129)
    events = history(chance, size(150, 1000))
    with on_both_engines(events, tmp_path, database) as (one, other):
        rows = one.select(Query(limit=10_000))
        busy = frozenset(row.session_id for row in rows if row.status == "active" and chance.random() < 0.2)
        every = [Session(row, to_record(row, NOW, busy=row.session_id in busy), silent=False) for row in rows]
        asked_for = [(metric, by) for metric in METRICS for by in (None, *GROUPS)]
        for metric, by in (*asked_for, *chance.choices(asked_for, k=size(0, 200))):
            if metric == "peak-hours" and by:
                continue
            zone = chance.choice(ZONES)
            period = chance.choice(["all", "36h", "3d", "this month", "2026-01-01..yesterday 14:00"])
            if by == "hour":
                period = chance.choice(["36h", "yesterday"])
            query, fits = chance.choice(QUERIES)
            text = f"{metric} by {by} of {query!r} {period} in {zone}"
            asked = Statistics.parse(
                query, now=NOW, metric=metric, by=by or "none", period=period, timezone=zone, limit=MAX_ROWS
            )
            asked = replace(asked, query=replace(asked.query, busy=busy))
            since, before = asked.span
            key = MEASURES[metric].key
            sessions = [
                one
                for one in every
                if fits(one.record)
                and (not before or one.begin < before)
                and (
                    not since or (one.begin >= since if key == "started" else not one.end or one.end >= since)
                )
            ]
            in_zone, _ = zones.read_zone("timezone", zone)
            expected = by_hand(asked, sessions, in_zone)
            for store in (one, other):
                answer = counted(asked, store.measured(asked))
                found = {tuple(row.pop(name) for name in asked.within): row for row in answer["rows"]}
                assert answer["groups"] == len(found), text
                assert answer["sessions"] == sum(row["sessions"] for row in found.values()), text
                filled = {name: row for name, row in found.items() if name in expected or row["sessions"]}
                if asked.within:
                    assert filled == {name: pytest.approx(row) for name, row in expected.items()}, text
                else:
                    assert (
                        found == {(): pytest.approx(expected[()])} if expected else not answer["sessions"]
                    ), text


def test_days_without_sessions_are_rows_and_a_day_may_have_an_hour_more(tmp_path: Path) -> None:
    now = datetime(2026, 10, 26, 9, tzinfo=UTC)
    at = [
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    ]  # 02:30, twice
    with closing(open_store(f"duckdb:///{tmp_path}/x.duckdb")) as store:
        for number, moment in enumerate((*at, datetime(2026, 10, 25, 22, 59, tzinfo=UTC))):
            store.ingest([arrival(start_event(pid=number + 1, timestamp=moment.isoformat()), at=moment)])

        def rows(**asked: Any) -> Rows:
            question = Statistics.parse(now=now, timezone="Europe/Berlin", **asked)
            return counted(question, store.measured(question))["rows"]

        days = [(row["day"], row["sessions"]) for row in rows(period="2026-10-23..today")]
        assert days == [("2026-10-23", 0), ("2026-10-24", 0), ("2026-10-25", 3), ("2026-10-26", 0)]
        hours = {row["hour"]: row["sessions"] for row in rows(by="hour", period="2026-10-25")}
        assert len(hours) == 25
        assert hours["2026-10-25T02:00:00+02:00"] == hours["2026-10-25T02:00:00+01:00"] == 1
        peaks = [row["peak"] for row in rows(metric="concurrency", period="2026-10-24..today")]
        assert peaks == [0, 3, 3]
        # Of times the latest are shown, of others the largest.
        assert [row["day"] for row in rows(period="2026-10-01..today", limit=1)] == ["2026-10-26"]


def test_offsets_that_are_handed_over_mean_the_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    offsets = zones.offsets_of(berlin, NOW - 800 * DAY, NOW)
    assert len(offsets) == 6
    assert zones.read_zone("timezone", zones.written(offsets)) == (
        UTC,
        (offsets[0]._replace(since=datetime.min.replace(tzinfo=UTC)), *offsets[1:]),
    )
    for hours in range(0, 800 * 24, 7):
        moment = NOW - hours * HOUR
        assert zones.local(moment, offsets).isoformat() == moment.astimezone(berlin).isoformat()
    assert zones.read_zone("timezone", "-03:30") == (timezone(-timedelta(hours=3, minutes=30)), None)
    for wrong in (
        "Europe/Berlim",
        "+25:00",
        "../etc/passwd",
        "",
        "Europe",
        "+01:00,x=+02:00",
        "+01:00,2026-01-01",
    ):
        with pytest.raises(InvalidQuery, match=r"timezone: .* is not valid: a name such as Europe/Berlin"):
            zones.read_zone("timezone", wrong)


@pytest.mark.parametrize(
    ("period", "since", "before"),
    [
        ("24h", NOW - DAY, NOW),
        ("last 7d", NOW - 7 * DAY, NOW),
        ("2026-01", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)),
        (" All ", None, None),
        ("2026-01-01..", datetime(2026, 1, 1, tzinfo=UTC), None),
    ],
)
def test_a_period_is_a_span_of_time(period: str, since: datetime | None, before: datetime | None) -> None:
    assert parse_period("period", period, Clock(NOW, UTC)) == Span(since, before)


def test_what_nobody_can_count_is_told_the_nearest_first() -> None:
    for arguments, line in (
        ({"metric": "sesions"}, "metric: 'sesions' is not valid: one of sessions, users, duration"),
        ({"by": "persons"}, "by: 'persons' is not valid: one of person, component"),
        ({"metric": "peak-hours", "by": "day"}, "by: 'day' is not valid: peak-hours are by weekday and hour"),
        ({"period": "last wek"}, "period: 'last wek' is not valid: one of last week"),
        ({"period": "14:00"}, "period: '14:00' is not valid: that is a moment; one of today"),
        ({"period": "2026-02..2026-01"}, "the range ends before it begins"),
        ({"timezone": "Berlin"}, "timezone: 'Berlin' is not valid: a name such as Europe/Berlin"),
        ({"limit": 0}, "limit: 0 is not valid: a number from 1 to 10000"),
    ):
        with pytest.raises(InvalidQuery, match=re.escape(line)):
            Statistics.parse(now=NOW, **arguments)


# --- the command


@pytest.fixture(params=["server", "file"])
def answering(request: pytest.FixtureRequest, home: Path, paths: Paths) -> Any:
    """Three sessions of two people, a day ago, and who answers."""
    now = datetime.now(UTC)
    begun = now - timedelta(hours=24)
    database = paths.data / "session-buddy" / "sessions.duckdb"
    with closing(open_store(f"duckdb:///{database}")) as store:
        for number, name in enumerate(("ada", "ada", "b\x1bob")):
            user = {"username": name, "home": "", "uid": 1000}
            raw = start_event(timestamp=begun.isoformat(), pid=number + 1, user=user)
            end = end_event(session_id_of(raw), exit_reason="eof")
            store.ingest([arrival(raw, at=begun)])
            if number:
                end["timestamp"] = (begun + timedelta(minutes=10 * number)).isoformat()
                store.ingest([arrival(end, at=now)])
    if request.param == "file":
        yield
        return
    request.getfixturevalue("port")
    with ServerProcess() as server:
        server.until_up()
        yield


def test_analytics_are_rows_for_programs(cli: Cli, answering: None) -> None:
    counts = cli("analytics", "--by", "person").stdout
    assert counts == "ada\t2\t1\nb\\x1bob\t1\t0\n"
    of_ada = cli("analytics", "--by", "person", "user:ada", "-f", "csv").stdout
    assert list(csv.reader(of_ada.splitlines())) == [["person", "sessions", "active"], ["ada", "2", "1"]]
    endings = cli("analytics", "--metric", "endings", "--period", "2d", "-f", "ndjson").stdout
    assert [json.loads(line) for line in endings.splitlines()] == [
        {"status": "ended", "exit_reason": "eof", "sessions": 2},
        {"status": "active", "exit_reason": None, "sessions": 1},
    ]
    told = json.loads(
        cli("analytics", "--metric", "duration", "--by", "none", "-status:active", "-f", "json").stdout
    )
    assert told["rows"][0]["p50_seconds"] == pytest.approx(900)
    assert (told["metric"], told["by"], told["groups"], told["sessions"]) == ("duration", None, 1, 2)
    days = cli("analytics", "--period", "3d").stdout.splitlines()
    assert sum(int(line.split("\t")[1]) for line in days) == 3
    assert cli("analytics", "user:nobody", "--by", "person").stdout == ""
    wrong = cli("analytics", "--metric", "durations")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == (
        "Error: metric: 'durations' is not valid: one of duration, sessions, users, concurrency, peak-hours,"
        " endings, idle\n"
    )


@pytest.mark.parametrize("answering", ["file"], indirect=True)
@pytest.mark.parametrize("width", [80, 200])
def test_analytics_are_bars_and_a_heatmap_for_people(answering: None, width: int) -> None:
    def shown(*arguments: str) -> list[str]:
        lines = printed("analytics", "--utc", *arguments, columns=width).splitlines()
        assert all(len(line.rstrip()) <= width for line in lines if "started:" not in line)
        return lines

    bars = shown("--by", "person")
    assert bars[0].split() == ["person", "sessions", "active"]
    ada, bob = (line.rstrip() for line in bars[1:3])
    assert [ada[:3], bob[:7]] == ["ada", "b\\x1bob"]
    assert ada.count("█") == 2 * bob.count("█") == 40
    assert re.fullmatch(r"3 sessions started from [0-9: -]{16} to [0-9: -]{16}; times in UTC", bars[3])
    titles = shown("--metric", "duration")[0].split()
    assert titles == [
        "component",
        "median",
        "90",
        "%",
        "95",
        "%",
        "99",
        "%",
        "longest",
        *["mean", "in", "all"] * (width > 80),
        "sessions",
    ]
    heat = shown("--metric", "peak-hours")
    assert heat[0].split() == [str(hour) for hour in range(24)]
    assert [line[:3] for line in heat[1:8]] == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    assert sum(line.split().count("3") for line in heat[1:8]) == 1
    assert shown("user:nobody")[0].startswith("No sessions found: user:nobody started:")
    cut = shown("--by", "person", "--limit", "1")
    assert cut[-1] == "1 of 2 rows shown; --limit 0 shows all"
