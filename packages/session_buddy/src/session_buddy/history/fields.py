"""What is shown of sessions in a list: all fields, some of them, or few in short."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any, Final

from session_buddy.errors import InvalidQuery
from session_buddy.history.record import SessionRecord, who

ALL: Final = "*"
# Beside those of a record: the person, the account, and what acts for them, in words.
WHO: Final = "who"
FIELDS: Final = (WHO, *SessionRecord.__annotations__)
_SHORT: Final = (
    "session_id",
    WHO,
    "hostname",
    "status",
    "exit_reason",
    "duration_seconds",
    "reason",
)
_LONGEST: Final = 40


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
    for name in fields:
        require_known("fields", name, FIELDS)

    def told(record: SessionRecord) -> dict[str, Any]:
        full = {**record, WHO: who(record)}
        return {name: full[name] for name in fields}

    return told


def require_known(what: str, name: str, known: Sequence[str]) -> None:
    """Refuse a name that is none of those.

    Raises:
        InvalidQuery: it is none; names them, the nearest first.
    """
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        there_are = ", ".join([*near, *(one for one in known if one not in near)])
        raise InvalidQuery(what, name, f"one of {there_are}")


def _in_short(record: SessionRecord) -> dict[str, Any]:
    full = {**record, WHO: who(record)}
    short = {name: full[name] for name in _SHORT if full[name] is not None}
    short["status"] = "unreachable" if record["unreachable"] else record["status"]
    short["duration_seconds"] = round(record["duration_seconds"])
    return {
        name: value if name == "session_id" or not isinstance(value, str) else _cut(value)
        for name, value in short.items()
    }


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
