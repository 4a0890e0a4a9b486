"""Sessions in pages: so many, and so large, each with the place behind which the next begins."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from pydantic_core import to_json
from typing_extensions import TypedDict

from session_buddy.history.model import SessionRow
from session_buddy.history.query import Cursor, Query
from session_buddy.history.record import SessionRecord

MAX_PAGE_BYTES: Final = 512 * 1024
_FIRST_ROWS: Final = 25


class SessionsAnswer(TypedDict):
    """Sessions, newest first, and the cursor with which to ask for those behind them, if there are any."""

    sessions: list[SessionRecord]
    next_cursor: str | None


def page(
    query: Query,
    select: Callable[[Query], Sequence[SessionRow]],
    told: Callable[[Sequence[SessionRow]], Sequence[SessionRecord]],
) -> SessionsAnswer:
    """The sessions that fit, as many as one answer holds; at least one, however large.

    Args:
        query: which, and behind which.
        select: gives those of a store.
        told: makes records of them.
    """
    records: list[SessionRecord] = []
    size, behind = 0, query.behind
    while True:
        # As many as will fit, if they are as large as those before; one more tells whether there are more.
        fit = (MAX_PAGE_BYTES - size) * len(records) // size + 1 if records else _FIRST_ROWS
        asked = min(query.limit - len(records), fit) + 1
        rows = select(replace(query, behind=behind, limit=asked))
        for row, record in zip(rows, told(rows), strict=True):
            size += len(to_json(record))
            if len(records) == query.limit or (records and size > MAX_PAGE_BYTES):
                return SessionsAnswer(sessions=records, next_cursor=str(behind))
            records.append(record)
            behind = Cursor(row.listed_at, row.session_id)
        if len(rows) < asked:
            return SessionsAnswer(sessions=records, next_cursor=None)
