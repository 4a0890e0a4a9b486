"""A timeline as shapes that a template writes down: numbers are texts of attributes, colours are classes."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from oneiric.visible import visible
from session_buddy.history.bars import LaneBy
from session_buddy.history.timeline import Window
from session_buddy.history.words import count, human_duration
from session_buddy.history.zones import Offsets, local
from session_buddy.server.page.draw.density import HEIGHT, SLICES, Strip
from session_buddy.server.page.draw.lanes import Lane, Placed
from session_buddy.server.page.draw.scale import percent, place
from session_buddy.server.page.draw.ticks import ticks
from session_buddy.server.page.draw.words import from_to

# Above the lanes, in pixels: what the ticks say.
HEAD: Final = 30
_FOOT: Final = 4
# More than these are no stops of the Tab key: the list below has them.
_MOST_STOPS: Final = 40
# A narrower bar, in percent, is hard to point at; a wider one has room for a word.
_SHORT, _ROOMY = 1.2, 9.0
_LEAST_FOR_WORDS: Final = 13
# Why a session ended, in words.
HOW: Final = {
    "exit": "left",
    "eof": "left by Ctrl-D",
    "exception": "exception",
    "sigterm": "told to stop",
    "sighup": "terminal closed",
    "exec": "went on as another program",
    "process_gone": "process gone",
    "outbox_recovered": "found dead later",
    "lease_expired": "not heard from",
    "operator": "by an operator",
}
NAMES: Final = {"active": "in now", "ended": "left", "crashed": "crashed", "lost": "lost"}


class Mark(NamedTuple):
    """A tick; ``kind``: ``spare`` where there is little room, ``day`` where one begins."""

    x: str
    label: str
    kind: str


class Head(NamedTuple):
    """The name of a lane, and what it leads to."""

    name: str
    y: float
    bottom: float
    middle: float
    tells: str
    href: str


class Box(NamedTuple):
    """A bar; ``word`` stands in it, ``target`` is there to be pointed at, ``cut`` is where it broke off."""

    x: str
    y: float
    width: str
    height: float
    bottom: float
    end: str
    kind: str
    tells: str
    href: str
    word: str
    short: bool
    cut: bool


class Cursor(NamedTuple):
    """The line at the moment that is asked about."""

    x: str
    label: str
    anchor: str


class Picture(NamedTuple):
    """All of it; ``width`` and ``unit`` are those of the strips."""

    height: float
    marks: list[Mark]
    heads: list[Head]
    boxes: list[Box]
    strips: list[Strip]
    cursor: Cursor | None
    stops: bool
    width: int = SLICES
    unit: int = HEIGHT


class Drawing(NamedTuple):
    """Draws a window, in local time by ``offsets``; ``lane`` and ``session`` make addresses."""

    window: Window
    offsets: Offsets
    at: datetime | None
    lane: Callable[[str], str]
    session: Callable[[str], str]

    def of_bars(self, lanes: Sequence[Lane], by: LaneBy) -> Picture:
        """One bar for each session."""
        heads = [self._head(one.name, one.y, one.height, count(len(one.bars), "session")) for one in lanes]
        boxes = [self._box(bar, by) for lane in lanes for bar in lane.bars]
        return self._picture(heads, boxes, [])

    def of_strips(self, strips: Sequence[Strip]) -> Picture:
        """The number of open sessions, lane by lane."""
        heads = [self._head(one.name, one.y, one.height, _strip_tells(one)) for one in strips]
        moved = [one._replace(name=visible(one.name), y=one.y + HEAD) for one in strips]
        return self._picture(heads, [], moved)

    def _picture(self, heads: list[Head], boxes: list[Box], strips: list[Strip]) -> Picture:
        height = (heads[-1].bottom if heads else HEAD) + _FOOT
        return Picture(height, self._marks(), heads, boxes, strips, self._cursor(), len(boxes) <= _MOST_STOPS)

    def _head(self, name: str, y: float, height: float, tells: str) -> Head:
        top = round(y + HEAD, 1)
        shown = visible(name)
        middle = top + height / 2 if height < 60 else top + 17  # noqa: PLR2004 - of a tall lane it stands on top
        return Head(shown, top, round(top + height, 1), middle, f"{shown}: {tells}", self.lane(name))

    def _marks(self) -> list[Mark]:
        return [
            Mark(percent(place(self.window, one.moment)), one.label, "spare" * one.spare + " day" * one.day)
            for one in ticks(self.window, self.offsets)
        ]

    def _box(self, placed: Placed, by: LaneBy) -> Box:
        bar, height = placed.bar, round(placed.height, 1)
        y = round(placed.y + HEAD, 1)
        within = placed.holds > 0
        roomy = placed.width >= _ROOMY and height >= _LEAST_FOR_WORDS and not within
        ends_here = bar.end is not None and bar.end < self.window.end
        return Box(
            x=percent(placed.x),
            y=y,
            width=percent(placed.width),
            height=height,
            bottom=round(y + height, 1),
            end=percent(placed.x + placed.width),
            kind=bar.status + " holds" * within,
            tells=self._tells(placed),
            href=self.session(bar.session_id),
            word=visible(bar.person if by == "component" else bar.component) if roomy else "",
            short=placed.width < _SHORT,
            cut=bar.status == "crashed" and ends_here,
        )

    def _tells(self, placed: Placed) -> str:
        bar = placed.bar
        end = self.time(bar.end) if bar.end else "now"
        until = bar.end or self.window.end
        how = HOW.get(bar.exit_reason or "", NAMES[bar.status]) if bar.end else NAMES["active"]
        state = f"{NAMES[bar.status]}: {how}" if bar.status in ("crashed", "lost") else how
        held = f"\n{count(placed.holds, 'session')} started from it" * (placed.holds > 0)
        lasted = human_duration((until - bar.begin).total_seconds())
        who = visible(f"{bar.person} · {bar.component} on {bar.host}")
        return f"{who}\n{from_to(self.time(bar.begin), end)} ({lasted})\n{state}{held}"

    def time(self, moment: datetime) -> str:
        """A moment as it is told: with the day, where the window has several."""
        here = local(moment, self.offsets)
        days = {local(one, self.offsets).date() for one in (*self.window, moment)}
        return f"{here:%H:%M:%S}" if len(days) == 1 else f"{here.day} {here:%b %H:%M:%S}"

    def _cursor(self) -> Cursor | None:
        if self.at is None or not self.window.begin <= self.at <= self.window.end:
            return None
        x = place(self.window, self.at)
        anchor = "start" if x < 5 else "end" if x > 95 else "middle"  # noqa: PLR2004 - percents near an edge
        return Cursor(percent(x), f"{local(self.at, self.offsets):%H:%M:%S}", anchor)


def _strip_tells(strip: Strip) -> str:
    ends = [f"{strip.crashed:,} crashed"] * (strip.crashed > 0) + [f"{strip.lost:,} lost"] * (strip.lost > 0)
    return ", ".join([count(strip.sessions, "session"), f"at most {strip.most:,} in one slice", *ends])
