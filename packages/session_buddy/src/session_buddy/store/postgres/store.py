"""The store on a PostgreSQL server: any number of servers may write to one database."""

import re
from collections.abc import Sequence
from typing import Final, Self

from psycopg.errors import DeadlockDetected, SerializationFailure, UniqueViolation

from oneiric.contract import Status
from session_buddy.errors import StoreUnavailable
from session_buddy.history.fold import Folded, fold_all
from session_buddy.history.model import Arrival, Beat, SessionRow, Taken
from session_buddy.history.query import Query
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.store import sql as common
from session_buddy.store.postgres import statements as sql
from session_buddy.store.postgres.connection import Connections
from session_buddy.store.postgres.opening import bring_up_to_date
from session_buddy.store.rows import the_one

_READ_SECONDS: Final = 30.0
_TRIES: Final = 10
_DIGITS: Final = re.compile("[0-9a-f]{8}")


class PostgresStore:
    """A history on a database server; see :class:`session_buddy.store.protocol.Store`."""

    # A server may become another's copy, which takes nothing in, and still answers.
    probe_seconds = 3.0

    def __init__(self, url: DatabaseUrl, connections: Connections) -> None:
        self.url = url
        self._connections = connections
        with connections.reading() as reader:
            ((self.instance,),) = sql.rows_of(reader, common.META, ["instance"])
            ((self.secret,),) = sql.rows_of(reader, common.META, ["secret"])

    @classmethod
    def open(cls, url: DatabaseUrl, *, may_change: bool = True, read_seconds: float = _READ_SECONDS) -> Self:
        """Open the database, making its tables, or changing them to those of this version.

        Args:
            url: where it is.
            may_change: not for a look at it: that changes nothing.
            read_seconds: how long a query may take.

        Raises:
            StoreError: one of its subclasses, see :func:`session_buddy.store.open_store`.
        """
        connections = Connections(url, read_seconds)
        try:
            with connections.alone() as connection:
                bring_up_to_date(connection, url, may_change=may_change)
            connections.open()
            return cls(url, connections)
        except BaseException:
            connections.close()
            raise

    def __repr__(self) -> str:
        return f"<PostgresStore({self.url})>"

    # writing: one thread

    def ingest(self, arrivals: Sequence[Arrival]) -> list[Taken]:
        """Fold the events into their sessions' rows and write both, in one transaction."""
        claims = False
        for _ in range(_TRIES):
            with self._connections.writing() as writer:
                try:
                    with writer.transaction():
                        return self._take_in(writer, arrivals, claims=claims)
                except UniqueViolation:
                    # Another server has begun one of these sessions just now.
                    claims = True
                except (SerializationFailure, DeadlockDetected):
                    pass
        raise StoreUnavailable(f"database {self.url} cannot be written: too many others write the same")

    def touch(self, beats: Sequence[Beat]) -> None:
        """Raise the heartbeat state of sessions that are active; without any, write all the same."""
        with self._connections.writing() as writer:
            sql.touch(writer, beats)

    def _take_in(self, writer: sql.Postgres, arrivals: Sequence[Arrival], *, claims: bool) -> list[Taken]:
        """One try; with ``claims`` every session gets a row first: what is not there cannot be locked."""
        asked = sorted({arrival.session_id for arrival in arrivals})
        if claims:
            sql.claim(writer, asked)
        before = sql.lock(writer, asked)
        folded: Folded = fold_all(before, arrivals)
        sql.write(writer, folded.kept, folded.changed, has_row=set(asked) if claims else before)
        if claims:
            sql.remove(writer, [one for one in asked if one not in folded.known])
        return folded.taken

    # reading: any thread

    def select(self, query: Query) -> list[SessionRow]:
        """The sessions that fit, newest first."""
        with self._connections.reading() as reader:
            return sql.fetch(reader, *common.of_query(query))

    def find(self, ref: str) -> SessionRow:
        """The one session that ``ref`` means."""
        digits = ref.lower()
        exact = (sql.BY_DIGITS, digits) if _DIGITS.fullmatch(digits) else (sql.BY_ID, ref)
        with self._connections.reading() as reader:
            rows = [row for row in sql.fetch(reader, exact[0], [exact[1]]) if row.started]
            rows = rows or sql.fetch(reader, common.BY_BEGINNING, [ref, digits])
            return the_one(ref, rows, lambda: (found for (found,) in sql.rows_of(reader, common.RECENT)))

    def statuses(self) -> dict[str, Status]:
        """The status of each session, by id."""
        with self._connections.reading() as reader:
            return dict(sql.rows_of(reader, common.STATUSES))

    def missing(self, sessions: Sequence[str]) -> list[str]:
        """Those of the ids of which nothing is known."""
        with self._connections.reading() as reader:
            return [found for (found,) in sql.rows_of(reader, sql.MISSING, [list(sessions)])]

    def live(self) -> list[SessionRow]:
        """All active sessions."""
        with self._connections.reading() as reader:
            return sql.fetch(reader, common.LIVE)

    def count_live(self) -> int:
        """How many sessions are active."""
        with self._connections.reading() as reader:
            ((count,),) = sql.rows_of(reader, common.COUNT_LIVE)
            return int(count)

    def close(self) -> None:
        """Let go of the database."""
        self._connections.close()
