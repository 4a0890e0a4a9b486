"""The host's signals in the middle of our work: held back for a moment, and what they raise is the host's.

A time limit (SIGALRM) or Ctrl-C must neither be swallowed here nor leave a session half begun.
"""

# `signal` makes an enum of each number of a mask, which takes 80 microseconds instead of 3.
import _signal  # type: ignore[import-not-found]  # of the interpreter, without types
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

# Blocked, a fault would kill unseen by the host's handler for it, such as faulthandler's.
_FAULTS = {_signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL} if os.name == "posix" else set()
_ALL = set(map(int, _signal.valid_signals())) - _FAULTS
_OURS = {"builtins", "oneiric", *sys.stdlib_module_names}


@contextmanager
def blocked() -> Iterator[None]:
    """Have no signal reach this thread, nor a thread that it starts meanwhile; what came acts behind this.

    Where another thread of the host takes a signal, its handler runs within all the same: :func:`is_hosts`.
    """
    # Read first: a call that changes the mask also runs handlers, and may raise what they do.
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    try:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _ALL)
        yield
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)


def is_hosts(error: BaseException) -> bool:
    """Whether an error that came out of our code is the host's: of its signal handler, or sent by its thread.

    A handler is given the frame that it interrupted. What a thread sends (``PyThreadState_SetAsyncExc``) is
    an error of the host's that is raised where no code of the host's runs.
    """
    trace = error.__traceback__
    while trace is not None and (inner := trace.tb_next) is not None:
        if _holds(inner.tb_frame.f_locals.values(), trace.tb_frame):
            return True
        trace = inner
    where = trace and trace.tb_frame.f_globals.get("__name__")
    return _top(where) in _OURS and _top(type(error).__module__) not in _OURS


class quiet(suppress):  # noqa: N801 - like the one that it extends
    """:class:`contextlib.suppress` that lets pass what is the host's."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Whether it ends here."""
        return bool(super().__exit__(kind, error, trace)) and error is not None and not is_hosts(error)


def _holds(values: Iterable[object], frame: object) -> bool:
    """Whether a frame is among arguments, also as one of ``*arguments``; asks no object of the host's."""
    return any(one is frame or (type(one) is tuple and _holds(one, frame)) for one in values)


def _top(module: object) -> str:
    return str(module).partition(".")[0]
