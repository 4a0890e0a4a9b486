"""Which sessions somebody asks for, as users write it."""

import difflib
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple, Self, get_args

from oneiric import contract
from oneiric.contract import Status
from session_buddy.errors import InvalidQuery

StatusFilter = Literal[Status, "unreachable"]

MAX_LIMIT: Final = 10_000
DEFAULT_LIMIT: Final = 50


class Cursor(NamedTuple):
    """A place in a list: behind the session that stands there, at its ``listed_at``, and has this id."""

    listed_at: datetime
    session_id: str

    def __str__(self) -> str:
        """As answers carry it.

        >>> str(Cursor(datetime(2026, 1, 2, tzinfo=UTC), "shop-20260102-000000-1b9d6bcd"))
        '1767312000000000.shop-20260102-000000-1b9d6bcd'
        """
        return f"{(self.listed_at - _EPOCH) // timedelta(microseconds=1)}.{self.session_id}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place that an answer named.

        Raises:
            InvalidQuery: none did.
        """
        found = _CURSOR.fullmatch(text)
        with suppress(ValueError, OverflowError):
            if found:
                contract.start_time_of(found[2])
                return cls(_EPOCH + timedelta(microseconds=int(found[1])), found[2])
        raise InvalidQuery("cursor", text, "the next_cursor of an answer")


_NOT_HELD: Final = re.compile("[\0\ud800-\udfff]")
_CURSOR: Final = re.compile(r"([0-9]{1,20})\.(.+)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Query:
    """Which sessions, at most how many.

    Attributes:
        session_type: e.g. ``admin_shell``.
        component: e.g. ``mahavishnu``.
        username: who.
        status: ``active``, ``ended``, ``crashed``, ``lost``, ``unreachable``.
        since: started at or after, UTC; came in, where the session's own clock was wrong.
        limit: at most so many, 1 to 10,000.
        behind: only those behind this place.
        silent: the ids that ``unreachable`` means: live sessions that have missed their heartbeats.
    """

    session_type: str | None = None
    component: str | None = None
    username: str | None = None
    status: StatusFilter | None = None
    since: datetime | None = None
    limit: int = DEFAULT_LIMIT
    behind: Cursor | None = None
    silent: frozenset[str] = frozenset()

    @classmethod
    def parse(
        cls,
        *,
        now: datetime,
        session_type: str | None = None,
        component: str | None = None,
        username: str | None = None,
        status: str | None = None,
        since: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Self:
        """Filters as users write them; an empty one is none, as agents fill in what they leave open.

        Raises:
            InvalidQuery: names the filter, its value and what is allowed.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidQuery("limit", limit, f"a number from 1 to {MAX_LIMIT}")
        return cls(
            session_type=_askable(session_type) if session_type else None,
            component=contract.component_for(component) if component else None,
            username=_askable(username) if username else None,
            status=_parse_status(status) if status else None,
            since=parse_since(since, now) if since else None,
            limit=limit,
            behind=Cursor.parse(cursor) if cursor else None,
        )


STATUS_FILTERS: Final[tuple[StatusFilter, ...]] = (*get_args(Status), "unreachable")


def _parse_status(text: str) -> StatusFilter:
    for known in STATUS_FILTERS:
        if text == known:
            return known
    raise InvalidQuery("status", text, f"one of {', '.join(STATUS_FILTERS)}")


_AGO = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_since(text: str, now: datetime) -> datetime:
    """A time as users write it: ``90s``, ``30m``, ``2h``, ``7d``, ``4w`` ago, or ISO 8601.

    A time without an offset is local time.

    Raises:
        InvalidQuery: it is neither.

    >>> parse_since("2h", datetime(2026, 1, 2, 12, tzinfo=UTC)).isoformat()
    '2026-01-02T10:00:00+00:00'
    """
    try:
        if ago := _AGO.fullmatch(text.strip()):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidQuery("since", text, "a time like 30m, 2h, 7d, 2026-01-31 or 2026-01-31T09:30") from None


def parse_ref(text: str) -> str:
    """How a session is named: its id, the last eight digits, or a beginning of either.

    Raises:
        InvalidQuery: nothing is named.
    """
    if not text.strip():
        raise InvalidQuery("session_id", text, "an id, its last 8 digits, or a beginning of either")
    return _askable(text.strip())


def _askable(text: str) -> str:
    """A text that every database can be asked for: what it cannot hold is in no event, and finds nothing."""
    return _NOT_HELD.sub("\ufffd", text)


def nearest(ref: str, session_ids: Iterable[str], limit: int = 3) -> list[str]:
    """The ids that look most like ``ref``, the most alike first."""
    by_text = {text: one for one in session_ids for text in (one.rpartition("-")[2], one)}
    close: Sequence[str] = difflib.get_close_matches(ref, by_text, n=2 * limit, cutoff=0.6)
    return list(dict.fromkeys(by_text[text] for text in close))[:limit]
