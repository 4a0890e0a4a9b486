"""The journal of one session: a file of JSON lines, alive as long as its lock is held.

The lines are::

    pulse   the last sign of life, one record of fixed size that each heartbeat and each command overwrites
    start   the session_start event
    end     the session_end event, once there is one

Its owner holds an ``flock`` on it. The kernel drops that lock when the process dies, however it dies, so a
journal whose lock is free and that has no end is an orphan.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from oneiric import compose, facts
from oneiric.descriptors import identity, lock, make_folder, open_high, release, write
from oneiric.interrupts import suppress
from oneiric.threads import Owned, allocate_lock

NEW_SUFFIX = ".new"
_PULSE_BYTES = 320


class Journal(Owned):
    """The journal of one live session, held by its owner; once it is made, no kill loses the start.

    The file gets its name after it is locked and whole: a finder can never take the lock of a live journal,
    nor see half of one.

    Every write can raise :class:`OSError`; a write that fails leaves the journal as it was.

    Args:
        began: when ``start`` was made, by :func:`oneiric.facts.boottime`.
        home: see :func:`oneiric.descriptors.make_folder`.

    Attributes:
        ended: the end is in it.
        pulsed: time and elapsed seconds of the latest pulse.
    """

    def __init__(self, path: Path, start: dict[str, Any], began: float, home: Path | None = None) -> None:
        super().__init__()
        self.path = path
        self._home = home
        self._start = start
        self._began = began
        self.pulsed: tuple[str, float] = (start["timestamp"], 0.0)
        self._pulse = self._pulse_line({})
        self._descriptor, self._size = _write_new(path, self._pulse, start, home)
        self._identity = identity(self._descriptor)
        self._closed = self.ended = False
        self._asked = ""
        # To write a pulse; no forked child, which may find it taken for good, asks for it.
        self._in_use = allocate_lock()

    def __repr__(self) -> str:
        return f"<Journal {self.path.name} bytes={self._size}>"

    def append_end(self, end: Mapping[str, Any]) -> None:
        """Write the end behind the start, once; takes no lock, so that a signal handler may call it."""
        if self.ended:
            return
        if self._closed:
            raise OSError("the journal is closed")
        if not self._reaches_file():
            self._reopen()
        line = compose.encode(end)
        write(self._descriptor, line, self._size)
        self._size += len(line)
        self.ended = True

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the start, whatever the time of day was set to meanwhile."""
        return round(facts.boottime() - self._began, 6)

    def pulse(self, when: str, activity: Callable[[], Mapping[str, Any]]) -> None:
        """Overwrite the pulse with what ``activity`` tells; the journal does not grow.

        Waits for nobody: where another is at it, maybe interrupted by a signal handler that calls this, that
        one writes the latest activity.
        """
        self._asked = when
        while self._asked and self._in_use.acquire(blocking=False):
            try:
                self.pulsed, self._asked = (self._asked, self.elapsed_seconds), ""
                line = self._pulse_line(activity())
                if len(line) == _PULSE_BYTES and not self._closed:
                    self._pulse = line
                    if not self._reaches_file():
                        # Without its lock others would take the session for dead.
                        self._reopen()
                    os.pwrite(self._descriptor, line, 0)
            finally:
                self._in_use.release()

    def _pulse_line(self, activity: Mapping[str, Any]) -> bytes:
        when, elapsed = self.pulsed
        record = {"event_type": "session_heartbeat", "timestamp": when, "elapsed_seconds": elapsed}
        # For whoever sees the process exit: the session lasted from this to the boot time then.
        line = compose.encode({**record, "boottime_at_start": self._began, **activity})
        return line[:-1].ljust(_PULSE_BYTES - 1) + b"\n"

    def close(self) -> None:
        """Let go of the journal: its lock is free from here on, unless this is a forked child's copy of it.

        Safe to call twice.
        """
        self._closed = True
        # A close can fail, on a network home, and has closed all the same.
        with suppress(OSError):
            self._drop_descriptor()

    def try_close(self) -> None:
        """:meth:`close` it, unless a pulse is being written."""
        if self._in_use.acquire(blocking=False):
            try:
                self.close()
            finally:
                self._in_use.release()

    def _reaches_file(self) -> bool:
        """Whether a write reaches this journal.

        The host may have closed the descriptor and got its number again, or somebody unlinked the file.
        """
        with suppress(OSError):
            found = os.fstat(self._descriptor)
            return (found.st_dev, found.st_ino) == self._identity and found.st_nlink > 0
        return False

    def _drop_descriptor(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if identity(descriptor) == self._identity:
            # A copy of it in a forked child must not unlock the journal of its parent.
            (release if self.made_here else os.close)(descriptor)

    def _reopen(self) -> None:
        """Take the journal up again after its descriptor, or its file, was taken from us."""
        self._drop_descriptor()
        try:
            descriptor, self._size = _take_up(self.path)
        except FileNotFoundError:
            # Unlinked, or taken for dead and delivered: begin anew, the start may be a duplicate.
            descriptor, self._size = _write_new(self.path, self._pulse, self._start, self._home)
        self._descriptor, self._identity = descriptor, identity(descriptor)


def _write_new(final: Path, pulse: bytes, start: dict[str, Any], home: Path | None) -> tuple[int, int]:
    """Make a journal; returns its locked descriptor and its size."""
    fresh = final.with_suffix(NEW_SUFFIX)
    content = pulse + compose.encode(start)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        descriptor = open_high(fresh, flags)
    except FileNotFoundError:
        make_folder(final.parent, home)
        descriptor = open_high(fresh, flags)
    try:
        os.fchmod(descriptor, 0o600)
        lock(descriptor)
        write(descriptor, content, 0)
        os.rename(fresh, final)
    except BaseException:
        os.close(descriptor)
        with suppress(OSError):
            os.unlink(fresh)
        raise
    return descriptor, len(content)


def _take_up(path: Path) -> tuple[int, int]:
    """Lock a journal that exists; returns its descriptor and its size."""
    descriptor = open_high(path, os.O_RDWR)
    try:
        lock(descriptor)
        return descriptor, os.fstat(descriptor).st_size
    except BaseException:
        os.close(descriptor)
        raise
