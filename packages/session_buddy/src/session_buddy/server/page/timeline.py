"""``/timeline``: who was in, when; and at a moment."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple, cast

from pydantic import Field
from starlette.responses import Response

from session_buddy.history.attention import people_and_hosts
from session_buddy.history.bars import LANES_BY, Cut, LaneBy, Sliced
from session_buddy.history.keys import one_of
from session_buddy.history.page import SessionsAnswer
from session_buddy.history.query import Clock, Query
from session_buddy.history.timeline import Window
from session_buddy.history.times import TICK, parse_duration
from session_buddy.history.words import count, human_duration
from session_buddy.history.zones import local
from session_buddy.server.page import html
from session_buddy.server.page.address import address, narrowed, of_session, terms_of, written
from session_buddy.server.page.draw.density import SLICES, strips
from session_buddy.server.page.draw.lanes import laid_out
from session_buddy.server.page.draw.picture import HOW, NAMES, Drawing, Picture
from session_buddy.server.page.draw.words import from_to, short
from session_buddy.server.page.view import View, Zone
from session_buddy.server.web.routes import Asked, Given

MOST_LANES: Final = 60
_ALL_LANES: Final = 1000
# So many are listed below the picture: of a moment, and of a window.
_MOST_AT, _LATEST = 200, 12
# Letters; the page of a session has the rest.
_LONGEST_NAME, _LONGEST_REASON = 100, 160
_FIELDS: Final = (
    "session_id",
    "who",
    "component",
    "hostname",
    "status",
    "unreachable",
    "exit_reason",
    "start_time",
    "end_time",
    "duration_seconds",
    "reason",
    # Needed to tell the person, as `history.record.person` does.
    "username",
    "person",
    "person_evidence",
    "uid",
    "origin",
)
_PATH: Final = "/timeline"
_GROUPS: Final[dict[LaneBy, str]] = {"person": "people", "host": "hosts", "component": "components"}
_SPANS: Final = {"6h": "6 hours", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
_STANDS: Final = {"active": "in now", "unreachable": "in, not heard of"}
_MOVES: Final = (("earlier", -0.5), ("later", 0.5))
_ZOOMS: Final = (("closer", 0.5), ("wider", 2.0))


class Wanted(Given):
    """Which sessions, from when to when, and what has a lane: ``person``, ``host`` or ``component``.

    ``to`` is now if not given; ``span`` is the length where one end or none is given. ``at`` asks who was
    in at that moment.
    """

    q: str = ""
    tz: str = ""
    by: str = "person"
    begin: str = Field("", alias="from")
    to: str = ""
    span: str = ""
    at: str = ""
    lanes: int = Field(MOST_LANES, ge=1, le=_ALL_LANES)


class Link(NamedTuple):
    """A way to another view; ``href`` is empty where there is none."""

    name: str
    href: str
    chosen: bool = False


class Line(NamedTuple):
    """A session in the list."""

    who: str
    component: str
    host: str
    when: str
    lasted: str
    state: str
    kind: str
    reason: str
    href: str


@dataclass(frozen=True, slots=True)
class Timeline(html.Context):
    """The page; ``begin``, ``end`` and ``now`` are milliseconds, for the script."""

    template: ClassVar[str] = "timeline.html"
    heading: str
    tells: str
    asks: dict[str, str]
    groups: list[Link]
    spans: list[Link]
    moves: list[Link]
    begin: int
    end: int
    now: int
    tz: str
    picture: Picture
    summary: str
    empty: bool
    unfiltered: str
    below: str
    lines: list[Line]
    more: Link | None
    rest: Link | None
    hidden: str
    most: int
    moment: str
    asked_at: str
    quiet: str


class _Page(NamedTuple):
    """The parameters of one request, parsed, and the links made from them."""

    wanted: Wanted
    by: LaneBy
    zone: Zone
    view: View
    query: Query

    @classmethod
    def of(cls, wanted: Wanted, now: datetime) -> "_Page":
        zone = Zone.parse(wanted.tz)
        clock = Clock(now, zone.zone)
        view = View.parse(clock, begin=wanted.begin, end=wanted.to, span=wanted.span, at=wanted.at)
        by = cast("LaneBy", one_of("by", wanted.by, LANES_BY))
        return cls(wanted, by, zone, view, Query.parse(wanted.q, clock=clock))

    def parameters(self) -> dict[str, str]:
        """Those of this view that say more than nothing."""
        wanted = self.wanted
        lanes = "" if wanted.lanes == MOST_LANES else str(wanted.lanes)
        window = {"begin": wanted.begin, "to": wanted.to, "span": wanted.span, "at": wanted.at}
        return {
            "q": wanted.q,
            "by": "" if self.by == "person" else self.by,
            **window,
            "lanes": lanes,
            "tz": wanted.tz,
        }

    def link(self, **changes: str) -> str:
        """This view, with another value here or there."""
        return address(_PATH, **{**self.parameters(), **changes})

    def of_window(self, window: Window) -> str:
        if window.end >= self.view.now:
            seconds = round((window.end - window.begin).total_seconds())
            return self.link(begin="", to="", span=f"{seconds}s")
        return self.link(begin=written(window.begin), to=written(window.end), span="")

    def of_lane(self, name: str) -> str:
        return self.link(q=narrowed(self.wanted.q, *terms_of(self.by, name)))

    def listed(self) -> Query:
        """What the list below the picture has: those in at the moment, the longest first, else the latest."""
        at, window = self.view.at, self.view.window
        if at is None:
            return replace(window.of(self.query), reverse=False, limit=_LATEST)
        return replace(Window(at, at + TICK).of(self.query), limit=_MOST_AT)

    def to_list(self) -> str:
        """The address of the list of the same sessions."""
        begin, end = (written(one) for one in self.view.window)
        at = self.view.at.isoformat().replace("+00:00", "Z") if self.view.at else f"{begin}..{end}"
        return address("/sessions", q=narrowed(self.wanted.q, f"at:{at}"), tz=self.wanted.tz)


async def _answer(asked: Asked[Wanted]) -> Response:
    page = _Page.of(asked.given, datetime.now(UTC))
    answers, view = asked.services.register.answers, page.view
    drawn = await answers.drawn(page.query, Cut(view.window, page.by, asked.given.lanes, SLICES))
    session = partial(of_session, tz=asked.given.tz)
    drawing = Drawing(view.window, page.zone.offsets(view.window), view.at, page.of_lane, session)
    if isinstance(drawn, Sliced):
        picture, lanes = drawing.of_strips(strips(drawn.slices)), drawn.lanes
    else:
        found, lanes = laid_out(drawn, page.by, view.window, asked.given.lanes)
        picture = drawing.of_bars(found, page.by)
    listed = await answers.sessions(page.listed(), _FIELDS, count=True)
    return html.page(_Told(page, drawing, picture, lanes, listed).context(), asked=asked)


class _Told(NamedTuple):
    """Makes the page of what was found."""

    page: _Page
    drawing: Drawing
    picture: Picture
    lanes: int
    listed: SessionsAnswer

    def context(self) -> Timeline:
        page, view, listed = self.page, self.page.view, self.listed
        begin, end, now = (round(one.timestamp() * 1000) for one in (*view.window, view.now))
        shown, counted = len(self.picture.heads), listed["total"] or 0
        behind = counted - len(listed["sessions"])
        more = Link(f"and {behind:,} more" if behind else "all of them", page.to_list())
        hidden, most = self.lanes - shown, min(self.lanes, _ALL_LANES)
        rest = Link(f"show {'all ' * (most == self.lanes)}{most:,}", page.link(lanes=str(most)))
        heading, tells = self._heading(), self._tells()
        return Timeline(
            title=heading,
            heading=heading,
            tells=tells,
            asks={name: value for name, value in page.parameters().items() if value and name != "at"},
            groups=[
                Link(name, page.link(by="" if by == "person" else by), by == page.by)
                for by, name in _GROUPS.items()
            ],
            spans=[
                Link(one, page.link(span=one, begin="", to="", at=""), one == view.span) for one in _SPANS
            ],
            moves=self._moves(),
            begin=begin,
            end=end,
            now=now,
            tz=page.zone.name,
            picture=self.picture,
            summary=f"{heading}. {tells}. A lane a {page.by}; the list below has the sessions.",
            empty=not self.picture.heads,
            unfiltered=page.link(q="") if page.wanted.q else "",
            below="In at that moment" if view.at else "The latest of them",
            lines=[self._line(record) for record in listed["sessions"]],
            more=more if counted else None,
            rest=rest if hidden else None,
            hidden=f"{count(hidden, page.by, _GROUPS[page.by])} with fewer sessions" if hidden else "",
            most=max((one.most for one in self.picture.strips), default=0),
            moment=view.at.isoformat() if view.at else "",
            asked_at=page.wanted.at,
            quiet=page.link(at="") if view.at else "",
        )

    def _heading(self) -> str:
        view = self.page.view
        if view.at:
            return f"Who was in at {self._moment(view.at)}"
        if view.span:
            return f"The last {_SPANS.get(view.span) or human_duration(parse_duration('span', view.span))}"
        return from_to(*map(self.drawing.time, view.window))

    def _moment(self, moment: datetime) -> str:
        here, today = (local(one, self.drawing.offsets) for one in (moment, self.page.view.now))
        day = "" if here.date() == today.date() else f" on {here:%a} {here.day} {here:%b}"
        return f"{here:%H:%M:%S}{day}"

    def _tells(self) -> str:
        page, found, counted = self.page, self.listed["sessions"], self.listed["total"] or 0
        if page.view.at is None:
            of_all = f"{count(counted, 'session')} of {count(self.lanes, page.by, _GROUPS[page.by])}"
            return of_all if counted else "No sessions"
        if not counted:
            return "Nobody was in at that moment"
        if counted > len(found):
            return f"{counted:,} sessions were in at that moment"
        people, hosts = people_and_hosts(found)
        inside = f"{count(people, 'person', 'people')} in {count(counted, 'session')}"
        return f"{inside} on {count(hosts, 'host')}"

    def _moves(self) -> list[Link]:
        page, view = self.page, self.page.view
        moved = [(name, view.moved(share)) for name, share in _MOVES]
        zoomed = [(name, view.zoomed(factor)) for name, factor in _ZOOMS]
        return [
            Link(name, page.of_window(window) if window and window != view.window else "")
            for name, window in moved + zoomed
        ]

    def _line(self, record: Mapping[str, Any]) -> Line:
        begin, end = (
            record[name] and datetime.fromisoformat(record[name]) for name in ("start_time", "end_time")
        )
        status = "unreachable" if record["unreachable"] else record["status"]
        how = HOW.get(record["exit_reason"] or "", NAMES[record["status"]]) if end else _STANDS[status]
        return Line(
            who=short(record["who"], _LONGEST_NAME),
            component=short(record["component"], _LONGEST_NAME),
            host=short(record["hostname"], _LONGEST_NAME),
            when=from_to(self._moment(begin), self._moment(end) if end else "now"),
            lasted=human_duration(record["duration_seconds"]),
            state=how if record["status"] in ("active", "ended") else f"{NAMES[record['status']]}: {how}",
            kind=record["status"],
            reason=short(record["reason"] or "", _LONGEST_REASON),
            href=of_session(record["session_id"], self.page.wanted.tz),
        )


TIMELINE: Final = html.route(_PATH, "who was in, when, and at a moment: a page", _answer, Wanted)
