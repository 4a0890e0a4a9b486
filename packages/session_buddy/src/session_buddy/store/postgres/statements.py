"""All SQL over sessions and events on PostgreSQL, and the forms in which rows go in."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final, TypeVar

from psycopg import Connection
from psycopg.rows import TupleRow

from oneiric import contract
from session_buddy.history.model import HEARTBEAT_STATE, Arrival, Beat, SessionRow
from session_buddy.store.rows import (
    BEAT_COLUMNS,
    COLUMNS,
    DOUBLES,
    GROUP,
    INTEGERS,
    TABLES,
    TIMES,
    Table,
    Values,
    event_values,
    row_from,
    row_values,
)
from session_buddy.store.sql import CANDIDATES, META, NEWEST_FIRST, SELECT
from session_buddy.store.upgrade import judged

Postgres = Connection[TupleRow]
T = TypeVar("T")

BULK_ROWS: Final = 20
# In the order of their ids, by whoever takes several: else two would wait for each other.
_LOCK: Final = f"{SELECT} WHERE session_id = ANY(?) ORDER BY session_id FOR UPDATE"
_CLAIM: Final = """
    INSERT INTO sessions (session_id, start_time, listed_at)
    SELECT id, start, start FROM unnest(?::text[], ?::timestamptz[]) AS new (id, start) ORDER BY id
    ON CONFLICT DO NOTHING
