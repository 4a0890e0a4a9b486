"""``/``: who is in now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import ClassVar, Final

from starlette.responses import RedirectResponse, Response

from session_buddy.errors import InvalidQuery
from session_buddy.history.attention import attention_first, concerns, people_and_hosts, sentence, shared
from session_buddy.history.page import SessionsAnswer
from session_buddy.history.query import Clock, Query
from session_buddy.history.record import WHO
from session_buddy.history.statistics import ALL, By, Statistics
from session_buddy.history.words import Record, count, shown
from session_buddy.server.answers import Answers
from session_buddy.server.page import html
from session_buddy.server.page.address import address, narrowed
from session_buddy.server.page.rows import FIELDS, Row, rows_of
from session_buddy.server.page.spark import Spark, sparks
from session_buddy.server.page.view import Zone
from session_buddy.server.web.routes import Asked, Given

# So many stand in the table; those that need attention are among them.
_MOST: Final = 300
_MOST_CONCERNS: Final = 50
# A day of more sessions than these is drawn for nobody: half of it would look like all.
_MOST_A_DAY: Final = 2_000
_MOST_BAD: Final = 12
_OPEN: Final = "status:active"
_CONCERNS: Final = (
    ("status:unreachable", "started"),
    ("idle:>=4h", "idle"),
    ("account:root -reason:*", "started"),
)


class Wanted(Given):
    """Of whom.

    Attributes:
        q: which sessions.
        tz: the reader's zone; UTC if not given.
    """

    q: str = ""
    tz: str = ""


@dataclass(frozen=True, slots=True)
class Now(html.Context):
    """The page.

    Attributes:
        sentence: the answer.
        facts: what else is worth a word, the most urgent first.
        rows: who is in, those that need attention first.
        sparks: the last day of each person, by the id of their first row; empty where that is too much.
        rest: how many more are in; ``all_href`` has all.
        bad: what ended badly within a day; ``bad_count`` is how many there were, ``bad_href`` has them.
        query: what the page is narrowed to; ``unfiltered`` is the way out of that.
        is_new: whether nothing was ever recorded.
    """

    template: ClassVar[str] = "now.html"
    sentence: str
    facts: list[str]
    rows: list[Row]
    sparks: dict[str, Spark]
    rest: int
    all_href: str
    bad: list[Row]
    bad_count: int
    bad_href: str
    query: str
    unfiltered: str
    is_new: bool


async def _answer(asked: Asked[Wanted]) -> Response:
    wanted, answers = asked.given, asked.services.register.answers
    try:
        clock = Clock(now := datetime.now(UTC), Zone.parse(wanted.tz).zone)
        Query.parse(wanted.q, clock=clock)
    except InvalidQuery:
        # That page shows where it is wrong.
        return RedirectResponse(address("/sessions", q=wanted.q, tz=wanted.tz), HTTPStatus.SEE_OTHER)

    def query(*terms: str, limit: int, sort: str = "started") -> Query:
        return Query.parse(narrowed(wanted.q, *terms), clock=clock, limit=limit, sort=sort)

    open_now = await answers.sessions(query(_OPEN, limit=_MOST), FIELDS, count=True)
    records = {one["session_id"]: one for one in open_now["sessions"]}
    total = open_now["total"] or 0
    if open_now["truncated"]:
        for terms, sort in _CONCERNS:
            found = await answers.sessions(query(_OPEN, terms, limit=_MOST_CONCERNS, sort=sort), FIELDS)
            records |= {one["session_id"]: one for one in found["sessions"]}
    ordered = attention_first(list(records.values()))
    day = await answers.sessions(query("at:24h..", limit=_MOST_A_DAY), FIELDS) if ordered else None
    bad_terms = ("status:crashed,lost", "ended:>24h")
    bad = await answers.sessions(query(*bad_terms, limit=_MOST_BAD, sort="ended"), FIELDS, count=True)
    ever = bool(total or bad["total"]) or await _has_any(answers, clock)
    people, hosts = people_and_hosts(ordered)
    if open_now["truncated"]:
        people, hosts = [await _groups(answers, wanted.q, now, by) for by in ("person", "host")]
    return html.page(
        Now(
            title="Now",
            sentence=sentence(people, total, hosts),
            facts=_facts(ordered, all_of_them=len(ordered) >= total),
            rows=(rows := rows_of(ordered, now, wanted.tz)),
            sparks=_sparks(rows, day, now),
            rest=max(0, total - len(ordered)),
            all_href=address("/sessions", q=narrowed(wanted.q, _OPEN), tz=wanted.tz),
            bad=rows_of(bad["sessions"], now, wanted.tz),
            bad_count=bad["total"] or 0,
            bad_href=address("/sessions", q=narrowed(wanted.q, *bad_terms), sort="ended", tz=wanted.tz),
            query=shown(wanted.q) if wanted.q else "",
            unfiltered=address("/", tz=wanted.tz),
            is_new=not ever,
        ),
        asked=asked,
    )


async def _has_any(answers: Answers, clock: Clock) -> bool:
    found = await answers.sessions(Query.parse("", clock=clock, limit=1), [WHO])
    return bool(found["sessions"])


async def _groups(answers: Answers, query: str, now: datetime, by: By) -> int:
    asked = Statistics.parse(narrowed(query, _OPEN), now=now, by=by, period=ALL, timezone="UTC", limit=1)
    return (await answers.statistics(asked))["groups"]


def _sparks(rows: Sequence[Row], day: SessionsAnswer | None, now: datetime) -> dict[str, Spark]:
    if day is None or day["truncated"]:
        return {}
    drawn, firsts = sparks(day["sessions"], now), dict[str, str]()
    for row in rows:
        firsts.setdefault(row.face.key, row.id)
    return {row_id: drawn[key] for key, row_id in firsts.items() if key in drawn}


def _facts(records: Sequence[Record], *, all_of_them: bool) -> list[str]:
    """What else is worth a word; counts are of all that are in, or none is told."""
    kinds = concerns(records) if all_of_them else {}
    return [
        *(f"{count(number, 'shell')} {why}" for why, number in kinds.items()),
        *(
            f"{count(len(one.people), 'person', 'people')} share {shown(one.component)} on {shown(one.host)}"
            for one in shared(records)[:2]
        ),
    ]


NOW: Final = html.route("/", "who is in now: a page", _answer, Wanted)
