"""Turns: this user's own commands, and a server that starts, open a database one after another."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from oneiric.descriptors import make_folder, release, try_lock
from oneiric.paths import Paths

LONGEST_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.05


@contextmanager
def turn(paths: Paths, longest: float = LONGEST_SECONDS) -> Iterator[None]:
    """Wait until it is our turn, and keep the others waiting meanwhile.

    An advisory queue lock, since a database has a lock of its own: after ``longest`` seconds of one holder,
    others go ahead, and where no lock file can be made, nobody waits.

    Args:
        paths: this user's folders.
        longest: how many seconds one turn of another may last.
    """
    file = paths.server_file.with_name("turn.lock")
    descriptor = None
    with suppress(OSError):
        make_folder(file.parent)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if descriptor is None:
        yield
        return
    try:
        began, since = 0, time.monotonic()
        while not (mine := try_lock(descriptor)) and time.monotonic() < since + longest:
            if os.fstat(descriptor).st_mtime_ns != began:  # another's turn than before
                began, since = os.fstat(descriptor).st_mtime_ns, time.monotonic()
            time.sleep(_LOOK_SECONDS)
        if mine:
            os.utime(descriptor)
        yield
    finally:
        release(descriptor)
