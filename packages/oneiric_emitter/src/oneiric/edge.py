"""Where our code meets its host: what fails is counted, logged and explained; only the host's own raises."""

import os
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from oneiric import log
from oneiric.interrupts import blocked, is_hosts

_T = TypeVar("_T")


def look(action: Callable[[], _T], otherwise: Callable[[Exception], _T]) -> _T:
    """What ``action`` finds, where nothing can be lost; ``otherwise`` if it fails."""
    try:
        return action()
    except Exception as error:
        if is_hosts(error):
            raise
        log.debug("the session tracking failed")
        return otherwise(error)


def explanation(error: Exception) -> str:
    """Why something could not be recorded."""
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return f"the outbox{where} cannot be written: {error.strerror or error}"
    return str(error) or type(error).__name__


class Edge:
    """What passes here is done whole: the host's signals act behind it.

    Attributes:
        dropped: how much was lost.
        failure: why, the last time; ``None`` once something was recorded again.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.failure: str | None = None
        self._locks: dict[tuple[int, str], threading.RLock] = {}

    def record(self, action: Callable[[], _T], default: _T, kind: str = "begin or end") -> _T:
        """What ``action`` gives, ``default`` if it fails; threads do one of a ``kind`` at a time."""

        def lost(error: Exception) -> _T:
            self.dropped += 1
            self.failure = explanation(error)
            return default

        with self.lock(kind), blocked():
            result = look(action, lost)
            if result:
                self.failure = None
            return result

    def lock(self, kind: str) -> threading.RLock:
        """Each kind has its own: who counts does not wait for a start's disk. Each process, too.

        In a forked child, and while the interpreter finalises, a thread that is no more may hold it for good.
        """
        if sys.is_finalizing():
            return threading.RLock()
        return self._locks.setdefault((os.getpid(), kind), threading.RLock())
