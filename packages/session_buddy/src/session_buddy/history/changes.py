"""Which sessions started and which ended since a place in the history."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Self

from typing_extensions import TypedDict

from session_buddy.errors import InvalidQuery
from session_buddy.history.record import SessionRecord

_PLACE: Final = re.compile(r"([0-9a-f-]{8,40})\.([0-9]{1,18})\.([A-Za-z0-9_~-]{0,100})")
# Behind all ids.
ALL: Final = "~"


class Place(NamedTuple):
    """Up to where somebody has seen a history: of its transaction ``commit_id``, up to this session id."""

    instance: str
    commit_id: int
    session_id: str = ALL

    @classmethod
    def parse(cls, text: str) -> Self:
        """A place as an answer named it.

        Raises:
            InvalidQuery: it is none.
        """
        found = _PLACE.fullmatch(text)
        if not found:
            raise InvalidQuery("place", text, "the place of an answer, or none to begin now")
        return cls(found[1], int(found[2]), found[3])

    def __str__(self) -> str:
        """As answers name it."""
        return f"{self.instance}.{self.commit_id}.{self.session_id}"


class Changes(NamedTuple):
    """What a store has behind a place, up to this session of this transaction.

    ``events`` are ids of sessions and types of events, in the order of transactions, then of ids.
    """

    commit_id: int
    session_id: str
    events: Sequence[tuple[str, str]]


class Change(TypedDict):
    """A session that started or ended, as it stands now."""

    change: Literal["start", "end"]
    session: dict[str, Any]


class ChangesAnswer(TypedDict):
    """What has happened.

    Attributes:
        place: from where to ask on.
        changes: in the order of the transactions that stored them. An end may come twice: of one that was
            given up and came back, or where a better one was found.
        another_history: whether the history is another than the one that was asked about, of which nothing
            is told.
    """

    place: str
    changes: list[Change]
    another_history: bool


def told(events: Sequence[tuple[str, str]], records: Mapping[str, SessionRecord]) -> list[Change]:
    """The changes that events mean; ``records`` has the sessions asked for, as they stand now, by id."""
    started = {session_id for session_id, event_type in events if event_type == "session_start"}
    changes: list[Change] = []
    for session_id in dict.fromkeys(session_id for session_id, _ in events):
        if record := records.get(session_id):
            # Stored together they have no order, and an end may have been stored before its start.
            if session_id in started:
                changes.append(Change(change="start", session=dict(record)))
            if record["status"] != "active":
                changes.append(Change(change="end", session=dict(record)))
    return changes
