"""Sessions deleted for good, those of a person or those that ended long ago; and deletions carried over."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from typing_extensions import TypedDict

from session_buddy.errors import DeletionRefused, InvalidQuery
from session_buddy.history.model import SessionRow
from session_buddy.history.query import MAX_LIMIT, Query
from session_buddy.history.times import iso
from session_buddy.history.tombstones import ACTIVE, OVER, YOUNGEST, Named, Tombstone, Wanted
from session_buddy.intake.outbox import remove
from session_buddy.store import Store
from session_buddy.store.rows import left_of

# So many go in one transaction: events that come in meanwhile wait for it.
PORTION: Final = 5_000
_NAMED: Final = 3


class Found(TypedDict):
    """What would be deleted: how many sessions, and when the first and the last of them started."""

    sessions: int
    oldest: str | None
    newest: str | None


class Done(TypedDict):
    """What one call deleted.

    Attributes:
        number: of the deletion, with which the next call goes on; 0: there was nothing to delete.
        deleted: how many sessions.
        left: whether there may be more.
        held: how many journals stay until the shells that hold them end.
    """

    number: int
    deleted: int
    left: bool
    held: int


class Deletion:
    """Deletes from a history, a portion at a time, so that nobody waits long.

    Args:
        store: the history.
        outbox: this user's, whose journals go too.
        retain: what ended since then stays.
        write: has something done while nobody else writes.
        learn: is told of the rows that are left of sessions.
    """

    def __init__(
        self,
        store: Store,
        outbox: Path,
        retain: timedelta,
        *,
        write: Callable[[Callable[[], Any]], Any] = lambda action: action(),
        learn: Callable[[Sequence[SessionRow]], object] = lambda _: None,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._retain = retain
        self._write = write
        self._learn = learn

    def __repr__(self) -> str:
        return f"<Deletion({self._store!r}, retain={self._retain})>"

    def look(self, wanted: Wanted, now: datetime, *, force: bool = False) -> Found:
        """What would be deleted; arguments as of :meth:`some`.

        Raises:
            InvalidQuery: it may not be deleted yet.
            DeletionRefused: some are active; names them.
            StoreError: the database cannot be read.
        """
        self._require_allowed(wanted, now, force=force)
        extent = self._store.extent(wanted.query(now))
        return Found(sessions=extent.sessions, oldest=iso(extent.oldest), newest=iso(extent.newest))

    def some(
        self, wanted: Wanted, subject: str, now: datetime, *, number: int = 0, force: bool = False
    ) -> Done:
        """Delete a portion.

        Args:
            wanted: which.
            subject: who deletes.
            now: the time.
            number: of the deletion that this goes on with; 0: it is a new one.
            force: also sessions that are active.

        Raises:
            InvalidQuery: they may not be deleted yet; this subject has no such deletion.
            DeletionRefused: some are active; names them.
            StoreError: the database cannot be written.
        """
        self._require_allowed(wanted, now, force=force)
        entry = Tombstone(number, wanted.kind, now, subject, started_before=wanted.ended_before)
        if number:
            entry = self._going_on(entry)
        # One may have begun meanwhile.
        query = replace(wanted.query(now, "" if force else OVER), limit=PORTION)
        entry, found = self._write(lambda: self._delete(entry, query))
        held = remove(self._outbox, {one.session_id for one in found}) if found else 0
        return Done(number=entry.number, deleted=len(found), left=len(found) == PORTION, held=held)

    def _delete(self, entry: Tombstone, query: Query) -> tuple[Tombstone, list[Named]]:
        found = self._store.named_by(query)
        if not found:
            return entry, found
        age = entry.started_before
        # One whose clock was ahead started behind the age that would refuse it.
        buried = [one for one in found if age is None or one.start_time >= age]
        gone = [one.session_id for one in found if age is not None and one.start_time < age]
        if age is not None and not entry.number:
            # Ends whose starts would be refused, and which nobody is shown.
            gone += [one.session_id for one in self._store.started_before(age, ends_alone=True)]
        starts = [one.start_time for one in found]
        starts += [time for time in (entry.oldest, entry.newest) if time is not None]
        entry = entry._replace(
            sessions=entry.sessions + len(found),
            oldest=min(starts),
            newest=max(starts),
        )
        entry = self._store.delete(entry, gone, buried)
        if len(found) < PORTION:
            self._store.settle()
        self._learn([left_of(one, entry) for one in buried])
        return entry, found

    def _going_on(self, entry: Tombstone) -> Tombstone:
        for one in self._store.tombstones():
            if (one.number, one.kind, one.deleted_by) == (entry.number, entry.kind, entry.deleted_by):
                return one
        raise InvalidQuery("number", entry.number, "that of your own deletion, which goes on")

    def _active(self, wanted: Wanted, now: datetime) -> list[str]:
        query = replace(wanted.query(now, ACTIVE), limit=MAX_LIMIT)
        return sorted(one.session_id for one in self._store.named_by(query))

    def _require_allowed(self, wanted: Wanted, now: datetime, *, force: bool) -> None:
        if wanted.ended_before is None:
            if not force and (active := self._active(wanted, now)):
                raise DeletionRefused(_are_active(active))
            return
        age = now - wanted.ended_before
        if age < YOUNGEST:
            raise InvalidQuery("ended_before", f"{_length(age)} ago", "a day is the least")
        if age < self._retain:
            raise InvalidQuery(
                "ended_before",
                f"{_length(age)} ago",
                f"retain_for is {_length(self._retain)}: nothing younger goes",
            )


def carry(source: Store, target: Store, *, merging: bool = False) -> int:
    """Have what was deleted from one history stay deleted in another.

    Args:
        source: where it was deleted.
        target: an earlier copy of it.
        merging: it is another history, which keeps what it knows, and says for itself how old sessions may be
            that it takes in.

    Returns:
        How many sessions it had of these.
    """
    before = target.extent(Query()).sessions
    entries = source.tombstones()
    known = {_key(one): one for one in target.tombstones()}
    left: dict[int, list[Named]] = {}
    for one in source.buried():
        left.setdefault(one.tombstone or 0, []).append(one)
    if merging:
        lacks = set(target.missing([one.session_id for rows in left.values() for one in rows]))
        left = {number: [one for one in rows if one.session_id in lacks] for number, rows in left.items()}
    for entry in entries:
        buried = left.get(entry.number, [])
        same = known.get(_key(entry))
        if merging and not buried:
            continue
        fresh = entry._replace(number=0, started_before=None if merging else entry.started_before)
        age = fresh.started_before
        gone = _unknown_since(source, target, age) if age else []
        target.delete(entry._replace(number=same.number) if same else fresh, gone, buried)
    return before - target.extent(Query()).sessions


def _unknown_since(source: Store, target: Store, age: datetime) -> list[str]:
    """Those of an earlier copy that started before an age and are not known any more: they were pruned."""
    has = {one.session_id for one in source.started_before(age)}
    return [one.session_id for one in target.started_before(age) if one.session_id not in has]


def _key(entry: Tombstone) -> tuple[object, ...]:
    return entry.kind, entry.deleted_at, entry.deleted_by


def _are_active(active: Sequence[str]) -> str:
    more = f" and {len(active) - _NAMED} more" if active[_NAMED:] else ""
    named = f"{', '.join(active[:_NAMED])}{more}"
    if len(active) == 1:
        return f"session {named} is active; have it left first, or --force deletes what is known of it"
    return (
        f"{len(active)} sessions are active: {named}; have them left first, or --force deletes what is known"
    )


def _length(time: timedelta) -> str:
    hours = time // timedelta(hours=1)
    parts = (f"{number}{unit}" for number, unit in zip(divmod(hours, 24), "dh", strict=True) if number)
    return " ".join(parts) or "0d"
