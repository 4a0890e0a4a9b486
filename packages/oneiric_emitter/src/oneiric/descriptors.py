"""Files in somebody else's process: descriptors told apart, locked, moved out of the way, written, let go.

A number is ours only as long as it names what we opened: a host that daemonizes closes all of them, and gives
the same numbers to files of its own.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

# Missing on Windows, where this module is imported and not used.
CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
# Daemonizing hosts close the low ones wholesale. Below 3 are standard streams, also where they are closed.
_HIGH = (700, 200, 3)


def identity(file: int | Path) -> tuple[int, int] | None:
    """What names an open descriptor's file, or the one at a path, for good; ``None`` if there is none."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def lock(descriptor: int) -> None:
    """Lock a file, without waiting.

    Raises:
        OSError: somebody else holds it.
    """
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def try_lock(descriptor: int) -> bool:
    """:func:`lock` it; returns whether it could be done."""
    try:
        lock(descriptor)
    except OSError:
        return False
    return True


def raised(descriptor: int) -> int:
    """Move a descriptor out of the low numbers."""
    for high in _HIGH:
        try:
            moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, high)
        except OSError:
            continue
        os.close(descriptor)
        return moved
    return descriptor


@contextmanager
def standard_streams_taken() -> Iterator[None]:
    """Have a new descriptor be no standard stream's, even for a moment: hosts print to those."""
    taken: list[int] = []
    try:
        for _ in [stream for stream in range(_HIGH[-1]) if identity(stream) is None]:
            taken.append(os.open(os.devnull, os.O_RDWR | CLOEXEC))  # noqa: PERF401 - one may fail
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)


def open_high(path: str | Path, flags: int) -> int:
    """Open a file out of the low numbers; one that is made is for this user alone.

    Raises:
        OSError: it cannot be opened.
    """
    with standard_streams_taken():
        return raised(os.open(path, flags | CLOEXEC, 0o600))


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
    """Open a file, or a folder, for a while.

    Raises:
        OSError: it cannot be opened.
    """
    with held(open_high(path, flags)) as descriptor:
        yield descriptor


def read(path: str | Path, most: int) -> bytes:
    """The first ``most`` bytes of a file, without waiting where somebody has put a pipe.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | CLOEXEC)
    # It is read in a moment: only where a standard stream is closed has it to make way.
    with held(descriptor if descriptor >= _HIGH[-1] else raised(descriptor)) as ours:
        return os.read(ours, most)


def write(descriptor: int, content: bytes, offset: int) -> None:
    """Write at an offset, all or nothing.

    Raises:
        OSError: the disk is full, or whatever else stands in the way.
    """
    if os.pwrite(descriptor, content, offset) != len(content):
        os.ftruncate(descriptor, offset)
        raise OSError("the disk is full")


def make_folder(folder: Path) -> None:
    """Make a folder and what leads to it, for this user alone, whatever the host's umask."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)


def sync(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder.

    Raises:
        OSError: it cannot.
    """
    with opened(path, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)
