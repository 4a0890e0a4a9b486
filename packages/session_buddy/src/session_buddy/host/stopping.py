"""Ending the server, which is whom the kernel says it is; and the marker that it was meant to end."""

import os
import select
import signal
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from oneiric.descriptors import make_folder
from oneiric.paths import Paths
from session_buddy.errors import AlreadyRunning, ConfigurationError, ServerFailed, SessionBuddyError
from session_buddy.host.process import (
    END_IT,
    HANG_SECONDS,
    held_lock,
    listener,
    lock_file,
    not_responding,
    running,
)
from session_buddy.host.server_file import read_server_file

STOP_SECONDS: Final = 15.0
STOPPED: Final = "it was stopped with `session-buddy mcp stop`; to have it again: session-buddy mcp start"
_POLL_SECONDS: Final = 0.02
_UNSEEN_SECONDS: Final = 1.0


def stop(paths: Paths, *, force: bool = False, restarting: bool = False) -> int | None:
    """End this user's server, and wait until its process is gone.

    What is signalled is who listens on the server's socket, or holds its lock, as the kernel tells it. From
    here on a marker says that bridges shall start none, until somebody starts one.

    Args:
        paths: this user's folders.
        force: kill it if it does not end by itself within 5 s.
        restarting: whether another is started right away.

    Returns:
        The pid that it had, ``None`` if none runs.

    Raises:
        ServerFailed: it hangs, or does not end, or runs where it cannot be seen from here.
        AlreadyRunning: a restore of a backup is at work.
    """
    pid = _server_pid(paths)
    file = _stop_marker(paths)
    with suppress(OSError):
        make_folder(file.parent)
        file.touch(mode=0o600)
        file.write_text("restart" if restarting else "stop")
    try:
        while pid is not None:
            with suppress(ProcessLookupError), closing(_Process(pid)) as process:
                # From here on the number cannot become another process's.
                if _server_pid(paths) == pid:
                    _end(process, paths, force=force)
                    return pid
            pid = _server_pid(paths)
    except SessionBuddyError:
        clear_stop_marker(paths)
        raise
    return None


def read_stop_marker(paths: Paths) -> str | None:
    """``stop`` or ``restart``, if that was the last that was done to the server; ``None`` once one starts."""
    try:
        return _stop_marker(paths).read_text()
    except OSError:
        return None


def clear_stop_marker(paths: Paths) -> None:
    """A server is wanted again.

    Raises:
        ConfigurationError: the marker cannot be removed.
    """
    remove(_stop_marker(paths))


def remove(path: Path) -> None:
    """Remove a file of this user's state, if it is there.

    Raises:
        ConfigurationError: it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be removed: {error.strerror}") from None


class _Process:
    """A process that is signalled by a handle, where the system has one: numbers are used again."""

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError if it is gone."""
        self.pid = pid
        self._handle = None
        # macOS has none, and a system may forbid it.
        with suppress(AttributeError, PermissionError):
            self._handle = os.pidfd_open(pid)

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if self._handle is None:
                os.kill(self.pid, number)
            else:
                signal.pidfd_send_signal(self._handle, number)

    def is_gone_within(self, seconds: float) -> bool:
        """Wait for its end; a parent that never asks leaves a zombie, which counts as gone."""
        if self._handle is not None:
            return bool(select.select([self._handle], [], [], seconds)[0])
        import psutil

        deadline = time.monotonic() + seconds
        with suppress(psutil.NoSuchProcess):
            while psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE:
                if time.monotonic() > deadline:
                    return False
                time.sleep(_POLL_SECONDS)
        return True

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)


def _end(process: _Process, paths: Paths, *, force: bool) -> None:
    try:
        process.signal(signal.SIGTERM)
        if process.is_gone_within(HANG_SECONDS):
            return
        if force:
            process.signal(signal.SIGKILL)
        elif (info := running(paths)) is not None:
            raise not_responding(info)  # one that goes down stops listening first
        if process.is_gone_within(STOP_SECONDS):
            return
    except PermissionError:
        raise ServerFailed(f"the server (pid {process.pid}) is not ours to stop") from None
    raise ServerFailed(f"the server (pid {process.pid}) does not stop; {END_IT}")


def _server_pid(paths: Paths) -> int | None:
    """The server's process, as the kernel tells it: who listens on its socket, else who holds its lock."""
    info = read_server_file(paths)
    pid = (info and listener(info.socket)) or _lock_holder(paths)
    if pid == 0:
        raise ServerFailed(
            "a server of this user runs where it cannot be seen from here, in another container or on another"
            " machine: stop it there"
        )
    return pid


def _lock_holder(paths: Paths) -> int | None:
    """Who holds the server's lock, 0 if it is not to be seen, ``None`` if nobody does."""
    # One that is just ending shows no files any more, and has the lock for a moment still.
    deadline = time.monotonic() + _UNSEEN_SECONDS
    while (lock := held_lock(paths)) is not None:
        if lock != "server":
            raise AlreadyRunning
        from session_buddy.host.holders import lock_holder  # 30 ms of psutil

        pid = lock_holder(lock_file(paths), "FLOCK")
        if pid is not None or time.monotonic() > deadline:
            return pid or 0
        time.sleep(_POLL_SECONDS)
    return None


def _stop_marker(paths: Paths) -> Path:
    return paths.server_file.with_name("stopped")
