"""What both engines read alike."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from oneiric.contract import Status
from session_buddy.errors import AmbiguousSession, DeletedSession, StoreUnavailable, UnknownSession
from session_buddy.history.around import Around, KeptEvent
from session_buddy.history.bars import Bar, Cut, Slice, Sliced
from session_buddy.history.changes import ALL, Changes
from session_buddy.history.cursor import Cursor
from session_buddy.history.model import SessionRow
from session_buddy.history.query import Query
from session_buddy.history.reference import LATEST, nearest
from session_buddy.history.statistics import Statistics
from session_buddy.history.tombstones import NO_DELETIONS, Deletions, Named, Tombstone
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.store import sql
from session_buddy.store.bars import of_bars, of_slices
from session_buddy.store.conditions import Json
from session_buddy.store.measures import of_statistics
from session_buddy.store.protocol import Counted, Extent
from session_buddy.store.rows import row_from, tombstone_from


class Reading(ABC):
    """The reading half of a store; see :class:`session_buddy.store.protocol.Store`."""

    url: DatabaseUrl
    json: ClassVar[Json]

    @abstractmethod
    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query of :mod:`session_buddy.store.sql` finds."""

    def sessions(self, statement: str, parameters: Sequence[Any] = ()) -> list[SessionRow]:
        """The sessions that such a query finds."""
        return [row_from(values) for values in self.rows(statement, parameters)]

    def select(self, query: Query) -> list[SessionRow]:
        """The sessions that fit, in its order."""
        return self.sessions(*sql.of_query(query, self.json))

    def count(self, query: Query) -> Counted:
        """How many sessions fit, and how many of them are active."""
        ((fit, active),) = self.rows(*sql.of_count(query, self.json))
        return Counted(int(fit), int(active))

    def measured(self, asked: Statistics) -> list[tuple[Any, ...]]:
        """What is counted, a row a group; see :func:`session_buddy.history.counted.counted`."""
        return self.rows(*of_statistics(asked, self.json))

    def bars(self, query: Query) -> list[Bar]:
        """What is drawn of the sessions that fit, the first first."""
        return [
            Bar(name, begin.replace(tzinfo=UTC), end and end.replace(tzinfo=UTC), *rest)
            for name, begin, end, *rest in self.rows(*of_bars(query, self.json))
        ]

    def sliced(self, query: Query, cut: Cut) -> Sliced:
        """What changed in each lane and slice of a window."""
        found = self.rows(*of_slices(query, cut, self.json))
        changes = [Slice(lane, *map(int, numbers)) for lane, *numbers, _ in found]
        return Sliced(changes, int(found[0][-1]) if found else 0)

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
        """Those of the ids of which nothing is known, and which were not deleted."""
        found = [name for (name,) in self.rows(sql.MISSING, [list(sessions)])]
        deletions = Deletions(self.tombstones()) if found else NO_DELETIONS
        return [name for name in found if not deletions.why_refused(name)]

    @abstractmethod
    def named(self, ref: str) -> Iterable[SessionRow]:
        """The sessions that have this id, or these last eight digits."""

    def find(self, ref: str) -> SessionRow:
        """The session that somebody means by its id, the last eight digits, or a beginning; or the latest.

        Raises:
            UnknownSession: none is; names the nearest ids.
            DeletedSession: it is, or would be, one that was deleted.
            AmbiguousSession: several are; lists them.
        """
        if ref == LATEST:
            rows = self.select(Query(limit=1))
        else:
            named = [row for row in self.named(ref) if row.started]
            rows = named or self.sessions(sql.BY_BEGINNING, [ref, ref.lower()])
        if not rows:
            self._require_not_deleted(ref)
            raise UnknownSession(ref, nearest(ref, (session_id for (session_id,) in self.rows(sql.RECENT))))
        if len(rows) > 1:
            raise AmbiguousSession(ref, [row.session_id for row in rows[: sql.CANDIDATES]])
        return rows[0]

    def _require_not_deleted(self, ref: str) -> None:
        entries = self.tombstones()
        deletions = Deletions(entries)
        found = self._names(sql.BURIED_BY_BEGINNING, [ref, ref.lower()]) if entries and ref != LATEST else []
        if len(found) == 1 and found[0].tombstone is not None:
            raise DeletedSession(deletions.why_gone(found[0].session_id, found[0].tombstone))
        try:
            refusal = deletions.why_refused(ref)
        except ValueError:  # it is no whole id
            return
        if refusal:
            raise DeletedSession(refusal)

    def tombstones(self) -> list[Tombstone]:
        """All deletions, the first first."""
        return [tombstone_from(values) for values in self.rows(sql.TOMBSTONES)]

    def buried(self) -> list[Named]:
        """What is left of sessions that were deleted one by one."""
        return self._names(sql.BURIED)

    def named_by(self, query: Query) -> list[Named]:
        """The sessions that fit, in no order."""
        return self._names(*sql.of_names(query, self.json))

    def extent(self, query: Query) -> Extent:
        """How many sessions fit, and of what time they are."""
        ((count, *times),) = self.rows(*sql.of_extent(query, self.json))
        return Extent(int(count), *(time and time.replace(tzinfo=UTC) for time in times))

    def started_before(self, time: datetime, *, ends_alone: bool = False) -> list[Named]:
        """What is known of sessions that started before."""
        return self._names(sql.ENDS_ALONE if ends_alone else sql.STARTED_BEFORE, [time])

    def _names(self, statement: str, parameters: Sequence[Any] = ()) -> list[Named]:
        return [
            Named(name, start.replace(tzinfo=UTC), listed.replace(tzinfo=UTC), *rest)
            for name, start, listed, *rest in self.rows(statement, parameters)
        ]

    @abstractmethod
    def horizon(self) -> int:
        """The number of the latest transaction below which none is still open, and may still store."""

    @abstractmethod
    def last_commit(self) -> int:
        """The number of the latest transaction that stored events, not above the horizon."""

    def changes(self, commit_id: int, session_id: str = ALL) -> Changes | None:
        """What was stored behind a transaction, or a session of it; ``None``: it has not come yet."""
        horizon = self.horizon()
        if commit_id > horizon:
            return None
        found = self.rows(sql.COMMITTED, [commit_id, horizon, commit_id, session_id])
        if len(found) > sql.MOST_CHANGES:
            # Of the last session there may be more.
            cut = found[-1][:2]
            found = [one for one in found if one[:2] != cut]
        if found:
            commit_id, session_id, _ = found[-1]
        return Changes(commit_id, session_id, [(one, event_type) for _, one, event_type in found])

    def around(self, row: SessionRow) -> Around:
        """What stands around a session."""
        place = [row.listed_at, row.listed_at, row.session_id]
        behind = Query(limit=1, behind=Cursor(row.listed_at, row.session_id))
        return Around(
            events=[_kept(values) for values in self.rows(sql.EVENTS, [row.session_id])],
            ancestors=self._ancestors(row),
            nested=self._nested(row),
            before=next(iter(self.select(behind)), None),
            after=next(iter(self.sessions(sql.NEXT, place)), None),
        )

    def _ancestors(self, row: SessionRow) -> list[SessionRow]:
        found, seen = [row], {row.session_id}
        while (parent := found[0].parent_session_id) and parent not in seen and len(seen) < sql.MOST_AROUND:
            above = self.sessions(sql.BY_IDS, [[parent]])
            if not above:
                break
            found.insert(0, above[0])
            seen.add(parent)
        return found[:-1]

    def _nested(self, row: SessionRow) -> list[SessionRow]:
        found, latest, seen = list[SessionRow](), [row], {row.session_id}
        while latest and len(found) < sql.MOST_AROUND:
            below = self.sessions(sql.STARTED_FROM, [[one.session_id for one in latest]])
            latest = [one for one in below if one.session_id not in seen]
            seen.update(one.session_id for one in latest)
            found += latest
        return found

    def meta(self, key: str) -> str:
        """What the database says of itself.

        Raises:
            StoreUnavailable: it does not.
        """
        values = self.rows(sql.META, [key])
        if not values:
            raise StoreUnavailable(f"database {self.url.name} is damaged: it does not say its {key}")
        return str(values[0][0])


def _kept(values: Sequence[Any]) -> KeptEvent:
    event_type, *times, subject, body = values
    timestamp, received_at = (time.replace(tzinfo=UTC) for time in times)
    return KeptEvent(event_type, timestamp, received_at, subject, body)
