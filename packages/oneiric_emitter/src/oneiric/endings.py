"""How a shell ends: what can be known of it, and the hooks that are there to know it.

SIGTERM and SIGHUP are hooked where standard input is a terminal, on the main thread, and where the host left
the default: a handler in Python runs between two byte codes, so a host within a long call in C dies when that
is over. CPython looks for signals only after readline has waited for a key, so one that comes between prompt
and wait is acted on at that key, or at the next signal. Anywhere else the default acts at once, and whoever
finds the journal tells of the end.
"""

import atexit
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import FrameType

from oneiric import facts
from oneiric.contract import ExitReason
from oneiric.session import Session
from oneiric.threads import on_main_thread

FATAL_SIGNALS: dict[int, ExitReason] = (
    {signal.SIGTERM: "sigterm", signal.SIGHUP: "sighup"} if os.name == "posix" else {}
)

# Flags of the code of generators, coroutines and asynchronous generators, as in `inspect`.
_SUSPENDABLE = 0x20 | 0x80 | 0x200
# Below every priority that a host's finalizer would have.
_LAST = -1000


def at_exit(call: Callable[[], object]) -> Callable[[], None]:
    """Have ``call`` run when this process ends, the latest first; returns what takes that back."""
    hooks = ExitStack()
    atexit.register(call)
    hooks.callback(atexit.unregister, call)
    # A child that multiprocessing forked leaves without atexit before Python 3.13.
    if finalize := getattr(sys.modules.get("multiprocessing.util"), "Finalize", None):
        hooks.callback(finalize(None, call, exitpriority=_LAST).cancel)
    return hooks.close


def at_exit_reason() -> ExitReason:
    """What ``atexit`` can tell: ``exception`` where one left the program, else ``exit``.

    The traceback of one that left the program begins at the outermost frame, which has no ``f_back`` and did
    not return. One that a prompt caught begins at a frame with a caller; but coroutines and generators lose
    theirs when they end, and the interpreter's own prompt has no frame.
    """
    error = getattr(sys, "last_value", None)
    trace = getattr(error, "__traceback__", None)
    if error is None or trace is None:
        return "exit"
    from opcode import opname  # a millisecond, which an exit without an exception does not need

    frame, code = trace.tb_frame, trace.tb_frame.f_code
    returned = opname[code.co_code[frame.f_lasti]].startswith("RETURN")
    outermost = frame.f_back is None and not code.co_flags & _SUSPENDABLE and not returned
    goes_on = sys.flags.interactive or sys.flags.inspect or "PYTHONINSPECT" in os.environ
    at_prompt = goes_on or getattr(sys, "argv", [])[:1] == [""] or code.co_filename.startswith("<stdin>")
    return reason_of(error) if outermost and not (at_prompt and os.isatty(0)) else "exit"


def reason_of(error: BaseException | None) -> ExitReason:
    """The exit reason of what was left with ``error``.

    A generator that is closed was not to go on; ``%exit_raise`` leaves an embedded IPython by an exception.
    """
    asked_for = getattr(sys.modules.get("IPython.terminal.embed"), "KillEmbedded", SystemExit)
    chosen = error is None or isinstance(error, SystemExit | GeneratorExit | asked_for)
    return "exit" if chosen else "exception"


def exit_code_of(error: BaseException | None) -> int | None:
    """The exit code that ``SystemExit`` carries; ``None`` where another one may still come."""
    if not isinstance(error, SystemExit):
        return None
    return error.code if isinstance(error.code, int) else int(error.code is not None)


def status_of(reason: str) -> str:
    """An exception out of the shell is a crash, any other known end is an end."""
    return "crashed" if reason == "exception" else "ended"


# Live sessions by id, which `_end_all` ends.
_hooked: dict[str, Session] = {}


def _end_all(number: int, frame: FrameType | None) -> None:
    """The handler of SIGTERM and SIGHUP: writes the ends, then lets the default act. It takes no lock."""
    del frame
    try:
        for session in list(_hooked.values()):
            # One that cannot be written must not cost another.
            with suppress(Exception):
                session.write_end(exit_reason=FATAL_SIGNALS[number], status="ended", signal=number)
    finally:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def hook_signals(session: Session) -> None:
    """Have SIGTERM and SIGHUP end ``session``, where somebody is at a terminal and the host left the default.

    Safe to call again. Nothing is hooked elsewhere than on the main thread, nor as PID 1, for which the
    default does nothing.
    """
    if os.getpid() == 1 or not os.isatty(0):
        return
    _hooked[session.id] = session
    left = {one for one in FATAL_SIGNALS if on_main_thread() and signal.getsignal(one) is signal.SIG_DFL}
    # What C code hooked (gevent, faulthandler) only the kernel knows.
    for number in left - facts.caught_signals() if left else ():
        # ValueError: a subinterpreter has no signals.
        with suppress(ValueError):
            signal.signal(number, _end_all)


def unhook_signals(session: Session) -> None:
    """Have signals leave ``session`` alone; after the last one, on the main thread, they are given back."""
    _hooked.pop(session.id, None)
    if not _hooked:
        _give_back()


def _give_back() -> None:
    for number in FATAL_SIGNALS if on_main_thread() else ():
        if signal.getsignal(number) is _end_all:
            signal.signal(number, signal.SIG_DFL)


def _unhook_child() -> None:
    """The child is not the session, and dies at once even within a long call in C."""
    _hooked.clear()
    _give_back()


if hasattr(os, "register_at_fork"):
    # Whichever thread forked is the main one of the child.
    os.register_at_fork(after_in_child=_unhook_child)
