"""Answers without a server: open the database, take in what waits in the outbox, read, close.

Every answer is read whole before the file is let go of, so nothing is printed while it is held. A database
that is not this user's own history is looked at and left as it is.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any

from oneiric.paths import Paths, user_paths
from session_buddy.errors import StoreUnavailable
from session_buddy.history.query import Query
from session_buddy.history.record import to_record
from session_buddy.host.places import default_database, file_of
from session_buddy.host.settings import Settings
from session_buddy.intake.admission import locally
from session_buddy.intake.outbox import hand_over
from session_buddy.keep.losses import make_up
from session_buddy.store import Store, looked_at
from session_buddy.store.known import is_own, open_known, own
from session_buddy.store.turn import turn_at

Tell = Callable[[str], None]


def answer(
    tool: str, arguments: Mapping[str, Any], settings: Settings, wait_seconds: float, tell: Tell
) -> dict[str, Any]:
    """What a server would answer to ``list_sessions`` or ``get_session``.

    Args:
        tool: one of the two.
        arguments: the tool's.
        settings: they name the database.
        wait_seconds: how long to wait for another process to let go of it.
        tell: is given a line on what may not be expected.

    Raises:
        SessionBuddyError: an argument is not valid, no session fits, or the database cannot be used.
    """
    now = datetime.now(UTC)
    query = Query.parse(now=now, **arguments) if tool == "list_sessions" else None
    with opened(settings, now, wait_seconds, tell) as store:
        if query is None:
            return {"session": to_record(store.find(arguments["session_id"]), now)}
        return {"sessions": [to_record(row, now) for row in store.select(query)]}


def turn(settings: Settings) -> AbstractContextManager[None]:
    """Wait for this user's other commands to close the database; one that is looked at needs no turns."""
    url = settings.database_url()
    return turn_at(url) if is_own(url, user_paths()) else nullcontext()


@contextmanager
def opened(settings: Settings, now: datetime, wait_seconds: float, tell: Tell) -> Iterator[Store]:
    """The database that the settings name: this user's own with all that waits taken in, another as it is.

    Args:
        settings: the settings.
        now: the time.
        wait_seconds: how long to wait for another process to let go of it.
        tell: is given a line on what may not be expected.

    Raises:
        SessionBuddyError: it cannot be used.
    """
    paths, url = user_paths(), settings.database_url()
    if not is_own(url, paths):
        with _another(url, paths, wait_seconds, tell) as store:
            yield store
        return
    if file_of(url) != default_database(paths) and not file_of(url).exists():
        tell(f"There is no database {file_of(url)}: it is made.")
    with closing(open_known(url, paths, wait_seconds=wait_seconds)) as store:
        if store.gap is not None:
            make_up(store, store.ingest, paths, now)
            store.forget_gap()
        else:
            hand_over(paths.outbox, locally(store.ingest, now), now)
        yield store


@contextmanager
def _another(url: str, paths: Paths, wait_seconds: float, tell: Tell) -> Iterator[Store]:
    ours, database = own(paths), file_of(url)
    elsewhere = f"this user's shells report to {file_of(ours)}" if ours else "no shell reports to it"
    change = f"`session-buddy mcp restart --db {database}` changes that"
    if not database.exists():
        raise StoreUnavailable(f"database {database} is not there; {elsewhere}: {change}")
    with looked_at(url, wait_seconds=wait_seconds) as store:
        tell(f"{database} is only looked at: {elsewhere}; {change}.")
        yield store
