"""A database of many sessions, made in seconds: one that went the usual way in, multiplied by SQL."""

from contextlib import closing
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import Any

import duckdb

from oneiric.testing import start_event
from session_buddy.access.callers import local_caller
from session_buddy.history.query import Query
from session_buddy.intake.admission import validate
from session_buddy.store import open_store

LIVE = 200
START_ID, END_ID = "6f1e0d5c-1111-4a4a-8b8b-0123456789ab", "7a2f1e6d-2222-4b4b-9c9c-0123456789ab"
START, END = (datetime(2026, 1, 2, 3, minute, 5, 123456, tzinfo=UTC) for minute in (4, 44))
COMPONENT, USER, HOST, REASON = "one-component", "one-user", "one-host", "one-reason"

# One start each half minute: a million make a year. The oldest first, as they came; the newest still live.
_MADE = """
    CREATE TEMP TABLE made AS
    SELECT *, component || strftime(started, '-%Y%m%d-%H%M%S-') || start_id[:8] AS id,
        strftime(started, '%Y-%m-%dT%H:%M:%S.%fZ') AS started_text,
        strftime(ended, '%Y-%m-%dT%H:%M:%S.%fZ') AS ended_text
    FROM (
        SELECT number, uuid()::VARCHAR AS start_id, uuid()::VARCHAR AS end_id,
            ?::TIMESTAMP - to_seconds(31 * number) - to_microseconds(1 + number % 999) AS started,
            started + to_seconds(1 + number % 7200) AS ended,
            ['mahavishnu', 'shop', 'billing', 'search'][1 + number % 4] AS component,
            'user' || number % 300 AS username, 'host' || number % 1000 AS hostname,
            'OPS-' || number % 5000 || ' rollback' AS reason
        FROM range(?) AS numbers(number)
    )
    ORDER BY number DESC
"""
_SESSIONS = f"""
    INSERT INTO sessions BY NAME SELECT one.* REPLACE (
        made.id AS session_id, made.start_id AS start_event_id, made.started AS start_time,
        made.started AS listed_at, made.started AS received_at, made.started AS last_seen,
        CAST('0x' || made.start_id[:8] AS UINTEGER) AS digits, made.component AS component,
        made.username AS username, made.hostname AS hostname,
        CASE WHEN number >= {LIVE} THEN {{ends}} ELSE '[]' END AS ends,
        CASE WHEN number >= {LIVE} THEN one.status ELSE 'active' END AS status,
        CASE WHEN number >= {LIVE} THEN one.exit_reason END AS exit_reason,
        CASE WHEN number >= {LIVE} THEN made.ended END AS end_time,
        CASE WHEN number >= {LIVE} THEN made.ended END AS listed_until,
        CASE WHEN number >= {LIVE} THEN 1.0 + number % 7200 END AS duration_seconds,
        CASE WHEN number >= {LIVE} THEN one.exit_code END AS exit_code,
        CASE WHEN number >= {LIVE} THEN number % 50 END AS counted_commands,
        CASE WHEN number >= {LIVE} THEN number % 3 END AS counted_errors,
        CASE WHEN number < {LIVE} THEN number % 50 END AS commands,
        CASE WHEN number < {LIVE} THEN number % 3 END AS errors,
        CASE WHEN number < {LIVE} THEN made.started + to_seconds(number % 30) END AS last_activity,
        made.reason AS reason, {{search_text}} AS search_text
    )
    FROM one_of_sessions AS one, made ORDER BY number DESC
"""  # noqa: S608 - a number, and names of columns
_EVENTS = f"""
    INSERT INTO events BY NAME SELECT one.* REPLACE (
        made.id AS session_id, {{body}} AS body,
        CASE event_type WHEN 'session_start' THEN made.start_id ELSE made.end_id END AS event_id,
        CASE event_type WHEN 'session_start' THEN made.started ELSE made.ended END AS timestamp,
        CASE event_type WHEN 'session_start' THEN made.started ELSE made.ended END AS received_at
    )
    FROM one_of_events AS one, made WHERE number >= {LIVE} OR event_type = 'session_start'
    ORDER BY number DESC, event_type DESC
"""  # noqa: S608 - a number, and names of columns


def populate(path: Path, sessions: int) -> None:
    """Fill a new database, through the real schema, with so many sessions and their events."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(open_store(f"duckdb:///{path}")) as store:
        store.ingest(validate(_one(), local_caller(), END).arrivals)
        (row,) = store.select(Query())
    with duckdb.connect(str(path)) as database:
        database.execute(_MADE, [datetime.now(UTC).replace(tzinfo=None), sessions])
        for table in ("sessions", "events"):
            database.execute(f"CREATE TEMP TABLE one_of_{table} AS FROM {table}; DELETE FROM {table}")  # noqa: S608 - names of tables
        database.execute(
            _SESSIONS.format(
                ends=_told("one.ends", row.session_id), search_text=_told("one.search_text", row.session_id)
            )
        )
        database.execute(_EVENTS.format(body=_told("one.body", row.session_id)))


def _one() -> list[dict[str, Any]]:
    """The session that all others are copies of, but for who, where and when."""
    start = start_event(
        event_id=START_ID,
        timestamp=START.isoformat(),
        component_name=COMPONENT,
        user={"username": USER, "home": f"/home/{USER}"},
        hostname=HOST,
        reason=REASON,
        origin={"tty": "/dev/pts/1", "ssh_client": "10.0.0.1"},
        process={"boot_id": "another", "pid_namespace": "pid:[1]", "started_at": 1},
        metadata={"version": "0.1.0", "adapters": ["prefect", "agno"], "command_tree_size": 12},
    )
    end = {
        "event_type": "session_end",
        "event_id": END_ID,
        "session_id": f"{COMPONENT}-{START:%Y%m%d-%H%M%S}-{START_ID[:8]}",
        "timestamp": END.isoformat(),
        "status": "ended",
        "exit_reason": "exit",
        "detected_by": "emitter",
    }
    return [start, end]


def _told(text: str, session_id: str) -> str:
    """SQL for a text of the one session, as it is told of another."""
    others = {
        session_id: "id",
        START_ID: "start_id",
        END_ID: "end_id",
        f"{START:%Y-%m-%dT%H:%M:%S.%fZ}": "started_text",
        f"{END:%Y-%m-%dT%H:%M:%S.%fZ}": "ended_text",
        COMPONENT: "component",
        USER: "username",
        HOST: "hostname",
        REASON: "reason",
    }
    return reduce(
        lambda told, name: f"replace({told}, '{name}', made.{others[name]})", others, f"{text}::VARCHAR"
    )
