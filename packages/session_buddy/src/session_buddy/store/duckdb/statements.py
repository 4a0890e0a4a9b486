"""All SQL over sessions and events of the embedded store, and the forms in which rows go in fast."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
from pydantic_core import to_json

from session_buddy.history.model import HEARTBEAT_STATE, Arrival, Beat, SessionRow
from session_buddy.store.protocol import Gap
from session_buddy.store.rows import (
    BEAT_COLUMNS,
    COLUMNS,
    DOUBLES,
    EVENT_COLUMNS,
    GROUP,
    INTEGERS,
    MUTABLE,
    TABLES,
    TIMES,
    Table,
    Values,
    digits_of,
    event_values,
    row_from,
    row_values,
    span_of,
)
from session_buddy.store.sql import CANDIDATES, DIGITS, META, SELECT
from session_buddy.store.upgrade import judged

Cursor = duckdb.DuckDBPyConnection

# From so many rows on an appender is faster than a statement a row.
_BULK_ROWS: Final = 3

# The last digits of an id are a column of this engine alone.
ROW_COLUMNS: Final = (*COLUMNS, "digits")
_TYPES: Final = {
    **dict.fromkeys(TIMES, "TIMESTAMP"),
    **dict.fromkeys(INTEGERS, "BIGINT"),
    **dict.fromkeys(DOUBLES, "DOUBLE"),
    "digits": "UINTEGER",
}
_BEATS_TYPE: Final = json.dumps({name: [_TYPES.get(name, "VARCHAR")] for name in ("digits", *BEAT_COLUMNS)})

_EVENT_COLUMNS: Final = (*EVENT_COLUMNS, "commit_id")
# Of deletions, too: whoever follows may have seen the number of an event that is deleted.
_LAST_COMMIT: Final = """
    SELECT greatest(
        (SELECT coalesce(max(commit_id), 0) FROM events), (SELECT coalesce(max(commit_id), 0) FROM tombstones)
    )
"""
# What changed rows are joined by: the times skip nearly all of a million.
_KEY: Final = ("start_time", "session_id")

# Statements as they were parsed, by their text, whatever the connection; queries have texts without end.
_parsed: Final[dict[str, duckdb.Statement]] = {}
_MOST_PARSED: Final = 100

# The id carries the start time to the second: with it, a look-up among a million skips nearly all of them.
_BY_ID: Final = f"{SELECT} WHERE start_time BETWEEN ? AND ? AND "
# And numbers are compared in half the time that texts take.
_BY_ONE_ID: Final = f"{_BY_ID} digits = ? AND session_id = ?"
_BY_IDS: Final = f"{_BY_ID} session_id IN (SELECT unnest(?))"
_PLACES_OF_DIGITS: Final = f"SELECT rowid FROM sessions WHERE digits = ? LIMIT {CANDIDATES + 1}"  # noqa: S608 - a number
_AT_PLACE: Final = f"{SELECT} WHERE rowid = ? AND digits = ?"
# No join with rows: DuckDB keeps 5 kB of each for hours, and this runs every 30 s. Numbers are found fast.
_PLACE: Final = "list_position(new.digits, sessions.digits)"
_TOUCH: Final = f"""
    UPDATE sessions SET
        {", ".join(f"{name} = greatest(sessions.{name}, new.{name}[{_PLACE}])" for name in HEARTBEAT_STATE)}
    FROM (SELECT from_json_strict(?::JSON, '{_BEATS_TYPE}') AS new)
    WHERE start_time BETWEEN ? AND ? AND status = 'active' AND session_id = new.session_id[{_PLACE}]
"""  # noqa: S608 - names of columns
_CHANGE_ONE: Final = f"""
    UPDATE sessions SET {", ".join(f"{name} = ?" for name in MUTABLE)}
    WHERE start_time BETWEEN ? AND ? AND session_id = ?
"""  # noqa: S608 - names of columns
REMOVE: Final = "DELETE FROM sessions WHERE start_time BETWEEN ? AND ? AND session_id = ?"
NEWEST: Final = """
    SELECT session_id FROM sessions
    WHERE start_time >= (SELECT date_trunc('second', max(start_time)) FROM sessions)
