"""Files in somebody else's process: descriptors told apart, locked, moved out of the way, written, let go.

A number is ours only as long as it names what we opened: a host that daemonizes closes all of them, and gives
the same numbers to files of its own. What the system refuses is raised as :class:`OSError`.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from oneiric.interrupts import suppress

if sys.platform != "win32":
    import fcntl

# Daemonizing hosts close the low ones wholesale. Below 3 are standard streams, also where they are closed.
_HIGH = (700, 200, 3)


def identity(file: int | Path) -> tuple[int, int] | None:
    """What names an open descriptor's file, or the one at a path, for good; ``None`` if there is none."""
    with suppress(OSError):
        found = os.stat(file)
        return found.st_dev, found.st_ino
    return None


def lock(descriptor: int) -> None:
    """Lock a file, without waiting: :class:`BlockingIOError` where somebody else holds it."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def try_lock(descriptor: int) -> bool:
    """:func:`lock` it; returns whether it could be done."""
    with suppress(OSError):
        lock(descriptor)
        return True
    return False


def moved_up(descriptor: int) -> int:
    """Move a descriptor out of the low numbers."""
    for high in _HIGH:
        with suppress(OSError):
            moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, high)
            os.close(descriptor)
            return moved
    return descriptor


@contextmanager
def standard_streams_taken() -> Iterator[None]:
    """Have a new descriptor be no standard stream's, even for a moment: hosts print to those."""
    with ExitStack() as taken:
        for _ in [stream for stream in range(_HIGH[-1]) if identity(stream) is None]:
            taken.enter_context(held(_sink()))
        yield


def _sink() -> int:
    """A file of no other descriptor, which takes what is written; elsewhere than on Linux the null device."""
    make = getattr(os, "memfd_create", None)
    return make("unused") if make else os.open(os.devnull, os.O_RDWR)


def open_high(path: str | Path, flags: int) -> int:
    """Open a file out of the low numbers; one that is made is for this user alone."""
    with standard_streams_taken():
        return moved_up(os.open(path, flags, 0o600))


@contextmanager
def held(descriptor: int) -> Iterator[int]:
    """Unlock and close a descriptor behind this, unless its number is another file's by then.

    Closing alone would leave a lock to a child that was forked meanwhile.
    """
    file = identity(descriptor)
    try:
        yield descriptor
    finally:
        if file is not None and identity(descriptor) == file:
            release(descriptor)


def release(descriptor: int) -> None:
    """Unlock a file and close it."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


@contextmanager
def opened(path: str | Path, flags: int) -> Iterator[int]:
    """Open a file, or a folder, for a while."""
    with held(open_high(path, flags)) as descriptor:
        yield descriptor


def read(path: str | Path, most: int) -> bytes:
    """The first ``most`` bytes of a file, without waiting where somebody has put a pipe."""
    with opened(path, os.O_RDONLY | os.O_NONBLOCK) as descriptor:
        return os.read(descriptor, most)


def write(descriptor: int, content: bytes, offset: int) -> None:
    """Write at an offset, all or nothing."""
    if os.pwrite(descriptor, content, offset) != len(content):
        os.ftruncate(descriptor, offset)
        raise OSError("the disk is full")


def make_folder(folder: Path, home: Path | None = None) -> None:
    """Make a folder and what leads to it, for this user alone, whatever the host's umask.

    None within a ``home`` that is missing: it may be mounted later.
    """
    if home is not None and folder.is_relative_to(home) and not home.exists():
        raise FileNotFoundError(errno.ENOENT, "the home folder is missing", os.fspath(folder))
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)


def sync(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder."""
    with opened(path, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)
