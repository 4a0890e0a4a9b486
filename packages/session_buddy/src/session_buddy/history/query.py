"""Which sessions somebody asks for, as users write it."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Self, get_args

from oneiric import contract
from oneiric.contract import Status
from session_buddy.errors import InvalidQuery

StatusFilter = Literal[Status, "unreachable"]

MAX_LIMIT: Final = 10_000
DEFAULT_LIMIT: Final = 50


@dataclass(frozen=True, slots=True)
class Query:
    """Which sessions, at most how many.

    Attributes:
        session_type: e.g. ``admin_shell``.
        component: e.g. ``mahavishnu``.
        username: who.
        status: ``active``, ``ended``, ``crashed``, ``lost``, ``unreachable``.
        since: started at or after, UTC.
        limit: at most so many, 1 to 10,000.
        silent: the ids that ``unreachable`` means: live sessions that have missed their heartbeats.
    """

    session_type: str | None = None
    component: str | None = None
    username: str | None = None
    status: StatusFilter | None = None
    since: datetime | None = None
    limit: int = DEFAULT_LIMIT
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
    ) -> Self:
        """Filters as users write them; an empty one is none, as agents fill in what they leave open.

        Raises:
            InvalidQuery: names the filter, its value and what is allowed.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidQuery("limit", limit, f"a number from 1 to {MAX_LIMIT}")
        return cls(
            session_type=session_type or None,
            component=contract.component_for(component) if component else None,
            username=username or None,
            status=_parse_status(status) if status else None,
            since=parse_since(since, now) if since else None,
            limit=limit,
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
    return text.strip()


def nearest(ref: str, session_ids: Iterable[str], limit: int = 3) -> list[str]:
    """The ids that look most like ``ref``, the most alike first."""
    by_text = {text: one for one in session_ids for text in (one.rpartition("-")[2], one)}
    close: Sequence[str] = difflib.get_close_matches(ref, by_text, n=2 * limit, cutoff=0.6)
    return list(dict.fromkeys(by_text[text] for text in close))[:limit]
