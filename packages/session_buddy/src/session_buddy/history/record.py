"""A session as it is shown: to people, programs and agents alike.

The command line, which counts its milliseconds, imports this: no pydantic here.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from typing_extensions import TypedDict

from oneiric import contract
from oneiric.contract import Status
from session_buddy.history.times import iso

if TYPE_CHECKING:
    from session_buddy.history.model import SessionRow

# The field that lists may have beside those of a record, see :func:`who`.
WHO: Final = "who"
# In the metadata of an end that was put there by hand: by whom, and why.
ENDED_BY: Final = "ended_by"
ENDED_BECAUSE: Final = "ended_because"


class SessionRecord(TypedDict):
    """A session as it is shown; times are ISO 8601 in UTC with offset, durations seconds.

    What nobody could count is ``None``.
    """

    session_id: str
    person: str | None
    person_evidence: str | None
    person_also: list[dict[str, str]]
    username: str
    uid: int | None
    actor: str | None
    agent: str | None
    component: str
    session_type: str
    shell_type: str
    status: Status
    unreachable: bool
    exit_reason: str | None
    exit_code: int | None
    signal: int | None
    detected_by: str | None
    start_time: str
    end_time: str | None
    last_seen: str | None
    last_activity: str | None
    duration_seconds: float
    clock_skew: bool
    hostname: str
    pid: int
    python_version: str
    platform: str
    cwd: str
    origin: dict[str, Any] | None
    parent_session_id: str | None
    reason: str | None
    commands: int | None
    errors: int | None
    reported_by: str
    metadata: dict[str, Any]
    idle_seconds: float | None
    busy: bool


def to_record(row: "SessionRow", now: datetime, *, silent: bool = False, busy: bool = False) -> SessionRecord:
    """A started session as it is shown; an active one has lasted up to ``now``.

    ``silent``: its heartbeats are missed, so if it is active, it is ``unreachable``; ``busy``: a command
    runs in it.
    """
    from session_buddy.history.model import greatest  # who has a row has loaded pydantic

    end, skewed = row.believed_end, row.clock_skew
    finished = end.timestamp if end else None
    lasted = row.duration_seconds
    if lasted is None and skewed:
        lasted = row.elapsed_seconds
    if lasted is None:
        lasted = max(0.0, (now - row.start_time).total_seconds())
    last_activity = greatest(row.last_activity, *(one.last_activity for one in row.ends if end))
    return SessionRecord(
        session_id=row.session_id,
        person=row.person,
        person_evidence=row.person_evidence,
        person_also=row.person_also or [],
        username=row.username or contract.UNKNOWN,
        uid=row.uid,
        actor=row.actor,
        agent=row.agent,
        component=row.component or contract.UNKNOWN,
        session_type=row.session_type or contract.UNKNOWN,
        shell_type=row.shell_type or contract.UNKNOWN,
        status=row.status or "active",
        unreachable=silent and row.status == "active",
        exit_reason=row.exit_reason,
        exit_code=row.exit_code,
        signal=end.signal if end else None,
        detected_by=end.detected_by if end else None,
        start_time=row.start_time.isoformat(),
        end_time=iso(finished),
        last_seen=iso(greatest(row.last_seen, finished if end and not end.inferred else None)),
        last_activity=iso(last_activity),
        duration_seconds=lasted,
        clock_skew=skewed,
        hostname=row.hostname or contract.UNKNOWN,
        pid=row.pid or 0,
        python_version=row.python_version or contract.UNKNOWN,
        platform=row.platform or contract.UNKNOWN,
        cwd=row.cwd or "",
        origin=row.origin,
        parent_session_id=row.parent_session_id,
        reason=row.reason,
        commands=row.counted_commands if end else row.commands,
        errors=row.counted_errors if end else row.errors,
        reported_by=row.subject or contract.UNKNOWN,
        metadata={**(row.metadata or {}), **(row.end_metadata or {})},
        idle_seconds=None if end or busy else _idle(row, lasted, now),
        busy=busy and end is None,
    )


def _idle(row: "SessionRow", lasted: float, now: datetime) -> float | None:
    """Seconds since something was done in it; ``None`` where its commands are not counted."""
    if row.last_activity is None and row.commands is None:
        return None
    # Clocks of two machines differ, but idle time is never longer than the session.
    return max(0.0, min((now - (row.last_activity or row.start_time)).total_seconds(), lasted))


def who(record: Mapping[str, Any]) -> str:
    """The person, the account where that is another's, whom somebody says that it is, and what acts for them.

    >>> who({"username": "root", "person": "ada", "person_evidence": "sudo"})
    'ada (as root)'
    >>> who({"username": "root", "person": "alice", "person_evidence": "claimed"})
    'root, says alice'
    >>> who({"username": "ada", "actor": "agent", "agent": "cline", "origin": {"actor_hint": "CLINE_ACTIVE"}})
    'ada, agent cline?'
    """
    if WHO in record:  # it was chosen beside other fields: what it follows from may be missing
        return str(record[WHO])
    known = identity(record)
    parts = [f"{known.name} (as {known.account})" if known.account else known.name]
    parts += [f"says {known.claimed}"] if known.claimed else []
    return ", ".join([*parts, known.acting] if known.acting else parts)


class Identity(NamedTuple):
    """Who it was; parts that do not apply are empty.

    ``name`` is the person as far as that is proven, else the account; ``account`` the one that the
    process runs as, where it is another's; ``claimed`` whom somebody says that it is; ``acting`` the
    program that acts for them, with ``?`` where that is a guess.
    """

    name: str
    account: str
    claimed: str
    acting: str


def identity(record: Mapping[str, Any]) -> Identity:
    """The parts of :func:`who`; the record has its own fields, not that one alone.

    >>> identity({"username": "root", "person": "ada", "person_evidence": "sudo"})
    Identity(name='ada', account='root', claimed='', acting='')
    """
    account, (proven, *said) = record.get("username") or contract.UNKNOWN, _named(record)
    acting = ""
    if (actor := record.get("actor")) not in (None, "human"):
        name = record.get("agent")
        acting = f"{actor} {name}" if name else str(actor)
        acting += "?" * ("actor_hint" in (record.get("origin") or {}))
    return Identity(
        proven, "" if proven == account else account, said[0].removeprefix("says ") if said else "", acting
    )


def state_of(record: Mapping[str, Any]) -> str:
    """Its status, or that nothing is heard of it: ``unreachable``."""
    return "unreachable" if record.get("unreachable") else str(record.get("status") or "")


def person(record: Mapping[str, Any]) -> str:
    """Who it was, the same in all sessions of a person, under any account and with any agent.

    A claim counts where nothing is proven.

    >>> person({"username": "root", "person": "ada", "person_evidence": "sudo", "actor": "agent"})
    'ada'
    >>> person({"username": "root", "person": "alice", "person_evidence": "claimed"})
    'root, says alice'
    """
    account, known = record.get("username") or contract.UNKNOWN, record.get("person")
    if known is not None and record.get("person_evidence") in contract.PROOFS:
        return str(known)
    said = _caller_of_sudo(record) if known is None else known
    return account if said in (None, account) else f"{account}, says {said}"


def _named(record: Mapping[str, Any]) -> list[str]:
    """The person as far as that is proven, else the account; then whom somebody says that it is."""
    account, known = record.get("username") or contract.UNKNOWN, record.get("person")
    evidence = record.get("person_evidence")
    people = [(known, evidence), *((one["name"], one["evidence"]) for one in record.get("person_also") or ())]
    if known is None and (claimed := _caller_of_sudo(record)):
        people = [(claimed, "claimed")]
    said = [name for name, how in people if how not in contract.PROOFS and name not in (None, account)]
    proven = known if known is not None and evidence in contract.PROOFS else account
    return [proven, *(f"says {name}" for name in said[:1])]


def _caller_of_sudo(record: Mapping[str, Any]) -> str | None:
    """Whom a variable named; of emitters that told no uid, which had no word for a person either."""
    return None if record.get("uid") is not None else (record.get("origin") or {}).get("sudo_user")
