"""Which databases this user has opened: one that was here before and is gone is no new one."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from oneiric.paths import Paths
from session_buddy.store import Store, open_store

_KEPT: Final = 100


def open_known(url: str, paths: Paths, *, wait_seconds: float = 5.0) -> Store:
    """Open a database as :func:`open_store` does, and remember that it is there.

    If it was there before and is gone, :attr:`Store.gap` says so. What is remembered is a text file, one URL
    a line; where that cannot be read or written, every database that is not there counts as new.

    Args:
        url: the database, as :meth:`session_buddy.host.settings.Settings.database_url` gives it.
        paths: this user's folders.
        wait_seconds: how long to wait for another process to let go of it.

    Raises:
        SessionBuddyError: see :func:`open_store`.
    """
    file = paths.state / "session-buddy" / "databases"
    known = _read(file)
    store = open_store(url, wait_seconds=wait_seconds, known=url in known)
    if url not in known:
        with suppress(OSError):
            _write(file, [*known, url][-_KEPT:])
    return store


def _read(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").split("\n")[:-1]
    except OSError:
        return []


def _write(file: Path, urls: list[str]) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f".databases.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text("".join(f"{url}\n" for url in urls), encoding="utf-8", errors="surrogateescape")
    draft.replace(file)
