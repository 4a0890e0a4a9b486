"""``GET /api/export``: a history as a file."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import BinaryIO, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from session_buddy.access.callers import Caller
from session_buddy.history.export import SESSIONS_HEADER, Form, form_named
from session_buddy.history.query import Clock, Query
from session_buddy.server.answers import Answers
from session_buddy.server.web.pages import CallerOf, Endpoint, page

EXPORT_PATH: Final = "/api/export"
_TYPES: Final[dict[Form, str]] = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
# A larger one is copied several times on its way through the connection's buffer.
_PART_BYTES: Final = 1 << 18


def export_page(answers: Answers, caller_of: CallerOf) -> Endpoint:
    """The endpoint: the sessions that ``query`` finds, as ``format``, ``csv`` unless it is given.

    The answer begins once the file is whole: its length, and how many sessions it has, stand before it.

    Args:
        answers: makes it.
        caller_of: who asks, ``None`` if that is not known.
    """

    async def answer(request: Request, _: Caller) -> Response:
        asked = request.query_params
        query = Query.parse(asked.get("query", ""), clock=Clock(datetime.now(UTC), UTC))
        form = form_named(asked.get("format", "csv"))
        file, sessions = await answers.export(query, form)
        headers = {
            "content-length": str(os.fstat(file.fileno()).st_size),
            "content-disposition": f'attachment; filename="sessions.{form}"',
            SESSIONS_HEADER: str(sessions),
        }
        return _File(file, form, headers)

    return page(EXPORT_PATH, caller_of, answer)


class _File(StreamingResponse):
    """A file in parts; closed behind the last, or when nobody wants more."""

    def __init__(self, file: BinaryIO, form: Form, headers: Mapping[str, str]) -> None:
        self._file = file
        super().__init__(iter(partial(file.read, _PART_BYTES), b""), headers=headers, media_type=_TYPES[form])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._file:
            await super().__call__(scope, receive, send)
