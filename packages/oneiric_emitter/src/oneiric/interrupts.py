"""The host's signals in the middle of our work: held back for a moment, and what they raise is the host's.

A time limit (SIGALRM) or Ctrl-C must neither be swallowed here nor leave a session half begun.
"""

# `signal.pthread_sigmask` makes an enum of each signal: 84 microseconds, and 3 without.
import _signal  # type: ignore[import-not-found]  # of the interpreter, without types
import contextlib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

# On Windows there is none of this, and nothing is recorded.
_mask: Callable[[int, Collection[int]], Any] = getattr(_signal, "pthread_sigmask", lambda *_: ())
_SIG_BLOCK, _SIG_SETMASK = (getattr(_signal, name, 0) for name in ("SIG_BLOCK", "SIG_SETMASK"))
# Blocked, a fault would kill unseen by the host's handler for it, such as faulthandler's.
_FAULTS = {getattr(_signal, name, 0) for name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL")}
_ALL = set(map(int, _signal.valid_signals())) - _FAULTS
_NOT_HOSTS = {"builtins", "oneiric", *sys.stdlib_module_names}
# Where our work is done: of the standard library what it calls.
_AT_WORK = {"oneiric", "contextlib", "datetime", "functools", "json", "os", "pathlib", "posixpath", "re"}


@contextmanager
def blocked() -> Iterator[None]:
    """Block the signals of this thread, and of a thread that it starts; pending ones are delivered after.

    Another thread of the host may take one, and its handler then runs on the main thread meanwhile: see
    :func:`raised_by_host`.
    """
    # Read first: a call that changes the mask also runs handlers, and may raise what they do.
    before = _mask(_SIG_BLOCK, ())
    try:
        _mask(_SIG_BLOCK, _ALL)
        yield
    finally:
        _mask(_SIG_SETMASK, before)


def raised_by_host(error: BaseException) -> bool:
    """Whether an error that came out of our code is the host's: of its signal handler, or sent by its thread.

    A handler is given the frame that it interrupted, and is registered. What a thread sends
    (``PyThreadState_SetAsyncExc``) is an error of the host's that is raised where no code of the host's runs.
    """
    handlers = {_code_of(_signal.getsignal(number)) for number in _ALL} - {None}
    trace = error.__traceback__
    while trace is not None and (inner := trace.tb_next) is not None:
        frame = inner.tb_frame
        if frame.f_code in handlers or _holds(frame.f_locals.values(), trace.tb_frame):
            return True
        trace = inner
    where = trace and trace.tb_frame.f_globals.get("__name__")
    return _top(where) in _AT_WORK and _top(type(error).__module__) not in _NOT_HOSTS


class suppress(contextlib.suppress):  # noqa: N801 - in its place, wherever a host waits for us
    """:class:`contextlib.suppress` that lets the host's own errors pass."""

    def __exit__(self, *raised: Any) -> bool:  # noqa: ANN401, PYI036 - handed on
        """Whether it ends here."""
        return bool(super().__exit__(*raised)) and not raised_by_host(raised[1])


def _holds(values: Iterable[object], frame: object) -> bool:
    """Whether a frame is among arguments, also as one of ``*arguments``; asks no object of the host's."""
    return any(one is frame or (type(one) is tuple and _holds(one, frame)) for one in values)


def _code_of(handler: object) -> object:
    """The code of a function, a method, or an object that is called."""
    function = getattr(handler, "__func__", handler)
    return getattr(function, "__code__", None) or getattr(type(handler).__call__, "__code__", None)


def _top(module: object) -> str:
    return str(module).partition(".")[0]
