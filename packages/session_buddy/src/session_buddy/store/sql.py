"""The statements over sessions that both engines understand; ``?`` stands for a parameter."""

import re
from typing import Any, Final

from session_buddy.history.query import Query
from session_buddy.store.rows import COLUMNS

# So many are named where several fit.
CANDIDATES: Final = 10
_RECENT_IDS: Final = 500

DIGITS: Final = re.compile("[0-9a-fA-F]{8}")
SELECT: Final = f"SELECT {', '.join(COLUMNS)} FROM sessions"  # noqa: S608 - names of columns
NEWEST_FIRST: Final = "ORDER BY listed_at DESC, session_id DESC"
BY_BEGINNING: Final = f"""
    {SELECT}
    WHERE status IS NOT NULL AND (starts_with(session_id, ?) OR starts_with(right(session_id, 8), ?))
    {NEWEST_FIRST} LIMIT {CANDIDATES + 1}
"""
RECENT: Final = f"""
    SELECT session_id FROM sessions WHERE status IS NOT NULL {NEWEST_FIRST} LIMIT {_RECENT_IDS}
"""  # noqa: S608 - a number
COUNT: Final = "SELECT count(*) FROM sessions"
COUNT_STARTED: Final = f"{COUNT} WHERE status IS NOT NULL"
COUNT_LIVE: Final = f"{COUNT} WHERE status = 'active'"
LIVE: Final = f"{SELECT} WHERE status = 'active'"
MISSING: Final = """
    SELECT id FROM unnest(CAST(? AS text[])) AS asked (id) WHERE id NOT IN (SELECT session_id FROM sessions)
"""
META: Final = "SELECT value FROM meta WHERE key = ?"
STATUSES: Final = "SELECT session_id, status FROM sessions WHERE status IS NOT NULL"


def of_query(query: Query) -> tuple[str, list[Any]]:
    """The statement that finds what a query means, newest first, and its parameters."""
    conditions, parameters = _conditions(query)
    return f"{SELECT} WHERE {' AND '.join(conditions)} {NEWEST_FIRST} LIMIT ?", [*parameters, query.limit]


def _conditions(query: Query) -> tuple[list[str], list[Any]]:
    wanted: list[tuple[str, Any]] = [
        ("session_type = ?", query.session_type),
        ("component = ?", query.component),
        ("? IN (username, person, sudo_user)", query.username),
        ("listed_at >= ?", query.since),
    ]
    if query.status == "unreachable":
        wanted += [("status = ?", "active"), ("session_id = ANY(?)", list(query.silent))]
    else:
        wanted.append(("status = ?", query.status))
    named = [(condition, [value]) for condition, value in wanted if value is not None]
    if query.behind is not None:
        place, session_id = query.behind.listed_at, query.behind.session_id
        # The first bound alone lets most of a large table be skipped.
        named.append(("listed_at <= ? AND (listed_at, session_id) < (?, ?)", [place, place, session_id]))
    return ["status IS NOT NULL", *(condition for condition, _ in named)], [
        value for _, values in named for value in values
    ]
