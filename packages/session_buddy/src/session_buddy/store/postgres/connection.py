"""Connections to a PostgreSQL server: one to write with, some to read with, trouble told as errors."""

import gc
import logging
import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from time import monotonic
from typing import Any, Final
from weakref import WeakSet

import psycopg
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import QueryCanceled
from psycopg.types.string import TextLoader
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from session_buddy.errors import ConfigurationError, QueryTooLong, StoreClosed, StoreError, StoreUnavailable
from session_buddy.host.database_url import DatabaseUrl

READERS: Final = 8
# Its warnings repeat the error that the caller gets.
logging.getLogger("psycopg").setLevel(logging.ERROR)
# Between "it is restarted just now" and "whoever asks has waited long enough".
_PATIENCE_SECONDS: Final = 2.0
# A server that is there and does not answer is noticed in seconds; what the URL says counts before it.
_DEFAULTS: Final[dict[str, Any]] = {
    "application_name": "session-buddy",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 10_000,
}
_AS_WE_READ: Final = "SET timezone = 'UTC'; SET datestyle = 'ISO'"
# What is acknowledged is on disk; and who is stopped within a transaction does not keep others waiting.
_TO_WRITE: Final = """
    SELECT set_config('synchronous_commit', CASE said WHEN 'off' THEN 'on' ELSE said END, false)
    FROM current_setting('synchronous_commit') AS said;
    SET lock_timeout = 10000;
    SET idle_in_transaction_session_timeout = 10000
"""
# A number, a time, or a text that cannot be had: with others it would have worked. All else is the database's
# fault, also a column that a newer server made: an event that is refused is never sent again.
_OF_THE_VALUES: Final = {"22003", "22007", "22008", "22021", "22P02", "22P05"}
# Of the values, too: the driver has not even sent them.
_OF_THE_DRIVER: Final = (psycopg.DataError, UnicodeEncodeError, OverflowError)


class Connections:
    """What a store has of a database server: connections, made anew whenever they break.

    Args:
        url: the database.
        query_seconds: how long a query may take.
    """

    def __init__(self, url: DatabaseUrl, query_seconds: float) -> None:
        self.url = url
        self._conninfo = _conninfo(url)
        self._query_seconds = query_seconds
        self._asking, self._asked, self._reason = Lock(), -_PATIENCE_SECONDS, ""
        self._open: WeakSet[Connection] = WeakSet()
        self._writers = self._pool("writing", 1, _TO_WRITE)
        self._readers = self._pool(
            "reading",
            READERS,
            f"SET statement_timeout = {int(query_seconds * 1000)}; SET default_transaction_read_only = on",
        )

    @contextmanager
    def reading(self, seconds: float | None = None) -> Iterator[Connection]:
        """A connection to read with, from any thread; for so many seconds, if that is not a query's time."""
        with self._trouble("read", seconds), self._readers.connection() as connection:
            if seconds is None:
                yield connection
                return
            with connection.transaction():
                connection.execute(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The one to write with; each statement is committed, unless a transaction was begun."""
        with self._trouble("written"), self._writers.connection() as connection:
            yield connection

    @contextmanager
    def single(self) -> Iterator[Connection]:
        """A connection that is made for this and closed behind it."""
        with self._trouble("opened"), psycopg.connect(self._conninfo) as connection:
            _adapt(connection)
            connection.execute(f"{_AS_WE_READ}; {_TO_WRITE}")
            yield connection

    def open(self) -> None:
        """Begin to keep connections."""
        for pool in (self._writers, self._readers):
            pool.open()

    def abort(self) -> None:
        """Have whoever waits for the database fail at once, and all that ask from now on."""
        self.close()
        for connection in list(self._open):
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the database; closing twice is allowed."""
        for pool in (self._writers, self._readers):
            pool.close(timeout=0)

    def _pool(self, name: str, most: int, settings: str) -> ConnectionPool:
        def configure(connection: Connection) -> None:
            _adapt(connection)
            connection.execute(f"{_AS_WE_READ}; {settings}")
            self._open.add(connection)

        return ConnectionPool(
            self._conninfo,
            min_size=0 if most > 1 else 1,
            max_size=most,
            open=False,
            configure=configure,
            check=_check,
            kwargs={"autocommit": True},
            name=f"session-buddy-{name}",
            timeout=_PATIENCE_SECONDS,
            # Each call tries anew: no back-off that outlasts the trouble.
            reconnect_timeout=_PATIENCE_SECONDS,
        )

    @contextmanager
    def _trouble(self, what: str, seconds: float | None = None) -> Iterator[None]:
        try:
            yield
        except PoolClosed:
            raise StoreClosed(f"database {self.url} was closed") from None
        except PoolTimeout as error:
            raise StoreUnavailable(f"database {self.url} cannot be {what}: {self._why()}") from error
        except (psycopg.Error, *_OF_THE_DRIVER) as error:
            raise self._told(error, what, seconds) from error

    def _told(self, error: Exception, what: str, seconds: float | None) -> StoreError:
        if isinstance(error, QueryCanceled) and what == "read":
            return QueryTooLong(seconds or self._query_seconds, may_be_raised=seconds is None)
        line = f"database {self.url} cannot be {what}: {line_of(error)}"
        of_the_values = type(error) in _OF_THE_DRIVER or getattr(error, "sqlstate", "") in _OF_THE_VALUES
        return (StoreError if of_the_values else StoreUnavailable)(line)

    def _why(self) -> str:
        """Why a pool has no connection to give: it does not say. One at a time asks."""
        with self._asking:
            if monotonic() > self._asked + _PATIENCE_SECONDS:
                try:
                    psycopg.connect(self._conninfo).close()
                    self._reason = "all connections are busy, or it comes back just now; try again"
                except psycopg.Error as error:
                    self._reason = line_of(error)
                # What an attempt that failed leaves, sockets among it, would wait for a collection.
                gc.collect()
                self._asked = monotonic()
            return self._reason


def line_of(error: Exception) -> str:
    """What the server, or its library, says, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _check(connection: Connection) -> None:
    """Ask the server only where something has come that nobody asked for: that is the connection's end."""
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    if waiting.poll(0):
        ConnectionPool.check_connection(connection)


def _conninfo(url: DatabaseUrl) -> str:
    try:
        said = conninfo_to_dict(url.whole)
    except psycopg.Error:
        # Neither the library's words, which repeat the URL, nor ours: what is mistyped may be a password.
        raise ConfigurationError(
            "storage_url: the driver cannot read it; postgresql://user@host:port/name is allowed"
        ) from None
    ours = {name: value for name, value in _DEFAULTS.items() if name not in said}
    return make_conninfo(url.whole, **ours, client_encoding="UTF8")


def _adapt(connection: Connection) -> None:
    # A plan that is made once for all values does without the index.
    connection.prepare_threshold = None
    # Both ends of our JSON are text.
    connection.adapters.register_loader("json", TextLoader)
