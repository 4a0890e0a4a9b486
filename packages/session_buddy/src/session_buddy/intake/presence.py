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
from session_buddy.history.model import Beat, SessionRow, raised, was_set

CALLS_PER_SECOND: Final = 50
MISSED_BEATS: Final = 2


@dataclass(slots=True)
class Live:
    """One live session.

    Attributes:
        beat: its heartbeat state.
        heard: when a heartbeat last came in, monotonic seconds.
        promised: the heartbeat pace that its emitter was given, seconds.
        alive: whether its process runs on this host, as far as the watch knows.
        lease: seconds of silence after which the session is given up.
        skew_known: whether the store lists it as one whose clock was wrong.
        said: the time that the latest heartbeat told, by its emitter's clock, which may be set.
        dirty: whether the store does not know its state yet.
        busy: whether a command runs in it, as its latest heartbeat said.
    """

    session_id: str
    subject: str
    hostname: str
    pid: int
    process: Process | None
    start_time: datetime
    beat: Beat
    heard: float = 0.0
    promised: float = 0.0
    lease: float = 0.0
    skew_known: bool = False
    said: datetime | None = None
    alive: bool = False
    dirty: bool = False
    busy: bool | None = None

    def is_silent(self, clock: float) -> bool:
        """Whether two heartbeats are missing; counted here, since the emitter's clock may be wrong."""
        return clock - self.heard >= (MISSED_BEATS + 1) * self.promised

    @property
    def skewed(self) -> bool:
        """Whether its emitter's clock was set since the start."""
        return was_set(self.start_time, self.beat.last_seen, self.beat.elapsed_seconds)


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
                self._live.pop(row.session_id, None)
                for row in rows
                if row.status not in (None, "active") or row.tombstone is not None
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
        if row.status != "active":
            return None
        known = self._live.get(row.session_id)
        if known is not None:
            known.skew_known = row.clock_skew
            return None
        entry = self._live[row.session_id] = live_of(row)
        return entry

    def hear(self, event: SessionHeartbeat, subject: str, heard: float, *, by_admin: bool) -> bool:
        """Take a heartbeat; false if a store must judge.

        That is where the session is not live, or another's, or where this shows a clock that was set, which
        changes its place in lists.
        """
        pace = self.heartbeat_seconds
        with self._lock:
            entry = self._live.get(event.session_id)
            if entry is None or not (by_admin or entry.subject == subject):
                return False
            # The same one again comes from somebody who read it in the outbox: nobody need be alive for that.
            if event.timestamp != entry.said:
                entry.beat, entry.busy = raised(entry.beat, Beat.of(event)), event.activity.busy
                entry.said, entry.dirty = event.timestamp, True
                self._promise(entry, heard, pace)
            return entry.skew_known or not entry.skewed

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

    def is_alive(self, session_id: str, clock: float) -> bool:
        """Whether a live session was heard of just now, or its process is known to run on this host."""
        with self._lock:
            entry = self._live.get(session_id)
            return entry is not None and (entry.alive or not entry.is_silent(clock))

    def busy(self) -> frozenset[str]:
        """The live sessions in which a command runs, as they said last."""
        return frozenset(entry.session_id for entry in self.everyone() if entry.busy)

    def everyone(self) -> list[Live]:
        """All live sessions as they are now; a snapshot of the list, not of its entries."""
        with self._lock:
            return list(self._live.values())


def live_of(row: SessionRow) -> Live:
    """An active session as it is looked after."""
    beat = Beat(row.session_id, row.start_time, None, None, None)
    return Live(
        session_id=row.session_id,
        subject=row.subject or "",
        hostname=row.hostname or "",
        pid=row.pid or 0,
        process=row.process,
        start_time=row.start_time,
        beat=raised(beat, row),
        skew_known=row.clock_skew,
    )
