"""Where the history lies on disk: one seam, opened by URL."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from session_buddy.host.places import file_of
from session_buddy.store.protocol import Gap, Store

__all__ = ["Gap", "Store", "looked_at", "open_store"]


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


@contextmanager
def looked_at(url: str) -> Iterator[Store]:
    """Open a copy of a database, so that nothing changes in it whatever is done: not its schema, nor its log.

    Args:
        url: the database.

    Raises:
        ConfigurationError: no store goes by this URL.
        StoreError: it is not there, or cannot be used; see :func:`open_store`.
    """
    path = file_of(url)
    # Not at the top, like the store.
    from session_buddy.store.duckdb.copies import copied

    with (
        TemporaryDirectory() as folder,
        closing(open_store(f"duckdb:///{copied(path, Path(folder))}")) as store,
    ):
        yield store
