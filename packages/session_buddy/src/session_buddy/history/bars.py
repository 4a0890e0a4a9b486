"""Sessions as a timeline draws them: a bar each, or how many there were in each slice of time."""

from datetime import datetime
from typing import Final, Literal, NamedTuple, get_args

from oneiric.contract import Status
from session_buddy.history.timeline import Window

LaneBy = Literal["person", "host", "component"]
LANES_BY: Final[tuple[LaneBy, ...]] = get_args(LaneBy)


class Bar(NamedTuple):
    """What is drawn of one session; times are UTC, ``begin`` is ``listed_at`` of its row.

    ``end`` is ``None`` while it is active; ``parent`` is the id of the session that it was started from.
    """

    session_id: str
    begin: datetime
    end: datetime | None
    status: Status
    exit_reason: str | None
    person: str
    host: str
    component: str
    parent: str | None = None


class Cut(NamedTuple):
    """A window in so many slices of equal length; at most so many lanes, those with the most sessions."""

    window: Window
    by: LaneBy
    lanes: int
    slices: int


class Slice(NamedTuple):
    """What changed in a lane in one slice, from 0; in the first, ``begun`` also has those in before it."""

    lane: str
    place: int
    begun: int
    ended: int
    crashed: int
    lost: int


class Sliced(NamedTuple):
    """The lanes with the most sessions, and how many there are in all."""

    slices: list[Slice]
    lanes: int
