"""How a shell ends: what can be known of it, and the hooks that are there to know it.

A host's own handlers stay as they are. Signals are hooked only where asked for (an interactive prompt on the
main thread) and where the host left the default: a handler in Python runs between two byte codes, so that a
host inside a long call in C would die late.
"""

import atexit
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType

from oneiric import compose, contract
from oneiric.contract import ExitReason
from oneiric.process import on_main_thread
from oneiric.session import Session

FATAL_SIGNALS: dict[int, ExitReason] = (
    {signal.SIGTERM: "sigterm", signal.SIGHUP: "sighup"} if os.name == "posix" else {}
)

# Below every priority that a host's finalizer would have.
_LAST = -1000


def at_exit(call: Callable[[], object]) -> Callable[[], None]:
    """Have ``call`` run when this process ends, the latest first; returns what takes that back."""
    atexit.register(call)
    finalize = getattr(sys.modules.get("multiprocessing.util"), "Finalize", None)
    if finalize is None:
        return lambda: atexit.unregister(call)
    # A child that multiprocessing forked leaves without atexit before Python 3.13.
    finalizer = finalize(None, call, exitpriority=_LAST)

    def take_back() -> None:
        atexit.unregister(call)
        finalizer.cancel()

    return take_back


def at_exit_reason() -> str:
    """What ``atexit`` can tell: ``exception`` after an uncaught one outside a prompt, else ``exit``."""
    if hasattr(sys, "ps1") or sys.flags.interactive:
        return "exit"
    return "exception" if getattr(sys, "last_value", None) is not None else "exit"


def reason_of(error: BaseException | None) -> str:
    """The exit reason of a block that was left with ``error``."""
    return "exit" if error is None or isinstance(error, SystemExit) else "exception"


def exit_code_of(error: BaseException | None) -> int | None:
    """The exit code that ``SystemExit`` carries; ``None`` where another one may still come."""
    if not isinstance(error, SystemExit):
        return None
    if error.code is None:
        return 0
    return error.code if isinstance(error.code, int) else 1


def status_of(reason: str) -> str:
    """An exception out of the shell is a crash, any other known end is an end."""
    return "crashed" if reason == "exception" else "ended"


def at_prompt() -> bool:
    """Whether this is a Python prompt with a person before it."""
    prompting = hasattr(sys, "ps1") or bool(sys.flags.interactive) or not any(getattr(sys, "argv", ())[:1])
    try:
        return prompting and os.isatty(0)
    except OSError:
        return False


class _LastLine:
    """The handler of SIGTERM and SIGHUP: writes the end of a session, then lets the default act.

    It takes no lock, and all of the line but its times is made beforehand.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        # Placeholders, which no event has.
        no_time, no_duration = datetime(2000, 1, 1, tzinfo=UTC), -0.25
        self._no_time, self._no_duration = compose.timestamp(no_time).encode(), str(no_duration).encode()
        self._lines = {
            number: compose.encode(
                compose.session_end(
                    session.id,
                    no_time,
                    event_id=contract.new_event_id(),
                    exit_reason=reason,
                    status="ended",
                    signal=number,
                    elapsed_seconds=no_duration,
                    detected_by="emitter",
                )
            )
            for number, reason in FATAL_SIGNALS.items()
        }

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del frame
        try:
            if self.session.end is None and self.session.made_here:
                journal, now = self.session.journal, compose.timestamp(datetime.now(UTC)).encode()
                elapsed = str(journal.elapsed_seconds).encode()
                line = self._lines[number].replace(self._no_time, now)
                journal.append(line.replace(self._no_duration, elapsed))
        finally:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def hook_signals(session: Session) -> None:
    """Have SIGTERM and SIGHUP end ``session``, where the host, or an ended session, left the default.

    Safe to call again. A no-op elsewhere than on the main thread, and as PID 1, for which the default does
    nothing.
    """
    if not on_main_thread() or os.getpid() == 1:
        return
    handler = _LastLine(session)
    for number in FATAL_SIGNALS:
        now = signal.getsignal(number)
        # A session that ended on another thread has left its handler behind.
        if now is signal.SIG_DFL or (isinstance(now, _LastLine) and now.session.end is not None):
            signal.signal(number, handler)


def unhook_signals(session: Session | None = None) -> None:
    """Give back the signals that are hooked for ``session``, or for any; a no-op off the main thread."""
    for number in FATAL_SIGNALS if on_main_thread() else ():
        handler = signal.getsignal(number)
        if isinstance(handler, _LastLine) and session in (None, handler.session):
            signal.signal(number, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    # The child is not the session, and dies at once even within a long call in C. Whichever thread forked is
    # the main one of the child.
    os.register_at_fork(after_in_child=unhook_signals)
