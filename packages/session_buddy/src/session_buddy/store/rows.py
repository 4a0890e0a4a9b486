"""A session's row and an event as the plain values that databases take, and back."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from pydantic_core import to_json

from oneiric import contract
from session_buddy.history.model import HEARTBEAT_STATE, PLACES, Arrival, Beat, End, SessionRow
from session_buddy.history.tombstones import Named, Tombstone

_SECOND_IN_ID: Final = slice(-24, -9)
_SECOND: Final = timedelta(seconds=1)
_LAST_SECOND: Final = datetime.max.replace(tzinfo=UTC) - _SECOND
Table = Literal["events", "sessions", "tombstones"]
Values = Sequence[Any]
# So many rows are read at once.
GROUP: Final = 5000
COLUMNS: Final = SessionRow._fields
EVENT_COLUMNS: Final = (
    "session_id",
    "event_id",
    "event_type",
    "timestamp",
    "received_at",
    "subject",
    "by_admin",
    "body",
)
# What a history consists of, and the order in which its values are told.
TABLES: Final[dict[Table, tuple[str, ...]]] = {
    "events": EVENT_COLUMNS,
    "sessions": COLUMNS,
    "tombstones": Tombstone._fields,
}

# What a later event can change in a row whose start is known.
MUTABLE: Final = ("listed_at", *HEARTBEAT_STATE, *COLUMNS[COLUMNS.index("ends") :])
BEAT_COLUMNS: Final = Beat._fields
_EMPTY_END: Final[dict[str, Any]] = {
    "exit_reason": None,
    "exit_code": None,
    "signal": None,
    "elapsed_seconds": None,
    "commands": None,
    "errors": None,
    "last_activity": None,
    "metadata": {},
}


def row_values(row: SessionRow, columns: Sequence[str] = COLUMNS) -> list[Any]:
    """The row as the values of these columns: JSON is text."""
    values: list[Any] = list(row)
    for place, form in _TO_VALUE.items():
        if values[place] is not None:
            values[place] = form(values[place])
    return values if columns is COLUMNS else [values[PLACES[name]] for name in columns]


def digits_of(session_id: str) -> int:
    """The last eight digits of an id, as a number: a look-up by them compares no texts.

    >>> digits_of("shop-20260102-030405-1b9d6bcd") == 0x1B9D6BCD
    True
    """
    return int(session_id[-8:], 16)


def second_of(session_id: str) -> str:
    """When a session started, out of its id: it reads like a number, so the largest text is the latest."""
    return session_id[_SECOND_IN_ID]


def span_of(session_ids: Iterable[str]) -> tuple[datetime, datetime]:
    """From when to when sessions with these ids started."""
    by_time = sorted(session_ids, key=second_of)
    first, last = (contract.start_time_of(by_time[end]) for end in (0, -1))
    return first, min(last, _LAST_SECOND) + _SECOND


def row_from(fetched: Sequence[Any]) -> SessionRow:
    """The row whose column values, in the order of :data:`COLUMNS`, were fetched."""
    values = list(fetched)
    for place, form in _FROM_VALUE.items():
        if values[place] is not None:
            values[place] = form(values[place])
    return SessionRow._make(values)


def left_of(found: Named, entry: Tombstone) -> SessionRow:
    """The row that a deletion leaves of a session."""
    return SessionRow(found.session_id, found.start_time, found.listed_at, tombstone=entry.number)


def tombstone_from(fetched: Sequence[Any]) -> Tombstone:
    """The deletion whose column values were fetched."""
    return Tombstone._make(_aware(value) if isinstance(value, datetime) else value for value in fetched)


def event_values(arrival: Arrival) -> Values:
    """An event as the values of :data:`EVENT_COLUMNS`; heartbeats are not part of it."""
    event = arrival.event
    return (
        arrival.session_id,
        arrival.event_id,
        event.event_type,
        event.timestamp,
        arrival.received_at,
        arrival.subject,
        arrival.by_admin,
        arrival.body,
    )


def _aware(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC)


def _text(value: object) -> str:
    return to_json(value).decode()


def _ends_text(ends: Sequence[End]) -> str:
    told = [{name: value for name, value in end._asdict().items() if value not in (None, {})} for end in ends]
    return _text(told)


def _ends_from(text: str) -> tuple[End, ...]:
    return tuple(_end_from(document) for document in json.loads(text)) if text != "[]" else ()


def _end_from(document: dict[str, Any]) -> End:
    times: dict[str, Any] = {
        name: datetime.fromisoformat(document[name])
        for name in ("timestamp", "last_activity")
        if name in document
    }
    return End(**(_EMPTY_END | document | times))


TIMES: Final = (
    "start_time",
    "listed_at",
    "received_at",
    "last_seen",
    "last_activity",
    "end_time",
    "listed_until",
)
INTEGERS: Final = (
    "uid",
    "pid",
    "process_started_at",
    "commands",
    "errors",
    "exit_code",
    "counted_commands",
    "counted_errors",
    "tombstone",
)
DOUBLES: Final = ("elapsed_seconds", "duration_seconds")
_JSON: Final = ("origin", "metadata", "end_metadata", "person_also")
# By their places among the columns.
_TO_VALUE: Final[dict[int, Callable[[Any], Any]]] = {
    **{PLACES[name]: _text for name in _JSON},
    PLACES["ends"]: _ends_text,
}
_FROM_VALUE: Final[dict[int, Callable[[Any], Any]]] = {
    **{PLACES[name]: _aware for name in TIMES},
    **{PLACES[name]: json.loads for name in _JSON},
    PLACES["ends"]: _ends_from,
}
