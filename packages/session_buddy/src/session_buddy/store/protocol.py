"""What a store is: the seam between the rules and a database."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from oneiric.contract import Status
from session_buddy.history.around import Around
from session_buddy.history.bars import Bar, Cut, Sliced
from session_buddy.history.changes import ALL, Changes
from session_buddy.history.export import Form
from session_buddy.history.model import Arrival, Beat, SessionRow, Taken
from session_buddy.history.query import Query
from session_buddy.history.statistics import Statistics
from session_buddy.history.tombstones import Named, Tombstone
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.shelf import Shelf
from session_buddy.store.rows import Table, Values


class Gap(NamedTuple):
    """Why acknowledged events may be missing from a history.

    Attributes:
        reason: in words, e.g. ``its last process did not close it``.
        sessions: some of those that it held, by id; they may be there or not.
        beside: the file that was set aside, or would have been: what is told of the gap is put beside it.
    """

    reason: str
    sessions: tuple[str, ...] = ()
    beside: Path | None = None


class Counted(NamedTuple):
    """How many sessions fit a query, and how many of those are active, of a million and one at most."""

    sessions: int
    active: int


class Extent(NamedTuple):
    """How many sessions fit a query, and when the first and the last of them started."""

    sessions: int
    oldest: datetime | None
    newest: datetime | None


class Tables(Protocol):
    """All tables of a history in one transaction: what is written is there whole, or not at all.

    Rows are the values of :data:`session_buddy.store.rows.TABLES`, with times in UTC, and JSON as text.
    """

    def count(self, table: Table) -> int:
        """How many rows there are."""

    def read(self, table: Table) -> Iterator[Sequence[Values]]:
        """All rows, in groups; nothing else may be done until they are read."""

    def write(self, table: Table, rows: Sequence[Values]) -> None:
        """Add rows, as they were read."""


class Store(Protocol):
    """A history of sessions on disk, whatever keeps it.

    One thread at a time may write; reads may come from any thread.
    """

    @property
    def url(self) -> DatabaseUrl:
        """The database, e.g. ``duckdb:////home/ann/…/sessions.duckdb``."""

    @property
    def probe_seconds(self) -> float:
        """How long nothing may have been written before it is tried whether it can be."""

    @property
    def patience(self) -> float | None:
        """How many seconds a write is waited for at the end, before :meth:`abort`; ``None``: for good."""

    def abort(self) -> None:
        """Have whoever waits for the database fail at once."""

    @property
    def wiped(self) -> bool:
        """Whether a database server had it and has nothing of it any more; a file's ``gap`` tells that."""

    @property
    def instance(self) -> str:
        """Which history this is: made with the database, so a wiped one has another."""

    @property
    def keys(self) -> Shelf | None:
        """What all servers of this history sign tokens with; ``None``: each user has their own secret."""

    def ingest(self, arrivals: Sequence[Arrival]) -> list[Taken]:
        """Take events in, all in one transaction; when it returns they are on disk.

        Returns:
            For each arrival, in order, what became of it and the row as it then stands.

        Raises:
            StoreUnavailable: the database cannot be written; nothing was stored.
        """

    def touch(self, beats: Sequence[Beat]) -> None:
        """Raise the heartbeat state of sessions that are active; others are left alone.

        Without any, something is written all the same, to see whether it can be.

        Raises:
            StoreUnavailable: the database cannot be written.
        """

    def select(self, query: Query) -> list[SessionRow]:
        """The sessions that fit, in its order, at most ``query.limit``."""

    def count(self, query: Query) -> Counted:
        """How many sessions fit, and how many of them are active."""

    def measured(self, asked: Statistics) -> list[tuple[Any, ...]]:
        """What is counted, a row a group; see :func:`session_buddy.history.counted.counted`."""

    def export(self, query: Query, form: Form, file: BinaryIO) -> int:
        """Write the sessions that fit, whatever its limit; how many there were.

        Args:
            query: which.
            form: as what; its columns are those of :mod:`session_buddy.store.export`.
            file: an empty one, on disk, open for reading, too.

        Raises:
            ExportFailed: it cannot be written.
            QueryTooLong: it took longer than :data:`session_buddy.history.export.EXPORT_SECONDS`.
            StoreUnavailable: the database cannot be read.
        """

    def find(self, ref: str) -> SessionRow:
        """The one session that a full id, an 8-hex suffix, a unique prefix or ``latest`` means.

        Raises:
            UnknownSession: none fits; names the nearest ids.
            AmbiguousSession: several fit; lists them.
        """

    def last_commit(self) -> int:
        """The number of the latest transaction that stored events, below which none is still open."""

    def changes(self, commit_id: int, session_id: str = ALL) -> Changes | None:
        """What was stored behind a transaction, or a session of it, a few hundred events at once.

        ``None``: there was no such transaction yet, in this history.
        """

    def tell(self, changed: Callable[[], None]) -> None:
        """Have somebody told, on any thread, soon after events were stored, by whatever server."""

    def around(self, row: SessionRow) -> Around:
        """What stands around a session."""

    def bars(self, query: Query) -> list[Bar]:
        """What a timeline draws of the sessions that fit, ``query.limit`` at most, the first first."""

    def sliced(self, query: Query, cut: Cut) -> Sliced:
        """What changed in each slice of a window, by lane and place; the query has who was in within it."""

    def live(self) -> list[SessionRow]:
        """All sessions whose status is ``active``."""

    def count_live(self) -> int:
        """How many sessions are ``active``."""

    def size(self) -> int:
        """How many bytes the database takes on disk, its log included where that is a file of its own.

        Raises:
            StoreUnavailable: the database cannot be read.
        """

    def statuses(self) -> dict[str, Status]:
        """The status of each session, by id, in no order."""

    def missing(self, sessions: Sequence[str]) -> list[str]:
        """Those of the ids of which nothing is known, and which were not deleted, in no order."""

    def delete(self, entry: Tombstone, gone: Sequence[str], buried: Sequence[Named]) -> Tombstone:
        """Delete sessions with their events, in one transaction.

        Args:
            entry: the deletion; without a number it is a new one, else one that goes on.
            gone: those of which nothing stays, by id.
            buried: those that leave a row which says so, be they known or not.

        Returns:
            The entry as it then stands.

        Raises:
            StoreUnavailable: the database cannot be written; nothing was deleted.
        """

    def settle(self) -> None:
        """Have what was deleted in no log any more, which might be lost, and bring it back.

        Raises:
            StoreUnavailable: the database cannot be written.
        """

    def tombstones(self) -> list[Tombstone]:
        """All deletions, the first first."""

    def buried(self) -> list[Named]:
        """What is left of sessions that were deleted one by one, in no order."""

    def named_by(self, query: Query) -> list[Named]:
        """The sessions that fit, ``query.limit`` at most, in no order."""

    def extent(self, query: Query) -> Extent:
        """How many sessions fit, all of them counted, and of what time they are."""

    def started_before(self, time: datetime, *, ends_alone: bool = False) -> list[Named]:
        """What is known of sessions that started before; ``ends_alone``: of which there is no start."""

    def tables(self, *, to_write: bool = False) -> AbstractContextManager[Tables]:
        """All that there is, to be copied; committed behind this.

        Raises:
            StoreUnavailable: the database cannot be read, or written.
        """

    def close(self) -> None:
        """Write everything out and let go of the database; closing twice is allowed."""
