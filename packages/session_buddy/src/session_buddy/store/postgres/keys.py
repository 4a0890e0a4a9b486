"""The secret that the servers of a history share, and what is kept of its tokens, in the table ``meta``."""

import secrets
from collections.abc import Callable
from typing import Final

from session_buddy.host.shelf import Texts
from session_buddy.store.postgres.connection import Connections

_ROWS: Final = """
    SELECT key, value FROM meta
    WHERE key = 'secret' OR starts_with(key, 'secret:') OR starts_with(key, 'token:')
"""
# Another one with each change, so that servers need to look at one row alone.
_STAMP: Final = "keys_changed"
_PUT: Final = "INSERT INTO meta VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_TAKE: Final = "DELETE FROM meta WHERE key = %s"


class MetaKeys:
    """See :class:`session_buddy.host.shelf.Shelf`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def __repr__(self) -> str:
        return f"<MetaKeys({self._connections.url})>"

    def stamp(self) -> object:
        """What was written with the latest change; nothing before the first."""
        with self._connections.reading() as reader:
            return reader.execute("SELECT value FROM meta WHERE key = %s", [_STAMP]).fetchone()

    def read(self) -> Texts:
        """All of it."""
        with self._connections.reading() as reader:
            return dict(reader.execute(_ROWS).fetchall())

    def change(self, work: Callable[[Texts], Texts]) -> None:
        """Write what ``work`` makes of all of it; others who change it wait at the secret's row."""
        with self._connections.writing() as writer, writer.transaction():
            writer.execute("SELECT value FROM meta WHERE key = 'secret' FOR UPDATE")
            changes = work(dict(writer.execute(_ROWS).fetchall()))
            for key, value in (*changes.items(), (_STAMP, secrets.token_hex(8))):
                writer.execute(*((_PUT, [key, value]) if value else (_TAKE, [key])))
