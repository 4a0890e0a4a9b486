"""Which open sessions need attention, and a summary of all of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from session_buddy.history.record import identity, person
from session_buddy.history.words import Record, count, human_duration

# After so long, a shell was probably forgotten.
IDLE_SECONDS: Final = 4 * 3600
_ROOT: Final = "root"


class Shared(NamedTuple):
    """A component that several people are in on one host; their names in the order of their sessions."""

    component: str
    host: str
    people: tuple[str, ...]


def concern(record: Record) -> str:
    """Why an open session needs attention, in words; empty where it does not. The first reason counts.

    >>> concern({"unreachable": False, "idle_seconds": 38400.0, "username": "ada"})
    'idle for 10h 40m'
    """
    idle = record.get("idle_seconds")
    if record.get("unreachable"):
        return "not heard from"
    if idle is not None and idle >= IDLE_SECONDS:
        return f"idle for {human_duration(idle)}"
    if record.get("username") == _ROOT and not record.get("reason"):
        return "root without a reason"
    return ""


def attention_first(records: Sequence[Record]) -> list[Record]:
    """Those that need attention, the longest idle first, then all others; each in the order given."""

    def place(record: Record) -> tuple[bool, float]:
        needs = bool(concern(record))
        return not needs, -(record.get("idle_seconds") or 0.0) if needs else 0.0

    return sorted(records, key=place)


def sentence(people: int, shells: int, hosts: int) -> str:
    """The answer to who is in now.

    >>> sentence(6, 7, 4), sentence(1, 1, 1), sentence(0, 0, 0)
    ('6 people are in 7 shells on 4 hosts', '1 person is in 1 shell on 1 host', 'Nobody is in')
    """
    if not shells:
        return "Nobody is in"
    verb = "is" if people == 1 else "are"
    who = count(people, "person", "people")
    return f"{who} {verb} in {count(shells, 'shell')} on {count(hosts, 'host')}"


def people_and_hosts(records: Sequence[Record]) -> tuple[int, int]:
    """How many people there are, and on how many hosts."""
    return len({person(one) for one in records}), len({one["hostname"] for one in records})


def shared(records: Sequence[Record]) -> list[Shared]:
    """Where several people are in one component on one host, the most people first."""
    names: dict[tuple[str, str], dict[str, str]] = {}
    for record in records:
        here = names.setdefault((record["component"], record["hostname"]), {})
        here.setdefault(person(record), identity(record).name)
    found = [Shared(*place, tuple(here.values())) for place, here in names.items() if len(here) > 1]
    return sorted(found, key=lambda one: -len(one.people))


def concerns(records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many sessions need attention, by the kind of reason.

    >>> concerns([{"unreachable": True}, {"username": "root"}, {"username": "root"}])
    {'not heard from': 1, 'as root without a reason': 2}
    """
    kinds: dict[str, int] = {}
    for record in records:
        if why := concern(record):
            kind = "idle for hours" if why.startswith("idle") else why.replace(f"{_ROOT} ", f"as {_ROOT} ")
            kinds[kind] = kinds.get(kind, 0) + 1
    return kinds
