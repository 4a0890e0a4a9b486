"""Who is live right now, and when each was last heard of: the heartbeat state between two writes.

Shared by the register (heartbeats come in), the writer (what was taken, what is to be written) and the watch
over liveness. Times of life are the emitters' own; leases run on the monotonic clock, in seconds.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Final

from oneiric.contract import DEFAULT_HEARTBEAT_SECONDS, DEFAULT_LEASE_SECONDS, LEASE_BEATS
from oneiric.events import Process, SessionHeartbeat
from session_buddy.history.model import Beat, SessionRow, greatest, was_set

CALLS_PER_SECOND: Final = 50
MISSED_BEATS: Final = 2


@dataclass(slots=True)
class Live:
    """One live session.

    Attributes:
        heard: when a sign of life last came in, monotonic seconds.
        promised: the heartbeat pace that its emitter was given, seconds.
        alive: whether its process was seen on this host when it was last looked for.
        alive_at: when its process was last seen on this host.
        lease: seconds of silence after which the session is given up.
        said: the time that the latest heartbeat told, by its emitter's clock, which may be set.
        skewed: whether that was seen, and the store knows it.
        dirty: whether the store does not know its state yet.
    """

    session_id: str
    subject: str
    hostname: str
    pid: int
    process: Process | None
    start_time: datetime
    last_seen: datetime
    elapsed_seconds: float | None
    commands: int | None
    errors: int | None
    last_activity: datetime | None
    skewed: bool
    heard: float = 0.0
    promised: float = 0.0
    lease: float = 0.0
    said: datetime | None = None
    alive: bool = False
    alive_at: datetime | None = None
    dirty: bool = False

    def is_silent(self, clock: float) -> bool:
        """Whether two heartbeats are missing; counted here, since the emitter's clock may be wrong."""
        return clock - self.heard >= (MISSED_BEATS + 1) * self.promised

    @property
    def beat(self) -> Beat:
        """The state as a store takes it."""
        return Beat(*(getattr(self, name) for name in Beat._fields))

    def hear(self, beat: SessionHeartbeat) -> None:
        """Raise the state by one heartbeat."""
        self.last_seen = max(self.last_seen, beat.timestamp)
        self.elapsed_seconds = greatest(self.elapsed_seconds, beat.elapsed_seconds)
        self.commands = greatest(self.commands, beat.activity.commands)
        self.errors = greatest(self.errors, beat.activity.errors)
        self.last_activity = greatest(self.last_activity, beat.activity.last_activity)
        self.said, self.dirty = beat.timestamp, True


@dataclass
class Presence:
    """All live sessions; every method may be called from any thread.

    Attributes:
        pace: seconds between two heartbeats of one session while there are few.
        min_lease: seconds of silence that every session is granted, however fast its pace.
        on_arrival: called when sessions have come.
    """

    pace: float = DEFAULT_HEARTBEAT_SECONDS
    min_lease: float = DEFAULT_LEASE_SECONDS
    on_arrival: Callable[[], None] = lambda: None
    _live: dict[str, Live] = field(default_factory=dict)
    _news: list[Live] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def __repr__(self) -> str:
        return f"<Presence(live={len(self._live)})>"

    def __len__(self) -> int:
        return len(self._live)

    @property
    def heartbeat_seconds(self) -> float:
        """The pace for every client: all together stay under fifty calls a second."""
        return max(self.pace, len(self._live) / CALLS_PER_SECOND)

    def _promise(self, entry: Live, heard: float, pace: float) -> None:
        entry.heard, entry.promised = heard, pace
        entry.lease = max(self.min_lease, LEASE_BEATS * pace)

    def learn(self, rows: Collection[SessionRow], heard: float) -> list[Beat]:
        """Learn what sessions have become; ``heard`` is the monotonic time at which that was heard.

        Returns:
            The state of those that are over, where the store does not know it: it was heard while their
            ends were written, and may refute them.
        """
        with self._lock:
            over = [
                self._live.pop(row.session_id, None) for row in rows if row.status not in (None, "active")
            ]
            entered = [entry for row in rows if (entry := self._enter(row)) is not None]
            # Once all are in: those who are many were told to take their time, also by the server before.
            for entry in entered:
                self._promise(entry, heard, self.heartbeat_seconds)
            self._news += [entry for entry in (*over, *entered) if entry is not None]
        if entered:
            self.on_arrival()
        return [entry.beat for entry in over if entry is not None and entry.dirty]

    def news(self) -> list[tuple[Live, bool]]:
        """The sessions that came or went since this was last asked, each with whether it is live now."""
        with self._lock:
            news, self._news = self._news, []
            return [(entry, self._live.get(entry.session_id) is entry) for entry in news]

    def _enter(self, row: SessionRow) -> Live | None:
        """Who is live from now on; a start that came again, handed on by somebody, is no sign of life."""
        if row.status != "active" or row.session_id in self._live:
            return None
        entry = self._live[row.session_id] = _live(row)
        return entry

    def hear(self, beat: SessionHeartbeat, subject: str, heard: float, *, by_admin: bool) -> bool:
        """Take a heartbeat; false if a store must judge.

        That is where the session is not live, or another's, or where it is news that its clock was set.
        """
        pace = self.heartbeat_seconds
        with self._lock:
            entry = self._live.get(beat.session_id)
            if entry is None or not (by_admin or entry.subject == subject):
                return False
            # The same one again comes from somebody who read it in the outbox: nobody need be alive for that.
            if beat.timestamp != entry.said:
                entry.hear(beat)
                self._promise(entry, heard, pace)
            known = entry.skewed
            entry.skewed = known or was_set(entry.start_time, entry.last_seen, entry.elapsed_seconds)
            return known == entry.skewed

    def unwritten(self, only: Collection[str] | None = None) -> list[Beat]:
        """The state that the store does not know (of these sessions ``only``), from now on taken as known."""
        with self._lock:
            entries = self._live.values() if only is None else map(self._live.get, only)
            dirty = [entry for entry in entries if entry is not None and entry.dirty]
            for entry in dirty:
                entry.dirty = False
            return [entry.beat for entry in dirty]

    def still_unwritten(self, beats: Iterable[Beat]) -> None:
        """Take back :meth:`unwritten`: the store could not be written."""
        with self._lock:
            for beat in beats:
                if entry := self._live.get(beat.session_id):
                    entry.dirty = True

    def state(self, session_ids: Iterable[str]) -> dict[str, Beat]:
        """The present state of those of the sessions that are live."""
        with self._lock:
            found = (self._live.get(session_id) for session_id in session_ids)
            return {entry.session_id: entry.beat for entry in found if entry is not None}

    def silent(self, clock: float) -> frozenset[str]:
        """The live sessions that have missed their heartbeats; they may still live."""
        return frozenset(entry.session_id for entry in self.everyone() if entry.is_silent(clock))

    def everyone(self) -> list[Live]:
        """All live sessions as they are now; a snapshot of the list, not of its entries."""
        with self._lock:
            return list(self._live.values())


def _live(row: SessionRow) -> Live:
    return Live(
        session_id=row.session_id,
        subject=row.subject or "",
        hostname=row.hostname or "",
        pid=row.pid or 0,
        process=row.process,
        start_time=row.start_time,
        last_seen=row.last_seen or row.start_time,
        elapsed_seconds=row.elapsed_seconds,
        skewed=row.clock_skew,
        commands=row.commands,
        errors=row.errors,
        last_activity=row.last_activity,
    )
