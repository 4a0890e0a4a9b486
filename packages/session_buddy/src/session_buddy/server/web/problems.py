"""Errors as programs get them: RFC 9457."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from pydantic import ValidationError
from starlette.responses import Response

from oneiric.events import invalid_event
from session_buddy import errors

MEDIA_TYPE: Final = "application/problem+json"
# The first that an error is counts.
_STATUS: Final[dict[type[Exception], HTTPStatus]] = {
    ValidationError: HTTPStatus.BAD_REQUEST,
    errors.InvalidQuery: HTTPStatus.BAD_REQUEST,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.DeletedSession: HTTPStatus.GONE,
    errors.UnknownSession: HTTPStatus.NOT_FOUND,
    errors.UnknownToken: HTTPStatus.NOT_FOUND,
    errors.TooManySignIns: HTTPStatus.TOO_MANY_REQUESTS,
    errors.TooManyExports: HTTPStatus.TOO_MANY_REQUESTS,
    errors.StoreError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.TooManyStreams: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ConfigurationError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.BackupsElsewhere: HTTPStatus.SERVICE_UNAVAILABLE,
    # What cannot be done with things as they are.
    errors.SessionBuddyError: HTTPStatus.CONFLICT,
}
TOLD: Final = tuple(_STATUS)


def document(status: int, detail: str, **more: str) -> dict[str, Any]:
    """A problem, as :func:`problem` tells it."""
    known = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return {**known, "detail": detail, **more}


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: str) -> Response:
    """An answer that says in ``detail`` what is wrong, which value, and what to do next, in one line.

    ``more`` are further members of the problem.
    """
    said = json.dumps(document(status, detail, **more))
    return Response(said, status, {"cache-control": "no-store", **(headers or {})}, MEDIA_TYPE)


def told(error: Exception) -> tuple[HTTPStatus, str, dict[str, str]]:
    """The status, the line and the headers for an error of :data:`TOLD`."""
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    detail = str(invalid_event(error) if isinstance(error, ValidationError) else error)
    return status, detail, {"retry-after": "1"} if status >= HTTPStatus.INTERNAL_SERVER_ERROR else {}
