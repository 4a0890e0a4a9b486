"""``GET /api/v1/changes``: which sessions started and ended, as they do."""

from typing import Annotated, Final

from pydantic import Field

from session_buddy.errors import Forbidden
from session_buddy.history.changes import ChangesAnswer
from session_buddy.history.query import Query
from session_buddy.server.web.routes import Asked, Given, route
from session_buddy.server.words import QueryText

MOST_SECONDS: Final = 25


class ChangesWanted(Given):
    """Which, and since when.

    Attributes:
        query: of which sessions.
        place: of an earlier answer; without one: now.
        wait: for how many seconds, where there is nothing to tell.
    """

    query: QueryText = ""
    place: str | None = None
    wait: Annotated[int, Field(ge=0, le=MOST_SECONDS)] = 0


async def _answer(asked: Asked[ChangesWanted]) -> ChangesAnswer:
    wanted, services = asked.given, asked.services
    query = Query.parse(wanted.query, clock=asked.services.register.answers.clock)
    found = await services.register.answers.changes(query, wanted.place, wanted.wait)
    if services.caller_of(asked.request) is None:
        raise Forbidden("the token was revoked, or has expired, while this waited")
    return found


CHANGES: Final = route("GET", "/api/v1/changes", "starts and ends behind a `place`", _answer)