"""
_MARK_GAP: Final = "INSERT INTO meta VALUES ('gap', ?)"
FORGET_GAP: Final = "DELETE FROM meta WHERE key = 'gap'"
RENEW: Final = "UPDATE meta SET value = ? WHERE key = 'instance'"
# To find them every row has to be read, and the checksum of each block that holds some is compared.
UNLIKELY_ROWS: Final = tuple(
    f"SELECT 1 FROM {table} WHERE hash({table}) = 0"  # noqa: S608 - names of ours
    for table in ("sessions", "events")
)


def find_by_ids(cursor: Cursor, session_ids: set[str]) -> dict[str, SessionRow]:
    """Those of the sessions that are known, by id."""
    if not session_ids:
        return {}
    if len(session_ids) < _BULK_ROWS:
        asked = [[*span_of([one]), digits_of(one), one] for one in session_ids]
        found = [row for values in asked for row in fetch(cursor, _BY_ONE_ID, values)]
    else:
        found = fetch(cursor, _BY_IDS, [*span_of(session_ids), list(session_ids)])
    return {row.session_id: row for row in found}


def find_by_ref(cursor: Cursor, ref: str) -> list[SessionRow]:
    """The sessions that an id, or its last eight digits, means, newest first; too many are cut."""
    found: Iterable[SessionRow] = ()
    if DIGITS.fullmatch(ref):
        digits = int(ref, 16)
        # One column is read whole, the others where a row stands: in half the time of all at once.
        places = rows_of(cursor, _PLACES_OF_DIGITS, [digits])
        found = [row for (place,) in places for row in fetch(cursor, _AT_PLACE, [place, digits])]
    else:
        with suppress(ValueError):  # it is no whole id
            found = find_by_ids(cursor, {ref}).values()
    return sorted(found, key=lambda row: (row.listed_at, row.session_id), reverse=True)


def rows_of(cursor: Cursor, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """What a query finds."""
    # At once: an open result keeps old versions alive, makes the file grow and refuses the checkpoint.
    return _execute(cursor, sql, parameters).fetchall()


def one(cursor: Cursor, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
    """The only row that a query finds."""
    (row,) = rows_of(cursor, sql, parameters)
    return row


def fetch(cursor: Cursor, sql: str, parameters: Sequence[Any] = ()) -> list[SessionRow]:
    """The sessions that a query finds."""
    return [row_from(values) for values in rows_of(cursor, sql, parameters)]


def run(cursor: Cursor, sql: str, parameters: Sequence[Any] = ()) -> None:
    """Run a statement that finds nothing."""
    _execute(cursor, sql, parameters)


def _execute(cursor: Cursor, sql: str, parameters: Sequence[Any]) -> Cursor:
    """Run one statement, parsed when it is first met: that takes as long as writing a row.

    Times go in as the columns have them, UTC without saying so: others would be taken for local ones.
    """
    statement = _parsed.get(sql)
    if statement is None:
        (statement,) = cursor.extract_statements(sql)
        if len(_parsed) >= _MOST_PARSED:
            _parsed.clear()
        _parsed[sql] = statement
    return cursor.execute(statement, [_naive(value) for value in parameters])


def _naive(value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


def _aware(value: Any) -> Any:  # noqa: ANN401 - the same
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def gap_of(cursor: Cursor) -> Gap | None:
    """The gap that the database is marked with."""
    marks = rows_of(cursor, META, ["gap"])
    if not marks:
        return None
    reason, sessions, beside = json.loads(marks[0][0])
    return Gap(reason, tuple(sessions), beside and Path(beside))


def probe(cursor: Cursor) -> None:
    """Write a little, to see whether that can be done; what does not change would not be written."""
    with transaction(cursor):
        cursor.execute("DELETE FROM meta WHERE key = 'probe'")
        cursor.execute("INSERT INTO meta VALUES ('probe', ?)", [datetime.now(UTC).isoformat()])


def mark(cursor: Cursor, gap: Gap) -> None:
    """Have the database say of itself what it lacks, instead of what it said before."""
    cursor.execute(FORGET_GAP)
    cursor.execute(_MARK_GAP, [json.dumps([gap.reason, gap.sessions, gap.beside and str(gap.beside)])])


@contextmanager
def transaction(cursor: Cursor) -> Iterator[Cursor]:
    """All or nothing."""
    cursor.execute("BEGIN TRANSACTION")
    try:
        yield cursor
        cursor.execute("COMMIT")
    except BaseException:
        # A failed commit has rolled back by itself.
        with suppress(duckdb.Error):
            cursor.execute("ROLLBACK")
        raise


def last_commit(cursor: Cursor) -> int:
    """The number of the latest transaction that stored events."""
    (number,) = one(cursor, _LAST_COMMIT)
    return int(number)


def insert_events(cursor: Cursor, arrivals: Sequence[Arrival], commit_id: int) -> None:
    """Add events, stored by the transaction of this number."""
    insert(cursor, "events", _EVENT_COLUMNS, [(*event_values(one), commit_id) for one in arrivals])


def values_of(row: SessionRow) -> Values:
    """A row as column values, with the last digits of its id."""
    return [*row_values(row), digits_of(row.session_id)]


def _appender(cursor: Cursor, table: str, columns: Iterable[str], key: Sequence[str] = ()) -> duckdb.Appender:
    """What adds rows, or with a ``key`` changes those that have the same values there."""
    try:
        if key:
            return cursor.appender(table, columns=list(columns), action="update", key=list(key))
        return cursor.appender(table, columns=list(columns))
    except duckdb.InvalidInputException as error:
        # A column that is not there, but told like a value that cannot be taken.
        raise duckdb.CatalogException(str(error)) from error


def insert(cursor: Cursor, table: str, columns: Iterable[str], rows: Sequence[Values]) -> None:
    """Add rows to a table: the values of these columns, in their order."""
    if len(rows) >= _BULK_ROWS:
        with _appender(cursor, table, columns) as into:
            into.append_rows([[*map(_naive, row)] for row in rows])
        return
    for row in rows:
        # Each parameter takes its time, and VALUES more than SELECT.
        known = {name: value for name, value in zip(columns, row, strict=True) if value is not None}
        names, marks = ", ".join(known), ", ".join("?" * len(known))
        _execute(cursor, f"INSERT INTO {table} ({names}) SELECT {marks}", list(known.values()))


class Tables:
    """All tables in one transaction; see :class:`session_buddy.store.protocol.Tables`."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    def count(self, table: Table) -> int:
        """How many rows there are."""
        (number,) = one(self._cursor, f"SELECT count(*) FROM {table}")  # noqa: S608 - a name of ours
        return int(number)

    def read(self, table: Table) -> Iterator[Sequence[Values]]:
        """All rows, in groups by their places in the table: a whole result would be held in memory."""
        # Of rows that are not committed yet, the first is not 0.
        start, last = one(self._cursor, f"SELECT min(rowid), max(rowid) FROM {table}")  # noqa: S608 - a name of ours
        select = f"SELECT {', '.join(TABLES[table])} FROM {table} WHERE rowid BETWEEN ? AND ?"  # noqa: S608 - names
        for first in range(start, last + 1, GROUP) if last is not None else ():
            found = rows_of(self._cursor, select, [first, first + GROUP - 1])
            yield [[_aware(value) for value in row] for row in found]

    def write(self, table: Table, rows: Sequence[Values]) -> None:
        """Add rows."""
        if table != "sessions":
            insert(self._cursor, table, TABLES[table], rows)
        else:
            insert(self._cursor, table, ROW_COLUMNS, [(*row, digits_of(row[0])) for row in rows])


