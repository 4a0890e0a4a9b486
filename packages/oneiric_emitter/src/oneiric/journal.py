"""The journal of one session: a file of JSON lines, alive as long as its lock is held.

The lines are::

    pulse   the last sign of life, one record of fixed size that each heartbeat and each command overwrites
    start   the session_start event
    end     the session_end event, once there is one

Its owner holds an ``flock`` on it. The kernel drops that lock when the process dies, however it dies, so a
journal whose lock is free and that has no end is an orphan.
"""

import json
import os
import stat
from _thread import allocate_lock
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from oneiric import compose, contract, facts
from oneiric.contract import ExitReason
from oneiric.descriptors import CLOEXEC, identity, lock, make_folder, opened, raised, release, sync, write
from oneiric.process import Owned

NEW_SUFFIX = ".new"
_PULSE_BYTES = 320
_MAX_JOURNAL_BYTES = 1024 * 1024
# Not blocking: a named pipe in the folder must not hold up whoever looks at it.
_GUARDED = CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_COUNTS = ("commands", "errors")
# By whether its process is gone, where that can be known.
_REASON_IF_GONE: dict[bool | None, ExitReason] = {
    True: "process_gone",
    False: "exec",
    None: "outbox_recovered",
}


class Moment(NamedTuple):
    """A moment, by the clock that people set and by the one that nobody sets."""

    time: datetime
    boottime: float

    @classmethod
    def now(cls) -> "Moment":
        """This one."""
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


class Journal(Owned):
    """The journal of one live session, held by its owner; once it is made, no kill loses the start.

    The file gets its name after it is locked and whole: a finder can never take the lock of a live journal,
    nor see half of one.

    Every write can raise :class:`OSError`; a write that fails leaves the journal as it was.

    Args:
        path: where it lies.
        start: the start event.
        began: when that was made, by :func:`oneiric.facts.boottime`; now, if nothing is given.

    Attributes:
        ended: the end is in it.
        pulsed: time and elapsed seconds of the latest pulse.
    """

    def __init__(self, path: Path, start: dict[str, Any], began: float | None = None) -> None:
        super().__init__()
        self.path = path
        self._start = start
        self._began = facts.boottime() if began is None else began
        self.pulsed: tuple[str, float] = (start["timestamp"], 0.0)
        self._pulse = self._pulse_line({})
        self._descriptor, self._size = _write_new(path, self._pulse, start)
        self._identity = identity(self._descriptor)
        self._closed = self.ended = False
        self._syncing = False
        self._asked = ""
        # To write a pulse; no forked child, which may find it taken for good, asks for it.
        self._in_use = allocate_lock()

    def __repr__(self) -> str:
        return f"<Journal {self.path.name} bytes={self._size}>"

    def append_end(self, end: Mapping[str, Any]) -> None:
        """Write the end behind the start, once: safe to call again until it succeeds."""
        if not self.ended:
            self.append(compose.encode(end))
            self.ended = True

    def append(self, line: bytes) -> None:
        """Write a line made beforehand; takes no lock, so that a signal handler may call it."""
        if self._closed:
            raise OSError("the journal is closed")
        if not self._reaches_file():
            self._reopen()
        write(self._descriptor, line, self._size)
        self._size += len(line)

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the start, whatever the time of day was set to meanwhile."""
        return round(facts.boottime() - self._began, 6)

    def pulse(self, when: str, activity: Callable[[], Mapping[str, Any]]) -> None:
        """Overwrite the pulse with what ``activity`` tells; the journal does not grow.

        Waits for nobody: where another is at it, maybe interrupted by a signal handler that calls this, that
        one writes the latest activity.
        """
        self._asked = when
        while self._asked and self._in_use.acquire(blocking=False):
            try:
                self.pulsed, self._asked = (self._asked, self.elapsed_seconds), ""
                line = self._pulse_line(activity())
                if len(line) == _PULSE_BYTES:
                    self._pulse = line
                    if self._reaches_file():
                        os.pwrite(self._descriptor, line, 0)
            finally:
                self._in_use.release()

    def _pulse_line(self, activity: Mapping[str, Any]) -> bytes:
        when, elapsed = self.pulsed
        record = {"event_type": "session_heartbeat", "timestamp": when, "elapsed_seconds": elapsed}
        # For whoever sees the process exit: the session lasted from this to the boot time then.
        line = compose.encode({**record, "boottime_at_start": self._began, **activity})
        return line[:-1].ljust(_PULSE_BYTES - 1) + b"\n"

    def sync(self) -> None:
        """Have the disk hold what was written; slow on a network home, so never on the caller's thread.

        Its name is on the disk after :func:`oneiric.descriptors.sync`.
        """
        self._syncing = True
        try:
            if self._reaches_file():
                os.fsync(self._descriptor)
                return
        finally:
            self._syncing = False
        sync(self.path)

    def close(self) -> None:
        """Let go of the journal: its lock is free from here on, unless this is a forked child's copy of it.

        Safe to call twice.
        """
        self._closed = True
        # A close can fail, on a network home, and has closed all the same.
        with suppress(OSError):
            self._drop_descriptor()

    def try_close(self) -> None:
        """:meth:`close` it beside the delivery thread, unless that is at it."""
        if not self._syncing and self._in_use.acquire(blocking=False):
            try:
                self.close()
            finally:
                self._in_use.release()

    def _reaches_file(self) -> bool:
        """Whether a write reaches this journal.

        The host may have closed the descriptor and got its number again, or somebody unlinked the file.
        """
        try:
            found = os.fstat(self._descriptor)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity and found.st_nlink > 0

    def _drop_descriptor(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if identity(descriptor) == self._identity:
            # A copy of it in a forked child must not unlock the journal of its parent.
            (release if self.made_here else os.close)(descriptor)

    def _reopen(self) -> None:
        """Take the journal up again after its descriptor, or its file, was taken from us."""
        self._drop_descriptor()
        try:
            descriptor, self._size = _take_up(self.path)
        except FileNotFoundError:
            # Unlinked, or taken for dead and delivered: begin anew, the start may be a duplicate.
            descriptor, self._size = _write_new(self.path, self._pulse, self._start)
        self._descriptor, self._identity = descriptor, identity(descriptor)


def open_own(path: Path, access: int) -> int:
    """A descriptor of a journal that may be anything: neither a link nor a pipe leads astray.

    Raises:
        CorruptJournal: it is no file of this user.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, access | _GUARDED)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        os.close(descriptor)
        raise CorruptJournal(f"{path.name} is no file of this user")
    return descriptor


