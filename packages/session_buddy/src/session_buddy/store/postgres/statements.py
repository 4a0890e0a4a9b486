"""All SQL over sessions and events on PostgreSQL, and the forms in which rows go in."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Composed, Identifier, Placeholder

from oneiric import contract
from session_buddy.history.model import HEARTBEAT_STATE, Arrival, Beat, SessionRow
from session_buddy.store.rows import (
    BEAT_COLUMNS,
    COLUMNS,
    EVENT_COLUMNS,
    GROUP,
    TABLES,
    Table,
    Values,
    event_values,
    row_from,
    row_values,
)
from session_buddy.store.sql import CANDIDATES, NEWEST_FIRST, SELECT

Postgres = Connection[TupleRow]

_BULK_ROWS: Final = 20
# In the order of their ids, by whoever takes several: else two would wait for each other.
_LOCK: Final = f"{SELECT} WHERE session_id = ANY(?) ORDER BY session_id FOR UPDATE"
_CLAIM: Final = """
    INSERT INTO sessions (session_id, start_time, listed_at)
    SELECT id, start, start FROM unnest(?::text[], ?::timestamptz[]) AS new (id, start) ORDER BY id
    ON CONFLICT DO NOTHING
"""
_REMOVE: Final = "DELETE FROM sessions WHERE session_id = ANY(?)"
_TYPES: Final = {"session_id": "text", "commands": "bigint", "errors": "bigint", "elapsed_seconds": "float8"}
_RAISED: Final = ", ".join(f"{name} = greatest(sessions.{name}, new.{name})" for name in HEARTBEAT_STATE)
_TOUCH: Final = f"""
    WITH new AS (
        SELECT * FROM unnest({", ".join(f"?::{_TYPES.get(name, 'timestamptz')}[]" for name in BEAT_COLUMNS)})
        AS new ({", ".join(BEAT_COLUMNS)})
    ), locked AS (
        SELECT session_id FROM sessions
        WHERE session_id IN (SELECT session_id FROM new) AND status = 'active'
        ORDER BY session_id FOR UPDATE
    )
    UPDATE sessions SET {_RAISED}
    FROM new JOIN locked USING (session_id) WHERE sessions.session_id = new.session_id
"""  # noqa: S608 - names of columns
_PROBE: Final = """
    INSERT INTO meta VALUES ('probe', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value
"""
_STARTED: Final = f"{SELECT} WHERE status IS NOT NULL AND"
BY_ID: Final = f"{_STARTED} session_id = ?"
BY_DIGITS: Final = f"{_STARTED} right(session_id, 8) = ? {NEWEST_FIRST} LIMIT {CANDIDATES + 1}"


def run(connection: Postgres, sql: str, parameters: Sequence[Any] = ()) -> None:
    """Run a statement, its parameters marked as in :mod:`session_buddy.store.sql`."""
    connection.execute(_marked(sql), parameters)


def rows_of(connection: Postgres, sql: str, parameters: Sequence[Any] = ()) -> list[TupleRow]:
    """What a query finds."""
    return connection.execute(_marked(sql), parameters).fetchall()


def fetch(connection: Postgres, sql: str, parameters: Sequence[Any] = ()) -> list[SessionRow]:
    """The sessions that a query finds."""
    return [row_from(values) for values in rows_of(connection, sql, parameters)]


def claim(connection: Postgres, session_ids: Sequence[str]) -> None:
    """Make a row of each session that has none, so that each can be locked; ids in their order."""
    starts = [contract.start_time_of(session_id) for session_id in session_ids]
    run(connection, _CLAIM, [list(session_ids), starts])


def lock(connection: Postgres, session_ids: Sequence[str]) -> dict[str, SessionRow]:
    """Keep other writers from these sessions until the commit; those that are known, by id."""
    found = fetch(connection, _LOCK, [list(session_ids)])
    return {row.session_id: row for row in found if row.started or row.ends}


def write(
    connection: Postgres, kept: Sequence[Arrival], changed: Iterable[SessionRow], has_row: Collection[str]
) -> None:
    """Write events, and the rows that they changed: of those sessions that have a row, in its place."""
    by_id = sorted(changed, key=attrgetter("session_id"))
    fresh = [row_values(row) for row in by_id if row.session_id not in has_row]
    _insert(connection, "sessions", COLUMNS, fresh)
    _change(connection, [row for row in by_id if row.session_id in has_row])
    _insert(connection, "events", EVENT_COLUMNS, [event_values(arrival) for arrival in kept])


def remove(connection: Postgres, session_ids: Sequence[str]) -> None:
    """Take rows away again."""
    if session_ids:
        run(connection, _REMOVE, [list(session_ids)])


def touch(connection: Postgres, beats: Sequence[Beat]) -> None:
    """Raise the heartbeat state of sessions that are active; without any, write all the same."""
    if beats:
        run(connection, _TOUCH, [list(column) for column in zip(*beats, strict=True)])
    else:
        run(connection, _PROBE, [datetime.now(UTC).isoformat()])


class Tables:
    """All tables in one transaction; see :class:`session_buddy.store.protocol.Tables`."""

    def __init__(self, connection: Postgres) -> None:
        self._connection = connection

    def count(self, table: Table) -> int:
        """How many rows there are."""
        query = SQL("SELECT count(*) FROM {}").format(Identifier(table))
        ((number,),) = self._connection.execute(query).fetchall()
        return int(number)

    def read(self, table: Table) -> Iterator[Sequence[Values]]:
        """All rows, in groups."""
        names = SQL(", ").join(map(Identifier, TABLES[table]))
        with self._connection.cursor(name="all_rows") as cursor:
            cursor.execute(SQL("SELECT {} FROM {}").format(names, Identifier(table)))
            while rows := cursor.fetchmany(GROUP):
                yield rows

    def write(self, table: Table, rows: Sequence[Values]) -> None:
        """Add rows."""
        names = SQL(", ").join(map(Identifier, TABLES[table]))
        into = SQL("COPY {} ({}) FROM STDIN").format(Identifier(table), names)
        with self._connection.cursor() as cursor, cursor.copy(into) as copy:
            for row in rows:
                copy.write_row(row)


def _insert(
    connection: Postgres, table: Table, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> None:
    names = SQL(", ").join(map(Identifier, columns))
    values = [[row[name] for name in columns] for row in rows]
    with connection.cursor() as cursor:
        if len(rows) < _BULK_ROWS:
            marks = SQL(", ").join([Placeholder()] * len(columns))
            insert = SQL("INSERT INTO {} ({}) VALUES ({})").format(Identifier(table), names, marks)
            cursor.executemany(insert, values)
            return
    Tables(connection).write(table, values)


def _change(connection: Postgres, rows: Sequence[SessionRow]) -> None:
    """Write rows in the place of those that there are."""
    columns = [name for name in COLUMNS if name != "session_id"]
    values = [[*row_values(row, columns).values(), row.session_id] for row in rows]
    with connection.cursor() as cursor:
        cursor.executemany(_update(columns), values)


def _update(columns: Iterable[str]) -> Composed:
    changes = SQL(", ").join(SQL("{} = %s").format(Identifier(name)) for name in columns)
    return SQL("UPDATE sessions SET {} WHERE session_id = %s").format(changes)


def _marked(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()
