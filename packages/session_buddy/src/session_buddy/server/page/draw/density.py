"""How many sessions were in, lane by lane and slice by slice: what is drawn of more than bars can show."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from session_buddy.history.bars import Slice
from session_buddy.server.page.draw.lanes import LEAST_HEIGHT

# As many as can be told apart.
SLICES: Final = 240
# Of the picture of a lane; a slice is as wide as one unit.
HEIGHT: Final = 100
_LEAST: Final = 10
_MARK: Final = 14


class Strip(NamedTuple):
    """A lane: ``y`` and ``height`` in pixels, counts, and three paths.

    ``most`` were in in one slice. ``area`` is how many were in, in units of :data:`SLICES` by
    :data:`HEIGHT`; ``crashes`` and ``losses`` mark the slices in which some crashed or were lost.
    """

    name: str
    y: float
    height: float
    most: int
    sessions: int
    crashed: int
    lost: int
    area: str
    crashes: str
    losses: str


def counts(changes: Iterable[Slice]) -> list[int]:
    """How many were in at any time of each slice."""
    begun, ended = [0] * SLICES, [0] * SLICES
    for one in changes:
        begun[one.place] += one.begun
        ended[one.place] += one.ended
    found, there = list[int](), 0
    for came, went in zip(begun, ended, strict=True):
        there += came
        found.append(there)
        there -= went
    return found


def strips(slices: Iterable[Slice]) -> list[Strip]:
    """The lanes by name; all have the same scale."""
    lanes = defaultdict[str, list[Slice]](list)
    for one in slices:
        lanes[one.lane].append(one)
    counted = {name: counts(changes) for name, changes in lanes.items()}
    most = max((max(numbers) for numbers in counted.values()), default=1)
    return [
        Strip(
            name,
            LEAST_HEIGHT * place,
            LEAST_HEIGHT,
            max(counted[name]),
            sum(one.begun for one in lanes[name]),
            sum(one.crashed for one in lanes[name]),
            sum(one.lost for one in lanes[name]),
            _area(counted[name], most),
            _marks(one.place for one in lanes[name] if one.crashed),
            _marks(one.place for one in lanes[name] if one.lost),
        )
        for place, name in enumerate(sorted(lanes, key=lambda name: (name.casefold(), name)))
    ]


def _area(numbers: Sequence[int], most: int) -> str:
    """A block for each run of slices with the same number; one is seen however many there are elsewhere."""
    parts, x = list[str](), 0
    for number, run in groupby(numbers):
        width = len(list(run))
        if number:
            height = round(_LEAST + (HEIGHT - _LEAST) * number / most)
            parts.append(f"M{x} {HEIGHT}v-{height}h{width}v{height}z")
        x += width
    return "".join(parts)


def _marks(places: Iterable[int]) -> str:
    return "".join(f"M{place} {HEIGHT - _MARK}h1v{_MARK}h-1z" for place in places)
