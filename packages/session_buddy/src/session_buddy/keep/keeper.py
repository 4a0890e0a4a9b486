"""The thread that makes a backup whenever the last is too old."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Event as Signal
from threading import Lock, Thread
from time import monotonic
from typing import Final

from session_buddy.errors import SessionBuddyError
from session_buddy.keep.backups import Backup, Backups

CHECK_SECONDS: Final = 60.0
RETRY_SECONDS: Final = 600.0

log = logging.getLogger("session_buddy.keep.keeper")


class Keeper:
    """The thread that makes a backup whenever the last is too old; what fails is told once, and tried again.

    Args:
        backups: those that there are.
        make: makes one.
        every: how old the last may be; zero: none is ever made.

    Attributes:
        failures: how often it failed since there last was one that is young enough.
    """

    def __init__(self, backups: Backups, make: Callable[[], Backup], every: timedelta) -> None:
        self.failures = 0
        self._backups = backups
        self._make = make
        self._every = every
        self._told = ""
        self._stop = Signal()
        self._starting = Lock()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin: the first look is now. Nothing happens if it has begun, or was closed."""
        with self._starting:
            if self._every and self._thread is None and not self._stop.is_set():
                self._thread = Thread(target=self._run, name="session-buddy-backups", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread, after the backup that it is at; closing twice is allowed."""
        with self._starting:
            self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - the edge of the thread: told, and tried again
                self._tell(error)
            self._stop.wait(RETRY_SECONDS if self.failures else CHECK_SECONDS)

    def _look(self) -> None:
        if self._backups.is_due(datetime.now(UTC), self._every):
            began = monotonic()
            made = self._make()
            after = f" after {self.failures} failures" if self.failures else ""
            log.info("backup %s: %d bytes in %.1f s%s", made.path, made.size, monotonic() - began, after)
        self.failures, self._told = 0, ""

    def _tell(self, error: Exception) -> None:
        if self._stop.is_set():
            return
        self.failures += 1
        if str(error) != self._told:
            unforeseen = None if isinstance(error, SessionBuddyError) else error
            log.warning("no backup could be made; it is tried again: %s", error, exc_info=unforeseen)
        self._told = str(error)
