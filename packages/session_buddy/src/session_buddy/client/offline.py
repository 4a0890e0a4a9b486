"""Answers without a server: open the database, take in what waits in the outbox, read, close.

Every answer is read whole before the file is let go of, so nothing is printed while it is held. A database
that is not this user's own history is looked at in a copy: nothing changes in it, neither schema nor log.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from oneiric.paths import user_paths
from session_buddy.errors import StoreUnavailable
from session_buddy.history.query import Query, parse_ref
from session_buddy.history.record import to_record
from session_buddy.host.histories import is_own, own, same
from session_buddy.host.places import file_of
from session_buddy.intake.admission import locally
from session_buddy.intake.outbox import hand_over
from session_buddy.keep.losses import make_up
from session_buddy.store import Store, open_known, open_store
from session_buddy.store.duckdb.copies import copied

log = logging.getLogger("session_buddy.client.offline")


def answer(tool: str, arguments: Mapping[str, Any], url: str) -> dict[str, Any]:
    """What a server would answer to ``list_sessions`` or ``get_session``.

    Args:
        tool: one of the two.
        arguments: the tool's.
        url: the database.

    Raises:
        SessionBuddyError: an argument is not valid, no session fits, or the database cannot be used.
    """
    now = datetime.now(UTC)
    if tool == "get_session":
        ref = parse_ref(arguments["session_id"])
        with opened(url, now) as store:
            return {"session": to_record(store.find(ref), now)}
    query = Query.parse(now=now, **arguments)
    with opened(url, now) as store:
        return {"sessions": [to_record(row, now) for row in store.select(query)]}


@contextmanager
def opened(url: str, now: datetime) -> Iterator[Store]:
    """A database: this user's own with all that waits taken in, another as it is, which a warning says.

    Raises:
        SessionBuddyError: it cannot be used.
    """
    paths, database = user_paths(), file_of(url)
    if is_own(url, paths):
        if not same(url, own(paths)):
            log.warning("There is no database %s: it is made.", database)
        with closing(open_known(url, paths)) as store:
            if store.gap is not None:
                make_up(store, store.ingest, paths, now)
                store.forget_gap()
            else:
                hand_over(paths.outbox, locally(store.ingest, now), now)
            yield store
        return
    yours = f"your own history is {file_of(own(paths))}"
    if not database.exists():
        raise StoreUnavailable(f"database {database} is not there; {yours}")
    with (
        TemporaryDirectory() as folder,
        closing(open_store(f"duckdb:///{copied(database, Path(folder))}")) as store,
    ):
        log.warning(
            "%s is only looked at: %s; to exchange them: session-buddy mcp restart --db %s",
            database,
            yours,
            database,
        )
        yield store
