"""A month in the shells of a small company: the events of the sample history, always the same by one seed.

Forty people in three zones, four hosts, shared accounts, agents, jobs at night, somebody on call; twice a
host dies, and one night is an incident.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from session_buddy.access.callers import Caller
from session_buddy.intake.admission import admit
from session_buddy.store import Store
from tests.demo_visits import (
    COMPONENTS,
    HOSTS,
    KILLED,
    LOST,
    Event,
    Person,
    Visit,
    as_root,
    beat_of,
    end_of,
    job_at,
    start_of,
    visit_of,
)

DAYS: Final = 30
# How events come in that no emitter of this machine sends.
FLEET: Final = Caller("fleet", frozenset({"track"}))
INCIDENT: Final = "INC-2291: orders are stuck"
_BATCH: Final = 500
_NAMES: Final = """
ada alan anita barbara bjarne carol chen dana dennis edsger elena fatima grace guido hana hedy ivan jun karen
ken lars leslie linus lola maria marco nadia niklaus olga omar priya radia raj rosa sara sven tariq ursula wei
yuki
""".split()  # noqa: SIM905 - names are read as words
# Hours from UTC, and how many of the people work there.
_ZONES: Final = ((1, 22), (-5, 10), (5.5, 8))
_WEEKEND: Final = 5


class History(NamedTuple):
    """What happened.

    Attributes:
        events: in the order in which they came.
        live: those who are in at the end.
        company: whose it is.
    """

    events: list[Event]
    live: list[Visit]
    company: "Company"


def history(end: datetime, chance: random.Random, days: int = DAYS) -> History:
    """What happened in so many days up to ``end``."""
    company = Company(end, chance, days)
    visits = company.visits()
    told: list[tuple[datetime, Event]] = []
    for visit in visits:
        told.append((visit.begin, start_of(visit, chance)))
        if visit.over < end:
            told.append((visit.over, end_of(visit, chance)))
    told.sort(key=lambda one: one[0])
    live = [visit for visit in visits if visit.over >= end]
    return History([event for _, event in told] + [beat_of(visit, end) for visit in live], live, company)


def take_in(store: Store, events: Sequence[Event]) -> int:
    """Take events into a store as a server does, each a second after it happened; how many were stored."""
    stored = 0
    for number in range(0, len(events), _BATCH):
        arrivals = [
            admit(event, FLEET, datetime.fromisoformat(event["timestamp"]) + timedelta(seconds=1))
            for event in events[number : number + _BATCH]
        ]
        stored += sum(taken.verdict == "stored" for taken in store.ingest(arrivals))
    return stored


class Company:
    """Who works there, and what they do in the days up to ``end``, by chance.

    Args:
        end: the last moment that is known.
        chance: decides.
        days: how many days are made.
    """

    def __init__(self, end: datetime, chance: random.Random, days: int = DAYS) -> None:
        self._end = end
        self._chance = chance
        today = end.replace(hour=0, minute=0, second=0, microsecond=0)
        self._days = [today - timedelta(days=back) for back in reversed(range(days))]
        offsets = [hours for hours, count in _ZONES for _ in range(count)]
        self.people = [
            Person(
                name,
                1000 + number,
                offset,
                (chance.randrange(len(HOSTS)), chance.randrange(len(COMPONENTS))),
                ("claude_code", "cline")[number % 2] if number % 5 == 0 else None,
            )
            for number, (name, offset) in enumerate(zip(_NAMES, offsets, strict=True))
        ]

    def visits(self) -> list[Visit]:
        """All sessions that began before the end, by their starts; some are in at the end."""
        found = [visit for number, day in enumerate(self._days) for visit in self._day(number, day)]
        found += self._incident()
        # A host that dies takes everybody along who is in there.
        weekdays = [day for day in self._days[:-1] if day.weekday() < _WEEKEND]
        for day, host in zip(weekdays[-2::-6], ("db1", "web2", "web1"), strict=False):
            died = day + timedelta(hours=14, minutes=7, seconds=11)
            for visit in found:
                if visit.start["hostname"] == host and visit.begin < died < visit.over:
                    visit.seconds, visit.end = (died - visit.begin).total_seconds(), LOST
        found = [
            visit
            for visit in found
            if visit.begin < self._end and (visit.within is None or visit.begin < visit.within.over)
        ]
        return sorted([*found, *self._now()], key=lambda visit: visit.begin)

    def newcomer(self, begin: datetime) -> Visit:
        """Somebody who comes in just then, nobody knows for how long."""
        return visit_of(self._chance.choice(self.people), begin, 0, self._chance)

    def _day(self, number: int, day: datetime) -> Iterator[Visit]:
        chance = self._chance
        on_call = self.people[number // 7 % len(self.people)]
        for hour in (1.5, 3, 4.25):
            yield job_at(day + timedelta(hours=hour, seconds=chance.uniform(0, 90)), chance)
        for person in self.people:
            works = day.weekday() < _WEEKEND and chance.random() < 0.9
            for _ in range(chance.randint(2, 11) if works else 0):
                # Most begin in the morning or after lunch.
                hour = chance.choice((chance.gauss(10, 1), chance.gauss(14.5, 1.5), chance.uniform(8, 18.5)))
                yield from self._work(person, person.at(day, hour))
        for _ in range(chance.choice((0, 1, 1, 3))):
            hour = chance.uniform(18, 30) if day.weekday() < _WEEKEND else chance.uniform(6, 30)
            yield from self._work(on_call, on_call.at(day, hour), reason="on call: {}")

    def _work(self, person: Person, begin: datetime, reason: str = "") -> Iterator[Visit]:
        """A session, and sometimes one as root within it."""
        chance = self._chance
        idle = chance.random() < 0.05
        seconds = chance.uniform(5, 9) * 3600 if idle else min(6 * 3600.0, chance.lognormvariate(6.9, 1.2))
        visit = visit_of(person, begin, seconds, chance)
        if idle:
            visit.worked = seconds * chance.uniform(0.05, 0.3)
        if reason:
            visit.start["reason"] = reason.format("the disk of db1 is full")
        yield visit
        own = visit.start["user"]["uid"] == person.uid and "agent" not in visit.start
        if own and visit.seconds > 300 and chance.random() < 0.08:
            yield as_root(visit, person, chance)

    def _incident(self) -> Iterator[Visit]:
        """Ten people within minutes, four of whose shells are killed; one repairs until the morning."""
        chance = self._chance
        night = self._days[-min(9, len(self._days))].replace(hour=2, minute=41)
        for number, person in enumerate(self.people[:10]):
            begin = night + timedelta(seconds=40 * number + chance.uniform(0, 20))
            visit = visit_of(person, begin, chance.uniform(600, 5400), chance, share=0)
            visit.start |= {"hostname": "db1", "reason": INCIDENT}
            if 1 <= number <= 4:
                visit.seconds, visit.end = 660 + chance.uniform(0, 9) - 40 * number, KILLED
            if number == 0:
                visit.seconds = 4.5 * 3600
                yield as_root(visit, person, chance)
            yield visit

    def _now(self) -> Iterator[Visit]:
        """Who is in at the end, whatever the hour: at work, as root, an agent, one who forgot it."""
        for number, (person, minutes) in enumerate(
            zip(self.people[:9], (3, 8, 14, 20, 31, 47, 75, 140, 400), strict=True)
        ):
            began = self._end - timedelta(minutes=minutes, seconds=self._chance.uniform(0, 59))
            visit = visit_of(person, began, 0, self._chance)
            visit.seconds = minutes * 60 + 3600.0
            if minutes > 60:
                visit.worked = minutes * 20.0
            yield visit
            if number == 3:
                inner = as_root(visit, person, self._chance)
                inner.begin = visit.begin + timedelta(minutes=6)
                inner.seconds = 3600.0
                yield inner
