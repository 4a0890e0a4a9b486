"""``GET /api/v1/export``: a history as a file."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import BinaryIO, Final

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from session_buddy.errors import TooManyExports
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
# Of one subject: each takes room on the disk until it is sent, however slowly its reader takes it.
MOST_AT_ONCE: Final = 4


class ExportWanted(Given):
    """Which, and as what.

    Attributes:
        query: which sessions.
        format: of the file.
    """

    query: QueryText = ""
    format: str = "csv"


class _File(StreamingResponse):
    """A file sent in parts; ``held`` is closed after the last, or when the client leaves."""

    def __init__(self, file: BinaryIO, form: Form, headers: Mapping[str, str], held: ExitStack) -> None:
        self._held = held
        super().__init__(iter(partial(file.read, _PART_BYTES), b""), headers=headers, media_type=_TYPES[form])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._held:
            await super().__call__(scope, receive, send)


async def _answer(asked: Asked[ExportWanted]) -> Response:
    """Begins once the file is whole: its length, and how many sessions it has, stand before it."""
    query = Query.parse(asked.given.query, clock=asked.services.register.answers.clock)
    form = form_named(asked.given.format)
    with ExitStack() as held:
        held.enter_context(_place(asked.services.exports, asked.caller.subject))
        file, sessions = await asked.services.register.answers.export(query, form)
        held.enter_context(file)
        headers = {
            "cache-control": "no-store",
            "content-length": str(os.fstat(file.fileno()).st_size),
            "content-disposition": f'attachment; filename="sessions.{form}"',
            SESSIONS_HEADER: str(sessions),
        }
        return _File(file, form, headers, held.pop_all())


@contextmanager
def _place(exports: Counter[str], subject: str) -> Iterator[None]:
    if exports[subject] >= MOST_AT_ONCE:
        raise TooManyExports(subject, MOST_AT_ONCE)
    exports[subject] += 1
    try:
        yield
    finally:
        exports[subject] -= 1


EXPORT: Final = route(
    "GET",
    "/api/v1/export",
    "the sessions that a query finds, as one file",
    _answer,
    gives=tuple(_TYPES.values()),
)
