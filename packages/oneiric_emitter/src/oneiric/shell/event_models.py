"""The events under the names that earlier components import; the contract is :mod:`oneiric.events`.

Needs ``oneiric[events,shell]``.
"""

from typing import Any, Literal

from oneiric.events import Environment as EnvironmentInfo
from oneiric.events import SessionEnd, SessionStart
from oneiric.events import User as UserInfo

__all__ = [
    "EnvironmentInfo",
    "SessionEndEvent",
    "SessionStartEvent",
    "UserInfo",
    "get_session_end_event_schema",
    "get_session_start_event_schema",
]


class SessionStartEvent(SessionStart):
    """A start; its type need not be said."""

    event_type: Literal["session_start"] = "session_start"


class SessionEndEvent(SessionEnd):
    """An end; its type need not be said."""

    event_type: Literal["session_end"] = "session_end"


def get_session_start_event_schema() -> dict[str, Any]:
    """The JSON Schema of a start."""
    return SessionStartEvent.model_json_schema()


def get_session_end_event_schema() -> dict[str, Any]:
    """The JSON Schema of an end."""
    return SessionEndEvent.model_json_schema()
