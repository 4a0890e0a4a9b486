"""The embedded store: one DuckDB file, one process, one writing thread, any number of readers."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

from session_buddy.errors import StoreUnavailable
from session_buddy.history.export import EXPORT_SECONDS, Form
from session_buddy.history.fold import fold_all
from session_buddy.history.model import Arrival, Beat, SessionRow, Taken
from session_buddy.history.query import Query
from session_buddy.history.tombstones import Deletions, Named, Tombstone
from session_buddy.host.database_url import DEFAULT_QUERY_SECONDS, DatabaseUrl
from session_buddy.store.conditions import Condition, Json
from session_buddy.store.duckdb import export
from session_buddy.store.duckdb import statements as sql
from session_buddy.store.duckdb.connection import Connection
from session_buddy.store.duckdb.copies import copy_whole
from session_buddy.store.duckdb.deletion import delete, tombstones
from session_buddy.store.duckdb.newest import Newest
from session_buddy.store.duckdb.opening import open_file
from session_buddy.store.duckdb.wal import log_of
from session_buddy.store.export import of_export
from session_buddy.store.protocol import Gap
from session_buddy.store.reading import Reading
from session_buddy.store.rows import span_of
from session_buddy.store.sql import COUNT_STARTED


def _pointed(path: Sequence[str]) -> Condition:
    """A JSON pointer (RFC 6901)."""
    names = (name.replace("~", "~0").replace("/", "~1") for name in path)
    return "->?", ["/" + "/".join(names)]


# Without force it fails while anybody reads.
_CHECKPOINT: Final = "FORCE CHECKPOINT"
# More than any log holds of transactions.
_BEHIND_A_GAP: Final = 1_000_000


class DuckDBStore(Reading):
    """A history in one DuckDB file; see :class:`session_buddy.store.protocol.Store`."""

    probe_seconds = 30.0
    keys = None
    patience = None
    wiped = False
    json = Json(_pointed, is_slow=False)

    def __init__(self, path: Path, database: sql.Cursor, gap: Gap | None, query_seconds: float) -> None:
        self.gap = gap
        self.url = DatabaseUrl.of(path)
        self._connection = Connection(path, database, self._learn, query_seconds)
        self.instance = self.meta("instance")
        self._tell: Callable[[], None] = lambda: None
        with self._connection.reading() as reader:
            self._learn(reader)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        wait_seconds: float = 5.0,
        known: bool = False,
        query_seconds: float = DEFAULT_QUERY_SECONDS,
    ) -> Self:
        """Open the file, making it, and its folder, if there is none.

        From here on the files that this process makes are its user's alone: DuckDB makes its write-ahead
        log anew whenever it likes.

        Raises:
            StoreError: one of its subclasses, see :func:`session_buddy.store.open_store`.
        """
        path = Path(path).expanduser().absolute()
        os.umask(0o077)
        database, gap = open_file(path, wait_seconds, known=known)
        try:
            return cls(path, database, gap, query_seconds)
        except BaseException:
            database.close()
            raise

    def __repr__(self) -> str:
        return f"<DuckDBStore({self._connection.path})>"

    # writing: one thread

    def ingest(self, arrivals: Sequence[Arrival]) -> list[Taken]:
        """Fold the events into their sessions' rows and write both, in one transaction."""
        with self._connection.writing() as writer:
            asked = {arrival.session_id for arrival in arrivals}
            before = sql.find_by_ids(writer, set(filter(self._newest.may_know, asked)))
            folded = fold_all(before, arrivals, self._deletions)
            if folded.kept or folded.changed:
                self._write(folded.kept, folded.changed, before)
            return folded.taken

    def touch(self, beats: Sequence[Beat]) -> None:
        """Raise the heartbeat state of sessions that are active; without any, write all the same."""
        with self._connection.writing() as writer:
            if beats:
                sql.touch(writer, beats)
            else:
                sql.probe(writer)

    def delete(self, entry: Tombstone, gone: Sequence[str], buried: Sequence[Named]) -> Tombstone:
        """Delete sessions with their events, in one transaction."""
        with self._connection.writing() as cursor:
            with sql.transaction(cursor) as writer:
                entry = delete(writer, entry, gone, buried, self._commit_id + 1)
            self._commit_id += 1
            self._newest.add(found.session_id for found in buried)
            self._deletions = Deletions(tombstones(cursor))
        return entry

    def settle(self) -> None:
        """Write the log into the file."""
        with self._connection.writing() as writer:
            writer.execute(_CHECKPOINT)

    def backup(self, target: Path) -> int:
        """Write the log into the file, and copy that."""
        with self._connection.writing("copied") as writer:
            writer.execute(_CHECKPOINT)
            try:
                copy_whole(self._connection.source(), target)
            except OSError as error:
                raise StoreUnavailable(f"backup {target} cannot be written: {error.strerror}") from error
            (count,) = sql.one(writer, COUNT_STARTED)
            return int(count)

    def forget_gap(self) -> None:
        """Take the mark away."""
        with self._connection.writing() as writer:
            writer.execute(sql.FORGET_GAP)
        self.gap = None

    def _write(
        self, kept: Sequence[Arrival], changed: Sequence[SessionRow], before: dict[str, SessionRow]
    ) -> None:
        fresh = [row for row in changed if not _same_start(row, before.get(row.session_id))]
        altered = [row for row in changed if _same_start(row, before.get(row.session_id))]
        adds = before.keys().isdisjoint(row.session_id for row in changed)
        with self._connection.writing(adds=adds) as cursor, sql.transaction(cursor) as writer:
            sql.insert_events(writer, kept, self._commit_id + 1)
            for row in fresh:
                if row.session_id in before:
                    writer.execute(sql.REMOVE, [*span_of([row.session_id]), row.session_id])
            sql.insert(writer, "sessions", sql.ROW_COLUMNS, [sql.values_of(row) for row in fresh])
            sql.change(writer, altered)
        self._newest.add(row.session_id for row in fresh)
        self._commit_id += 1
        self._tell()

    # reading: any thread

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with self._connection.reading() as reader:
            return sql.rows_of(reader, statement, parameters)

    def export(self, query: Query, form: Form, file: BinaryIO) -> int:
        """Write the sessions that fit into a file."""
        select, parameters = of_export(query, form, self.json, export.WRITER)
        with self._connection.reading(EXPORT_SECONDS) as reader:
            return export.write(reader, select, parameters, form, file)

    def named(self, ref: str) -> list[SessionRow]:
        """The sessions that have this id, or these last eight digits."""
        with self._connection.reading() as reader:
            return sql.find_by_ref(reader, ref)

    def last_commit(self) -> int:
        """The number of the latest transaction that stored events."""
        return self._commit_id

    horizon = last_commit

    def size(self) -> int:
        """How many bytes the file and its log take."""
        path = self._connection.path
        try:
            # After a checkpoint there is no log.
            return path.stat().st_size + sum(log.stat().st_size for log in [log_of(path)] if log.exists())
        except OSError as error:
            raise StoreUnavailable(f"database {path} cannot be read: {error.strerror}") from None

    def tell(self, changed: Callable[[], None]) -> None:
        """Have somebody told whenever events were stored, on the thread that did."""
        self._tell = changed

    def _learn(self, reader: sql.Cursor) -> None:
        """What is remembered of the file, as one process alone writes to it."""
        self._newest = Newest(session_id for (session_id,) in sql.rows_of(reader, sql.NEWEST))
        self._deletions = Deletions(tombstones(reader))
        # What was lost had numbers that followers may have seen.
        self._commit_id: int = sql.last_commit(reader) + (_BEHIND_A_GAP if self.gap else 0)

    @contextmanager
    def tables(self, *, to_write: bool = False) -> Iterator[sql.Tables]:
        """All that there is; what was written is in the file behind this."""
        with self._connection.writing() as cursor:
            with sql.transaction(cursor):
                yield sql.Tables(cursor)
            if to_write:
                self._learn(cursor)

    def abort(self) -> None:
        """Nobody waits for a file."""

    def close(self) -> None:
        """Write the log into the file and let go of it."""
        self._connection.close()


def _same_start(row: SessionRow, before: SessionRow | None) -> bool:
    return before is not None and before.start_event_id == row.start_event_id
