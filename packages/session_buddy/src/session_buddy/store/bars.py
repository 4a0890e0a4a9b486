"""What a timeline draws, as SQL that both engines understand."""

from typing import Final

from session_buddy.history.bars import Cut
from session_buddy.history.query import Query
from session_buddy.store.conditions import Condition, Json, of_terms
from session_buddy.store.measures import NAMES

_BARS: Final = f"""
    SELECT session_id, listed_at, listed_until, status, exit_reason, {NAMES["person"]}, {NAMES["host"]},
        {NAMES["component"]}, parent_session_id
    FROM sessions
"""  # noqa: S608 - ours
# A session counts from the slice in which it began, or was in already, to that in which it ended.
_SLICES: Final = """
    WITH found AS MATERIALIZED (
        SELECT {name} AS lane, greatest(0, {begun}) AS begun,
            CASE WHEN listed_until < ? THEN {ended} END AS ended, status
        FROM sessions WHERE {conditions}
    ), lanes AS (
        SELECT lane, count(*) OVER () AS many FROM found GROUP BY lane ORDER BY count(*) DESC, lane LIMIT ?
    ), changes AS (
        SELECT lane, begun AS place, 1 AS began, 0 AS left_in, 0 AS crashed, 0 AS lost FROM found
        UNION ALL SELECT lane, ended, 0, 1, CASE WHEN status = 'crashed' THEN 1 ELSE 0 END,
            CASE WHEN status = 'lost' THEN 1 ELSE 0 END
        FROM found WHERE ended IS NOT NULL
    )
    SELECT lane, place, sum(began), sum(left_in), sum(crashed), sum(lost), max(many)
    FROM changes JOIN lanes USING (lane) GROUP BY lane, place ORDER BY lane, place
"""


def of_bars(query: Query, json: Json) -> Condition:
    """The statement that finds what is drawn of the sessions that fit, the first first."""
    conditions, parameters = of_terms(query, json)
    return f"{_BARS} WHERE {conditions} ORDER BY listed_at, session_id LIMIT ?", [*parameters, query.limit]


def of_slices(query: Query, cut: Cut, json: Json) -> Condition:
    """The statement that counts what changed in each lane and slice of a window."""
    conditions, parameters = of_terms(query, json)
    length = (cut.window.end - cut.window.begin).total_seconds() / cut.slices
    begun, ended = (
        f"CAST(floor(CAST(extract(epoch FROM ({column} - ?)) AS double precision) / {length!r}) AS integer)"
        for column in ("listed_at", "listed_until")
    )
    statement = _SLICES.format(name=NAMES[cut.by], begun=begun, ended=ended, conditions=conditions)
    return statement, [cut.window.begin, cut.window.end, cut.window.begin, *parameters, cut.lanes]