"""
_CHANGED: Final = [name for name in COLUMNS if name != "session_id"]
_CHANGE: Final = f"UPDATE sessions SET {', '.join(f'{name} = %s' for name in _CHANGED)} WHERE session_id = %s"  # noqa: S608 - names of columns
_REMOVE: Final = "DELETE FROM sessions WHERE session_id = ANY(?)"
# Of JSON, too, the binary form is the text.
_TYPES: Final = {
    **dict.fromkeys(("timestamp", "deleted_at", "oldest", "newest", "started_before", *TIMES), "timestamptz"),
    **dict.fromkeys((*INTEGERS, "commit_id", "number", "sessions"), "bigint"),
    **dict.fromkeys(DOUBLES, "float8"),
    "by_admin": "boolean",
}
_RAISED: Final = ", ".join(f"{name} = greatest(sessions.{name}, new.{name})" for name in HEARTBEAT_STATE)
_TOUCH: Final = f"""
    WITH new AS (
        SELECT * FROM unnest({", ".join(f"?::{_TYPES.get(name, 'text')}[]" for name in BEAT_COLUMNS)})
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
SIZE: Final = "SELECT pg_database_size(current_database())"
# Below the oldest that is still open all transactions are over; but for those of other databases, which write
# nothing here, and may be open for hours.
HORIZON: Final = """
    SELECT CAST(CAST(coalesce(
        min(open),
        -- A copy that only reads does not know them one by one.
        CASE WHEN pg_is_in_recovery() THEN pg_snapshot_xmin(pg_current_snapshot())
            ELSE pg_snapshot_xmax(pg_current_snapshot()) END
    ) AS text) AS bigint) - 1
    FROM pg_snapshot_xip(pg_current_snapshot()) AS open
    WHERE NOT EXISTS (
        SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE transactionid = CAST(open AS xid) AND mode = 'ExclusiveLock' AND datname <> current_database()
    )
"""
# The last of so many transactions that stored events; before them, if none of them did.
LAST_COMMIT: Final = """
    SELECT greatest(0, coalesce(max(commit_id), CAST(? AS bigint) - 1000)) FROM events
    WHERE commit_id <= ? AND commit_id > CAST(? AS bigint) - 1000
"""
_CLUSTER: Final = "SELECT CAST(system_identifier AS text) FROM pg_control_system()"
_SAY_CLUSTER: Final = """
    INSERT INTO meta VALUES ('cluster', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value
"""
_FORGET_COMMITS: Final = """
    UPDATE events SET commit_id = NULL
    WHERE commit_id > CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)
"""
ANALYZE: Final = "ANALYZE sessions, events"
_STARTED: Final = f"{SELECT} WHERE status IS NOT NULL AND"
BY_DIGITS: Final = f"{_STARTED} right(session_id, 8) = ? {NEWEST_FIRST} LIMIT {CANDIDATES + 1}"


def run(connection: Postgres, sql: str, parameters: Sequence[Any] = ()) -> None:
    """Run a statement, its parameters marked as in :mod:`session_buddy.store.sql`."""
    connection.execute(marked(sql), parameters)


def rows_of(connection: Postgres, sql: str, parameters: Sequence[Any] = ()) -> list[TupleRow]:
    """What a query finds."""
    return connection.execute(marked(sql), parameters).fetchall()


def claim(connection: Postgres, session_ids: Sequence[str]) -> None:
    """Make a row of each session that has none, so that each can be locked; ids in their order."""
    starts = [contract.start_time_of(session_id) for session_id in session_ids]
    run(connection, _CLAIM, [list(session_ids), starts])


def lock(connection: Postgres, session_ids: Sequence[str]) -> dict[str, SessionRow]:
    """Keep other writers from these sessions until the commit; those that are known, by id."""
    found = map(row_from, rows_of(connection, _LOCK, [list(session_ids)]) if session_ids else ())
    return {row.session_id: row for row in found if row.started or row.ends or row.tombstone is not None}


def write(
    connection: Postgres, kept: Sequence[Arrival], changed: Iterable[SessionRow], has_row: Collection[str]
) -> None:
    """Write events, and the rows that they changed: of those sessions that have a row, in its place."""
    by_id = sorted(changed, key=attrgetter("session_id"))
    insert(connection, "sessions", [row for row in by_id if row.session_id not in has_row], row_values)
    _change(connection, [row for row in by_id if row.session_id in has_row])
    insert(connection, "events", kept, event_values)


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


def know_cluster(connection: Postgres) -> None:
    """Where the database was brought here from another server, forget numbers that are still to come here.

    It takes as long as reading all events.
    """
    here, known = rows_of(connection, _CLUSTER), rows_of(connection, META, ["cluster"])
    if here != known:
        if known:
            run(connection, _FORGET_COMMITS)
        run(connection, _SAY_CLUSTER, here[0])


class Tables:
    """All tables in one transaction; see :class:`session_buddy.store.protocol.Tables`."""

    def __init__(self, connection: Postgres) -> None:
        self._connection = connection

    def count(self, table: Table) -> int:
        """How many rows there are."""
        ((number,),) = rows_of(self._connection, f"SELECT count(*) FROM {table}")  # noqa: S608 - a name of ours
        return int(number)

    def read(self, table: Table) -> Iterator[Sequence[Values]]:
        """All rows, in groups."""
        select = f"SELECT {', '.join(TABLES[table])} FROM {table}"  # noqa: S608 - names of ours
        with self._connection.cursor(name="all_rows") as cursor:
            cursor.execute(select.encode())
            while rows := cursor.fetchmany(GROUP):
                yield rows

    def write(self, table: Table, rows: Iterable[Values]) -> None:
        """Add rows."""
        # Nobody is told of a history that was copied: its events have no number.
        if table == "events":
            _copy(self._connection, table, (*TABLES[table], "commit_id"), ((*row, None) for row in rows))
        else:
            _copy(self._connection, table, TABLES[table], rows)


def _copy(connection: Postgres, table: Table, columns: Sequence[str], rows: Iterable[Values]) -> None:
    # Times as numbers: to write and to read them as text takes as long as all the rest.
    into = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(into.encode()) as copy:
        copy.set_types([_TYPES.get(name, "text") for name in columns])
        for row in rows:
            copy.write_row(row)


def insert(connection: Postgres, table: Table, rows: Sequence[T], values_of: Callable[[T], Values]) -> None:
    """Add rows to a table: the values of each, in the order of its columns."""
    # Each is made when it is sent: the server reads what came before meanwhile.
    values = map(values_of, rows)
    if len(rows) >= BULK_ROWS:
        _copy(connection, table, TABLES[table], values)
    elif rows:
        columns = TABLES[table]
        marks = ", ".join(["%s"] * len(columns))
        into = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names of columns
        with connection.cursor() as cursor:
            cursor.executemany(into.encode(), values)


def judge_anew(connection: Postgres) -> None:
    """Have every row say what follows from the rest of it, as this version has it."""
    for rows in judged(Tables(connection)):
        _change(connection, rows)


def _change(connection: Postgres, rows: Sequence[SessionRow]) -> None:
    """Write rows in the place of those that there are."""
    if rows:
        values = [[*row_values(row, _CHANGED), row.session_id] for row in rows]
        with connection.cursor() as cursor:
            cursor.executemany(_CHANGE.encode(), values)


def marked(sql: str) -> bytes:
    """A statement as the driver has it."""
    return sql.replace("?", "%s").encode()
