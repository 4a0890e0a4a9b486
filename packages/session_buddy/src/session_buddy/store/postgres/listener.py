"""Changes told between servers of one database: LISTEN and NOTIFY on a connection of their own."""

import os
import select
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Final

from psycopg import Connection, Error

from session_buddy.errors import StoreError
from session_buddy.store.postgres.connection import Connections

_CHANNEL: Final = "session_buddy_events"
# What is stored within this time is told at once: each notification takes a transaction.
_GATHER_SECONDS: Final = 0.02
_RETRY_SECONDS: Final = 1.0


class Listener:
    """Tells whoever follows, at this server and at others, that events were stored.

    Storing does not wait for it. Where a connection breaks, nobody is told until there is another: followers
    look by themselves every few seconds.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._changed: Callable[[], None] = lambda: None
        self._closing = Event()
        self._pipe = Lock()
        self._thread: Thread | None = None
        self._wake, self._woken = -1, -1

    def __repr__(self) -> str:
        return f"<Listener({_CHANNEL})>"

    def start(self, changed: Callable[[], None]) -> None:
        """Tell ``changed``, on the thread, soon after anybody stored events."""
        self._changed = changed
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._thread = Thread(target=self._run, name="session-buddy-listener", daemon=True)
        self._thread.start()

    def announce(self) -> None:
        """Have all servers told that events were stored."""
        with self._pipe:
            if self._wake >= 0:
                # A full pipe has told it already.
                with suppress(BlockingIOError):
                    os.write(self._wake, b"x")

    def close(self) -> None:
        """End the thread; closing twice is allowed."""
        self._closing.set()
        self.announce()
        if self._thread is not None:
            # One that hangs in the network ends with the process.
            self._thread.join(_RETRY_SECONDS)

    def _run(self) -> None:
        while not self._closing.is_set():
            with suppress(StoreError, Error, OSError), self._connections.single() as connection:
                connection.commit()
                connection.autocommit = True
                connection.execute(f"LISTEN {_CHANNEL}")
                # Nobody knows what was stored while there was no connection.
                self._changed()
                self._listen(connection)
            self._closing.wait(_RETRY_SECONDS)
        with self._pipe:
            os.close(self._wake)
            os.close(self._woken)
            self._wake = -1

    def _listen(self, connection: Connection) -> None:
        waiting = select.poll()
        for one in (connection.fileno(), self._woken):
            waiting.register(one, select.POLLIN)
        while not self._closing.is_set():
            ready = {descriptor for descriptor, _ in waiting.poll()}
            if connection.fileno() in ready and list(connection.notifies(timeout=0)):
                self._changed()
            if self._woken in ready and not self._closing.wait(_GATHER_SECONDS):
                os.read(self._woken, 65536)
                connection.execute(f"NOTIFY {_CHANNEL}")
                # What comes to ourselves is read with the answer.
                self._changed()
