"""Turns at a database that one process has at a time: this user's own commands queue for it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Final

from oneiric.descriptors import make_folder, release, try_lock
from session_buddy.host.places import file_of

LONGEST_SECONDS: Final = 60.0


@contextmanager
def turn_at(url: str, longest: float = LONGEST_SECONDS) -> Iterator[None]:
    """Wait until none of this user's other commands has a database open, and keep them waiting meanwhile.

    It guards nothing, the database has a lock of its own: whose turn does not end, because somebody stopped
    it, is passed over, and where no lock file can be made, nobody waits.

    Args:
        url: the database.
        longest: how many seconds to wait.

    Raises:
        ConfigurationError: no store goes by this URL.
    """
    database = file_of(url)
    descriptor = None
    with suppress(OSError):
        make_folder(database.parent)
        turn = database.with_name(f"{database.name}.turn")
        descriptor = os.open(turn, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if descriptor is None:
        yield
        return
    try:
        if not try_lock(descriptor):
            # In a thread: waiting for a lock has no time-out.
            waiting = Thread(target=_wait, args=(descriptor,), daemon=True)
            waiting.start()
            waiting.join(longest)
        yield
    finally:
        release(descriptor)


def _wait(descriptor: int) -> None:
    with suppress(OSError):  # closed when it took too long
        fcntl.flock(descriptor, fcntl.LOCK_EX)
