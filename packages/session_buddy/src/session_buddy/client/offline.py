"""Answers without a server: open the database, take in what waits in the outbox, read, close.

Every answer is read whole before the file is let go of, so nothing is printed while it is held.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

from oneiric.paths import user_paths
from session_buddy.history.query import Query
from session_buddy.history.record import to_record
from session_buddy.host.settings import load_settings
from session_buddy.intake.admission import locally
from session_buddy.intake.outbox import hand_over
from session_buddy.keep.losses import make_up
from session_buddy.store import Store
from session_buddy.store.known import open_known


def answer(tool: str, arguments: Mapping[str, Any], wait_seconds: float) -> dict[str, Any]:
    """What a server would answer to ``list_sessions`` or ``get_session``.

    Args:
        tool: one of the two.
        arguments: the tool's.
        wait_seconds: how long to wait for another process to let go of the database.

    Raises:
        SessionBuddyError: an argument is not valid, no session fits, or the database cannot be used.
    """
    now, url = datetime.now(UTC), load_settings().database_url()
    if tool == "get_session":
        with opened(url, now, wait_seconds) as store:
            return {"session": to_record(store.find(arguments["session_id"]), now)}
    query = Query.parse(now=now, **arguments)
    with opened(url, now, wait_seconds) as store:
        return {"sessions": [to_record(row, now) for row in store.select(query)]}


@contextmanager
def opened(url: str, now: datetime, wait_seconds: float) -> Iterator[Store]:
    """A database, with all that waits taken in.

    Args:
        url: which one.
        now: the time.
        wait_seconds: how long to wait for another process to let go of it.

    Raises:
        SessionBuddyError: it cannot be used.
    """
    paths = user_paths()
    with closing(open_known(url, paths, wait_seconds=wait_seconds)) as store:
        if store.gap is not None:
            make_up(store, store.ingest, paths, now)
            store.forget_gap()
        else:
            hand_over(paths.outbox, locally(store.ingest, now), now)
        yield store
