"""``/sessions``: the sessions that a query finds."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import ClassVar, Final, NamedTuple

from starlette.responses import Response

from session_buddy.errors import InvalidQuery
from session_buddy.history.page import SessionsAnswer
from session_buddy.history.query import MOST_COUNTED, Clock, Query
from session_buddy.history.words import count
from session_buddy.server.page import html
from session_buddy.server.page.address import address
from session_buddy.server.page.asked_query import Chip, Wrong, chips, wrong
from session_buddy.server.page.rows import FIELDS, Row, rows_of
from session_buddy.server.page.view import Zone
from session_buddy.server.web.routes import Asked, Given

_ROWS: Final = 50
# In another order than the newest first there is no place to go on from.
_MOST_SORTED: Final = 500
_PATH: Final = "/sessions"
_HEADS: Final = (
    ("Person", "user"),
    ("Component", "component"),
    ("Host", "host"),
    ("Started", "started"),
    ("Lasted", "duration"),
    ("State", "status"),
    ("Reason", ""),
)
_EXAMPLES: Final = (
    ("user:ada", "of one person"),
    ("status:crashed,lost", "that ended badly"),
    ('at:"monday 9:00"', "that were open at a time"),
    ("duration:>8h", "that lasted long"),
    ("-actor:human", "of agents and automation"),
    ("rollback", "with a word anywhere"),
)


class Wanted(Given):
    """Which, and in which order.

    Attributes:
        q: which sessions.
        sort: by what; newest first if not given.
        reverse: the other way round, if anything is given.
        cursor: behind which place.
        tz: the reader's zone; UTC if not given.
    """

    q: str = ""
    sort: str = ""
    reverse: str = ""
    cursor: str = ""
    tz: str = ""


class Head(NamedTuple):
    """The head of a column; ``order`` is ``ascending`` or ``descending`` where it is sorted by that."""

    name: str
    href: str
    order: str


class Link(NamedTuple):
    """Somewhere to go on."""

    name: str
    tells: str
    href: str


@dataclass(frozen=True, slots=True)
class Sessions(html.Context):
    """The page.

    Attributes:
        heading: how many there are.
        tells: how many of them are open, and how many are shown.
        chips: the terms of the query, each with the way to be rid of it.
        wrong: what is wrong with the query, if anything.
        heads: of the columns.
        rows: those found.
        first: the newest, where these are not they.
        more: those behind.
        examples: what might be asked, where nothing was found.
    """

    template: ClassVar[str] = "sessions.html"
    heading: str
    tells: str
    chips: list[tuple[Chip, str]] = field(default_factory=list)
    wrong: Wrong | None = None
    better: str = ""
    heads: list[Head] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    first: str = ""
    more: str = ""
    examples: list[Link] = field(default_factory=list)


async def _answer(asked: Asked[Wanted]) -> Response:
    wanted, now = asked.given, datetime.now(UTC)
    try:
        query = Query.parse(
            wanted.q,
            clock=Clock(now, Zone.parse(wanted.tz).zone),
            sort=wanted.sort or None,
            reverse=bool(wanted.reverse),
            limit=_ROWS,
            cursor=wanted.cursor or None,
        )
    except InvalidQuery as error:
        return html.page(_refused(wanted, error), HTTPStatus.BAD_REQUEST, asked=asked)
    if not query.newest_first:
        query = replace(query, limit=_MOST_SORTED)
    found = await asked.services.register.answers.sessions(query, FIELDS, count=True)
    return html.page(_found(wanted, query, found, now), asked=asked)


def _link(wanted: Wanted, **changes: str) -> str:
    given = {"q": wanted.q, "sort": wanted.sort, "reverse": wanted.reverse, "tz": wanted.tz}
    return address(_PATH, **{**given, **changes})


def _refused(wanted: Wanted, error: InvalidQuery) -> Sessions:
    said = wrong(wanted.q, error)
    better = _link(wanted, q=said.better) if said.better else ""
    return Sessions(
        "Sessions", "That query cannot be read", "", wrong=said, better=better, examples=_examples(wanted)
    )


def _found(wanted: Wanted, query: Query, found: SessionsAnswer, now: datetime) -> Sessions:
    total, rows = found["total"] or 0, rows_of(found["sessions"], now, wanted.tz)
    many = f"more than {MOST_COUNTED:,} sessions" if total > MOST_COUNTED else count(total, "session")
    cursor = found["next_cursor"]
    return Sessions(
        title="Sessions",
        heading=many if total else "No sessions",
        tells=_tells(found, len(rows), total, is_sorted=not query.newest_first),
        chips=[(chip, _link(wanted, q=chip.without)) for chip in chips(wanted.q, query)],
        heads=[_head(wanted, query, name, sort) for name, sort in _HEADS],
        rows=rows,
        first=_link(wanted) if wanted.cursor else "",
        more=_link(wanted, cursor=cursor) if cursor else "",
        examples=[] if rows else _examples(wanted),
    )


def _tells(found: SessionsAnswer, shown: int, total: int, *, is_sorted: bool) -> str:
    if not total:
        return ""
    parts = [f"{found['total_active']:,} open now" if found["total_active"] else "none is open now"]
    if shown < total:
        parts.append(f"{shown:,} of all here")
    if is_sorted and found["truncated"]:
        parts.append("narrow the query to see the others in this order")
    return ", ".join(parts)


def _head(wanted: Wanted, query: Query, name: str, sort: str) -> Head:
    if not sort:
        return Head(name, "", "")
    is_this = query.sort == sort
    # Times and lengths stand with the greatest first, words in their order.
    falls = (sort in ("started", "duration")) != query.reverse
    reverse = "1" if is_this and not query.reverse else ""
    order = ("descending" if falls else "ascending") if is_this else ""
    return Head(name, _link(wanted, sort="" if sort == "started" else sort, reverse=reverse), order)


def _examples(wanted: Wanted) -> list[Link]:
    return [Link(text, tells, address(_PATH, q=text, tz=wanted.tz)) for text, tells in _EXAMPLES]


SESSIONS: Final = html.route(_PATH, "the sessions that a query finds: a page", _answer, Wanted)