def read(path: Path) -> Entry:
    """What a journal says; a torn last line is not there.

    Raises:
        CorruptJournal: it has no readable start.
        OSError: it cannot be opened.
    """
    with open(open_own(path, os.O_RDONLY), "rb") as file:
        content = file.read(_MAX_JOURNAL_BYTES + 1)
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
        # A signal handler writes a line that was made beforehand; what happened until then is in the pulse.
        end["activity"] = activity
    return Entry(start, end, pulse, torn)


def try_read(path: Path) -> Entry | None:
    """What a journal says; ``None`` where it is gone, or says nothing."""
    try:
        return read(path)
    except (OSError, CorruptJournal):
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


def append_end(path: Path, entry: Entry, end: Mapping[str, Any]) -> None:
    """Write an end into a claimed journal; a torn line before it is closed first.

    Raises:
        OSError: it cannot be written.
    """
    line = compose.encode(end)
    with opened(path, os.O_RDWR) as descriptor:
        write(descriptor, b"\n" + line if entry.torn else line, os.fstat(descriptor).st_size)


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
    reason = "process_gone" if gone_at else _REASON_IF_GONE[owner_gone(entry)]
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
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event_type"), str) else None


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


def _write_new(final: Path, pulse: bytes, start: dict[str, Any]) -> tuple[int, int]:
    """Make a journal; returns its locked descriptor and its size."""
    fresh = final.with_suffix(NEW_SUFFIX)
    content = pulse + compose.encode(start)
    descriptor = _open_new(fresh)
    try:
        lock(descriptor)
        write(descriptor, content, 0)
        os.rename(fresh, final)
    except BaseException:
        os.close(descriptor)
        with suppress(OSError):
            os.unlink(fresh)
        raise
    return descriptor, len(content)


def _take_up(path: Path) -> tuple[int, int]:
    """Lock a journal that exists; returns its descriptor and its size."""
    descriptor = raised(os.open(path, os.O_RDWR | CLOEXEC))
    try:
        lock(descriptor)
        return descriptor, os.fstat(descriptor).st_size
    except BaseException:
        os.close(descriptor)
        raise


def _open_new(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileNotFoundError:
        make_folder(path.parent)
        descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    return raised(descriptor)
