"""``GET /api/changes``: which sessions started and ended, as they do."""

import re
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request

from session_buddy.access.callers import Caller
from session_buddy.errors import Forbidden, InvalidQuery
from session_buddy.history.changes import ChangesAnswer
from session_buddy.history.query import Clock, Query
from session_buddy.server.answers import Answers
from session_buddy.server.web.pages import CallerOf, Endpoint, page

CHANGES_PATH: Final = "/api/changes"
MOST_SECONDS: Final = 25.0


def changes_page(answers: Answers, caller_of: CallerOf) -> Endpoint:
    """The endpoint: a :class:`session_buddy.history.changes.ChangesAnswer`.

    It takes ``query``, ``place`` (of an earlier answer; without one: now) and ``wait`` (seconds, 25 at most).

    Args:
        answers: knows what has happened.
        caller_of: who asks, ``None`` if that is not known.
    """

    async def answer(request: Request, _: Caller) -> ChangesAnswer:
        asked = request.query_params
        query = Query.parse(asked.get("query", ""), clock=Clock(datetime.now(UTC), UTC))
        found = await answers.changes(query, asked.get("place"), _seconds(asked.get("wait", "0")))
        if caller_of(request) is None:
            raise Forbidden("the token was revoked, or has expired, while this waited")
        return found

    return page(CHANGES_PATH, caller_of, answer)


def _seconds(text: str) -> float:
    if not re.fullmatch("[0-9]{1,2}", text) or int(text) > MOST_SECONDS:
        raise InvalidQuery("wait", text, f"whole seconds from 0 to {MOST_SECONDS:.0f}")
    return float(text)
