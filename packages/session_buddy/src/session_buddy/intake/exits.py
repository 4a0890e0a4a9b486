"""Which processes exit: the kernel tells at once, through a descriptor for each (``pidfd_open``)."""

import os
import selectors
import socket
from contextlib import suppress
from typing import Final

_CHUNK: Final = 4096


class Exits:
    """Waits for processes to exit; one thread uses it, any may :meth:`wake` that one.

    Args:
        most: how many processes it may watch, each with a descriptor.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._handles: dict[str, int] = {}
        self._ready = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.settimeout(0)
        self._ready.register(self._woken, selectors.EVENT_READ)

    def __repr__(self) -> str:
        return f"<Exits(processes={len(self._handles)})>"

    def watch(self, key: str, pid: int) -> bool:
        """Watch a process; false if there is none, too many are watched, or the system cannot tell."""
        if len(self._handles) >= self._most or not hasattr(os, "pidfd_open"):
            return False
        try:
            handle = os.pidfd_open(pid)
        except OSError:  # no such process, an older kernel, or no descriptor left
            return False
        try:
            self._ready.register(handle, selectors.EVENT_READ, key)
        except OSError:  # more than this user may wait for
            os.close(handle)
            return False
        self._handles[key] = handle
        return True

    def forget(self, key: str) -> None:
        """Watch it no longer, if it is watched."""
        handle = self._handles.pop(key, None)
        if handle is not None:
            self._ready.unregister(handle)
            os.close(handle)

    def wait(self, seconds: float) -> list[str]:
        """Wait until a process exits, or somebody wakes; the keys of those that did, watched no longer."""
        exited = [key.data for key, _ in self._ready.select(seconds) if key.data is not None]
        with suppress(BlockingIOError):
            while self._woken.recv(_CHUNK):
                pass
        for key in exited:
            self.forget(key)
        return exited

    def wake(self) -> None:
        """Have :meth:`wait` return, from any thread; a no-op once it is closed."""
        with suppress(OSError):
            self._waker.send(b"!")

    def close(self) -> None:
        """Let go of everything."""
        for key in list(self._handles):
            self.forget(key)
        self._ready.close()
        self._woken.close()
        self._waker.close()
