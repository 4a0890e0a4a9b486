"""Which databases this user has opened, and which of them is the user's own history.

What shells report goes into one history: the database of the latest server, or else the first that was used.
That is also the one that is meant where nobody names any. Another one, a backup that somebody looks at or an
archive, takes nothing in; and one that was here before and is gone is no new one.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from oneiric.descriptors import make_folder
from oneiric.paths import Paths
from session_buddy.errors import ConfigurationError
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.places import APP
from session_buddy.host.process import running

_KEPT: Final = 100


def own(paths: Paths) -> DatabaseUrl:
    """This user's own history."""
    if server := running(paths):
        return DatabaseUrl.parse(server.database)
    return next(iter(databases(paths)), _first(paths))


def is_own(url: DatabaseUrl, paths: Paths) -> bool:
    """Whether a database is this user's own history.

    While there is none yet, it is the one that somebody names, unless that is there already.
    """
    if same(url, own(paths)):
        return True
    has_none = not databases(paths) and running(paths) is None and not _exists(_first(paths))
    return has_none and not _exists(url)


def same(one: DatabaseUrl, other: DatabaseUrl) -> bool:
    """Whether two URLs mean one database."""
    if one.file is None or other.file is None:
        return one == other
    return os.path.realpath(one.file) == os.path.realpath(other.file)


def make_own(url: DatabaseUrl, paths: Paths) -> None:
    """Have what this user's shells report go into this database from now on."""
    known = databases(paths)
    if known[:1] != [url]:
        _write(paths, [url, *(other for other in known if other != url)])


def remember(url: DatabaseUrl, paths: Paths) -> None:
    """A database is there; the first is the user's own."""
    known = databases(paths)
    if url not in known:
        _write(paths, [*known[:1], url, *known[1:]])


def databases(paths: Paths) -> list[DatabaseUrl]:
    """All that were here, the user's own first.

    Raises:
        ConfigurationError: the file may not be read; that is not to know of none.
    """
    try:
        lines = _file(paths).read_text(encoding="utf-8", errors="surrogateescape").split("\n")[:-1]
    except PermissionError as error:
        raise ConfigurationError(f"{_file(paths)} cannot be read: {error.strerror}") from None
    except OSError:
        return []
    known = []
    for line in lines:
        with suppress(ConfigurationError):  # a damaged one
            known.append(DatabaseUrl.parse(line))
    return known


def _exists(url: DatabaseUrl) -> bool:
    return url.file is None or url.file.exists()


def _first(paths: Paths) -> DatabaseUrl:
    return DatabaseUrl.of(paths.data / APP / "sessions.duckdb")


def _write(paths: Paths, urls: list[DatabaseUrl]) -> None:
    file = _file(paths)
    draft = file.with_name(f".databases.{os.getpid()}")
    with suppress(OSError):
        make_folder(file.parent)
        draft.touch(mode=0o600)
        content = "".join(f"{url}\n" for url in urls[:_KEPT])
        draft.write_text(content, encoding="utf-8", errors="surrogateescape")
        draft.replace(file)


def _file(paths: Paths) -> Path:
    return paths.state / APP / "databases"
