"""A history as a file, from a server, or from the database where none keeps it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import BinaryIO, Final
from urllib.parse import urlencode

from oneiric.transport import Endpoint
from session_buddy.client.api import fetched
from session_buddy.client.ask import done, typed
from session_buddy.errors import ServerFailed
from session_buddy.history.export import EXPORT_SECONDS, SESSIONS_HEADER, Form

_PATH: Final = "/api/v1/export"
# The server makes it first; then, nothing for so long means that it is gone.
_ANSWER_SECONDS: Final = EXPORT_SECONDS + 30.0


def export(query: str, form: Form, file: BinaryIO, expect: Callable[[int], None]) -> int:
    """Write the sessions that a query finds into an empty file on disk; returns how many there were.

    ``expect`` is called with the number of bytes, where a server makes the file.

    Raises:
        SessionBuddyError: it is not whole, and why.
    """

    def by(server: Endpoint) -> int:
        target = f"{_PATH}?{urlencode({'query': query, 'format': form})}"
        sessions = fetched(server, target, file, expect, _ANSWER_SECONDS)[SESSIONS_HEADER] or ""
        if not sessions.isdigit():
            raise ServerFailed("what answers is no Session-Buddy")
        return int(sessions)

    def open_file() -> int:
        from session_buddy.client import offline
        from session_buddy.history.query import Clock, Query
        from session_buddy.host.layers import load_settings

        now = datetime.now(UTC)
        with offline.opened(load_settings(), now) as store:
            return store.export(Query.parse(query, clock=Clock(now)), form, file)

    query = typed(query)
    return done(by, open_file)
