"""Who is gone without a word: processes of this host that ended, and leases that ran out."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from threading import Event as Signal
from threading import Thread
from time import monotonic
from typing import Final, Literal, NamedTuple, Self

import psutil
import structlog

from oneiric import facts
from oneiric.contract import UNKNOWN, end_event_id
from oneiric.events import SessionEnd
from session_buddy.access.callers import local_subject
from session_buddy.history.model import Arrival, Taken
from session_buddy.intake.exits import Exits
from session_buddy.intake.presence import Live, Presence

TICK_SECONDS: Final = 1.0
SWEEP_SECONDS: Final = 5.0
# With thousands of open shells a sweep takes long: it has at most a fiftieth of the time.
_SWEEP_PAUSES: Final = 50
SUBJECT: Final = "session-buddy"

# A process table dates its processes by the wall clock, which may have been set meanwhile.
_CLOCK_SLACK: Final = timedelta(minutes=1)

Life = Literal["alive", "gone", "unknown"]

log = structlog.stdlib.get_logger("session_buddy.intake.liveness")


class Here(NamedTuple):
    """What tells the processes that can be seen from here; read once for a look at all of them."""

    boot_id: str
    pid_namespace: str
    hostname: str

    @classmethod
    def now(cls) -> Self:
        """As it is for this process."""
        return cls(facts.boot_id(), facts.pid_namespace(), facts.hostname())

    def holds(self, live: Live) -> bool:
        """Whether the session's process, if it runs, runs in this boot and this pid namespace."""
        if live.process is not None:
            return (live.process.boot_id, live.process.pid_namespace) == (self.boot_id, self.pid_namespace)
        # Where the system names neither, what this user's own socket brought from this host is from here.
        unnamed = UNKNOWN in (self.boot_id, self.pid_namespace)
        return unnamed and (live.subject, live.hostname) == (local_subject(), self.hostname)


def life_of(live: Live) -> Life:
    """Whether a process that can be seen from here still runs; unreadable is unknown, not gone."""
    if live.process is None:
        return life_in_table(live.pid, live.start_time)
    return life_since(live.pid, live.process.started_at)


def life_since(pid: int, started_at: int) -> Life:
    """Whether the process that had ``pid`` and this start time, in the kernel's ticks, runs."""
    ticks = facts.process_start_ticks(pid)
    if ticks is not None:
        return "alive" if ticks == started_at else "gone"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        return "unknown"
    # It may be signalled and yet has no start time: a zombie, dead but for its parent's asking.
    return "gone" if facts.process_start_ticks(os.getpid()) is not None else "unknown"


def life_in_table(pid: int, before: datetime) -> Life:
    """Whether the process that had ``pid`` at a time runs, where there is no ``/proc``."""
    try:
        process = psutil.Process(pid)
        zombie, began = process.status() == psutil.STATUS_ZOMBIE, process.create_time()
    except psutil.NoSuchProcess:
        return "gone"
    except psutil.Error:
        return "unknown"
    return "gone" if zombie or datetime.fromtimestamp(began, UTC) - before > _CLOCK_SLACK else "alive"


def expired(presence: Presence, clock: float) -> list[Live]:
    """Live sessions unheard of for a whole lease, and whose process was not seen alive just now."""
    return [live for live in presence.everyone() if clock - live.heard >= live.lease and not live.alive]


def end_of(
    live: Live, why: Literal["process_gone", "lease_expired"], died_at: datetime | None = None
) -> SessionEnd:
    """The end that is concluded: when its process was seen to end, else at its last sign of life.

    Its id follows from that date: a second conclusion, after the session woke up, is another event.
    """
    # No earlier than that: with a clock that was set back, it would look refuted.
    last = max(live.last_seen, died_at or live.last_seen)
    return SessionEnd(
        event_type="session_end",
        event_id=end_event_id(live.session_id, f"{why}:{last.isoformat()}"),
        session_id=live.session_id,
        timestamp=last,
        elapsed_seconds=None if died_at else live.elapsed_seconds,
        status="crashed",
        exit_reason=why,
        detected_by="lease" if why == "lease_expired" else "liveness",
    )


