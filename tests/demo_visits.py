"""One session of the sample history: whose, where, how it ends, and the events that tell of it."""

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from oneiric.compose import heartbeat, session_id_of

Event = dict[str, Any]

HOSTS: Final = ("web1", "web2", "db1", "build1")
_REASONS: Final = (
    "OPS-{}: stuck workflow",
    "OPS-{}: a customer asks for a refund",
    "CHG-{}: schema migration",
    "CHG-{}: new certificate",
    "look at last night's import",
    "pairing",
)
COMPONENTS: Final[tuple[Event, ...]] = (
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
KILLED: Final = _ENDS[-1][1]
LOST: Final[Event] = {"exit_reason": "lease_expired", "status": "crashed", "detected_by": "lease"}


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
        worked: seconds after which nobody did anything in it; ``None``: until its end.
    """

    begin: datetime
    seconds: float
    start: Event
    end: Event = field(default_factory=dict)
    within: "Visit | None" = None
    worked: float | None = None

    @property
    def over(self) -> datetime:
        """When it ends."""
        return self.begin + timedelta(seconds=self.seconds)


def visit_of(
    person: Person, begin: datetime, seconds: float, chance: random.Random, share: float = 0.4
) -> Visit:
    """A session of that person, or of the agent: of those who have one, it has this share."""
    host, component = person.place
    if chance.random() < 0.3:
        host, component = chance.randrange(len(HOSTS)), chance.randrange(len(COMPONENTS))
    start: Event = {
        **COMPONENTS[component],
        "hostname": HOSTS[host],
        "user": {"username": person.name, "uid": person.uid, "home": f"/home/{person.name}"},
        "person": {"name": person.name, "evidence": "account"},
        "origin": {"tty": f"/dev/pts/{chance.randint(0, 9)}", "ssh_client": f"10.0.4.{person.uid - 990}"},
    }
    if chance.random() < 0.4:
        start["reason"] = chance.choice(_REASONS).format(chance.randint(100, 999))
    if start["component_name"] == "mahavishnu":
        start["metadata"] = start["metadata"] | {"adapters": list(_ADAPTERS[: chance.randint(1, 3)])}
    if person.agent and chance.random() < share:
        start |= {"actor": "agent", "agent": person.agent}
        seconds = min(seconds, 600)
    elif chance.random() < 0.1:
        # Who is root by nothing but a password is nobody.
        start = {
            name: value for name, value in (start | _shared(person, start["origin"], chance)).items() if value
        }
    return Visit(begin, seconds, start, chance.choices(*_weighed(_ENDS))[0])


def job_at(begin: datetime, chance: random.Random) -> Visit:
    """A job that nobody sits at."""
    start: Event = {
        **COMPONENTS[2],
        "hostname": "build1",
        "user": {"username": "deploy", "uid": 900, "home": "/srv/deploy"},
        "actor": "automation",
        "reason": "nightly import",
    }
    return Visit(begin, chance.uniform(120, 900), start, _ENDS[0][1])


def as_root(outer: Visit, person: Person, chance: random.Random) -> Visit:
    """A session as root, by sudo, within another."""
    begin = outer.begin + timedelta(seconds=outer.seconds * chance.uniform(0.1, 0.4))
    return Visit(
        begin,
        outer.seconds * chance.uniform(0.1, 0.4),
        outer.start
        | {
            "user": {"username": "root", "uid": 0, "home": "/root"},
            "person": {"name": person.name, "evidence": "sudo"},
            "origin": {"tty": outer.start["origin"]["tty"], "sudo_user": person.name, "real_uid": 0},
        },
        _ENDS[0][1],
        outer,
    )


def _shared(person: Person, origin: Event, chance: random.Random) -> Event:
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
    return chance.choices(ways, (6, 1, 3, 1))[0]


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
    return {
        "event_type": "session_end",
        "event_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "session_id": session_id_of(visit.start),
        "timestamp": visit.over.isoformat(),
        "elapsed_seconds": visit.seconds,
        "activity": _activity(visit, visit.seconds),
        **visit.end,
    }


def beat_of(visit: Visit, now: datetime) -> Event:
    """The event that says that a session still lives."""
    elapsed = (now - visit.begin).total_seconds()
    return heartbeat(session_id_of(visit.start), now.isoformat(), elapsed, _activity(visit, elapsed))


def _activity(visit: Visit, elapsed: float) -> Event:
    """What was done: a command in half a minute to two, after which one looks at what it said."""
    pace = 30 + visit.start["pid"] % 90
    commands = int(min(elapsed, visit.worked or elapsed) / pace)
    worked = visit.begin + timedelta(seconds=commands * pace)
    return {
        "commands": commands,
        "errors": commands * (visit.start["pid"] % 7) // 50,
        "last_activity": worked.isoformat(),
    }


def _weighed(ends: Sequence[tuple[int, Event]]) -> tuple[list[Event], list[int]]:
    return [event for _, event in ends], [weight for weight, _ in ends]
