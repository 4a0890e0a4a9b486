"""What both engines read alike."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from oneiric.contract import Status
from session_buddy.errors import AmbiguousSession, StoreUnavailable, UnknownSession
from session_buddy.history.model import SessionRow
from session_buddy.history.query import Query
from session_buddy.history.reference import nearest
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.store import sql
from session_buddy.store.conditions import Condition
from session_buddy.store.protocol import Counted
from session_buddy.store.rows import row_from


class Reading(ABC):
    """The reading half of a store; see :class:`session_buddy.store.protocol.Store`."""

    url: DatabaseUrl

    @abstractmethod
    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query of :mod:`session_buddy.store.sql` finds."""

    def sessions(self, statement: str, parameters: Sequence[Any] = ()) -> list[SessionRow]:
        """The sessions that such a query finds."""
        return [row_from(values) for values in self.rows(statement, parameters)]

    @staticmethod
    @abstractmethod
    def json_at(path: Sequence[str]) -> Condition:
        """What names a value within a column of JSON, and its parameters."""

    def select(self, query: Query) -> list[SessionRow]:
        """The sessions that fit, in its order."""
        return self.sessions(*sql.of_query(query, self.json_at))

    def count(self, query: Query) -> Counted:
        """How many sessions fit, and how many of them are active."""
        ((fit, active),) = self.rows(*sql.of_count(query, self.json_at))
        return Counted(int(fit), int(active))

    def live(self) -> list[SessionRow]:
        """All active sessions."""
        return self.sessions(sql.LIVE)

    def count_live(self) -> int:
        """How many sessions are active."""
        ((count,),) = self.rows(sql.COUNT_LIVE)
        return int(count)

    def statuses(self) -> dict[str, Status]:
        """The status of each session, by id."""
        return dict(self.rows(sql.STATUSES))

    def missing(self, sessions: Sequence[str]) -> list[str]:
        """Those of the ids of which nothing is known."""
        return [found for (found,) in self.rows(sql.MISSING, [list(sessions)])]

    def the_one(self, ref: str, found: Iterable[SessionRow]) -> SessionRow:
        """The session that was found by what somebody calls it, its beginning at the last.

        Raises:
            UnknownSession: none was; names the nearest ids.
            AmbiguousSession: several were; lists them.
        """
        rows = [row for row in found if row.started] or self.sessions(sql.BY_BEGINNING, [ref, ref.lower()])
        if not rows:
            raise UnknownSession(ref, nearest(ref, (session_id for (session_id,) in self.rows(sql.RECENT))))
        if len(rows) > 1:
            raise AmbiguousSession(ref, [row.session_id for row in rows[: sql.CANDIDATES]])
        return rows[0]

    def meta(self, key: str) -> str:
        """What the database says of itself.

        Raises:
            StoreUnavailable: it does not.
        """
        values = self.rows(sql.META, [key])
        if not values:
            raise StoreUnavailable(f"database {self.url.name} is damaged: it does not say its {key}")
        return str(values[0][0])
