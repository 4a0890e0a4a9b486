"""``/sessions/{session_id}``: one session, how each of its facts is known, and what stands around it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final, NamedTuple

from pydantic import StringConstraints
from starlette.responses import RedirectResponse, Response

from oneiric.contract import MAX_REASON
from session_buddy.access.callers import Caller
from session_buddy.history.around import SessionAnswer
from session_buddy.history.fold import speaks_for
from session_buddy.history.query import Term
from session_buddy.history.record import who
from session_buddy.history.syntax import Value
from session_buddy.history.words import Record, as_json, flatten, how, human_duration, shown
from session_buddy.server.page import html
from session_buddy.server.page.address import address, of_session, written
from session_buddy.server.page.facts import Fact, Facts
from session_buddy.server.page.rows import Face, Moment, State, face_of, moment, state_of_row
from session_buddy.server.web.routes import Asked, Given

# So many of those within it are drawn; a list has them all.
_MOST_NESTED: Final = 40
# What the timeline shows before and behind a session at least, else as much as a quarter of it.
_MARGIN: Final = timedelta(minutes=5)


class Wanted(Given):
    """The reader's zone, for links; ``q`` is what the header's query line has, and is not looked at."""

    tz: str = ""
    q: str = ""


class Brief(NamedTuple):
    """Another session in short; ``depth`` is how many it is nested in, of those that are shown."""

    href: str
    face: Face
    component: str
    host: str
    started: Moment
    state: State
    depth: int
    is_this: bool


class Event(NamedTuple):
    """An event as it came in."""

    name: str
    time: Moment
    tells: str
    received: Moment
    reported_by: str
    body: str


@dataclass(frozen=True, slots=True)
class Session(html.Context):
    """The page.

    ``tree`` has the sessions that it is nested in and those within it, empty where there are none;
    ``more_nested`` of them are not drawn. ``meanwhile`` and ``timeline`` lead to who else was in, as a
    list and as a picture. ``end_href`` is empty where it cannot be ended by hand, or not by this reader.
    """

    template: ClassVar[str] = "session.html"
    id: str
    face: Face
    component: str
    host: str
    sentence: str
    started: Moment
    ended: Moment | None
    state: State
    reason: str
    groups: list[tuple[str, list[Fact]]]
    metadata: list[Fact]
    everything: list[Fact]
    tree: list[Brief]
    more_nested: int
    nested_href: str
    before: Brief | None
    after: Brief | None
    events: list[Event]
    meanwhile: str
    timeline: str
    of_person: str
    end_href: str
    is_alive: bool


async def _answer(asked: Asked[Wanted]) -> Response:
    ref = asked.request.path_params["session_id"]
    found_one = await asked.services.register.answers.session(ref, details=True)
    record, tz = found_one["session"], asked.given.tz
    if record["session_id"] != ref:
        return RedirectResponse(of_session(record["session_id"], tz), HTTPStatus.SEE_OTHER)
    return html.page(_Told(found_one, datetime.now(UTC), tz, asked.caller).context(), asked=asked)


class _Told(NamedTuple):
    """Makes the page of what was found."""

    answer: SessionAnswer
    now: datetime
    tz: str
    caller: Caller

    def context(self) -> Session:
        record, answer = self.answer["session"], self.answer
        nested, facts = answer.get("nested", []), Facts(record, self.now)
        began = datetime.fromisoformat(record["start_time"])
        ended = datetime.fromisoformat(record["end_time"]) if record["end_time"] else None
        margin = max(_MARGIN, ((ended or self.now) - began) / 4)
        at = f"at:{written(began)}..{written(ended) if ended else ''}"
        return Session(
            title=f"{shown(who(record))} in {shown(record['component'])}",
            id=record["session_id"],
            face=face_of(record),
            component=shown(record["component"]),
            host=shown(record["hostname"]),
            sentence=human_duration(record["duration_seconds"]),
            started=moment(record["start_time"], self.now),
            ended=moment(record["end_time"], self.now) if record["end_time"] else None,
            state=state_of_row(record),
            reason=shown(record["reason"]) if record["reason"] else "",
            groups=[(name, one) for name, one in facts.groups() if one],
            metadata=[Fact(shown(key), shown(value)) for key, value in flatten(record["metadata"])],
            everything=facts.everything(),
            tree=self._tree(),
            more_nested=max(0, len(nested) - _MOST_NESTED),
            nested_href=address("/sessions", q=f"parent:{record['session_id']}", tz=self.tz),
            before=self._brief(answer.get("before")),
            after=self._brief(answer.get("after")),
            events=[self._event(one) for one in answer.get("events", [])],
            meanwhile=address("/sessions", q=at, tz=self.tz),
            timeline=address(
                "/timeline",
                begin=written(began - margin),
                to=written(ended + margin) if ended else None,
                at=written(began),
                tz=self.tz,
            ),
            of_person=address(
                "/sessions", q=Term("user", (Value(face_of(record).name),)).written(), tz=self.tz
            ),
            end_href=self._end_href(record),
            is_alive=record["status"] == "active" and not record["unreachable"],
        )

    def _brief(self, record: Record | None, depth: int = 0, *, is_this: bool = False) -> Brief | None:
        if record is None:
            return None
        full = {"busy": False, "idle_seconds": None, **record}
        return Brief(
            of_session(record["session_id"], self.tz),
            face_of(full),
            shown(record["component"]),
            shown(record["hostname"]),
            moment(record["start_time"], self.now),
            state_of_row(full),
            depth,
            is_this,
        )

    def _tree(self) -> list[Brief]:
        record, answer = self.answer["session"], self.answer
        above, below = answer.get("ancestors", []), answer.get("nested", [])[:_MOST_NESTED]
        if not above and not below:
            return []
        depths = {one["session_id"]: depth for depth, one in enumerate([*above, record])}
        children: dict[str, list[Mapping[str, Any]]] = {}
        for one in below:
            children.setdefault(one["parent_session_id"], []).append(one)
        drawn = [self._brief(one, depth) for depth, one in enumerate(above)]
        drawn.append(self._brief(record, len(above), is_this=True))

        def go_on(parent: str) -> None:
            for one in children.get(parent, []):
                depths[one["session_id"]] = depths[parent] + 1
                drawn.append(self._brief(one, depths[one["session_id"]]))
                go_on(one["session_id"])

        go_on(record["session_id"])
        return [one for one in drawn if one]

    def _event(self, event: Mapping[str, Any]) -> Event:
        body, told = event["body"], ""
        if event["event_type"] == "session_end":
            told = ", ".join(filter(None, [how(body), f"by {shown(body.get('detected_by') or 'emitter')}"]))
        name = {"session_start": "started", "session_end": shown(body.get("status") or "ended")}
        return Event(
            name.get(event["event_type"], shown(event["event_type"])),
            moment(event["timestamp"], self.now),
            told,
            moment(event["received_at"], self.now),
            shown(event["reported_by"]),
            as_json(body, indent=2),
        )

    def _end_href(self, record: Record) -> str:
        may = self.caller.may("end_session")
        mine = speaks_for(self.caller.subject, self.caller.is_admin, record["reported_by"])
        stuck = record["status"] in ("active", "lost")
        return f"{of_session(record['session_id'])}/end" if may and mine and stuck else ""


class End(Given):
    """Why it is ended by hand; ``agreed``: the reader knows that only the history is changed."""

    reason: Annotated[str, StringConstraints(max_length=MAX_REASON)] = ""
    agreed: bool = False


async def _end(asked: Asked[End]) -> Response:
    ref, given = asked.request.path_params["session_id"], asked.given
    if not given.agreed:
        return html.refusal(HTTPStatus.BAD_REQUEST, "Nothing was ended: tick the box that says what happens.")
    ended = asked.services.register.end_by_hand(
        [ref], given.reason.strip() or None, force=True, caller=asked.caller
    )
    (result,) = await ended
    if result["error"]:
        return html.refusal(HTTPStatus.CONFLICT, f"Nothing was ended: {result['error']}")
    return RedirectResponse(
        of_session(result["session_id"]), HTTPStatus.SEE_OTHER, {"cache-control": "no-store"}
    )


SESSION: Final = html.route(
    "/sessions/{session_id}", "one session, and how each fact is known: a page", _answer, Wanted
)
SESSION_ENDS: Final = html.route(
    "/sessions/{session_id}/end",
    "ends it in the history, by hand: the form of its page",
    _end,
    End,
    needs=("track", "read"),
    form=True,
)
