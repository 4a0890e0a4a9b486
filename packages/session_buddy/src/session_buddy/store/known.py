"""Opening a database that may have been here before: one that is gone is no new one."""

from oneiric.paths import Paths
from session_buddy.host.histories import databases, remember
from session_buddy.store import Store, open_store


def open_known(url: str, paths: Paths) -> Store:
    """Open a database as :func:`open_store` does, and remember that it is there.

    If it was there before and is gone, :attr:`Store.gap` says so; where what was remembered cannot be read,
    every database that is not there counts as new.

    Args:
        url: the database, as :meth:`session_buddy.host.settings.Settings.database_url` gives it.
        paths: this user's folders.

    Raises:
        SessionBuddyError: see :func:`open_store`.
    """
    store = open_store(url, known=url in databases(paths))
    remember(url, paths)
    return store
