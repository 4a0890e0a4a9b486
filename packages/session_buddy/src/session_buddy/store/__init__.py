"""Where the history lies on disk: one seam, opened by URL."""

from oneiric.paths import Paths
from session_buddy.host.histories import databases, remember
from session_buddy.host.places import file_of
from session_buddy.store.protocol import Gap, Store

__all__ = ["Gap", "Store", "open_known", "open_store"]


def open_store(url: str, *, wait_seconds: float = 5.0, known: bool = False) -> Store:
    """Open a database, making it if it does not exist.

    Args:
        url: ``duckdb:///path`` (three slashes and an absolute path make four).
        wait_seconds: how long to wait for another process to let go of it.
        known: whether it was there before, so that it has a gap if it is not there now.

    Raises:
        ConfigurationError: no store goes by this URL.
        StoreLocked: another process holds it.
        NotADatabase: the file is something else.
        NewerDatabase: a later version wrote it.
        StoreUnavailable: permissions, a full disk, damage.
    """
    path = file_of(url)
    # Not at the top: a command that only asks a running server does without the database's library.
    from session_buddy.store.duckdb import DuckDBStore

    return DuckDBStore.open(path, wait_seconds=wait_seconds, known=known)


def open_known(url: str, paths: Paths) -> Store:
    """Open a database that may have been here before, and remember it; ``gap`` says if it was and is gone."""
    store = open_store(url, known=url in databases(paths))
    remember(url, paths)
    return store
