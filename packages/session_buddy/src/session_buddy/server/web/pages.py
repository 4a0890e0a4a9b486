"""What every page has: who may, and how it is told what went wrong."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from oneiric.events import invalid_event
from session_buddy.access.callers import Caller
from session_buddy.errors import BackupsElsewhere, DeletionRefused, Forbidden, InvalidQuery, StoreError

CallerOf = Callable[[Request], Caller | None]
Endpoint = Callable[[Request], Awaitable[Response]]


def page(
    path: str,
    caller_of: CallerOf,
    answer: Callable[[Request, Caller], Awaitable[Any]],
    done: HTTPStatus = HTTPStatus.OK,
) -> Endpoint:
    """An endpoint for those who may: JSON, or ``400``, ``401``, ``403``, ``409``, ``503`` with ``error``.

    Args:
        path: what it is asked for, whose right :data:`session_buddy.access.callers.PAGES` has.
        caller_of: who asks, ``None`` if that is not known.
        answer: does the work, and gives the document, or a whole response.
        done: the status where that succeeds.
    """

    async def endpoint(request: Request) -> Response:
        caller = caller_of(request)
        if caller is None:
            return _error(HTTPStatus.UNAUTHORIZED, "a token is needed")
        try:
            caller.require(path)
            found = await answer(request, caller)
            return found if isinstance(found, Response) else JSONResponse(found, status_code=done)
        except (Forbidden, DeletionRefused) as error:
            refused = HTTPStatus.FORBIDDEN if isinstance(error, Forbidden) else HTTPStatus.CONFLICT
            return _error(refused, str(error))
        except InvalidQuery as error:
            return _error(HTTPStatus.BAD_REQUEST, str(error))
        except ValidationError as error:
            return _error(HTTPStatus.BAD_REQUEST, str(invalid_event(error)))
        except (StoreError, BackupsElsewhere) as error:
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    return endpoint


def _error(status: HTTPStatus, error: str) -> Response:
    return JSONResponse({"error": error}, status_code=status)
