"""The boundary to the host: our errors are counted, logged and explained; those of its handlers pass."""

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from oneiric import log
from oneiric.interrupts import blocked, raised_by_host
from oneiric.threads import RLock

_T = TypeVar("_T")


def attempt(action: Callable[[], _T], on_error: Callable[[Exception], _T]) -> _T:
    """What ``action`` finds, where nothing can be lost; ``on_error`` if it fails."""
    try:
        return action()
    except Exception as error:
        if raised_by_host(error):
            raise
        log.debug("the session tracking failed")
        return on_error(error)


def explanation(error: Exception) -> str:
    """Why something could not be recorded."""
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return f"the outbox{where} cannot be written: {error.strerror or error}"
    return str(error) or type(error).__name__


class Edge:
    """Runs our actions with signals blocked, so that none is interrupted half done.

    Attributes:
        dropped: how many starts, ends and records were lost, because they could not be recorded.
    """

    def __init__(self) -> None:
        self.dropped = 0
        # Why, the last time; `None` once something was recorded again.
        self._failure: str | None = None
        self._locks: dict[tuple[int, str], AbstractContextManager[object]] = {}

    def _guarded(self, action: Callable[[], _T], default: _T, kind: str = "begin or end") -> _T:
        """What ``action`` gives, ``default`` if it fails; threads do one of a ``kind`` at a time."""

        def lost(error: Exception) -> _T:
            self.dropped += 1
            self._failure = explanation(error)
            return default

        with self._lock(kind), blocked():
            result = attempt(action, lost)
            if result:
                self._failure = None
            return result

    def _lock(self, kind: str) -> AbstractContextManager[object]:
        """Each kind has its own: who counts does not wait for a start's disk. Each process, too.

        In a forked child, and while the interpreter finalises, a thread that is gone may have left it locked.
        """
        if sys.is_finalizing():
            return RLock()
        return self._locks.setdefault((os.getpid(), kind), RLock())
