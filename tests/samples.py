"""Valid events, made with one call and changed where needed, and as they reach the rules."""

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from oneiric.events import SessionStart, parse_event
from session_buddy.history.model import Arrival
from session_buddy.history.query import Clock, Query

MOMENT: Final = datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)
ARRIVED: Final = MOMENT + timedelta(hours=1)
OWNER: Final = "local:1000"


def start_event(after: float = 0.0, **changes: Any) -> dict[str, Any]:
    """A raw start event with an id of its own, ``after`` seconds after :data:`MOMENT`; ``changes`` win."""
    event: dict[str, Any] = {
        "event_type": "session_start",
        "event_version": "1.0",
        "event_id": str(uuid.uuid4()),
        "component_name": "shop",
        "shell_type": "ShopShell",
        "timestamp": moment(after),
        "pid": 4321,
        "user": {"username": "ann", "home": "/home/ann"},
        "hostname": "web1",
        "environment": {"python_version": "3.11.7", "platform": "Linux", "cwd": "/srv"},
        "metadata": {"version": "1.2", "adapters": ["a", "b"]},
    }
    return event | changes


def end_event(session_id: str, after: float = 60.0, **changes: Any) -> dict[str, Any]:
    """A raw end event of a session, ``after`` seconds after :data:`MOMENT`."""
    event: dict[str, Any] = {
        "event_type": "session_end",
        "event_id": str(uuid.uuid4()),
        "session_id": session_id,
        "timestamp": moment(after),
        "exit_reason": "exit",
    }
    return event | changes


def heartbeat_event(session_id: str, after: float = 30.0, **activity: Any) -> dict[str, Any]:
    """A raw heartbeat of a session, ``after`` seconds after :data:`MOMENT`."""
    return {
        "event_type": "session_heartbeat",
        "session_id": session_id,
        "timestamp": moment(after),
        "activity": activity,
    }


def arrival(
    raw: dict[str, Any], subject: str = OWNER, *, by_admin: bool = False, at: datetime = ARRIVED
) -> Arrival:
    """A raw event as it reaches the rules."""
    return Arrival.of(parse_event(raw), subject, at, by_admin=by_admin)


def seeded(number: int) -> random.Random:
    """Chance that repeats itself."""
    return random.Random(number)  # noqa: S311 - no secret


def asked(text: str = "", **options: Any) -> Query:
    """A query, asked a day after :data:`MOMENT`, its times meant in UTC."""
    return Query.parse(text, clock=Clock(MOMENT + timedelta(days=1), UTC), **options)


def session_id_of(raw: dict[str, Any]) -> str:
    """The id of the session that a raw start event begins."""
    return SessionStart.model_validate(raw).session_id


def moment(after: float) -> str:
    """A time, ``after`` seconds after :data:`MOMENT`, as events carry it."""
    return (MOMENT + timedelta(seconds=after)).isoformat()
