"""Answers without a server: open the database, take in what waits in the outbox, read, close.

Every answer is read whole before the file is closed, so nothing is printed while it is open. A database
that is not this user's own history is looked at in a copy: nothing changes in it, neither schema nor log.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from oneiric.paths import user_paths
from session_buddy.errors import StoreUnavailable
from session_buddy.history.around import answer
from session_buddy.history.counted import counted
from session_buddy.history.model import SessionRow
from session_buddy.history.page import listed
from session_buddy.history.query import Clock, Query
from session_buddy.history.record import SessionRecord, to_record
from session_buddy.history.reference import parse_ref
from session_buddy.history.statistics import Statistics
from session_buddy.host.database_url import DEFAULT_QUERY_SECONDS, DatabaseUrl
from session_buddy.host.histories import is_own, own, same
from session_buddy.host.layers import load_settings
from session_buddy.host.settings import Settings
from session_buddy.intake.accounts import Accounts
from session_buddy.intake.admission import locally
from session_buddy.intake.outbox import hand_over, replay
from session_buddy.keep.losses import heal
from session_buddy.store import Store, as_file, open_file, open_known, open_store
from session_buddy.store.duckdb.copies import copied

_OF_THE_ANSWER: Final = ("fields", "count")

log = logging.getLogger("session_buddy.client.offline")


@contextmanager
def answering() -> Iterator[Callable[[str, Mapping[str, Any]], Mapping[str, Any]]]:
    """The database that the settings name, answering as a server's tools do.

    Raises:
        SessionBuddyError: it cannot be used; also by its answers: an argument is not valid, no session fits.
    """
    now = datetime.now(UTC)
    with opened(load_settings(), now) as store:

        def records(rows: Sequence[SessionRow]) -> list[SessionRecord]:
            return [to_record(row, now) for row in rows]

        def ask(tool: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            if tool == "get_session":
                around = store.around if arguments.get("details") else None
                return answer(store.find(parse_ref(arguments["session_id"])), around, records)
            if tool == "session_statistics":
                asked = Statistics.parse(now=now, **arguments)
                return counted(asked, store.measured(asked))
            about = {name: value for name, value in arguments.items() if name not in _OF_THE_ANSWER}
            query, count = Query.parse(clock=Clock(now), **about), arguments.get("count")
            fields = arguments.get("fields")
            return listed(query, fields, store.select, records, store.count if count else None)

        yield ask


def replayed(now: datetime) -> list[dict[str, Any]]:
    """Take in again what this user's journals hold, also what was delivered; what became of each event.

    Raises:
        SessionBuddyError: the database cannot be used, or is another than this user's own.
    """
    with opened(load_settings(), now, to_write=True) as store:
        return replay(user_paths().outbox, locally(store.ingest, Accounts()))


@contextmanager
def opened(settings: Settings, now: datetime, *, to_write: bool = False) -> Iterator[Store]:
    """The settings' database: this user's own with all that waits taken in; another as it is, with a warning.

    Raises:
        SessionBuddyError: it cannot be used; it is another, and is to be written.
    """
    paths, url = user_paths(), settings.database_url()
    mine = own(paths)
    if is_own(url, paths):
        if not same(url, mine):
            log.warning("There is no database %s: it is made.", url.name)
        with closing(open_known(url, paths, query_seconds=settings.query_seconds)) as store:
            deliver = locally(store.ingest, Accounts())
            if url.file is None or not heal(as_file(store), deliver, paths, now):
                hand_over(paths.outbox, deliver, now)
            yield store
        return
    exchange = f"to exchange them: session-buddy mcp restart --db {url.name}"
    line = f"{url.name} is only looked at: your own history is {mine.name}; {exchange}"
    if to_write:
        raise StoreUnavailable(line)
    with looked_at(url, settings.query_seconds) as store:
        log.warning(line)
        yield store


@contextmanager
def looked_at(url: DatabaseUrl, query_seconds: float = DEFAULT_QUERY_SECONDS) -> Iterator[Store]:
    """A database as it is: nothing changes in it.

    Raises:
        StoreUnavailable: it is not there, or cannot be read.
        StoreError: it cannot be used otherwise.
    """
    if url.file is None:
        with closing(open_store(url, only_look=True, query_seconds=query_seconds)) as store:
            yield store
        return
    if not url.file.exists():
        yours = own(user_paths()).name
        raise StoreUnavailable(f"database {url.name} is not there; your own history is {yours}")
    with TemporaryDirectory() as folder:
        copy = copied(url.file, Path(folder))
        with closing(open_file(copy, query_seconds=query_seconds)) as store:
            yield store
