"""Sessions in pages: so many, and so large, each with the place behind which the next begins."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from pydantic_core import to_json
from typing_extensions import TypedDict

from session_buddy.history.cursor import Cursor
from session_buddy.history.fields import chosen
from session_buddy.history.model import SessionRow
from session_buddy.history.query import DEFAULT_LIMIT, Query
from session_buddy.history.record import SessionRecord

MAX_PAGE_BYTES: Final = 512 * 1024
# A list of the default length takes one query.
_FIRST_ROWS: Final = DEFAULT_LIMIT
# Rows are read whole, also where few fields are shown.
_MOST_ROWS: Final = 500


class SessionsAnswer(TypedDict):
    """Sessions, in the order that was asked for.

    Attributes:
        sessions: of each the fields that were asked for.
        next_cursor: with which to ask for those behind, if there are any; of the newest first alone.
        truncated: whether more fit than are here.
        total: how many fit, a million and one at most, if that was asked.
        total_active: how many of those are active, likewise.
    """

    sessions: list[dict[str, Any]]
    next_cursor: str | None
    truncated: bool
    total: int | None
    total_active: int | None


def page(
    query: Query,
    select: Callable[[Query], Sequence[SessionRow]],
    records_of: Callable[[Sequence[SessionRow]], Sequence[dict[str, Any]]],
) -> SessionsAnswer:
    """The sessions that fit, as many as one answer holds; at least one, however large."""
    records: list[dict[str, Any]] = []
    size, behind, more = 0, query.behind, True
    # Of the newest first, those behind are asked for again; of another order there is no more.
    most = query.limit if query.newest_first else min(query.limit, _MOST_ROWS)
    while more:
        # As many as will fit, if they are as large as those before; one more tells whether there are more.
        fit = (MAX_PAGE_BYTES - size) * len(records) // size + 1 if records else _FIRST_ROWS
        asked = min(most - len(records), fit, _MOST_ROWS) + 1 if query.newest_first else most + 1
        rows = select(replace(query, behind=behind, limit=asked))
        for row, record in zip(rows, records_of(rows), strict=True):
            size += len(to_json(record))
            if len(records) == most or (records and size > MAX_PAGE_BYTES):
                place = str(behind) if query.newest_first else None
                return _answer(records, place, truncated=True)
            records.append(record)
            behind = Cursor(row.listed_at, row.session_id)
        more = len(rows) == asked
    return _answer(records, None, truncated=False)


def listed(
    query: Query,
    fields: Sequence[str] | None,
    select: Callable[[Query], Sequence[SessionRow]],
    records: Callable[[Sequence[SessionRow]], Sequence[SessionRecord]],
    count: Callable[[Query], tuple[int, int]] | None = None,
) -> SessionsAnswer:
    """A page of sessions as the ``list_sessions`` tool tells them; with ``count``, how many fit in all.

    Raises:
        InvalidQuery: a field is unknown, see :func:`session_buddy.history.fields.chosen`.
    """
    shown = chosen(fields)
    found = page(query, select, lambda rows: [shown(record) for record in records(rows)])
    if count is not None:
        found["total"], found["total_active"] = count(query)
    return found


def _answer(records: list[dict[str, Any]], place: str | None, *, truncated: bool) -> SessionsAnswer:
    return SessionsAnswer(
        sessions=records, next_cursor=place, truncated=truncated, total=None, total_active=None
    )
