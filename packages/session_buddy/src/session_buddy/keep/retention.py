"""The thread that deletes what has been over for too long, once a day."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Event as Signal
from threading import Thread
from typing import Final

from session_buddy.errors import SessionBuddyError, StoreClosed
from session_buddy.history.tombstones import portions, wanted_of
from session_buddy.keep.deletion import Deletion

EVERY_SECONDS: Final = 86_400.0
RETRY_SECONDS: Final = 600.0
_SUBJECT: Final = "session-buddy"

log = logging.getLogger("session_buddy.keep.retention")


class Retention:
    """Deletes what ended longer ago than the settings say; what fails is told, and tried again.

    Args:
        deletion: deletes.
        after: how long ago that is; ``None``: nothing is deleted.
        now: the time.
    """

    def __init__(
        self,
        deletion: Deletion,
        after: timedelta | None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._deletion = deletion
        self._after = after
        self._now = now
        self._stop = Signal()
        self._thread: Thread | None = None

    def __repr__(self) -> str:
        return f"<Retention(after={self._after})>"

    def start(self) -> None:
        """Begin, by one thread: the first look is now. Nothing happens if it has begun, or was closed."""
        if self._after is not None and self._thread is None and not self._stop.is_set():
            self._thread = Thread(target=self._run, name="session-buddy-retention", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread, after the portion that it is at; closing twice is allowed."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            pause = EVERY_SECONDS
            try:
                self._look()
            except StoreClosed:
                return
            except Exception as error:
                unforeseen = None if isinstance(error, SessionBuddyError) else error
                log.warning("old sessions could not be deleted: %s", error, exc_info=unforeseen)
                pause = RETRY_SECONDS
            self._stop.wait(pause)

    def _look(self) -> None:
        if self._after is None:
            return
        now = self._now()
        wanted = wanted_of(None, now - self._after)
        deleted = 0
        for done in portions(lambda number: self._deletion.some(wanted, _SUBJECT, now, number=number)):
            deleted += done["deleted"]
            if self._stop.is_set():
                break
        if deleted:
            log.info("%d sessions are deleted that ended before %s", deleted, wanted.ended_before)
