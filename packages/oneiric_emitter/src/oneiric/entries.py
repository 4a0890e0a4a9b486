"""What a journal says, read by whoever finds it; and the end of a session that nobody holds any more.

What the system refuses is raised as :class:`OSError`.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from oneiric import compose, contract, facts
from oneiric.contract import ExitReason
from oneiric.descriptors import opened, write

_MAX_JOURNAL_BYTES = 1024 * 1024
_COUNTS = ("commands", "errors")
# By whether its process is gone, where that can be known.
_REASONS: dict[bool | None, ExitReason] = {True: "process_gone", False: "exec", None: "outbox_recovered"}


class Moment(NamedTuple):
    """A moment, by the clock that people set and by the one that nobody sets."""

    time: datetime
    boottime: float

    @classmethod
    def now(cls) -> "Moment":
        """The present moment."""
        return cls(datetime.now(UTC), facts.boottime())


class CorruptJournal(Exception):  # noqa: N818 - reads as the fact it states
    """A journal whose start cannot be read."""


class Entry(NamedTuple):
    """What one journal says."""

    start: dict[str, Any]
    end: dict[str, Any] | None
    pulse: dict[str, Any] | None
    torn: bool

    @property
    def events(self) -> list[dict[str, Any]]:
        """Start and end, as far as they are known."""
        return [self.start] if self.end is None else [self.start, self.end]


@contextmanager
def opened_own(path: Path, access: int) -> Iterator[int]:
    """Open a journal that may be anything, a link, a pipe; :class:`CorruptJournal`: no file of this user."""
    with opened(path, access | os.O_NOFOLLOW | os.O_NONBLOCK) as descriptor:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise CorruptJournal(f"{path.name} is no file of this user")
        yield descriptor


def read(path: Path) -> Entry:
    """What a journal says; a torn last line is not there.

    Raises:
        CorruptJournal: it has no readable start.
    """
    with opened_own(path, os.O_RDONLY) as descriptor:
        content = os.read(descriptor, _MAX_JOURNAL_BYTES + 1)
    if len(content) > _MAX_JOURNAL_BYTES:
        raise CorruptJournal(f"it is larger than {_MAX_JOURNAL_BYTES} bytes")
    lines = content.split(b"\n")
    torn = bool(lines.pop())
    found = {event["event_type"]: event for line in lines if (event := _event(line)) is not None}
    start, end, pulse = (found.get(kind) for kind in ("session_start", "session_end", "session_heartbeat"))
    if start is None or not _is_usable(start):
        raise CorruptJournal("no readable start event")
    if end is not None and not (_has_time(end) and end.get("session_id") == compose.session_id_of(start)):
        raise CorruptJournal("its end is not this session's")
    if pulse is not None and not _has_time(pulse):
        pulse = None
    if end is not None and "activity" not in end and (activity := activity_of(pulse or {})):
        # An earlier emitter's signal handler wrote an end made beforehand; what happened is in the pulse.
        end["activity"] = activity
    return Entry(start, end, pulse, torn)


def try_read(path: Path) -> Entry | None:
    """What a journal says; ``None`` where it is gone, or says nothing."""
    with suppress(OSError, CorruptJournal):
        return read(path)
    return None


def activity_of(pulse: Mapping[str, Any]) -> dict[str, Any]:
    """What a pulse tells of the shell's activity, as far as it is readable."""
    counts = {name: pulse[name] for name in _COUNTS if isinstance(pulse.get(name), int) and pulse[name] >= 0}
    last = {"timestamp": pulse.get("last_activity")}
    return counts | ({"last_activity": last["timestamp"]} if _has_time(last) else {})


def elapsed_of(pulse: Mapping[str, Any]) -> float | None:
    """How long the session had lasted at a pulse, as far as it is readable."""
    elapsed = pulse.get("elapsed_seconds")
    if isinstance(elapsed, int | float) and 0 <= elapsed <= contract.MAX_ELAPSED_SECONDS:
        return float(elapsed)
    return None


def complete(path: Path, entry: Entry, end: Mapping[str, Any]) -> Entry:
    """Write an end into a claimed journal; what it says then, if the end can be read back."""
    line = compose.encode(end)
    with opened(path, os.O_RDWR) as descriptor:
        # A torn line before it is closed first.
        write(descriptor, b"\n" + line if entry.torn else line, os.fstat(descriptor).st_size)
    if (whole := read(path)).end is None:
        raise CorruptJournal("its end cannot be read back")
    return whole


def owner_gone(entry: Entry) -> bool | None:
    """Whether the process that wrote the start is gone; ``None`` where this process cannot know."""
    process = entry.start.get("process")
    if not process or process["boot_id"] != facts.boot_id():
        return None
    if process["pid_namespace"] != facts.pid_namespace():
        return None
    return bool(facts.process_start_ticks(entry.start["pid"]) != process["started_at"])


def end_for_orphan(entry: Entry, gone_at: Moment | None = None) -> dict[str, Any]:
    """The end of a session that nobody holds any more, at its last sign of life.

    Or at ``gone_at``, where its process was seen to end just now.

    The lock goes when the process dies, and also when it becomes another program (``exec``): then the very
    same process is still there. So any lock that a living process has lost is taken for an ``exec``: nothing
    tells the two apart, and where its own end follows, that one counts.
    """
    session_id = compose.session_id_of(entry.start)
    pulse = entry.pulse or {}
    seen = datetime.fromisoformat((pulse or entry.start)["timestamp"])
    reason = "process_gone" if gone_at else _REASONS[owner_gone(entry)]
    when, elapsed = gone_at.time if gone_at else seen, elapsed_of(pulse)
    began = pulse.get("boottime_at_start")
    if gone_at and isinstance(began, float):
        elapsed = max(0.0, round(gone_at.boottime - began, 6))
    return compose.session_end(
        session_id,
        when,
        event_id=contract.end_event_id(session_id, f"{reason}:{compose.timestamp(when)}"),
        exit_reason=reason,
        status="ended" if reason == "exec" else "crashed",
        detected_by="liveness" if gone_at else "outbox",
        elapsed_seconds=elapsed,
        activity=activity_of(pulse) or None,
    )


def _event(line: bytes) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        event = json.loads(line)
        return event if isinstance(event, dict) and isinstance(event.get("event_type"), str) else None
    return None


def _is_usable(start: Mapping[str, Any]) -> bool:
    """Whether a start has what the outbox itself must know; the rest is for the server to judge."""
    try:
        contract.start_time_of(compose.session_id_of(start))
        process = start.get("process") or {"boot_id": "", "pid_namespace": "", "started_at": 0}
        # Writing it again finds NaN and lone surrogates, which no server would take.
        compose.encode(start)
        return bool({"boot_id", "pid_namespace", "started_at"} <= process.keys() and start["pid"] > 0)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return False


def _has_time(event: Mapping[str, Any]) -> bool:
    try:
        compose.encode(event)
        when = datetime.fromisoformat(event["timestamp"])
        when.astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return False
    return when.tzinfo is not None
