"""A DuckDB file while it is open: a cursor to write with, cursors to read with, trouble told as errors."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, Timer
from typing import Final

import duckdb

from oneiric.descriptors import identity
from session_buddy.errors import QueryTooLong, StoreClosed, StoreError, StoreUnavailable
from session_buddy.store.duckdb.opening import CONFIG, line_of
from session_buddy.store.duckdb.statements import Cursor

# With other values it would have worked; all other errors are the database's.
_OF_THE_VALUES: Final = (duckdb.DataError, duckdb.IntegrityError, duckdb.InvalidInputException)
# Between two looks whether the last query has ended.
_LOOK_SECONDS: Final = 0.01


class Connection:
    """An open DuckDB file.

    Args:
        path: the file.
        database: the library's connection to it, from here on this object's to close.
        reopened: called with a cursor when the file was opened anew: what was remembered of its content may
            be wrong.
        query_seconds: how long a query may take.
    """

    def __init__(
        self, path: Path, database: Cursor, reopened: Callable[[Cursor], None], query_seconds: float
    ) -> None:
        self.path = path
        self._file = identity(path)
        self._database: Cursor | None = database
        self._reopened = reopened
        self._query_seconds = query_seconds
        self._opening = Lock()
        self._source: int | None = None
        self._readers: dict[int, Cursor] = {}
        self._writer, self._adder = _writers(database)

    @contextmanager
    def reading(self, seconds: float | None = None) -> Iterator[Cursor]:
        """A cursor to read with, from any thread; for so many seconds, if that is not a query's time."""
        with self._trouble("read", seconds), self._look().cursor() as reader:
            limit = Timer(seconds or self._query_seconds, reader.interrupt)
            limit.daemon = True
            limit.start()
            self._readers[id(reader)] = reader
            try:
                yield reader
            finally:
                del self._readers[id(reader)]
                limit.cancel()

    @contextmanager
    def writing(self, what: str = "written", *, adds: bool = False) -> Iterator[Cursor]:
        """The cursor to write with, one at a time; ``what`` cannot be done, an error says.

        Args:
            what: in the words of the error.
            adds: whether nothing is looked for: such a statement is planned in two thirds of the time.
        """
        with self._trouble(what):
            self._look()
            yield self._adder if adds else self._writer

    def source(self) -> int:
        """A descriptor of the file, for a copy; open until the end.

        Closing it would give up the lock that DuckDB has on the file.
        """
        if self._source is None:
            self._source = os.open(self.path, os.O_RDONLY)
        return self._source

    def _look(self) -> Cursor:
        """The database, unless what goes into it would be found by nobody."""
        if self._database is None:
            raise self._closed()
        if identity(self.path) != self._file:
            raise StoreUnavailable(
                f"database {self.path} was removed or exchanged while it is in use; nothing more is written:"
                " restart the server with: session-buddy mcp restart"
            )
        return self._database

    def _closed(self) -> StoreClosed:
        return StoreClosed(f"database {self.path} was closed")

    @contextmanager
    def _trouble(self, what: str, seconds: float | None = None) -> Iterator[None]:
        try:
            yield
        except (duckdb.FatalException, duckdb.InternalException, duckdb.ConnectionException) as error:
            self._reopen()
            raise StoreUnavailable(f"database {self.path} cannot be {what}: {line_of(error)}") from error
        except duckdb.InterruptException:
            if self._database is None:
                raise self._closed() from None
            raise QueryTooLong(seconds or self._query_seconds, may_be_raised=seconds is None) from None
        except _OF_THE_VALUES as error:
            raise StoreError(f"database {self.path}: {line_of(error)}") from error
        except duckdb.Error as error:
            raise StoreUnavailable(f"database {self.path} cannot be {what}: {line_of(error)}") from error

    def _reopen(self) -> None:
        """DuckDB declares a database invalid after a failed write; a new connection starts from the disk."""
        with self._opening:
            if self._database is None:
                raise self._closed()
            # If that fails too, the next call finds the connection closed and comes here again.
            with suppress(duckdb.Error):
                self._adder.close()
                self._writer.close()
                self._database.close()
                database = duckdb.connect(str(self.path), config=CONFIG)
                self._reopened(database)
                self._writer, self._adder = _writers(database)
                self._database = database

    def close(self) -> None:
        """Stop queries, write the log into the file and let go of it; closing twice is allowed."""
        with self._opening:
            database, self._database = self._database, None
        if database is not None:
            self._adder.close()
            self._writer.close()
            self._close(database)
        source, self._source = self._source, None
        if source is not None:
            os.close(source)

    def _close(self, database: Cursor) -> None:
        while True:
            try:
                return database.close()
            except duckdb.ResourceInUseException:
                # A query is under way, which takes a moment to hear of it.
                for reader in list(self._readers.values()):
                    with suppress(duckdb.Error):  # it has just ended
                        reader.interrupt()
                time.sleep(_LOOK_SECONDS)


def _writers(database: Cursor) -> tuple[Cursor, Cursor]:
    """A cursor for any statement, and one whose statements are not optimized."""
    adder = database.cursor()
    adder.execute("PRAGMA disable_optimizer")
    return database.cursor(), adder
