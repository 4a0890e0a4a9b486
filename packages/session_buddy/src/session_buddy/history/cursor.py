"""A place in a list of sessions, newest first."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Self

from oneiric import contract
from session_buddy.errors import InvalidQuery

_CURSOR: Final = re.compile(r"([0-9]{1,20})\.(.+)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Cursor(NamedTuple):
    """A place in a list: behind the session that stands there, at its ``listed_at``, and has this id."""

    listed_at: datetime
    session_id: str

    def __str__(self) -> str:
        """The text that answers carry.

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
