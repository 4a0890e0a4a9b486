"""A thread that works in turns: as soon as it is asked, and when the pause between two turns is over.

It knows nothing of what it works at. It imports nothing and holds no lock of the host's: a fork can happen at
any moment.
"""

import sys
from _thread import LockType
from collections.abc import Callable, Generator
from contextlib import suppress

from oneiric import threads


class Worker(threads.Owned):
    """The thread, and what others may ask of it.

    Args:
        turn: one turn of work; must not raise.
        pause: for how many seconds there is nothing to do, unless somebody asks; ``None``: for good, so the
            thread ends, and begins again when it is asked.

    Attributes:
        thread_error: why there is no thread, where one could not be started.
    """

    def __init__(self, turn: Callable[[], None], pause: Callable[[], float | None]) -> None:
        super().__init__()
        self._turn = turn
        self._pause = pause
        # No threading.Condition: gevent can exchange the locks behind it, even while we wait.
        self._lock = threads.RLock()
        self._wake = threads.locked()
        self._waiting: list[tuple[int, LockType]] = []
        self._asked = self._done = 0
        self._given_up = -1
        self._running = False
        self.thread_error: str | None = None

    @property
    def asked(self) -> bool:
        """Whether somebody asked for a turn that is not over."""
        return self._asked != self._done

    def ask(self) -> None:
        """Have a turn begin soon; the thread starts on first use."""
        if sys.is_finalizing():
            # The thread is stopped for good, maybe with the lock in its hands; the journal waits.
            return
        with self._lock:
            self._asked += 1
            if not self._running:
                self._start()
        _release(self._wake)

    def flush(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until the turns that were asked for are over; whether they are."""
        asked = self._asked
        if sys.is_finalizing() or not self._running:
            return self._done >= asked
        waiter = asked, threads.locked()
        self._waiting.append(waiter)
        try:
            return self._done >= asked or waiter[1].acquire(timeout=max(0.0, timeout))
        finally:
            self._waiting.remove(waiter)

    def flush_at_exit(self, timeout: float) -> None:
        """:meth:`flush`, but not twice in vain for the same: a host's exit pays once."""
        if self._given_up != self._asked and not self.flush(timeout):
            self._given_up = self._asked

    def _start(self) -> None:
        try:
            self._running, self.thread_error = True, None
            next(run := self._run())
            threads.start(next, run, None)
        except BaseException as error:  # what the host sends to this thread, too
            self._running = False
            if not isinstance(error, RuntimeError):
                raise
            self.thread_error = f"no thread can be started ({error}): what is recorded waits in the outbox"

    def _may_end(self) -> bool:
        """Whether the thread, which has nothing more to do, may end: nobody has asked meanwhile."""
        with self._lock:
            if not self.asked:
                self._running = False
            return not self._running

    def _run(self) -> Generator[None, None, None]:
        try:
            yield  # The thread begins here, since what the host sends may come before its first line.
            self._work()
        except BaseException:  # what the host sends to all threads
            self._running = False
            raise

    def _work(self) -> None:
        while self.made_here:
            self._wake.acquire(blocking=False)
            if not self.asked:
                pause = self._pause()
                if pause is None and self._may_end():
                    return
                self._wake.acquire(timeout=max(0.0, pause or 0.0))
            asked = self._asked
            self._turn()
            self._done = asked
            for number, waiter in list(self._waiting):
                if number <= asked:
                    _release(waiter)


def _release(lock: LockType) -> None:
    # RuntimeError: somebody has released it before.
    with suppress(RuntimeError):
        lock.release()
