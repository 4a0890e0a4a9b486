"""``/api/v1/sessions``: sessions as a query finds them, one of them, its events, and ends by hand."""

from http import HTTPStatus
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints
from starlette.requests import Request
from typing_extensions import TypedDict

from session_buddy.history.around import SessionAnswer
from session_buddy.history.page import SessionsAnswer
from session_buddy.history.query import DEFAULT_LIMIT, MAX_LIMIT, SORTS, Query
from session_buddy.intake.by_hand import EndedByHand
from session_buddy.server.register import BY_TOOL
from session_buddy.server.web.problems import problem
from session_buddy.server.web.routes import Asked, Given, Nothing, route
from session_buddy.server.words import QueryText, Words

_PATH: Final = "/api/v1/sessions"
_ONE: Final = f"{_PATH}/{{session_id}}"


class SessionsWanted(Given):
    """Which sessions, in which order, and what of each."""

    query: QueryText = ""
    sort: Annotated[Words, Field(description=f"by {', '.join(SORTS)}")] = "started"
    reverse: Annotated[bool, Field(description="the other way round")] = False
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="at most so many")] = DEFAULT_LIMIT
    cursor: Annotated[Words, Field(description="`next_cursor` of the answer before, for those behind")] = ""
    fields: Annotated[
        Words, Field(description="names of a session's fields, with commas between; `*` for all")
    ] = ""
    count: Annotated[bool, Field(description="say how many fit in all")] = False


class SessionWanted(Given):
    """What of one session."""

    details: Annotated[bool, Field(description="its events, and the sessions around it")] = False


class EventsAnswer(TypedDict):
    """The events of a session, its start and its ends, as they came in."""

    session_id: str
    events: list[dict[str, Any]]


class EndWanted(Given):
    """Why a session is ended in the history."""

    reason: Words = ""
    force: Annotated[bool, Field(description="also where it is seen alive")] = False


class EndsWanted(Given):
    """Which, and why.

    Attributes:
        sessions: how each is named.
        reason: why, in words.
        force: whether also such as are seen alive.
    """

    sessions: list[Annotated[str, StringConstraints(max_length=200)]]
    reason: str | None = None
    force: bool = False


class EndsAnswer(TypedDict):
    """What became of each, in order."""

    results: list[EndedByHand]


async def _sessions(asked: Asked[SessionsWanted]) -> SessionsAnswer:
    wanted, answers = asked.given, asked.services.register.answers
    query = Query.parse(
        wanted.query,
        clock=answers.clock,
        sort=wanted.sort,
        reverse=wanted.reverse,
        limit=wanted.limit,
        cursor=wanted.cursor,
    )
    fields = [name.strip() for name in wanted.fields.split(",")] if wanted.fields else None
    return await answers.sessions(query, fields, count=wanted.count)


async def _session(asked: Asked[SessionWanted]) -> SessionAnswer:
    answers = asked.services.register.answers
    return await answers.session(_named(asked.request), details=asked.given.details)


async def _events(asked: Asked[Nothing]) -> EventsAnswer:
    found = await asked.services.register.answers.session(_named(asked.request), details=True)
    return EventsAnswer(session_id=found["session"]["session_id"], events=found["events"])


async def _end(asked: Asked[EndWanted]) -> Any:  # noqa: ANN401 - JSON
    wanted, caller, register = asked.given, asked.caller, asked.services.register
    # Says in which way it cannot be ended; what comes between this and the end is told by that.
    found = await register.to_be_ended(_named(asked.request), force=wanted.force, caller=caller)
    (ended,) = await register.end_by_hand(
        [found["session_id"]], wanted.reason or None, force=wanted.force, caller=caller, forced_by=BY_TOOL
    )
    return problem(HTTPStatus.CONFLICT, ended["error"]) if ended["error"] else ended


async def _ends(asked: Asked[EndsWanted]) -> EndsAnswer:
    wanted, register = asked.given, asked.services.register
    ended = register.end_by_hand(wanted.sessions, wanted.reason, force=wanted.force, caller=asked.caller)
    return EndsAnswer(results=await ended)


def _named(request: Request) -> str:
    return str(request.path_params["session_id"])


SESSIONS: Final = route("GET", _PATH, "the sessions that a query finds", _sessions)
SESSION: Final = route("GET", _ONE, "one session", _session)
EVENTS: Final = route("GET", f"{_ONE}/events", "its events", _events)
END: Final = route(
    "POST",
    f"{_ONE}/end",
    "end one that is stuck, in the history",
    _end,
    needs=("track", "read"),
    gives=EndedByHand,
)
ENDS: Final = route("POST", "/api/v1/ends", "end sessions that are stuck", _ends, needs=("track", "read"))
