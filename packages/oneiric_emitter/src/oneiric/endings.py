"""How a shell ends: what can be known of it, and the hooks that are there to know it.

A host's own handlers stay as they are. Signals are hooked only where asked for (an interactive prompt on the
main thread) and where the host left the default: a handler in Python runs between two byte codes, so that a
host inside a long call in C would die late.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType, MethodType
from typing import TYPE_CHECKING

from oneiric import compose, contract
from oneiric.contract import ExitReason

if TYPE_CHECKING:
    from oneiric.delivery import Session

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


def _last_line_writer(session: "Session") -> Callable[[int], None]:
    """What a signal handler calls with its number; takes no lock, and all but the time is made beforehand."""
    never = datetime(2000, 1, 1, tzinfo=UTC)
    lines = {
        number: compose.encode(
            compose.session_end(
                session.id,
                never,
                event_id=contract.new_event_id(),
                exit_reason=reason,
                status="ended",
                signal=number,
                detected_by="emitter",
            )
        )
        for number, reason in FATAL_SIGNALS.items()
    }
    then = compose.timestamp(never).encode()

    def write(number: int) -> None:
        if session.end is None and session.pid == os.getpid():
            now = compose.timestamp(datetime.now(UTC)).encode()
            session.journal.append(lines[number].replace(then, now))

    return write


class SignalHooks:
    """Writes a last line when SIGTERM or SIGHUP kills an interactive shell, then lets the default act.

    Args:
        session: whose end that is.
    """

    def __init__(self, session: "Session") -> None:
        self.session = session
        self._write = _last_line_writer(session)
        self._hooked: list[int] = []

    def install(self) -> None:
        """Hook what the host left at its default; a no-op elsewhere than on the main thread and as PID 1."""
        if threading.current_thread() is not threading.main_thread() or os.getpid() == 1:
            return
        for number in FATAL_SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._handle)
                self._hooked.append(number)

    def remove(self) -> None:
        """Give back what is still ours."""
        if threading.current_thread() is not threading.main_thread():
            return
        while self._hooked:
            number = self._hooked.pop()
            if signal.getsignal(number) == self._handle:
                signal.signal(number, signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        try:
            self._write(number)
        finally:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def _give_back_signals() -> None:
    """After a fork: the child is not the session, and dies at once even within a long call in C."""
    for number in FATAL_SIGNALS:
        handler = signal.getsignal(number)
        if isinstance(handler, MethodType) and isinstance(handler.__self__, SignalHooks):
            signal.signal(number, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    # Whichever thread forked is the main one of the child, where signals can be touched.
    os.register_at_fork(after_in_child=_give_back_signals)
