"""``GET /api/export``: a history as a file."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

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
_PART_BYTES: Final = 1 << 20


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
        return StreamingResponse(_parts(file), headers=headers, media_type=_TYPES[form])

    return page(EXPORT_PATH, caller_of, answer)


def _parts(file: BinaryIO) -> Iterator[bytes]:
    """A file in parts; closed behind the last, or when nobody wants more."""
    with file:
        while part := file.read(_PART_BYTES):
            yield part
