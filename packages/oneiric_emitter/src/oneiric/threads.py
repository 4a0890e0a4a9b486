"""Threads and locks as the interpreter has them, also where gevent or eventlet put greenlets in their place.

A greenlet would stop its host's others while it syncs a file. The threads take no signals: what they took
would come past the masks of the host's threads.
"""

import _thread
import os
import threading
from _thread import LockType
from collections.abc import Callable
from types import BuiltinFunctionType, ModuleType
from typing import Any

from oneiric.interrupts import blocked


def _real_module() -> ModuleType:
    if isinstance(_thread.start_new_thread, BuiltinFunctionType):
        return _thread
    from importlib.util import module_from_spec

    spec: Any = _thread.__spec__
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Taken out now: what is patched later is patched in this very module.
_real = vars(_real_module()).copy()
allocate_lock: Callable[[], LockType] = _real["allocate_lock"]
RLock: type[_thread.RLock] = _real["RLock"]


class Owned:
    """What belongs to the process that made it; a forked child has a copy that is not its own."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def made_here(self) -> bool:
        """Whether this process made it, and not one that forked this process."""
        return self._pid == os.getpid()


def on_main_thread() -> bool:
    """Whether this is the main thread, the only one on which signals can be hooked."""
    return threading.current_thread() is threading.main_thread()


def start(run: Callable[..., object], *arguments: object) -> None:
    """Run something on a thread of its own.

    Raises:
        RuntimeError: no thread can be had: a limit, a late exit, a subinterpreter, at whose end such a thread
            would abort the process.
    """
    if not _real.get("daemon_threads_allowed", lambda: True)():
        raise RuntimeError("this interpreter allows no daemon threads")
    with blocked():
        _real["start_new_thread"](run, arguments)


def locked() -> LockType:
    """An acquired lock: another thread releases it once, to signal the waiter."""
    lock = allocate_lock()
    lock.acquire()
    return lock