class Watch:
    """The thread that looks after live sessions.

    Args:
        presence: who is live.
        ingest: stores the ends that are concluded.
        take_in: takes in the journals of sessions whose processes have ended, and when each was seen to:
            a journal may hold its true end, and its last counts.
        sweep: takes all of this user's outbox in.
        exits: tells which processes end.
        clock: monotonic seconds.
        now: the time.
    """

    def __init__(
        self,
        presence: Presence,
        ingest: Callable[[Sequence[Arrival]], Sequence[Taken]],
        take_in: Callable[[Mapping[str, datetime | None]], object],
        sweep: Callable[[], object],
        exits: Exits,
        *,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._presence = presence
        self._ingest = ingest
        self._take_in = take_in
        self._sweep = sweep
        self._exits = exits
        self._clock = clock
        self._now = now
        self._next_sweep = float("-inf")
        self._watched: dict[str, Live] = {}
        self._looked_at: dict[str, Live] = {}
        self._dead: dict[str, tuple[Live, datetime | None]] = {}
        self._trouble: dict[str, str] = {}
        self._stop = Signal()
        self._thread = Thread(target=self._run, name="session-buddy-watch", daemon=True)
        presence.on_arrival = exits.wake

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; closing twice is allowed."""
        self._stop.set()
        self._exits.wake()
        if self._thread.is_alive():
            self._thread.join()
        self._exits.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._try("look", self.look)
            # Until the next sweep there is nothing to do but for whom nobody tells of, or who is not stored.
            pause = TICK_SECONDS if self._looked_at or self._dead else self._next_sweep - self._clock()
            self._note(self._exits.wait(max(0.0, pause)))

    def _try(self, name: str, action: Callable[[], object]) -> None:
        """Do it; what fails is told once, until it succeeds or fails otherwise, and done again in time."""
        try:
            action()
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
            if self._trouble.get(name) != trouble:
                log.exception("the watch over live sessions goes on", failed=name)
            self._trouble[name] = trouble
        else:
            self._trouble.pop(name, None)

    def look(self) -> None:
        """Look once: end whose process has ended, sweep and look at leases if it is time."""
        self._follow()
        self._note(self._exits.wait(0))
        self._look_at_processes()
        if self._dead:
            died = {session_id: died_at for session_id, (_, died_at) in self._dead.items()}
            self._try("take in", lambda: self._take_in(died))
            self._end_dead()
        if (began := self._clock()) >= self._next_sweep:
            self._try("sweep", self._sweep)
            took = self._clock() - began
            self._next_sweep = self._clock() + max(SWEEP_SECONDS, _SWEEP_PAUSES * took)
            self._conclude(end_of(live, "lease_expired") for live in expired(self._presence, self._clock()))

    def _follow(self) -> None:
        """Watch the processes of sessions that came, and those of the others no longer."""
        here = Here.now()
        for live, is_live in self._presence.news():
            if not is_live:
                for known in (self._watched, self._looked_at, self._dead):
                    known.pop(live.session_id, None)
                self._exits.forget(live.session_id)
            elif here.holds(live):
                self._begin(live)

    def _begin(self, live: Live) -> None:
        """Watch a process. That it is the right one is asked once it cannot be exchanged any more."""
        try:
            watched = live.process is not None and self._exits.watch(live.session_id, live.pid)
        except ProcessLookupError:
            watched = False
        life = life_of(live)
        live.alive = life == "alive"
        if watched and life == "alive":
            self._watched[live.session_id] = live
            return
        self._exits.forget(live.session_id)
        if life == "gone":
            self._dead[live.session_id] = live, None
        else:
            self._looked_at[live.session_id] = live

    def _note(self, ended: Iterable[str]) -> None:
        now = self._now()
        for session_id in ended:
            if live := self._watched.pop(session_id, None):
                live.alive = False
                self._dead[session_id] = live, now

    def _look_at_processes(self) -> None:
        """Those of whom the kernel does not tell."""
        for session_id, live in list(self._looked_at.items()):
            life = life_of(live)
            live.alive = life == "alive"
            if life == "gone":
                del self._looked_at[session_id]
                self._dead[session_id] = live, live.alive_at
            elif life == "alive":
                live.alive_at = self._now()

    def _end_dead(self) -> None:
        """Whom no journal told of is ended with what is known here; who cannot be stored now stays."""
        self._follow()
        self._conclude([end_of(live, "process_gone", died_at) for live, died_at in self._dead.values()])
        self._follow()

    def _conclude(self, ends: Iterable[SessionEnd]) -> None:
        arrivals = [Arrival.of(end, SUBJECT, self._now(), by_admin=True) for end in ends]
        if not arrivals:
            return
        for arrival, taken in zip(arrivals, self._ingest(arrivals), strict=True):
            log.info("session ended", session_id=arrival.session_id, verdict=taken.verdict)
