"""Bars in lanes: below each other where they overlap; what was started from another one is within its bar."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from session_buddy.history.bars import Bar, LaneBy
from session_buddy.history.timeline import Window
from session_buddy.server.page.draw.scale import stretch

# Pixels: a lane at the least, and mostly; what lies between lanes' edges and bars.
LEAST_HEIGHT: Final = 34.0
_MOST_HEIGHT: Final = 120.0
_EDGE: Final = 7.0
# A bar at its best and at the least; what parts two of them, of the height of one; a holder's own strip.
_BAR, _LEAST_BAR = 14.0, 4.0
_GAP, _STRIP, _FOOT = 0.25, 0.45, 0.2
# A narrower one, in percent, has no room for others within.
_HOLDS: Final = 1.2


class Placed(NamedTuple):
    """A bar, percent across and pixels down; ``holds`` bars are drawn in it, it is in ``depth`` others."""

    bar: Bar
    x: float
    width: float
    y: float
    height: float
    holds: int
    depth: int


class Lane(NamedTuple):
    """A lane; ``bars`` has those that hold others before them."""

    name: str
    y: float
    height: float
    bars: list[Placed]


@dataclass(slots=True)
class _Node:
    """A bar, and the rows of those within it; heights are in those of a bar."""

    bar: Bar
    x: float
    width: float
    rows: list[list["_Node"]] = field(default_factory=list)

    @property
    def height(self) -> float:
        return _STRIP + _height(self.rows) + _FOOT if self.rows else 1.0


def name_of(bar: Bar, by: LaneBy) -> str:
    """The lane that a bar is in."""
    return str(getattr(bar, by))


def laid_out(bars: Iterable[Bar], by: LaneBy, window: Window, most: int) -> tuple[list[Lane], int]:
    """The ``most`` lanes with the most sessions, sorted by name, and how many lanes there are in all."""
    named = defaultdict[str, list[Bar]](list)
    for bar in bars:
        named[name_of(bar, by)].append(bar)
    chosen = sorted(named, key=lambda name: (-len(named[name]), name))[:most]
    lanes, y = list[Lane](), 0.0
    for name in sorted(chosen, key=lambda name: (name.casefold(), name)):
        rows = _rows(_roots(named[name], window))
        natural = _height(rows)
        unit = max(min(_BAR, (_MOST_HEIGHT - 2 * _EDGE) / natural), _LEAST_BAR)
        height = max(natural * unit + 2 * _EDGE, LEAST_HEIGHT)
        top = y + (height - natural * unit) / 2
        lanes.append(Lane(name, y, height, list(_placed(rows, top, unit, 0))))
        y += height
    return lanes, len(named)


def _roots(bars: Sequence[Bar], window: Window) -> list[_Node]:
    """A node each, those within another one below it."""
    nodes = {bar.session_id: _Node(bar, *stretch(window, bar.begin, bar.end)) for bar in bars}
    within = defaultdict[str, list[_Node]](list)
    roots = list[_Node]()
    for node in nodes.values():
        parent = nodes.get(node.bar.parent or "")
        if parent and _fits(node, parent):
            # The narrowest is wider than it was long.
            node.x = min(node.x, parent.x + parent.width - node.width)
            within[parent.bar.session_id].append(node)
        else:
            roots.append(node)
    # The last began last, so what is within it is known.
    for node in sorted(nodes.values(), key=lambda node: _order(node.bar), reverse=True):
        node.rows = _rows(within[node.bar.session_id])
    return roots


def _order(bar: Bar) -> tuple[object, ...]:
    return bar.begin, bar.session_id


def _fits(node: _Node, parent: _Node) -> bool:
    """Whether a session lies in time within that which it was started from, and there is room to show it."""
    ended, left = node.bar.end, parent.bar.end
    in_time = left is None or (ended is not None and ended <= left)
    return in_time and parent.width >= _HOLDS and _order(parent.bar) < _order(node.bar)


def _rows(nodes: Iterable[_Node]) -> list[list[_Node]]:
    """Rows in which none overlap: each in the first that has room."""
    rows, ends = list[list[_Node]](), list[float]()
    for node in sorted(nodes, key=lambda node: (node.x, -node.width, node.bar.session_id)):
        row = next((row for row, end in enumerate(ends) if end <= node.x), None)
        if row is None:
            rows.append([node])
            ends.append(node.x + node.width)
        else:
            rows[row].append(node)
            ends[row] = node.x + node.width
    return rows


def _height(rows: Sequence[Sequence[_Node]]) -> float:
    return sum(max(node.height for node in row) for row in rows) + _GAP * max(len(rows) - 1, 0)


def _placed(rows: Sequence[Sequence[_Node]], y: float, unit: float, depth: int) -> Iterator[Placed]:
    for row in rows:
        for node in row:
            holds = sum(map(len, node.rows))
            yield Placed(node.bar, node.x, node.width, y, node.height * unit, holds, depth)
            yield from _placed(node.rows, y + _STRIP * unit, unit, depth + 1)
        y += (max(node.height for node in row) + _GAP) * unit
