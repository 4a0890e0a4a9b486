"""Putting a backup in the database's place, and what has come since on top of it."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from oneiric.contract import Status
from oneiric.descriptors import sync
from oneiric.paths import Paths
from session_buddy.errors import (
    AlreadyRunning,
    NewerDatabase,
    NotADatabase,
    RestoreRefused,
    StoreError,
    StoreLocked,
    StoreUnavailable,
)
from session_buddy.history.query import Query
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.histories import is_own, own
from session_buddy.host.process import only_one, running
from session_buddy.host.turn import turn
from session_buddy.intake.accounts import Accounts
from session_buddy.intake.admission import locally
from session_buddy.keep import losses
from session_buddy.keep.backups import Backup, Backups
from session_buddy.keep.deletion import carry
from session_buddy.keep.losses import Losses
from session_buddy.store import Gap, as_file, open_file, open_known
from session_buddy.store.duckdb.copies import copy_whole, renew, sessions_in
from session_buddy.store.duckdb.exchange import exchange
from session_buddy.store.duckdb.wal import is_unclean, log_of

log = logging.getLogger("session_buddy.keep.restore")


class Restored(NamedTuple):
    """What a restore did.

    Attributes:
        backup: which was put in place.
        database: where.
        sessions: how many sessions are in it.
        back: how many came back from the journals on top of those.
        aside: where the database is that was there before, ``None`` if there was none.
        losses: which of that one's sessions are not there, ``None`` if there was none, or it cannot be told.
        unknown: why it cannot be told.
        deleted: how many sessions of the backup had been deleted since, and stay so.
    """

    backup: Backup
    database: Path
    sessions: int
    back: int
    aside: Path | None
    losses: Losses | None
    unknown: str
    deleted: int


def restore(url: DatabaseUrl, name: str, paths: Paths, now: datetime) -> Restored:
    """Put a backup in the place of the database, which is set aside under a name that says when.

    The backup stays. At each moment there is either the one database or the other; the new one is marked, so
    that what is in the journals comes back even if this process does not live to do it.

    Args:
        url: the database.
        name: the backup's, ``latest``, or a path; see :meth:`Backups.find`.
        paths: this user's folders.
        now: the time.

    Raises:
        UnknownBackup: lists those that there are.
        RestoreRefused: a server runs, or another restore; or it is no backup that can be used.
        StoreLocked: another process holds the database.
        StoreError: the backup is not valid, or the disk is full; its text says so if it is in place already.
    """
    backups = Backups.of(url)
    database, backup = backups.database, backups.find(name, now)
    with _alone(url, paths):
        ours = is_own(url, paths)
        if not ours:
            log.warning("Nothing is taken in from the journals: your own history is %s.", own(paths).name)
        sessions = _sessions_in(backup)
        before, named, unknown = _held(database)
        held: dict[str, Status | None] = {**dict.fromkeys(named), **before}
        aside, deleted = _put_in_place(backup, database, held, has_said=database.exists() and not unknown)
        try:
            with closing(as_file(open_known(url, paths)) if ours else open_file(database)) as store:
                if ours:
                    losses.bring_back(store, locally(store.ingest, Accounts()), paths, now)
                lost = losses.count(store, list(held), aside, before) if aside and not unknown else None
                back = len(store.statuses()) - (sessions - deleted)
                if ours:
                    store.forget_gap()
        except StoreError as error:
            raise StoreUnavailable(
                f"{backup.name} is in place, but what came since could not be taken in: {error};"
                " the next command or server tries again"
            ) from None
        return Restored(backup, database, sessions - deleted, back, aside, lost, unknown, deleted)


@contextmanager
def _alone(url: DatabaseUrl, paths: Paths) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(only_one(paths, "restore"))
            stack.enter_context(turn(paths))
        except AlreadyRunning as error:
            if error.pid is None:
                raise RestoreRefused(f"{error}; wait for it, or stop it: session-buddy mcp stop") from None
            info = running(paths)
            keeps = info and DatabaseUrl.parse(info.database)
            other = f", with the database {keeps.name}" if keeps and keeps != url else ""
            raise RestoreRefused(
                f"the server runs (pid {error.pid}{other}); stop it first: session-buddy mcp stop"
            ) from None
        yield


def _sessions_in(backup: Backup) -> int:
    if is_unclean(backup.path):
        raise RestoreRefused(
            f"{backup.path} is no backup: it was not closed, its log is {log_of(backup.path)}"
        )
    try:
        return sessions_in(backup.path)
    except (NotADatabase, NewerDatabase) as error:
        raise RestoreRefused(f"{error.fact}; name another backup: session-buddy backup list") from None


def _held(database: Path) -> tuple[Mapping[str, Status], tuple[str, ...], str]:
    """The sessions of the present database, its log included, which is then a part of it; or why not.

    With their status those that it has; by id those that it may have lost.

    Raises:
        StoreLocked: another process holds it.
    """
    if not database.exists():
        return {}, (), ""
    try:
        with closing(open_file(database)) as store:
            named = store.gap.sessions if store.gap else ()
            return store.statuses(), named, ""
    except StoreLocked:
        raise
    except StoreError as error:
        return {}, (), str(error)


def _put_in_place(
    backup: Backup, database: Path, held: Mapping[str, Status | None], *, has_said: bool
) -> tuple[Path | None, int]:
    """Exchange the database for a copy of the backup, in which nothing is that was deleted since.

    That is known if the database ``has_said`` it. Returns where that is now, if there was one, and how many
    sessions were deleted from the copy.

    The copy is marked with those sessions of the database, ``held``, that it has not, or in another state.
    """
    # Of a link the file that it means: the link stays, and the file on its disk.
    file = Path(os.path.realpath(database))
    draft = file.with_name(f".{file.name}.restoring")
    try:
        _clear(draft)
        with backup.path.open("rb") as source:
            copy_whole(source.fileno(), draft)
        has, deleted = _tried_out(draft, backup, database if has_said else None)
        lacking = tuple(one for one, status in held.items() if one not in has or has[one] != status)
        renew(draft, Gap(f"restored from the backup of {backup.made_at:%Y-%m-%d %H:%M:%S} UTC", lacking))
        sync(draft)
        aside = exchange(draft, file, log_of(database))
        sync(file.parent)
    except OSError as error:
        raise StoreUnavailable(f"{backup.name} cannot be put in place: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            _clear(draft)
    return aside, deleted


def _tried_out(draft: Path, backup: Backup, former: Path | None) -> tuple[dict[str, Status], int]:
    """The status of each session in a copy without those that ``former`` deleted, and the number of these.

    Asked as every command will: what can be read whole may still lack a column, or a name.
    """
    try:
        with closing(open_file(draft)) as store:
            store.select(Query(limit=1))
            deleted = 0
            if former is not None:
                with closing(open_file(former)) as before:
                    deleted = carry(before, store)
            return store.statuses(), deleted
    except StoreError as error:
        raise RestoreRefused(
            f"{backup.path} is no history that can be used, nothing was changed: its copy, {error}"
        ) from None


def _clear(draft: Path) -> None:
    draft.unlink(missing_ok=True)
    log_of(draft).unlink(missing_ok=True)
