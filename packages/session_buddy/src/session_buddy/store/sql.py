"""The statements over sessions that both engines understand; ``?`` stands for a parameter."""

import re
from typing import Final

from session_buddy.history.query import MOST_COUNTED, Query, Sort
from session_buddy.history.tombstones import Named
from session_buddy.store.conditions import NUMBERS, Condition, Json, of_terms
from session_buddy.store.rows import COLUMNS, TABLES

# So many are named where several fit.
CANDIDATES: Final = 10
_RECENT_IDS: Final = 500
# So many events are told of at once, each with its session: a megabyte, mostly.
MOST_CHANGES: Final = 500
# So many sessions around one are told of.
MOST_AROUND: Final = 100

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
BEGAN_LAST: Final = """
    SELECT session_id, start_time, hostname FROM sessions
    WHERE status IS NOT NULL ORDER BY start_time DESC LIMIT 1
"""
COUNT_LIVE: Final = f"{COUNT} WHERE status = 'active'"
LIVE: Final = f"{SELECT} WHERE status = 'active'"
MISSING: Final = """
    SELECT id FROM unnest(CAST(? AS text[])) AS asked (id) WHERE id NOT IN (SELECT session_id FROM sessions)
"""
META: Final = "SELECT value FROM meta WHERE key = ?"
EVENTS: Final = f"""
    SELECT event_type, timestamp, received_at, subject, CAST(body AS text) FROM events
    WHERE session_id = ? ORDER BY received_at, timestamp LIMIT {MOST_AROUND}
"""  # noqa: S608 - a number
BY_IDS: Final = f"{SELECT} WHERE status IS NOT NULL AND session_id = ANY(?)"
STARTED_FROM: Final = f"""
    {SELECT} WHERE status IS NOT NULL AND parent_session_id = ANY(?)
    ORDER BY listed_at, session_id LIMIT {MOST_AROUND}
"""
NEXT: Final = f"""
    {SELECT} WHERE status IS NOT NULL AND listed_at >= ? AND (listed_at, session_id) > (?, ?)
    ORDER BY listed_at, session_id LIMIT 1
"""
COMMITTED: Final = f"""
    SELECT commit_id, session_id, event_type FROM events
    WHERE commit_id BETWEEN ? AND ? AND (commit_id, session_id) > (?, ?)
    ORDER BY commit_id, session_id LIMIT {MOST_CHANGES + 1}
"""  # noqa: S608 - a number
_NAMED: Final = f"SELECT {', '.join(Named._fields)} FROM sessions"  # noqa: S608 - names of columns
BURIED: Final = f"{_NAMED} WHERE tombstone IS NOT NULL"
BURIED_BY_BEGINNING: Final = f"""
    {BURIED} AND (starts_with(session_id, ?) OR starts_with(right(session_id, 8), ?))
    ORDER BY session_id LIMIT {CANDIDATES + 1}
"""
# Neither a session that is known nor the trace of one: what the age of a deletion would refuse.
STARTED_BEFORE: Final = f"{_NAMED} WHERE start_time < ? AND tombstone IS NULL"
ENDS_ALONE: Final = f"{STARTED_BEFORE} AND status IS NULL"
TOMBSTONES: Final = f"SELECT {', '.join(TABLES['tombstones'])} FROM tombstones ORDER BY number"  # noqa: S608 - names of columns
LAST_TOMBSTONE: Final = "SELECT coalesce(max(number), 0) FROM tombstones"
DELETE_TOMBSTONE: Final = "DELETE FROM tombstones WHERE number = ?"
DELETE_EVENTS: Final = "DELETE FROM events WHERE session_id = ANY(?)"
DELETE_SESSIONS: Final = "DELETE FROM sessions WHERE start_time BETWEEN ? AND ? AND session_id = ANY(?)"
STATUSES: Final = "SELECT session_id, status FROM sessions WHERE status IS NOT NULL"


_BY_NUMBER: Final[tuple[Sort, ...]] = ("duration", "idle", "commands", "errors")
# By what a list may be sorted, and whether the largest comes first.
_SORTS: Final[dict[Sort, tuple[str, bool]]] = {
    "started": ("listed_at", True),
    "ended": ("listed_until", True),
    **{name: (NUMBERS[name].of_any, True) for name in _BY_NUMBER},
    "user": ('coalesce(person, username) COLLATE "C"', False),
    "component": ('component COLLATE "C"', False),
    "host": ('hostname COLLATE "C"', False),
    "status": ('status COLLATE "C"', False),
}


def of_query(query: Query, json: Json) -> Condition:
    """The statement that finds what a query means, in its order, and its parameters."""
    conditions, parameters = of_terms(query, json)
    order, asked = _order(query)
    return f"{SELECT} WHERE {conditions} {order} LIMIT ?", [*parameters, *asked, query.limit]


def of_count(query: Query, json: Json) -> Condition:
    """The statement that counts what a query means, and how many of that are active, each up to a bound."""
    conditions, parameters = of_terms(query, json)
    counted = f"(SELECT status FROM sessions WHERE {conditions} LIMIT {MOST_COUNTED + 1})"  # noqa: S608 - ours
    return f"SELECT count(*), count(*) FILTER (WHERE status = 'active') FROM {counted} AS found", parameters  # noqa: S608 - ours


def of_names(query: Query, json: Json) -> Condition:
    """The statement that names the sessions that a query means, so many, in no order."""
    conditions, parameters = of_terms(query, json)
    return f"{_NAMED} WHERE {conditions} LIMIT ?", [*parameters, query.limit]


def of_extent(query: Query, json: Json) -> Condition:
    """The statement that says how many sessions a query means, and when the first and the last started."""
    conditions, parameters = of_terms(query, json)
    return f"SELECT count(*), min(start_time), max(start_time) FROM sessions WHERE {conditions}", parameters  # noqa: S608 - ours


def _order(query: Query) -> Condition:
    if query.newest_first:
        return NEWEST_FIRST, []
    expression, largest_first = _SORTS[query.sort]
    way = "DESC" if largest_first != query.reverse else "ASC"
    newest = "ASC" if query.reverse else "DESC"
    by = f"ORDER BY {expression} {way} NULLS LAST, listed_at {newest}, session_id {newest}"
    return by, [query.now] * by.count("?")
