"""A session as it is shown: to people, programs and agents alike.

The command line, which counts its milliseconds, imports this: no pydantic here.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from oneiric import contract
from oneiric.contract import Status

if TYPE_CHECKING:
    from session_buddy.history.model import SessionRow


class SessionRecord(TypedDict):
    """A session as it is shown; times are ISO 8601 in UTC with offset, durations seconds."""

    session_id: str
    component: str
    session_type: str
    shell_type: str
    status: Status
    unreachable: bool
    exit_reason: str | None
    exit_code: int | None
    signal: int | None
    detected_by: str | None
    start_time: str
    end_time: str | None
    last_seen: str | None
    last_activity: str | None
    duration_seconds: float
    clock_skew: bool
    username: str
    hostname: str
    pid: int
    python_version: str
    platform: str
    cwd: str
    origin: dict[str, Any] | None
    parent_session_id: str | None
    reason: str | None
    actor: str | None
    commands: int
    errors: int
    reported_by: str
    metadata: dict[str, Any]


def to_record(row: "SessionRow", now: datetime, *, silent: bool = False) -> SessionRecord:
    """A session as it is shown.

    Args:
        row: a session whose start is known.
        now: up to when a live session has lasted.
        silent: whether somebody listens for its heartbeats and misses them; if it is active, it is then
            ``unreachable``.
    """
    end = row.believed_end
    finished = end.timestamp if end else None
    seen = _latest(row.last_seen, finished if end and not end.inferred else None)
    lasted = ((finished or now) - row.start_time).total_seconds()
    return SessionRecord(
        session_id=row.session_id,
        component=row.component or contract.UNKNOWN,
        session_type=row.session_type or contract.UNKNOWN,
        shell_type=row.shell_type or contract.UNKNOWN,
        status=row.status or "active",
        unreachable=silent and row.status == "active",
        exit_reason=end.exit_reason if end else None,
        exit_code=end.exit_code if end else None,
        signal=end.signal if end else None,
        detected_by=end.detected_by if end else None,
        start_time=row.start_time.isoformat(),
        end_time=_iso(finished),
        last_seen=_iso(seen),
        last_activity=_iso(_latest(row.last_activity, *(end.last_activity for end in row.ends))),
        duration_seconds=max(0.0, lasted),
        clock_skew=finished is not None and finished < row.start_time,
        username=row.username or contract.UNKNOWN,
        hostname=row.hostname or contract.UNKNOWN,
        pid=row.pid or 0,
        python_version=row.python_version or contract.UNKNOWN,
        platform=row.platform or contract.UNKNOWN,
        cwd=row.cwd or "",
        origin=row.origin,
        parent_session_id=row.parent_session_id,
        reason=row.reason,
        actor=row.actor,
        commands=max((row.commands, *(one.commands for one in row.ends))),
        errors=max((row.errors, *(one.errors for one in row.ends))),
        reported_by=row.subject or contract.UNKNOWN,
        metadata={**(row.metadata or {}), **(end.metadata if end else {})},
    )


def _latest(*times: datetime | None) -> datetime | None:
    return max((time for time in times if time is not None), default=None)


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
