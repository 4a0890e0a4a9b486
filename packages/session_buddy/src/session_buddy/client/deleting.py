"""Sessions deleted for good, by a server, or in the file where none keeps it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from oneiric.paths import user_paths
from oneiric.transport import Endpoint
from session_buddy.client.api import asked, back_up
from session_buddy.client.ask import done
from session_buddy.history.tombstones import Wanted, portions

if TYPE_CHECKING:
    from session_buddy.keep.deletion import Deletion
    from session_buddy.store import Store

_PATH: Final = "/api/v1/deletions"
# One portion, behind others that wait for the database.
_PORTION_SECONDS: Final = 120.0


def look(wanted: Wanted, *, force: bool) -> dict[str, Any]:
    """Count what would be deleted, see :class:`session_buddy.keep.deletion.Found`.

    Raises:
        SessionBuddyError: it may not be deleted, or nobody could answer, and why.
    """

    def by(server: Endpoint) -> dict[str, Any]:
        return asked(server, _PATH, {**_told(wanted), "force": force, "dry_run": True}, _PORTION_SECONDS)

    def in_file() -> dict[str, Any]:
        with _opened() as (deletion, _):
            return dict(deletion.look(wanted, datetime.now(UTC), force=force))

    return done(by, in_file)


def delete(wanted: Wanted, advance: Callable[[int], None], *, force: bool) -> dict[str, Any]:
    """Delete; returns how many were ``deleted``, and how many journals of open shells are ``held``.

    ``advance`` is called with the number of each portion.

    Raises:
        SessionBuddyError: why no more could be deleted.
    """

    def all_of(some: Callable[[int], Mapping[str, Any]]) -> dict[str, Any]:
        deleted = held = 0
        for portion in portions(some):
            deleted, held = deleted + portion["deleted"], held + portion["held"]
            advance(portion["deleted"])
        return {"deleted": deleted, "held": held}

    def by(server: Endpoint) -> dict[str, Any]:
        return all_of(
            lambda number: asked(
                server, _PATH, {**_told(wanted), "force": force, "number": number}, _PORTION_SECONDS
            )
        )

    def in_file() -> dict[str, Any]:
        from session_buddy.access.callers import local_subject

        with _opened() as (deletion, _):
            some = partial(deletion.some, wanted, local_subject(), datetime.now(UTC), force=force)
            return all_of(lambda number: some(number=number))

    return done(by, in_file)


def replace_backups() -> str:
    """Make a backup in the place of all that there are; returns its path.

    Raises:
        SessionBuddyError: it cannot be made, and why; the others are there.
    """

    def in_file() -> str:
        from session_buddy.keep.backups import Backups
        from session_buddy.store import as_file

        with _opened() as (_, store):
            return str(Backups.of(store.url).make(as_file(store).backup, datetime.now(UTC), 1).path)

    return done(partial(back_up, replace=True), in_file)


@contextmanager
def _opened() -> Iterator[tuple["Deletion", "Store"]]:
    from session_buddy.client import offline
    from session_buddy.host.layers import load_settings
    from session_buddy.keep.deletion import Deletion

    settings, paths = load_settings(), user_paths()
    with offline.opened(settings, datetime.now(UTC), to_write=True) as store:
        yield Deletion(store, paths.outbox, settings.retain), store


def _told(wanted: Wanted) -> dict[str, str]:
    """The parameters of the route that deletes."""
    before = wanted.ended_before
    return {"user": wanted.user or ""} if before is None else {"ended_before": before.isoformat()}
