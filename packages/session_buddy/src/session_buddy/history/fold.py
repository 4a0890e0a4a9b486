"""The rules: what a set of events says about a session. Events in, rows out, no I/O, no clock of its own.

A session is a pure function of its events: in any order, however often repeated, the same row. Only the
heartbeat state (``last_seen``, ``elapsed_seconds``, ``commands``, ``errors``, ``last_activity``) is state; it
is merged by taking the larger value.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from oneiric import contract
from oneiric.events import Activity, SessionEnd, SessionHeartbeat, SessionStart
from session_buddy.history.model import (
    Arrival,
    Beat,
    End,
    SessionRow,
    Taken,
    Verdict,
    changed,
    greatest,
    raised,
    without_host,
)
from session_buddy.history.search import search_text
from session_buddy.history.tombstones import NO_DELETIONS, Deletions

# Of ends alike only the last can be believed; the few before it are kept to be known when they come again.
ENDS_ALIKE: Final = 8
_NOT_OVER: Final[dict[str, Any]] = {"status": "active"} | dict.fromkeys(
    (
        "exit_reason",
        "exit_code",
        "end_time",
        "listed_until",
        "duration_seconds",
        "counted_commands",
        "counted_errors",
        "end_metadata",
    )
)


def fold(row: SessionRow | None, arrival: Arrival, deletions: Deletions = NO_DELETIONS) -> Taken:
    """Take one event into a session's row (``None``: the session is unknown so far).

    Nothing is kept of a session that was deleted. Its emitters are answered ``duplicate``, which those of
    earlier versions take as final, too: the journal goes to ``done/``, and away after a week. A start or an
    end that only the age of what was pruned refuses is ``invalid``: its journal is set aside and named, since
    the history may never have had it.
    """
    event = arrival.event
    if row is not None and row.tombstone is not None:
        why = deletions.why_gone(row.session_id, row.tombstone)
        return Taken("duplicate", row.session_id, row, error=why)
    unknown = row is None or not row.started
    if (
        unknown
        and not isinstance(event, SessionHeartbeat)
        and (refusal := deletions.why_refused(arrival.session_id))
    ):
        return Taken("invalid", arrival.session_id, row, field="timestamp", error=refusal)
    if isinstance(event, SessionStart):
        return _fold_start(row, event, arrival)
    if isinstance(event, SessionEnd):
        return _fold_end(row, event, arrival)
    return _fold_heartbeat(row, event, arrival)


def _fold_start(row: SessionRow | None, event: SessionStart, arrival: Arrival) -> Taken:
    fresh = _started(event, arrival)
    if row is None:
        return Taken("stored", fresh.session_id, with_outcome(fresh), kept=True)
    if row.start_event_id == fresh.start_event_id:
        return Taken("duplicate", row.session_id, row)
    if row.started:
        known = f"session {row.session_id} has another start event"
        error = f"event_id: '{arrival.event_id}' is not valid: {known}"
        return Taken("invalid", row.session_id, row, field="event_id", error=error)
    ends = tuple(end for end in row.ends if speaks_for(end.subject, end.by_admin, arrival.subject))
    return Taken("stored", row.session_id, with_outcome(fresh._replace(ends=ends)), kept=True)


def _fold_end(row: SessionRow | None, event: SessionEnd, arrival: Arrival) -> Taken:
    if row is None:
        start = contract.start_time_of(event.session_id)
        row = SessionRow(session_id=event.session_id, start_time=start, listed_at=start)
    end = _end(event, arrival)
    if row.started and not speaks_for(end.subject, end.by_admin, row.subject):
        return _forbidden(row, arrival)
    ends = _with_end(row.ends, end)
    verdict: Verdict = "stored" if row.started else "not_found"
    if ends == row.ends:
        return Taken("duplicate" if row.started else verdict, row.session_id, row)
    return Taken(verdict, row.session_id, with_outcome(row._replace(ends=ends)), kept=True)


def _with_end(ends: tuple[End, ...], end: End) -> tuple[End, ...]:
    """The ends with one more: of each source the latest few, so that they are the same in any order."""
    if any(end.as_first_written == one.as_first_written for one in ends):
        return ends
    ordered = sorted((*ends, end), key=lambda one: one.order)
    alike = [one for one in ordered if one.source == end.source]
    return tuple(one for one in ordered if one not in alike[:-ENDS_ALIKE])


def _fold_heartbeat(row: SessionRow | None, event: SessionHeartbeat, arrival: Arrival) -> Taken:
    if row is None or not row.started:
        return Taken("not_found", event.session_id, row)
    if not speaks_for(arrival.subject, arrival.by_admin, row.subject):
        return _forbidden(row, arrival)
    return Taken("stored", row.session_id, with_outcome(raised(row, Beat.of(event))))


def refreshed(row: SessionRow, beat: Beat | None) -> SessionRow:
    """A stored row with the heartbeat state that is not stored yet."""
    if beat is None or row.status != "active":
        return row
    return raised(row, beat)


def speaks_for(subject: str, by_admin: bool, owner: str | None) -> bool:  # noqa: FBT001 - a fact about the subject
    """Whether a subject may report of a session that ``owner`` started."""
    return by_admin or owner in (subject, without_host(subject))


def _forbidden(row: SessionRow, arrival: Arrival) -> Taken:
    return Taken("forbidden", row.session_id, row, error=not_yours(row, arrival.subject))


def not_yours(row: SessionRow, subject: str) -> str:
    """What is said to a subject that may not report of a session."""
    return f"session {row.session_id} was started by {row.subject}; {subject} may not speak for it"


def with_outcome(row: SessionRow) -> SessionRow:
    """The row with what follows from the rest of it."""
    if not row.started:
        return row
    end = row.believed_end
    listed_at = row.received_at if row.received_at and row.clock_skew else row.start_time
    active = end is None and row.status == "active"
    if active and row.listed_at == listed_at and row.search_text is not None:
        return row  # as at every heartbeat
    outcome = {} if active else _NOT_OVER if end is None else _outcome(row, end, listed_at)
    text = search_text(row, end.metadata if end else None)
    return changed(row, {"listed_at": listed_at, "search_text": text, **outcome})


def _outcome(row: SessionRow, end: End, listed_at: datetime) -> dict[str, Any]:
    """What follows from the end that counts: all that :data:`_NOT_OVER` names."""
    lasted = _lasted(row, end)
    return {
        "status": end.makes,
        "exit_reason": end.exit_reason,
        "exit_code": end.exit_code,
        "end_time": end.timestamp,
        # By a clock that was wrong it would have ended before it began, or in days to come.
        "listed_until": (
            end.timestamp if listed_at == row.start_time else listed_at + timedelta(seconds=lasted)
        ),
        "duration_seconds": lasted,
        "counted_commands": greatest(row.commands, *(one.commands for one in row.ends)),
        "counted_errors": greatest(row.errors, *(one.errors for one in row.ends)),
        "end_metadata": end.metadata or None,
    }


def _lasted(row: SessionRow, end: End) -> float:
    """Seconds from its start to its end, by the monotonic clock where that is known."""
    elapsed = row.elapsed_seconds if end.elapsed_seconds is None and row.clock_skew else end.elapsed_seconds
    return max(0.0, (end.timestamp - row.start_time).total_seconds()) if elapsed is None else elapsed


def _started(event: SessionStart, arrival: Arrival) -> SessionRow:
    process, person, origin = event.process, event.person, event.origin
    return SessionRow(
        session_id=arrival.session_id,
        start_time=event.timestamp,
        listed_at=event.timestamp,
        received_at=arrival.received_at,
        start_event_id=arrival.event_id,
        subject=arrival.subject,
        component=event.component_name,
        session_type=event.session_type,
        shell_type=event.shell_type,
        username=event.user.username,
        uid=event.user.uid,
        person=person.name if person else None,
        person_evidence=person.evidence if person else None,
        person_also=[one.model_dump(mode="json") for one in person.also] or None if person else None,
        sudo_user=origin.sudo_user if origin else None,
        hostname=event.hostname,
        pid=event.pid,
        boot_id=process.boot_id if process else None,
        pid_namespace=process.pid_namespace if process else None,
        process_started_at=process.started_at if process else None,
        python_version=event.environment.python_version,
        platform=event.environment.platform,
        cwd=event.environment.cwd,
        origin=origin.model_dump(mode="json", exclude_none=True) if origin else None,
        parent_session_id=event.parent_session_id,
        reason=event.reason,
        actor=event.actor,
        agent=event.agent,
        metadata=event.metadata,
        last_seen=event.timestamp,
        status="active",
    )


def _end(event: SessionEnd, arrival: Arrival) -> End:
    activity = event.activity or Activity()
    return End(
        event_id=arrival.event_id,
        timestamp=event.timestamp,
        status=event.status,
        exit_reason=event.exit_reason,
        exit_code=event.exit_code,
        signal=event.signal,
        detected_by=event.detected_by,
        subject=arrival.subject,
        by_admin=arrival.by_admin,
        elapsed_seconds=event.elapsed_seconds,
        commands=activity.commands,
        errors=activity.errors,
        last_activity=activity.last_activity,
        metadata=event.metadata,
    )


class Folded(NamedTuple):
    """What became of a group of arrivals: verdicts, new arrivals, all rows by id, and those that changed."""

    taken: list[Taken]
    kept: list[Arrival]
    known: dict[str, SessionRow]
    changed: list[SessionRow]


def fold_all(
    before: Mapping[str, SessionRow], arrivals: Sequence[Arrival], deletions: Deletions = NO_DELETIONS
) -> Folded:
    """Fold events, one after another, into the rows that their sessions had ``before``."""
    known = dict(before)
    taken = [_fold_into(known, arrival, deletions) for arrival in arrivals]
    kept = [arrival for arrival, judged in zip(arrivals, taken, strict=True) if judged.kept]
    return Folded(taken, kept, known, [row for row in known.values() if row != before.get(row.session_id)])


def _fold_into(rows: dict[str, SessionRow], arrival: Arrival, deletions: Deletions) -> Taken:
    taken = fold(rows.get(arrival.session_id), arrival, deletions)
    if taken.row is not None:
        rows[arrival.session_id] = taken.row
    return taken
