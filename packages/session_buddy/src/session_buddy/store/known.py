"""Which databases this user has opened, and which of them is the user's own history.

What shells report goes into one history: the database of the latest server, or else the first that was
used. Any other, a backup that somebody looks at or an archive, takes nothing in; and one that was here before
and is gone is no new one.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from oneiric.descriptors import make_folder
from oneiric.paths import Paths
from session_buddy.host.places import default_database, file_of
from session_buddy.host.process import running
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
    known = _read(paths)
    store = open_store(url, wait_seconds=wait_seconds, known=url in known)
    if url not in known:
        _write(paths, [*known[:1], url, *known[1:]])
    return store


def own(paths: Paths) -> str | None:
    """The database that is this user's own history, by its URL; ``None`` if there is none yet."""
    server = running(paths)
    return server.database if server else next(iter(_read(paths)), None)


def is_own(url: str, paths: Paths) -> bool:
    """Whether a database is this user's own history.

    While there is none yet, one that is there already, and that somebody had to name, is taken for another's.
    """
    ours, database = own(paths), file_of(url)
    return url == ours if ours else database == default_database(paths) or not database.exists()


def make_own(url: str, paths: Paths) -> None:
    """Have what this user's shells report go into this database from now on."""
    known = _read(paths)
    if known[:1] != [url]:
        _write(paths, [url, *(other for other in known if other != url)])


def _read(paths: Paths) -> list[str]:
    try:
        return _file(paths).read_text(encoding="utf-8", errors="surrogateescape").split("\n")[:-1]
    except OSError:
        return []


def _write(paths: Paths, urls: list[str]) -> None:
    file = _file(paths)
    draft = file.with_name(f".databases.{os.getpid()}")
    with suppress(OSError):
        make_folder(file.parent)
        draft.touch(mode=0o600)
        content = "".join(f"{url}\n" for url in urls[:_KEPT])
        draft.write_text(content, encoding="utf-8", errors="surrogateescape")
        draft.replace(file)


def _file(paths: Paths) -> Path:
    return paths.state / "session-buddy" / "databases"
