"""``GET /api/changes``: which sessions started and ended, as they do."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from session_buddy.access.callers import Caller
from session_buddy.errors import Forbidden, InvalidQuery, StoreError
from session_buddy.history.query import Clock, Query
from session_buddy.server.answers import Answers

CHANGES_PATH: Final = "/api/changes"
MOST_SECONDS: Final = 25.0


def changes_page(
    answers: Answers, caller_of: Callable[[Request], Caller | None]
) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint.

    It takes ``query``, ``place`` (of an earlier answer; without one: now) and ``wait`` (seconds, 25 at most);
    it answers ``200`` with ``place``, ``lost`` and ``changes``, each with ``change`` (``start``, ``end``) and
    ``session``; ``400``, ``401``, ``403`` or ``503`` with ``error``.

    Args:
        answers: knows what has happened.
        caller_of: who asks, ``None`` if that is not known.
    """

    async def changes(request: Request) -> Response:
        caller = caller_of(request)
        if caller is None:
            return JSONResponse({"error": "a token is needed"}, status_code=401)
        asked = request.query_params
        try:
            caller.require(CHANGES_PATH)
            query = Query.parse(asked.get("query", ""), clock=Clock(datetime.now(UTC), UTC))
            found = await answers.changes(query, asked.get("place"), _seconds(asked.get("wait", "0")))
        except Forbidden as error:
            return JSONResponse({"error": str(error)}, status_code=403)
        except InvalidQuery as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except StoreError as error:
            return JSONResponse({"error": str(error)}, status_code=503)
        return JSONResponse(found)

    return changes


def _seconds(text: str) -> float:
    if not text.isdecimal() or int(text) > MOST_SECONDS:
        raise InvalidQuery("wait", text, f"whole seconds from 0 to {MOST_SECONDS:.0f}")
    return float(text)
