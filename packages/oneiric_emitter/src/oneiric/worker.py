"""A thread that works in turns: as soon as it is asked, and when the pause between two turns is over.

It knows nothing of what it works at. It imports nothing and holds no lock of the host's: a fork can happen at
any moment.
"""

import signal
import sys
from _thread import LockType, RLock, allocate_lock, start_new_thread
from collections.abc import Callable
from contextlib import suppress

from oneiric.process import Owned

EXIT_BUDGET_SECONDS = 0.2


class Worker(Owned):
    """The thread, and what others may ask of it.

    Args:
        turn: one turn of work; must not raise.
        pause: for how many seconds there is nothing to do, unless somebody asks.
    """

    def __init__(self, turn: Callable[[], None], pause: Callable[[], float]) -> None:
        super().__init__()
        self._turn = turn
        self._pause = pause
        # No threading.Condition: gevent can exchange the locks behind it, even while we wait. These locks
        # and the thread stay as they were at our import, all of one kind.
        self._lock = RLock()
        self._wake = _locked()
        self._waiting: list[tuple[int, LockType]] = []
        self._asked = 0
        self._done = 0
        self._given_up = -1
        self._running = False

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
        waiter = asked, _locked()
        self._waiting.append(waiter)
        try:
            return self._done >= asked or waiter[1].acquire(timeout=max(0.0, timeout))
        finally:
            self._waiting.remove(waiter)

    def flush_at_exit(self) -> None:
        """:meth:`flush` for a moment, but not twice in vain for the same: a host's exit pays once."""
        if self._given_up != self._asked and not self.flush(EXIT_BUDGET_SECONDS):
            self._given_up = self._asked

    def _start(self) -> None:
        """Start the thread deaf to signals: what it took would come past the masks of its host's threads."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        # Blocked, a fault would kill unseen by the host's handler for it, such as faulthandler's.
        faults = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
        try:
            # On the caller, whose mask the thread begins with: it is deaf from its first moment.
            signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals() - faults)
            # No thread to be had (a limit, a late exit): the journal waits for somebody else.
            with suppress(RuntimeError):
                start_new_thread(self._run, ())
                self._running = True
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _run(self) -> None:
        while self.made_here:
            self._wake.acquire(blocking=False)
            if not self.asked:
                self._wake.acquire(timeout=max(0.0, self._pause()))
            asked = self._asked
            self._turn()
            self._done = asked
            for number, waiter in list(self._waiting):
                if number <= asked:
                    _release(waiter)


def _locked() -> LockType:
    """A lock that somebody else will release, once: what a thread waits for."""
    lock = allocate_lock()
    lock.acquire()
    return lock


def _release(lock: LockType) -> None:
    # RuntimeError: somebody has released it before.
    with suppress(RuntimeError):
        lock.release()
