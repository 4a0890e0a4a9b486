"""Sessions as a timeline draws them: a bar each, or how many there were in each slice of time."""

from datetime import datetime
from typing import Final, Literal, NamedTuple, get_args

from oneiric.contract import Status
from session_buddy.history.timeline import Window

LaneBy = Literal["person", "host", "component"]
LANES_BY: Final[tuple[LaneBy, ...]] = get_args(LaneBy)


class Bar(NamedTuple):
    """What is drawn of one session; times are UTC.

    Attributes:
        begin: where it stands in lists, see :class:`session_buddy.history.model.SessionRow`.
        end: ``None`` while it is active.
        person: see :func:`session_buddy.history.record.person`.
        parent: the id of the session that it was started from.
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
    """How a window is cut.

    Attributes:
        by: what has a lane.
        lanes: at most so many, those with the most sessions.
        slices: in how many of the same length.
    """

    window: Window
    by: LaneBy
    lanes: int
    slices: int


class Slice(NamedTuple):
    """What changed in one lane in one slice of a window.

    Attributes:
        lane: its name.
        place: which slice, from 0.
        begun: how many began in it; in the first, or were in already.
        ended: how many ended in it.
        crashed: how many of those crashed.
        lost: how many of those were lost.
    """

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
