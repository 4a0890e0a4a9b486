"""A month in the shells of a small company: the events of the sample history, always the same by one seed.

Forty people in three zones, four hosts, shared accounts, agents, jobs at night, somebody on call; twice a
host dies, and one night is an incident.
"""

import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from oneiric.compose import session_id_of
from session_buddy.access.callers import Caller
from session_buddy.intake.admission import admit
from session_buddy.store import Store

Event = dict[str, Any]

DAYS: Final = 30
HOSTS: Final = ("web1", "web2", "db1", "build1")
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
_REASONS: Final = (
    "OPS-{}: stuck workflow",
    "OPS-{}: a customer asks for a refund",
    "CHG-{}: schema migration",
    "CHG-{}: new certificate",
    "look at last night's import",
    "pairing",
)
_COMPONENTS: Final[tuple[Event, ...]] = (
    {"component_name": "mahavishnu", "shell_type": "MahavishnuShell", "metadata": {"version": "0.1.0"}},
    {"component_name": "shop", "shell_type": "ShopShell", "metadata": {"version": "4.2.1", "region": "eu"}},
    {"component_name": "warehouse", "shell_type": "IPython", "session_type": "repl", "metadata": {}},
    {"component_name": "billing", "shell_type": "DjangoShell", "metadata": {"database": "replica"}},
)
_ADAPTERS: Final = ("prefect", "llamaindex", "agno")
_ENDS: Final[tuple[tuple[int, Event], ...]] = (
    (72, {"exit_reason": "exit", "exit_code": 0}),
    (14, {"exit_reason": "eof", "exit_code": 0}),
    (4, {"exit_reason": "exit", "exit_code": 1}),
    (3, {"exit_reason": "sighup", "exit_code": 129, "signal": 1}),
    (3, {"exit_reason": "exception", "status": "crashed", "exit_code": 1}),
    (1, {"exit_reason": "sigterm", "status": "crashed", "exit_code": 143, "signal": 15}),
    (3, {"exit_reason": "process_gone", "status": "crashed", "detected_by": "liveness"}),
)
_KILLED: Final = _ENDS[-1][1]
_LOST: Final[Event] = {"exit_reason": "lease_expired", "status": "crashed", "detected_by": "lease"}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who works there.

    Attributes:
        name: of the person, and of the account.
        uid: of the account.
        offset: hours from UTC.
        place: the host and the component of most of this person's sessions, by their numbers.
        agent: what acts in this person's account now and then.
    """

    name: str
    uid: int
    offset: float
    place: tuple[int, int]
    agent: str | None

    def at(self, day: datetime, hour: float) -> datetime:
        """That hour of a day, by this person's clock."""
        return day + timedelta(hours=hour - self.offset)


@dataclass(slots=True)
class Visit:
    """One session: when and how long, and what its events say beside that.

    Attributes:
        begin: its start.
        seconds: until its end.
        start: fields of the start event.
        end: fields of the end event.
        within: the session that it was started from.
    """

    begin: datetime
    seconds: float
    start: Event
    end: Event = field(default_factory=dict)
    within: "Visit | None" = None

    @property
    def over(self) -> datetime:
        """When it ends."""
        return self.begin + timedelta(seconds=self.seconds)


class History(NamedTuple):
    """What happened.

    Attributes:
        events: in the order in which they came.
        live: those who are in at the end.
        company: whose it is.
    """

    events: list[Event]
    live: "list[Visit]"
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
    return History([event for _, event in told], [visit for visit in visits if visit.over >= end], company)


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


def start_of(visit: Visit, chance: random.Random) -> Event:
    """The event that begins a session; the same goes into ``visit.start``, which its end needs."""
    event: Event = {
        "event_type": "session_start",
        "event_version": "1.0",
        "event_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "timestamp": visit.begin.isoformat(),
        "pid": chance.randint(300, 60_000),
        "environment": {"python_version": "3.12.8", "platform": "Linux", "cwd": "/srv"},
    }
    if visit.within is not None:
        event["parent_session_id"] = session_id_of(visit.within.start)
    visit.start = event | visit.start
    return visit.start


