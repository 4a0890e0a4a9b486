"""The store on a PostgreSQL server: any number of servers may write to one database."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final, Self

from psycopg.errors import DeadlockDetected, SerializationFailure, UniqueViolation

from oneiric.events import SessionStart
from session_buddy.errors import StoreUnavailable
from session_buddy.history.export import EXPORT_SECONDS, Form
from session_buddy.history.fold import fold_all
from session_buddy.history.model import Arrival, Beat, SessionRow, Taken
from session_buddy.history.query import Query
from session_buddy.history.tombstones import NO_DELETIONS, YOUNGEST, Deletions, Named, Tombstone
from session_buddy.host.database_url import DEFAULT_QUERY_SECONDS, DatabaseUrl
from session_buddy.store import sql as common
from session_buddy.store.conditions import Condition, Json
from session_buddy.store.export import of_export
from session_buddy.store.postgres import export
from session_buddy.store.postgres import statements as sql
from session_buddy.store.postgres.connection import Connections
from session_buddy.store.postgres.deletion import delete, tombstones
from session_buddy.store.postgres.keys import MetaKeys
from session_buddy.store.postgres.listener import Listener
from session_buddy.store.postgres.opening import bring_up_to_date
from session_buddy.store.reading import Reading
from session_buddy.store.rows import second_of

_TRIES: Final = 10
# Only what started before may be refused for its age: less than is ever pruned, by clocks that may differ.
_MAY_BE_REFUSED: Final = YOUNGEST / 2


def _named(path: Sequence[str]) -> Condition:
    return " #> CAST(? AS text[])", [list(path)]


class PostgresStore(Reading):
    """A history on a database server; see :class:`session_buddy.store.protocol.Store`."""

    # A server may become another's copy, which takes nothing in, and still answers.
    probe_seconds = 3.0
    patience = 3.0
    json = Json(_named, is_slow=True)

    def __init__(self, url: DatabaseUrl, connections: Connections, *, wiped: bool) -> None:
        self.url = url
        self.wiped = wiped
        self._connections = connections
        self._listener = Listener(connections)
        self.instance, _ = self.meta("instance"), self.meta("secret")
        self.keys = MetaKeys(connections)

    @classmethod
    def open(
        cls,
        url: DatabaseUrl,
        *,
        known: bool = False,
        may_change: bool = True,
        query_seconds: float = DEFAULT_QUERY_SECONDS,
    ) -> Self:
        """Open the database, making its tables, or changing them to those of this version.

        Args:
            url: where it is.
            known: whether it was there before.
            may_change: not for a look at it: that changes nothing.
            query_seconds: how long a query may take.

        Raises:
            StoreError: one of its subclasses, see :func:`session_buddy.store.open_store`.
        """
        connections = Connections(url, query_seconds)
        try:
            with connections.single() as connection:
                made = bring_up_to_date(connection, url, may_change=may_change)
            connections.open()
            return cls(url, connections, wiped=known and made)
        except BaseException:
            connections.close()
            raise

    def __repr__(self) -> str:
        return f"<PostgresStore({self.url})>"

    # writing: one thread

    def ingest(self, arrivals: Sequence[Arrival]) -> list[Taken]:
        """Fold the events into their sessions' rows and write both, in one transaction."""
        claims = False
        # In a pipeline many statements have one answer; COPY works in none.
        few = len(arrivals) < sql.BULK_ROWS
        for _ in range(_TRIES):
            with self._connections.writing() as writer:
                try:
                    with writer.pipeline() if few else nullcontext(), writer.transaction():
                        taken = self._take_in(writer, arrivals, claims=claims)
                except UniqueViolation:
                    # One of the sessions that start here is known, or another server begins it just now.
                    claims = True
                except (SerializationFailure, DeadlockDetected):
                    pass
                else:
                    if any(one.kept for one in taken):
                        self._listener.announce()
                    return taken
        raise StoreUnavailable(f"database {self.url} cannot be written: too many others write the same")

    def touch(self, beats: Sequence[Beat]) -> None:
        """Raise the heartbeat state of sessions that are active; without any, write all the same."""
        with self._connections.writing() as writer:
            sql.touch(writer, beats)

    def delete(self, entry: Tombstone, gone: Sequence[str], buried: Sequence[Named]) -> Tombstone:
        """Delete sessions with their events, in one transaction."""
        for _ in range(_TRIES):
            with (
                self._connections.writing() as writer,
                # A session of one of these ids begins just now, or two wait for each other.
                suppress(UniqueViolation, SerializationFailure, DeadlockDetected),
                writer.transaction(),
            ):
                return delete(writer, entry, gone, buried)
        raise StoreUnavailable(f"database {self.url} cannot be written: too many others write the same")

    def settle(self) -> None:
        """A database server's log is part of it."""

    def _take_in(self, writer: sql.Postgres, arrivals: Sequence[Arrival], *, claims: bool) -> list[Taken]:
        """One try; with ``claims`` every session gets a row first: what is not there cannot be locked.

        Without, a session of which there is a start alone is taken for a new one: if it is none, its row
        cannot be inserted. With an end a start is sent again, mostly; and of one that began long ago it has
        to be known whether it is known.
        """
        long_ago = f"{datetime.now(UTC) - _MAY_BE_REFUSED:%Y%m%d-%H%M%S}"
        old = {one.session_id for one in arrivals if second_of(one.session_id) < long_ago}
        asked = sorted(
            {one.session_id for one in arrivals if claims or not isinstance(one.event, SessionStart)} | old
        )
        if claims:
            sql.claim(writer, asked)
        before = sql.lock(writer, asked)
        # Behind the locks: another server may delete just now, and has then said so.
        strange = any(one not in before or not before[one].started for one in old)
        gone = strange or any(row.tombstone is not None for row in before.values())
        folded = fold_all(before, arrivals, Deletions(tombstones(writer)) if gone else NO_DELETIONS)
        sql.write(writer, folded.kept, folded.changed, has_row=set(asked) if claims else before)
        if claims:
            sql.remove(writer, [one for one in asked if one not in folded.known])
        return folded.taken

    # reading: any thread

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with self._connections.reading() as reader:
            return sql.rows_of(reader, statement, parameters)

    def export(self, query: Query, form: Form, file: BinaryIO) -> int:
        """Write the sessions that fit into a file."""
        select, parameters = of_export(query, form, self.json, export.WRITER)
        with self._connections.reading(EXPORT_SECONDS) as reader:
            return export.write(reader, select, parameters, form, file)

    def horizon(self) -> int:
        """The latest transaction below which none is open."""
        ((number,),) = self.rows(sql.HORIZON)
        return int(number)

    def last_commit(self) -> int:
        """The latest transaction that stored events, of those below the horizon.

        Not the horizon itself: after a crash numbers are given again that had left nothing on disk.
        """
        ((number,),) = self.rows(sql.LAST_COMMIT, [self.horizon()] * 3)
        return int(number)

    def size(self) -> int:
        """How many bytes the database takes."""
        ((size,),) = self.rows(sql.SIZE)
        return int(size)

    def tell(self, changed: Callable[[], None]) -> None:
        """Have somebody told, on a thread of ours, soon after events were stored, by whatever server."""
        with suppress(StoreUnavailable), self._connections.writing() as writer:
            sql.know_cluster(writer)
        self._listener.start(changed)

    def named(self, ref: str) -> list[SessionRow]:
        """The sessions that have this id, or these last eight digits."""
        if common.DIGITS.fullmatch(ref):
            return self.sessions(sql.BY_DIGITS, [ref.lower()])
        return self.sessions(common.BY_IDS, [[ref]])

    @contextmanager
    def tables(self, *, to_write: bool = False) -> Iterator[sql.Tables]:
        """All that there is, as it was at one moment."""
        connection = self._connections.writing() if to_write else self._connections.reading()
        with connection as session, session.transaction():
            session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield sql.Tables(session)
            if to_write:
                # Many rows may be new: without their statistics, look-ups would read the whole table.
                sql.run(session, sql.ANALYZE)

    def abort(self) -> None:
        """Have whoever waits for the database fail at once."""
        self._listener.close()
        self._connections.abort()

    def close(self) -> None:
        """Let go of the database."""
        self._listener.close()
        self._connections.close()
