"""What :class:`session_buddy.history.statistics.Statistics` asks for, as SQL that both engines understand."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Literal

from oneiric import contract
from session_buddy.history.counted import MOST_GROUPS
from session_buddy.history.statistics import TIMES, By, Metric, Statistics
from session_buddy.store.conditions import NUMBERS, Condition, Json, of_terms

_PROOFS: Final = ", ".join(f"'{one}'" for one in contract.PROOFS)
_ACCOUNT: Final = f"coalesce(username, '{contract.UNKNOWN}')"
# As record.person has it; nearly all are told by the first case.
_PERSON: Final = f"""CASE
    WHEN person IS NULL AND (uid IS NOT NULL OR sudo_user IS NULL) THEN {_ACCOUNT}
    WHEN person IS NOT NULL AND person_evidence IN ({_PROOFS}) THEN person
    WHEN coalesce(person, sudo_user) = {_ACCOUNT} THEN {_ACCOUNT}
    ELSE concat({_ACCOUNT}, ', says ', coalesce(person, sudo_user)) END"""
# What names a session's group, by what groups are made of.
NAMES: Final[Mapping[By, str]] = {
    "person": _PERSON,
    "component": f"coalesce(component, '{contract.UNKNOWN}')",
    "host": f"coalesce(hostname, '{contract.UNKNOWN}')",
    "type": f"coalesce(session_type, '{contract.UNKNOWN}')",
    "actor": "actor",
}
_PERCENTILES: Final = "(percentile_cont(ARRAY[0.5, 0.9, 0.95, 0.99]) WITHIN GROUP (ORDER BY number))"
_OTHERS: Final = "max(number), avg(number), sum(number), count(*)"
_LENGTHS: Final = ", ".join([*(f"{_PERCENTILES}[{place}]" for place in (1, 2, 3, 4)), _OTHERS])
# What is counted of each group.
_COUNTED: Final[Mapping[Metric, str]] = {
    "sessions": "count(*), count(*) FILTER (WHERE status = 'active')",
    "duration": _LENGTHS,
    "users": "count(DISTINCT person), count(*)",
    "peak-hours": "count(*)",
    "endings": "count(*)",
    "idle": _LENGTHS,
}
# Those that begin when others end are open together. How many were open before its first change counts for
# a day, too.
_AT_ONCE: Final = """
    WITH found AS ({found}), changes AS (
        SELECT {name} AS named, {begun} AS moment, 1 AS change FROM found
        UNION ALL SELECT {name}, listed_until, -1 FROM found WHERE {ended}
    ), counted AS (
        SELECT named, moment, change, sum(change) OVER (
            {apart} ORDER BY moment, change DESC ROWS UNBOUNDED PRECEDING
        ) AS running FROM changes
    )
    SELECT {group} coalesce(max(greatest(running, running - change)), 0),
        count(*) FILTER (WHERE change = 1), sum(change)
    FROM counted {grouped} LIMIT {most}
"""


def of_statistics(asked: Statistics, json: Json) -> Condition:
    """The statement, and its parameters: a row a group, of its names and what is counted of it."""
    return _at_once(asked, json) if asked.metric == "concurrency" else _of_groups(asked, json)


def _of_groups(asked: Statistics, json: Json) -> Condition:
    columns = [*_group(asked), *_counted(asked)]
    conditions, parameters = of_terms(asked.query, json)
    if asked.metric == "idle":
        conditions = f"({conditions}) AND {NUMBERS['idle'].is_active}"
        if busy := list(asked.query.busy):
            conditions, parameters = f"{conditions} AND session_id <> ALL(?)", [*parameters, busy]
    found = f"SELECT {', '.join(text for text, _ in columns)} FROM sessions WHERE {conditions}"  # noqa: S608 - ours
    known = "WHERE number IS NOT NULL" if asked.metric in NUMBERS else ""
    names = ["named" if name == asked.by else name for name in asked.within]
    grouped = f"GROUP BY {', '.join(names)}" if names else ""
    statement = f"""
        SELECT {", ".join([*names, _COUNTED[asked.metric]])} FROM ({found}) AS found {known} {grouped}
        LIMIT {MOST_GROUPS + 1}
    """  # noqa: S608 - ours
    return statement, [*(one for _, given in columns for one in given), *parameters]


def _group(asked: Statistics) -> list[Condition]:
    """By what: a time, a name, or all together."""
    if asked.by in TIMES:
        return [_time(asked, "listed_at", "named")]
    return [(f"{NAMES[asked.by]} AS named", [])] if asked.by else []


def _counted(asked: Statistics) -> list[Condition]:
    """The columns that are counted, and further groups."""
    if asked.metric in NUMBERS:
        number = NUMBERS[asked.metric].of_any
        return [(f"{number} AS number", [asked.query.now] * number.count("?"))]
    if asked.metric == "peak-hours":
        local, parameters = _local(asked, "listed_at", "+")
        day, hour = (f"CAST(extract({part} FROM {local}) AS integer)" for part in ("isodow", "hour"))
        return [(f"{day} AS weekday", parameters), (f"{hour} AS hour", parameters)]
    return [(f"{_PERSON} AS person, status, exit_reason", [])]


def _at_once(asked: Statistics, json: Json) -> Condition:
    conditions, parameters = of_terms(asked.query, json)
    by_time, name = asked.by in TIMES, NAMES[asked.by] if asked.by and asked.by not in TIMES else "NULL"
    columns = f"listed_at, listed_until, {name} AS name"
    found = f"SELECT {columns} FROM sessions WHERE {conditions}"  # noqa: S608 - ours
    begun, since = ("greatest(listed_at, ?)", [asked.span.after]) if asked.span.after else ("listed_at", [])
    ended, until = (
        ("listed_until < ?", [asked.span.before]) if asked.span.before else ("listed_until IS NOT NULL", [])
    )
    group, of_group = _time(asked, "moment", "") if by_time else ("named", [])
    statement = _AT_ONCE.format(
        found=found,
        name="name",
        begun=begun,
        ended=ended,
        apart="PARTITION BY named" if asked.by and not by_time else "",
        group=f"{group}," if asked.by else "",
        grouped="GROUP BY 1" if asked.by else "",
        most=MOST_GROUPS + 1,
    )
    return statement, [*parameters, *since, *until, *of_group]


def _time(asked: Statistics, column: str, name: str) -> Condition:
    """The local day or week that a time is in, or the hour, in UTC: clocks may show one twice."""
    local, parameters = _local(asked, column, "+")
    begin = f"date_trunc('{asked.by}', {local})"
    if asked.by == "hour":
        begin, again = _local(asked, column, "-", begin)
        parameters = [*parameters, *again]
    return f"{begin} AS {name}" if name else begin, parameters


def _local(asked: Statistics, column: str, way: Literal["+", "-"], of: str = "") -> Condition:
    """A time, or what was made of it, so much later or earlier as local time is from UTC at it."""
    first, *later = asked.offsets
    if not later:
        return (f"({of or column} {way} {_interval(first.added)})" if first.added else of or column), []
    cases = " ".join(f"WHEN {column} >= ? THEN {_interval(one.added)}" for one in reversed(later))
    added = f"CASE {cases} ELSE {_interval(first.added)} END"
    return f"({of or column} {way} {added})", [one.since for one in reversed(later)]


def _interval(added: timedelta) -> str:
    return f"INTERVAL '{int(added.total_seconds())} seconds'"
