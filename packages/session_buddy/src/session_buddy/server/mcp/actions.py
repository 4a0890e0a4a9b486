"""What could be done next with an answer: calls that are ready to be made."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from typing_extensions import TypedDict

from session_buddy.history.around import SessionAnswer
from session_buddy.history.counted import StatisticsAnswer
from session_buddy.history.page import SessionsAnswer
from session_buddy.history.record import state_of
from session_buddy.history.syntax import Value, held
from session_buddy.history.timeline import MOST_EVENTS, TimelineAnswer
from session_buddy.history.times import TICK

_AROUND: Final = timedelta(minutes=10)
# Groupings that queries have, too; a person may be two names.
_KEYS: Final = ("component", "host", "type", "actor")
_OPEN_AND_SILENT: Final = ("lost", "unreachable")


class Action(TypedDict):
    """A call that is ready to be made; ``why`` says what for."""

    tool: str
    arguments: dict[str, Any]
    why: str


def of_list(answer: SessionsAnswer, given: Mapping[str, Any]) -> list[Action]:
    """After a list asked with ``given``: its next page, a session in full, the end of one that is silent."""
    sessions = [one for one in answer["sessions"] if "session_id" in one]
    actions = []
    if answer["next_cursor"]:
        actions.append(_call("list_sessions", "the next page", **{**given, "cursor": answer["next_cursor"]}))
    if sessions:
        actions.append(_details(sessions[0]["session_id"]))
    return actions + [_end(one) for one in sessions if state_of(one) in _OPEN_AND_SILENT][:1]


def of_session(answer: SessionAnswer, *, details: bool) -> list[Action]:
    """Behind one session: what is around it, its end if it is silent, what happened when it crashed."""
    session = answer["session"]
    actions = [] if details else [_details(session["session_id"])]
    if state_of(session) in _OPEN_AND_SILENT:
        actions.append(_end(session))
    if session["status"] == "crashed" and session["end_time"]:
        ended = datetime.fromisoformat(session["end_time"])
        since, until = ((ended + around).isoformat() for around in (-_AROUND, _AROUND))
        actions.append(_call("session_timeline", "what happened when it crashed", since=since, until=until))
    return actions


def of_timeline(answer: TimelineAnswer, query: str, limit: int) -> list[Action]:
    """Behind a window: the rest of it, and one that did not end well."""
    events, actions, last = answer["events"], [], _last_before(answer["end"])
    if answer["truncated"] and events[-1]["change"] != "in":
        rest = {"since": events[-1]["time"], "until": last, "limit": limit}
        actions.append(_call("session_timeline", "the rest", **rest, **_asked(query)))
    elif answer["truncated"] and limit < MOST_EVENTS:
        whole = {"since": answer["begin"], "until": last, "limit": MOST_EVENTS}
        actions.append(_call("session_timeline", "more of it", **whole, **_asked(query)))
    bad = [one["session_id"] for one in events if one.get("status") in ("crashed", "lost")]
    return actions + [_details(session_id) for session_id in bad[:1]]


def of_statistics(answer: StatisticsAnswer, query: str) -> list[Action]:
    """Behind numbers: the sessions of the first group, where a query names that."""
    by, rows = answer["by"], answer["rows"]
    name = rows[0].get(by) if by in _KEYS and rows else None
    if not name:
        return []
    asked = f"{query} {by}:{Value(held(name))}".strip()
    since, last = answer["since"], answer["until"] and _last_before(answer["until"])
    ends = {"since": since, "until": last}
    if answer["metric"] == "concurrency":
        ends = {"at": f"{since or ''}..{last or ''}" if since or last else None}
    period = {name: time for name, time in ends.items() if time}
    return [_call("list_sessions", "the sessions of the first row", query=asked, **period)]


def of_health(live_sessions: int) -> list[Action]:
    """Behind a health check: who is in."""
    return [_call("list_sessions", "who is in", status="active")] if live_sessions else []


def _call(tool: str, why: str, /, **arguments: Any) -> Action:  # noqa: ANN401 - as each tool takes them
    return Action(tool=tool, arguments=arguments, why=why)


def _last_before(end: str) -> str:
    """The last moment of a span without its end: in queries an end that is named is in it, all its second."""
    return (datetime.fromisoformat(end) - TICK).isoformat(timespec="microseconds")


def _asked(query: str) -> dict[str, str]:
    return {"query": query} if query.strip() else {}


def _details(session_id: str) -> Action:
    return _call("get_session", "its events, and what is around it", session_id=session_id, details=True)


def _end(session: Mapping[str, Any]) -> Action:
    reason = f"not heard from since {session['last_seen']}" if session.get("last_seen") else "not heard from"
    return _call("end_session", "correct its record", session_id=session["session_id"], reason=reason)
