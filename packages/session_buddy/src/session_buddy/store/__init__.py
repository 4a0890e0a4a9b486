"""Where the history lies on disk: one seam, opened by URL."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from oneiric.paths import Paths
from session_buddy.errors import BackupsElsewhere, ConfigurationError
from session_buddy.host.database_url import DEFAULT_QUERY_SECONDS, DatabaseUrl
from session_buddy.host.histories import databases, remember
from session_buddy.store.protocol import Gap, Store

if TYPE_CHECKING:
    from session_buddy.store.duckdb import DuckDBStore

__all__ = ["Gap", "Store", "as_file", "open_file", "open_known", "open_store"]


def open_store(
    url: DatabaseUrl | str,
    *,
    wait_seconds: float = 5.0,
    known: bool = False,
    only_look: bool = False,
    query_seconds: float = DEFAULT_QUERY_SECONDS,
) -> Store:
    """Open a database, making it if it does not exist.

    Args:
        url: ``duckdb:///path`` (three slashes and an absolute path make four) or ``postgresql://host/name``.
        wait_seconds: of a file: how long to wait for another process to let go of it.
        known: whether it was there before: what is not there now was lost.
        only_look: of a database server: nothing is changed.
        query_seconds: how long a query may take.

    Raises:
        ConfigurationError: no store goes by this URL.
        StoreLocked: another process holds it.
        NotADatabase: it is something else.
        NewerDatabase: a later version wrote it.
        OlderDatabase: an earlier version did, and it is only looked at.
        StoreUnavailable: it cannot be reached; rights, a full disk, damage.
    """
    url = _parsed(url)
    if url.file is not None:
        return open_file(url.file, wait_seconds=wait_seconds, known=known, query_seconds=query_seconds)
    try:
        from session_buddy.store.postgres import PostgresStore
    except ImportError as error:
        raise ConfigurationError(
            f"database {url}: its driver is missing ({error}): pip install 'session-buddy[postgres]'"
        ) from None
    return PostgresStore.open(url, known=known, may_change=not only_look, query_seconds=query_seconds)


def open_file(
    path: Path,
    *,
    wait_seconds: float = 5.0,
    known: bool = False,
    query_seconds: float = DEFAULT_QUERY_SECONDS,
) -> "DuckDBStore":
    """:func:`open_store` for a DuckDB file."""
    # Not at the top: a command that only asks a running server does without the database's library.
    from session_buddy.store.duckdb import DuckDBStore

    return DuckDBStore.open(path, wait_seconds=wait_seconds, known=known, query_seconds=query_seconds)


def as_file(store: Store) -> "DuckDBStore":
    """A store that lies in a file, as that.

    Raises:
        BackupsElsewhere: it does not.
    """
    if store.url.file is None:
        raise BackupsElsewhere(store.url)
    return cast("DuckDBStore", store)


def open_known(
    url: DatabaseUrl | str, paths: Paths, *, query_seconds: float = DEFAULT_QUERY_SECONDS
) -> Store:
    """Open a database that may have been here before, and remember it; its ``gap`` says if it is gone."""
    url = _parsed(url)
    store = open_store(url, known=url in databases(paths), query_seconds=query_seconds)
    remember(url, paths)
    return store


def _parsed(url: DatabaseUrl | str) -> DatabaseUrl:
    return DatabaseUrl.parse(url) if isinstance(url, str) else url
