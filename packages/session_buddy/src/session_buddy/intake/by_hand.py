"""Ends that somebody puts into the history by hand, of sessions that are stuck."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from typing_extensions import TypedDict

from oneiric.contract import MAX_REASON, end_event_id
from oneiric.events import SessionEnd
from session_buddy.access.callers import Caller
from session_buddy.errors import AmbiguousSession, InvalidQuery, SessionBuddyError, UnknownSession
from session_buddy.history.model import Arrival, SessionRow
from session_buddy.history.record import ENDED_BECAUSE, ENDED_BY
from session_buddy.history.reference import parse_ref
from session_buddy.intake.admission import Ingest

MOST: Final = 500


class EndedByHand(TypedDict):
    """What became of one session."""

    session_id: str
    status: Literal["ended", "refused"]
    error: str | None


def end_by_hand(
    refs: Sequence[str],
    reason: str | None,
    *,
    force: bool,
    caller: Caller,
    now: datetime,
    find: Callable[[str], SessionRow],
    is_alive: Callable[[SessionRow], bool],
    ingest: Ingest,
    forced_by: str = "--force",
) -> list[EndedByHand]:
    """End sessions in the history; their shells, if any run, are left alone.

    One that is not seen alive ended at its last sign of life, as if that had been noticed then.

    Args:
        refs: how each is named: an id, its last eight digits, a unique beginning, or ``latest``.
        reason: why, 200 characters at most.
        force: end also those that are seen alive.
        caller: who ends them: their owner, or an admin.
        now: the time.
        find: the session of a name, with its latest heartbeat.
        is_alive: whether an active session was heard of just now.
        ingest: stores the ends.
        forced_by: how whoever asks says ``force``.

    Returns:
        What became of each, in order; one that cannot be ended stops no other.

    Raises:
        InvalidQuery: too many, or too long a reason; none was ended.
    """
    if len(refs) > MOST:
        raise InvalidQuery("sessions", f"{len(refs)} of them", f"at most {MOST} at once")
    if reason and len(reason) > MAX_REASON:
        raise InvalidQuery("reason", f"{len(reason)} characters", f"at most {MAX_REASON}")
    because = {ENDED_BY: caller.subject} | ({ENDED_BECAUSE: reason} if reason else {})
    results: list[EndedByHand] = []
    arrivals: dict[int, Arrival] = {}
    ended = set[str]()
    for ref in dict.fromkeys(refs):
        try:
            row = find(parse_ref(ref))
            alive = is_alive(row) and row.status == "active"
            require_stuck(row, alive=alive and not force, forced_by=forced_by)
            event = _end(row, because, now, alive=alive)
        except (UnknownSession, AmbiguousSession, InvalidQuery, _Refused) as error:
            results.append(_refused(ref, str(error)))
            continue
        if row.session_id in ended:
            continue
        ended.add(row.session_id)
        arrivals[len(results)] = Arrival.of(event, caller.subject, now, by_admin=caller.is_admin)
        results.append(EndedByHand(session_id=row.session_id, status="ended", error=None))
    for place, taken in zip(arrivals, ingest(list(arrivals.values())) if arrivals else (), strict=True):
        if taken.error:
            results[place] = _refused(results[place]["session_id"], taken.error)
    return results


class _Refused(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """A session is not to be ended."""


def require_stuck(row: SessionRow, *, alive: bool, forced_by: str) -> None:
    """Refuse to end one that is over, or alive.

    Raises:
        SessionBuddyError: says which of them it is.
    """
    if row.status not in ("active", "lost"):
        raise _Refused(f"session {row.session_id} has ended already ({row.exit_reason})")
    if alive:
        raise _Refused(
            f"session {row.session_id} is alive; leave it there, or {forced_by} ends it in the history alone"
        )


def _end(row: SessionRow, because: dict[str, Any], now: datetime, *, alive: bool) -> SessionEnd:
    last = now if alive else row.last_seen or row.start_time
    return SessionEnd(
        event_type="session_end",
        event_id=end_event_id(row.session_id, f"operator:{last.isoformat()}"),
        session_id=row.session_id,
        timestamp=last,
        elapsed_seconds=None if alive else row.elapsed_seconds,
        status="ended",
        exit_reason="operator",
        detected_by="operator",
        metadata=because,
    )


def _refused(session_id: str, error: str) -> EndedByHand:
    return EndedByHand(session_id=session_id, status="refused", error=error)
