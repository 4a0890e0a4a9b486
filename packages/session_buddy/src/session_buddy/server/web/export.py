"""``GET /api/v1/export``: a history as a file."""

import os
from collections.abc import Mapping
from functools import partial
from typing import BinaryIO, Final

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from session_buddy.history.export import SESSIONS_HEADER, Form, form_named
from session_buddy.history.query import Query
from session_buddy.server.web.routes import Asked, Given, route
from session_buddy.server.words import QueryText

_TYPES: Final[dict[Form, str]] = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
# A larger one is copied several times on its way through the connection's buffer.
_PART_BYTES: Final = 1 << 18


class ExportWanted(Given):
    """Which, and as what.

    Attributes:
        query: which sessions.
        format: of the file.
    """

    query: QueryText = ""
    format: str = "csv"


class _File(StreamingResponse):
    """A file sent in parts; closed after the last, or when the client leaves."""

    def __init__(self, file: BinaryIO, form: Form, headers: Mapping[str, str]) -> None:
        self._file = file
        super().__init__(iter(partial(file.read, _PART_BYTES), b""), headers=headers, media_type=_TYPES[form])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._file:
            await super().__call__(scope, receive, send)


async def _answer(asked: Asked[ExportWanted]) -> Response:
    """Begins once the file is whole: its length, and how many sessions it has, stand before it."""
    query = Query.parse(asked.given.query, clock=asked.services.register.answers.clock)
    form = form_named(asked.given.format)
    file, sessions = await asked.services.register.answers.export(query, form)
    headers = {
        "cache-control": "no-store",
        "content-length": str(os.fstat(file.fileno()).st_size),
        "content-disposition": f'attachment; filename="sessions.{form}"',
        SESSIONS_HEADER: str(sessions),
    }
    return _File(file, form, headers)


EXPORT: Final = route(
    "GET",
    "/api/v1/export",
    "the sessions that a query finds, as one file",
    _answer,
    gives=tuple(_TYPES.values()),
)
