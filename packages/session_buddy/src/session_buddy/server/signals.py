"""The signals that end the server in good order."""

import signal
import sys

_came: list[int] = []


def ending() -> list[signal.Signals]:
    """Those signals; under nohup, a terminal's end is none of them."""
    hung_up = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGTERM, signal.SIGINT, *hung_up]


def leave_at_once() -> None:
    """Until the server takes over, have them unwind what was opened so far."""
    for number in set(ending()) - {signal.SIGINT}:
        signal.signal(number, _leave)


def ignore() -> None:
    """Ignore them while things are closed: a second signal must not stop that half-way."""
    for number in ending():
        signal.signal(number, signal.SIG_IGN)


def has_left() -> bool:
    """Whether one came before the server took over."""
    return bool(_came)


def _leave(number: int, _: object) -> None:
    _came.append(number)
    ignore()
    sys.exit(0)