def judge_anew(cursor: Cursor) -> None:
    """Have every row say what follows from the rest of it, as this version has it."""
    # To update so many would take a minute more.
    cursor.execute("CREATE TABLE judged AS FROM sessions LIMIT 0")
    for rows in judged(Tables(cursor)):
        insert(cursor, "judged", ROW_COLUMNS, [values_of(row) for row in rows])
    cursor.execute("DROP TABLE sessions; ALTER TABLE judged RENAME TO sessions")


def change(cursor: Cursor, rows: Sequence[SessionRow]) -> None:
    """Write what can change in sessions whose start is known."""
    if len(rows) >= _BULK_ROWS:
        columns = (*_KEY, *MUTABLE)
        with _appender(cursor, "sessions", columns, _KEY) as into:
            into.append_rows([[*map(_naive, row_values(row, columns))] for row in rows])
        return
    for row in rows:
        values = row_values(row, MUTABLE)
        _execute(cursor, _CHANGE_ONE, [*values, *span_of([row.session_id]), row.session_id])


def touch(cursor: Cursor, beats: Sequence[Beat]) -> None:
    """Raise the heartbeat state of sessions that are active."""
    while beats:
        # Where several have the same digits, one is found: the others come in the next turn.
        turn = {digits_of(beat.session_id): beat for beat in beats}
        beats = [beat for beat in beats if turn[digits_of(beat.session_id)] is not beat]
        columns = dict(zip(BEAT_COLUMNS, zip(*turn.values(), strict=True), strict=True))
        parameter = to_json({"digits": list(turn), **columns}).decode()
        _execute(cursor, _TOUCH, [parameter, *span_of(columns["session_id"])])