def end_of(visit: Visit, chance: random.Random) -> Event:
    """The event that ends a session."""
    commands = int(visit.seconds / chance.uniform(20, 120))
    worked = visit.seconds * chance.uniform(0.7, 1)
    activity = {
        "commands": commands,
        "errors": chance.randint(0, 1 + commands // 8),
        "last_activity": (visit.begin + timedelta(seconds=worked)).isoformat(),
    }
    return {
        "event_type": "session_end",
        "event_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "session_id": session_id_of(visit.start),
        "timestamp": visit.over.isoformat(),
        "elapsed_seconds": visit.seconds,
        "activity": activity,
        **visit.end,
    }


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
                (chance.randrange(len(HOSTS)), chance.randrange(len(_COMPONENTS))),
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
                    visit.seconds, visit.end = (died - visit.begin).total_seconds(), _LOST
        found = [
            visit
            for visit in found
            if visit.begin < self._end and (visit.within is None or visit.begin < visit.within.over)
        ]
        return sorted([*found, *self._now()], key=lambda visit: visit.begin)

    def newcomer(self, begin: datetime, seconds: float) -> Visit:
        """Somebody who comes in just then."""
        return self._visit(self._chance.choice(self.people), begin, seconds)

    def _day(self, number: int, day: datetime) -> Iterator[Visit]:
        chance = self._chance
        on_call = self.people[number // 7 % len(self.people)]
        for hour in (1.5, 3, 4.25):
            yield self._job(day + timedelta(hours=hour, seconds=chance.uniform(0, 90)))
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
        visit = self._visit(person, begin, seconds)
        if reason:
            visit.start["reason"] = reason.format("the disk of db1 is full")
        yield visit
        if visit.start["user"]["uid"] == person.uid and visit.seconds > 300 and chance.random() < 0.08:
            yield self._as_root(visit, person)

    def _visit(self, person: Person, begin: datetime, seconds: float) -> Visit:
        chance = self._chance
        host, component = person.place
        if chance.random() < 0.3:
            host, component = chance.randrange(len(HOSTS)), chance.randrange(len(_COMPONENTS))
        start: Event = {
            **_COMPONENTS[component],
            "hostname": HOSTS[host],
            "user": {"username": person.name, "uid": person.uid, "home": f"/home/{person.name}"},
            "person": {"name": person.name, "evidence": "account"},
            "origin": {"tty": f"/dev/pts/{chance.randint(0, 9)}", "ssh_client": f"10.0.4.{person.uid - 990}"},
        }
        if chance.random() < 0.4:
            start["reason"] = chance.choice(_REASONS).format(chance.randint(100, 999))
        if start["component_name"] == "mahavishnu":
            start["metadata"] = start["metadata"] | {"adapters": list(_ADAPTERS[: chance.randint(1, 3)])}
        if person.agent and chance.random() < 0.4:
            start |= {"actor": "agent", "agent": person.agent}
            seconds = min(seconds, 600)
        elif chance.random() < 0.1:
            # Who is root by nothing but a password is nobody.
            start = {
                name: value
                for name, value in (start | self._shared(person, start["origin"])).items()
                if value
            }
        return Visit(begin, seconds, start, chance.choices(*_weighed(_ENDS))[0])

    def _shared(self, person: Person, origin: Event) -> Event:
        """In an account that many have: known by a key, by a word, by sudo, or by nothing."""
        deploy = {"username": "deploy", "uid": 900, "home": "/srv/deploy"}
        root = {"username": "root", "uid": 0, "home": "/root"}
        named = {"name": person.name}
        certificate = {"ssh_certificate": f"{person.name}@ca", "ssh_key": f"SHA256:{person.name:x<43}"}
        ways: tuple[Event, ...] = (
            {"user": deploy, "person": named | {"evidence": "ssh_key"}, "origin": origin | certificate},
            {"user": deploy, "person": named | {"evidence": "claimed"}},
            {
                "user": root,
                "person": named | {"evidence": "sudo", "also": [{"name": "oncall", "evidence": "claimed"}]},
                "origin": origin | {"sudo_user": person.name},
            },
            {"user": root, "person": None},
        )
        return self._chance.choices(ways, (5, 2, 1, 1))[0]

    def _as_root(self, outer: Visit, person: Person) -> Visit:
        begin = outer.begin + timedelta(seconds=outer.seconds * self._chance.uniform(0.1, 0.4))
        return Visit(
            begin,
            outer.seconds * self._chance.uniform(0.1, 0.4),
            outer.start
            | {
                "user": {"username": "root", "uid": 0, "home": "/root"},
                "person": {"name": person.name, "evidence": "sudo"},
                "origin": {"tty": outer.start["origin"]["tty"], "sudo_user": person.name, "real_uid": 0},
            },
            _ENDS[0][1],
            outer,
        )

    def _job(self, begin: datetime) -> Visit:
        start: Event = {
            **_COMPONENTS[2],
            "hostname": "build1",
            "user": {"username": "deploy", "uid": 900, "home": "/srv/deploy"},
            "actor": "automation",
            "reason": "nightly import",
        }
        return Visit(begin, self._chance.uniform(120, 900), start, _ENDS[0][1])

    def _incident(self) -> Iterator[Visit]:
        """Ten people within minutes, four of whose shells are killed; one repairs until the morning."""
        chance = self._chance
        night = self._days[-min(9, len(self._days))].replace(hour=2, minute=41)
        for number, person in enumerate(self.people[:10]):
            begin = night + timedelta(seconds=40 * number + chance.uniform(0, 20))
            visit = self._visit(person, begin, chance.uniform(600, 5400))
            visit.start |= {"hostname": "db1", "reason": INCIDENT}
            if 1 <= number <= 4:
                visit.seconds, visit.end = 660 + chance.uniform(0, 9) - 40 * number, _KILLED
            if number == 0:
                visit.seconds = 4.5 * 3600
                yield self._as_root(visit, person)
            yield visit

    def _now(self) -> Iterator[Visit]:
        """Who is in at the end, whatever the hour: at work, as root, an agent, one who forgot it."""
        for number, (person, minutes) in enumerate(
            zip(self.people[:9], (3, 8, 14, 20, 31, 47, 75, 140, 400), strict=True)
        ):
            began = self._end - timedelta(minutes=minutes, seconds=self._chance.uniform(0, 59))
            visit = self._visit(person, began, 0)
            visit.seconds = minutes * 60 + 3600.0
            yield visit
            if number == 3:
                inner = self._as_root(visit, person)
                inner.begin = visit.begin + timedelta(minutes=6)
                inner.seconds = 3600.0
                yield inner


def _weighed(ends: Sequence[tuple[int, Event]]) -> tuple[list[Event], list[int]]:
    return [event for _, event in ends], [weight for weight, _ in ends]
