"""What was deleted from a history, and why nothing of it is taken in again.

A session that was forgotten leaves a row that says so, and nothing else of it. Those that were pruned leave
an age: what started before it, and is not known, is refused.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, TypeVar

from oneiric import contract
from session_buddy.errors import InvalidQuery
from session_buddy.history.keys import Clock
from session_buddy.history.query import Query
from session_buddy.history.syntax import Value, held

Kind = Literal["forget", "prune"]

# Younger ones are taken in without a look at what was deleted; servers' clocks may differ by half of it.
YOUNGEST: Final = timedelta(days=1)


class Tombstone(NamedTuple):
    """One deletion. It does not say whose sessions they were: that would keep the name.

    Attributes:
        number: which one, from 1; 0 before it is stored.
        kind: ``forget``: a person's sessions; ``prune``: those that ended long ago.
        deleted_at: when it began.
        deleted_by: whose token asked for it.
        sessions: how many were deleted.
        oldest: when the first of them started.
        newest: when the last of them did.
        started_before: of ``prune``: what started before and is not known is refused since.
    """

    number: int
    kind: Kind
    deleted_at: datetime
    deleted_by: str
    sessions: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    started_before: datetime | None = None

    @property
    def done(self) -> str:
        """When, by whom, how many, of what time."""
        others = f"{self.sessions:,} session{'' if self.sessions == 1 else 's'}"
        first, last = _day(self.oldest), _day(self.newest)
        span = f", started {f'from {first} to {last}' if first != last else first}" if self.oldest else ""
        return f"on {_day(self.deleted_at)} by {self.deleted_by} ({self.kind}: {others}{span})"


class Named(NamedTuple):
    """A session, by what is left of it when it is deleted: then it has a ``tombstone`` and no ``status``."""

    session_id: str
    start_time: datetime
    listed_at: datetime
    status: str | None = None
    tombstone: int | None = None


class Deletions:
    """All deletions of a history, as new events are judged by them."""

    def __init__(self, entries: Sequence[Tombstone] = ()) -> None:
        self._by_number = {one.number: one for one in entries}
        aged = [one for one in entries if one.started_before is not None]
        self._latest = max(aged, key=lambda one: one.started_before or one.deleted_at, default=None)

    def __repr__(self) -> str:
        return f"<Deletions({len(self._by_number)}, before={self._latest and self._latest.started_before})>"

    def why_gone(self, session_id: str, number: int) -> str:
        """Why nothing is known of a session that was deleted, and nothing more is kept."""
        entry = self._by_number.get(number)
        return f"session {session_id} was deleted {entry.done if entry else 'from this history'}"

    def why_refused(self, session_id: str) -> str | None:
        """Why a session that is not known is refused, ``None`` if it is not: it started too long ago."""
        entry = self._latest
        if entry is None or entry.started_before is None:
            return None
        if contract.start_time_of(session_id) >= entry.started_before:
            return None
        return (
            f"session {session_id} is not known, and those that started before"
            f" {_day(entry.started_before)} were deleted {entry.done}"
        )


NO_DELETIONS: Final = Deletions()


ACTIVE: Final = "status:active"
OVER: Final = f"-{ACTIVE}"


class Wanted(NamedTuple):
    """What is to be deleted: all of a person or an account, or what ended before a second (UTC)."""

    user: str | None
    ended_before: datetime | None

    @property
    def kind(self) -> Kind:
        """Which sort of deletion it is."""
        return "forget" if self.ended_before is None else "prune"

    def query(self, now: datetime, only: str = "") -> Query:
        """The query that finds them; ``only`` has more terms, for those of a person."""
        if self.ended_before is None:
            text = f"user:{Value(held(self.user or ''))} {only}"
        else:
            text = f'ended:<"{self.ended_before.isoformat()}" {OVER}'
        return Query.parse(text, clock=Clock(now, UTC))


def wanted_of(user: str | None, ended_before: datetime | None) -> Wanted:
    """What is to be deleted, one of the two.

    Raises:
        InvalidQuery: neither, both, or nobody is named.
    """
    if (user is None) == (ended_before is None):
        given = "none of them" if user is None else "both"
        raise InvalidQuery("user, ended_before", given, "name somebody, or a time, one of the two")
    if user is not None and not user.strip():
        raise InvalidQuery("user", user, "the name of a person or an account")
    if ended_before is not None and ended_before.tzinfo is None:
        raise InvalidQuery("ended_before", ended_before.isoformat(), "a time with its zone")
    try:
        # Ids have the second of the start.
        return Wanted(user, ended_before and ended_before.astimezone(UTC).replace(microsecond=0))
    except OverflowError:
        raise InvalidQuery("ended_before", str(ended_before), "a time that the calendar has") from None


Portion = TypeVar("Portion", bound=Mapping[str, Any])


def portions(some: Callable[[int], Portion]) -> Iterator[Portion]:
    """What each call of ``some`` deletes, until nothing is left.

    It is given the number of the deletion that it goes on with, first 0, see
    ``session_buddy.keep.deletion.Done``.
    """
    number, left = 0, True
    while left:
        done = some(number)
        number, left = done["number"], done["left"]
        yield done


def _day(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC" if time else "-"
