"""What stands around a session: its events, what it is nested in and what within it, its neighbours."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, NotRequired

from typing_extensions import TypedDict

from session_buddy.history.fields import chosen
from session_buddy.history.model import SessionRow
from session_buddy.history.record import WHO, SessionRecord

# The fields that are told of other sessions.
_BRIEF: Final = (
    "session_id",
    "parent_session_id",
    WHO,
    "component",
    "hostname",
    "status",
    "unreachable",
    "exit_reason",
    "exit_code",
    "start_time",
)


class KeptEvent(NamedTuple):
    """One event as a history keeps it; ``body`` is JSON."""

    event_type: str
    timestamp: datetime
    received_at: datetime
    subject: str
    body: str


class Around(NamedTuple):
    """The events of a session, and the sessions around it.

    ``ancestors``: the one that started it, and so on, the outermost first; ``nested``: those started from
    it, and from those, the oldest first; ``before`` and ``after``: its neighbours in time.
    """

    events: Sequence[KeptEvent]
    ancestors: Sequence[SessionRow]
    nested: Sequence[SessionRow]
    before: SessionRow | None
    after: SessionRow | None


class SessionAnswer(TypedDict):
    """One session, and, where that was asked for, what stands around it."""

    session: SessionRecord
    events: NotRequired[list[dict[str, Any]]]
    ancestors: NotRequired[list[dict[str, Any]]]
    nested: NotRequired[list[dict[str, Any]]]
    before: NotRequired[dict[str, Any] | None]
    after: NotRequired[dict[str, Any] | None]


def answer(
    row: SessionRow,
    look_around: Callable[[SessionRow], Around] | None,
    records: Callable[[Sequence[SessionRow]], Sequence[SessionRecord]],
) -> SessionAnswer:
    """A session as the ``get_session`` tool tells it; with ``look_around``, what stands around it, too."""
    (record,) = records([row])
    if look_around is None:
        return SessionAnswer(session=record)
    around, brief = look_around(row), chosen(_BRIEF)

    def briefly(rows: Sequence[SessionRow]) -> list[dict[str, Any]]:
        return [brief(one) for one in records(rows)]

    before, after = ([one] if one else [] for one in (around.before, around.after))
    return SessionAnswer(
        session=record,
        events=[_event(event) for event in around.events],
        ancestors=briefly(around.ancestors),
        nested=briefly(around.nested),
        before=next(iter(briefly(before)), None),
        after=next(iter(briefly(after)), None),
    )


def _event(event: KeptEvent) -> dict[str, Any]:
    return {
        "event_type": event.event_type,
        "timestamp": event.timestamp.isoformat(),
        "received_at": event.received_at.isoformat(),
        "reported_by": event.subject,
        "body": json.loads(event.body),
    }
