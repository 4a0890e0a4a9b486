"""Files in somebody else's process: descriptors told apart, locked, moved out of the way, written, let go."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

# Missing on Windows, where this module is imported and not used.
CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
_HIGH = (700, 200)


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


def release(descriptor: int) -> None:
    """Unlock a file and close it: closing alone would leave the lock to a child that was forked meanwhile."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def raised(descriptor: int) -> int:
    """Move a descriptor out of the low numbers, which daemonizing hosts close wholesale."""
    for high in _HIGH:
        try:
            moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, high)
        except OSError:
            continue
        os.close(descriptor)
        return moved
    return descriptor


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """Open a file, or a folder, for a while.

    What the host closed meanwhile is not closed again: the number may be another file's by then.
    """
    descriptor = raised(os.open(path, flags | CLOEXEC))
    file = identity(descriptor)
    try:
        yield descriptor
    finally:
        if identity(descriptor) == file:
            os.close(descriptor)


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
