"""Sessions as pages show them in lists: who, where, since when, how it stands."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, NamedTuple

from session_buddy.history.attention import concern
from session_buddy.history.record import WHO, Identity, identity, person
from session_buddy.history.words import (
    MISSING,
    Record,
    came_from,
    how,
    human_duration,
    idle,
    shown,
    status_of,
)
from session_buddy.server.page.address import of_session

# What is asked of the register for a row.
FIELDS: Final = (
    "session_id",
    "person",
    "person_evidence",
    "person_also",
    "username",
    "uid",
    "actor",
    "agent",
    "origin",
    "component",
    "hostname",
    "status",
    "unreachable",
    "exit_reason",
    "exit_code",
    "start_time",
    "end_time",
    "last_seen",
    "duration_seconds",
    "idle_seconds",
    "busy",
    "reason",
    "parent_session_id",
)
COLOURS: Final = 12
_WHO: Final = re.compile(
    r"([^,()]+?)(?: \(as ([^,()]+)\))?(?:, says ([^,]+))?(?:, ((?:agent|automation)[^,]*))?"
)


class Moment(NamedTuple):
    """A time; ``iso`` for the script, ``text`` as short as today allows, in UTC."""

    iso: str
    text: str


class Face(NamedTuple):
    """Who somebody is: a letter and a colour (1 to 12, one a person), and :class:`Identity` as it is shown.

    ``key`` is the same in all sessions of a person.
    """

    letter: str
    colour: int
    name: str
    account: str
    claimed: str
    acting: str
    key: str


class State(NamedTuple):
    """How a session stands: a class of the style sheet, the word, and what more is known."""

    kind: str
    word: str
    more: str


class Row(NamedTuple):
    """A session in a list; ``concern`` says why it needs attention."""

    id: str
    href: str
    face: Face
    component: str
    host: str
    came_from: str
    started: Moment
    ended: Moment | None
    lasted: str
    state: State
    concern: str
    reason: str


def rows_of(records: Sequence[Record], now: datetime, tz: str) -> list[Row]:
    """Sessions, with :data:`FIELDS`, in their order; ``tz`` is the reader's zone, for links."""
    return [row_of(record, now, tz) for record in records]


def row_of(record: Record, now: datetime, tz: str) -> Row:
    """One session of a list."""
    return Row(
        id=record["session_id"],
        href=of_session(record["session_id"], tz),
        face=face_of(record),
        component=shown(record["component"]),
        host=shown(record["hostname"]),
        came_from="" if (origin := came_from(record)) == MISSING else origin,
        started=moment(record["start_time"], now),
        ended=moment(record["end_time"], now) if record["end_time"] else None,
        lasted=human_duration(record["duration_seconds"]),
        state=state_of_row(record),
        concern=concern(record) if record["status"] == "active" else "",
        reason=shown(record["reason"]) if record["reason"] else "",
    )


def face_of(record: Record) -> Face:
    """Who it was; of a record in short, which has only a text of that, what can be read from it."""
    known, key = (identity(record), person(record)) if "username" in record else _read(record[WHO])
    name, account, claimed, acting = (shown(one) if one else "" for one in known)
    letters = [letter for letter in name if letter.isalnum()]
    colour = int.from_bytes(sha256(key.encode(errors="replace")).digest()[:4], "big") % COLOURS + 1
    return Face((letters[0] if letters else "?").upper(), colour, name, account, claimed, acting, key)


def _read(text: str) -> tuple[Identity, str]:
    """The parts of :func:`session_buddy.history.record.who`.

    >>> _read("ada (as root), agent codex")[0]
    Identity(name='ada', account='root', claimed='', acting='agent codex')
    """
    found = _WHO.fullmatch(text)
    if not found:
        return Identity(text, "", "", ""), text
    name, account, claimed, acting = (part or "" for part in found.groups())
    says = f"{name}, says {claimed}" if claimed and not account else name
    return Identity(name, account, claimed, acting), says


def state_of_row(record: Record) -> State:
    """How it stands: open ones as they are now, others as they ended."""
    status = record["status"]
    if status == "active":
        doing = idle(record)
        if record["unreachable"]:
            return State("unreachable", "unreachable", "nothing was heard of it for two heartbeats")
        if record["busy"] or doing.startswith("<"):
            return State("active", "working", "")
        return State("idle", "in" if doing == "unknown" else f"idle {doing}", "")
    return State(status, status_of(record), how(record))


def moment(iso: str, now: datetime) -> Moment:
    """A time as short as today allows, in UTC: no date today, no year this year.

    >>> moment("2026-01-02T03:04:05+00:00", datetime(2026, 1, 3, tzinfo=UTC)).text
    '2 Jan 03:04'
    """
    time, today = datetime.fromisoformat(iso).astimezone(UTC), now.astimezone(UTC)
    written = time.strftime("%Y-%m-%dT%H:%M:%SZ")
    if time.date() == today.date():
        return Moment(written, f"{time:%H:%M}")
    year = "" if time.year == today.year else f" {time.year}"
    return Moment(written, f"{time.day} {time:%b}{year} {time:%H:%M}")
