"""The facts of one session in groups, each with how it is known."""

from datetime import datetime
from typing import Final, NamedTuple

from session_buddy.history.words import (
    MISSING,
    Record,
    came_from,
    evidence,
    flatten,
    found,
    how,
    human_duration,
    shown,
)
from session_buddy.server.page.rows import Moment, moment

_TIMES: Final = ("start_time", "end_time", "last_seen", "last_activity")


class Fact(NamedTuple):
    """One fact: its name, what it is, a time if it is one, and how it is known."""

    name: str
    text: str
    known: str = ""
    time: Moment | None = None


class Facts(NamedTuple):
    """Those of a session, told when it is ``now``."""

    record: Record
    now: datetime

    def everything(self) -> list[Fact]:
        """All fields."""
        return [self.field(key, value) for key, value in flatten(self.record)]

    def groups(self) -> list[tuple[str, list[Fact]]]:
        """What is asked of a session, by headings."""
        record = self.record
        origin = record["origin"] or {}
        fact = self.field
        who_it_was = [
            fact(key, record[key], name)
            for key, name in (
                ("person", "person"),
                ("username", "account"),
                ("uid", "uid"),
                ("person_also", "also named"),
            )
            if record[key] not in (None, [])
        ]
        who_it_was += [fact(key, record[key]) for key in ("actor", "agent") if record[key] is not None]
        where = [
            Fact("from", came_from(record), "") if came_from(record) != MISSING else None,
            *(fact(f"origin.{key}", value, key.replace("_", " ")) for key, value in origin.items()),
            Fact("process", f"pid {record['pid']}"),
            Fact("folder", shown(record["cwd"])) if record["cwd"] else None,
            Fact("shell", f"{shown(record['shell_type'])}, {shown(record['session_type'])}"),
            Fact("runs on", f"Python {shown(record['python_version'])}, {shown(record['platform'])}"),
        ]
        return [
            ("Who it was", who_it_was),
            ("When", self._when()),
            ("What was done", self._done()),
            ("Where", [one for one in where if one]),
        ]

    def _when(self) -> list[Fact]:
        record = self.record
        facts = [self.field("start_time", record["start_time"], "started")]
        if record["end_time"]:
            facts.append(self.field("end_time", record["end_time"], "ended"))
            facts.append(Fact("how", how(record) or shown(record["status"]), found(record)))
        facts.append(Fact("lasted", human_duration(record["duration_seconds"])))
        if record["last_seen"] and not record["end_time"]:
            facts.append(self.field("last_seen", record["last_seen"], "last heard of"))
        if record["clock_skew"]:
            facts.append(
                Fact("clock", "was wrong", "its times and its length do not agree; the length counts")
            )
        return facts

    def _done(self) -> list[Fact]:
        record = self.record
        if record["commands"] is None and record["last_activity"] is None:
            return [Fact("commands", "not counted", "this kind of shell does not tell them")]
        facts = [
            Fact("commands", f"{record['commands'] or 0:,}"),
            Fact("of them failed", f"{record['errors'] or 0:,}"),
        ]
        if record["last_activity"]:
            facts.append(self.field("last_activity", record["last_activity"], "last one"))
        return facts

    def field(self, key: str, value: object, name: str = "") -> Fact:
        """One, by the name of its field, or another."""
        known = evidence(key, value, self.record)
        if key in _TIMES and isinstance(value, str):
            return Fact(name or key, "", known, moment(value, self.now))
        if key == "person_also" and isinstance(value, list) and value:
            value = [f"{one['name']} ({one['evidence']})" for one in value]
        return Fact(name or shown(key), shown(value), known)
