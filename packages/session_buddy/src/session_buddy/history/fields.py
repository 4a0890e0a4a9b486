"""What is shown of sessions in a list: all fields, some of them, or few in short."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from session_buddy.history.keys import COLUMN_OF, one_of
from session_buddy.history.record import WHO, SessionRecord, state_of, who

ALL: Final = "*"
FIELDS: Final = (WHO, *SessionRecord.__annotations__)
# Fields go by the names of keys, and of the columns of tables, too.
_ALSO: Final = {
    **{key: column for key, column in COLUMN_OF.items() if column in FIELDS},
    "user": WHO,
    "session": "session_id",
    "since": "start_time",
    "started": "start_time",
    "ended": "end_time",
    "duration": "duration_seconds",
    "lasted": "duration_seconds",
    "idle": "idle_seconds",
    "tty": "origin",
    "from": "origin",
}
_SHORT: Final = ("session_id", WHO, "hostname", "status", "exit_reason", "duration_seconds", "reason")
_LONGEST: Final = 40


def field_named(place: str, name: str) -> str:
    """The field of this name, which may be that of a key.

    Raises:
        InvalidQuery: there is none; names those that there are, the nearest first.

    >>> field_named("columns", "host")
    'hostname'
    """
    return _ALSO.get(name.lower()) or one_of(place, name, FIELDS)


def chosen(fields: Sequence[str] | None) -> Callable[[SessionRecord], dict[str, Any]]:
    """What makes of a record what is shown of it.

    Args:
        fields: names of :data:`FIELDS`, in their order; ``*`` means all of a record; none: few, in short:
            texts of forty letters, nothing that is not known; when it started stands in the id.

    Raises:
        InvalidQuery: one is unknown; names those that there are, the nearest first.
    """
    if not fields:
        return _in_short
    if list(fields) == [ALL]:
        return dict
    names = [field_named("fields", name) for name in fields]

    def some(record: SessionRecord) -> dict[str, Any]:
        full = {**record, WHO: who(record)}
        return {name: full[name] for name in names}

    return some


def _in_short(record: SessionRecord) -> dict[str, Any]:
    full = {**record, WHO: who(record)}
    short = {name: full[name] for name in _SHORT if full[name] is not None}
    short["status"] = state_of(record)
    short["duration_seconds"] = round(record["duration_seconds"])
    return {
        name: value if name == "session_id" or not isinstance(value, str) else cut(value)
        for name, value in short.items()
    }


def cut(text: str) -> str:
    """A text of forty letters at most."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
