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
from oneiric.entries import Moment
from oneiric.events import SessionEnd
from session_buddy.access.callers import local_subject
from session_buddy.errors import StoreError
from session_buddy.history.model import Arrival, SessionRow, Taken, without_host
from session_buddy.intake.exits import Exits
from session_buddy.intake.presence import Live, Presence, live_of

TICK_SECONDS: Final = 1.0
SWEEP_SECONDS: Final = 5.0
LEASES_SECONDS: Final = 5.0
# A sweep over thousands of open shells takes long: the pause after it is so many times as long, to a minute.
_PAUSE_PER_SWEEP: Final = 50
_LONGEST_PAUSE: Final = 60.0
SUBJECT: Final = "session-buddy"

# A process table dates its processes by the wall clock, which may have been set meanwhile.
_CLOCK_SLACK: Final = timedelta(minutes=1)

Life = Literal["alive", "gone", "unknown"]

log = structlog.stdlib.get_logger("session_buddy.intake.liveness")


class Here(NamedTuple):
    """What tells the processes that can be seen from here; read once for all sessions that came."""

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
        ours = live.subject in (local_subject(), without_host(local_subject()))
        return unnamed and ours and live.hostname == self.hostname


def look_at(live: Live) -> Life:
    """Whether a process that can be seen from here still runs; unreadable is unknown, not gone."""
    if live.process is None:
        life = life_in_table(live.pid, live.start_time)
    else:
        life = life_since(live.pid, live.process.started_at)
    live.alive = life == "alive"
    return life


def runs_here(row: SessionRow) -> bool:
    """Whether the process of a session can be seen from here, and runs."""
    live = live_of(row)
    return Here.now().holds(live) and look_at(live) == "alive"


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
    """Live sessions unheard of for a whole lease, and whose process is not known to run."""
    return [live for live in presence.everyone() if clock - live.heard >= live.lease and not live.alive]


def end_of(
    live: Live, why: Literal["process_gone", "lease_expired"], gone_at: Moment | None = None
) -> SessionEnd:
    """The end that is concluded: when its process was seen to end, else at its last sign of life.

    Its id follows from that date: a second conclusion, after the session woke up, is another event.
    """
    # A clock that was set back must not date it before the last heartbeat, which would refute it.
    last = max(live.beat.last_seen, gone_at.time if gone_at else live.beat.last_seen)
    return SessionEnd(
        event_type="session_end",
        event_id=end_event_id(live.session_id, f"{why}:{last.isoformat()}"),
        session_id=live.session_id,
        timestamp=last,
        elapsed_seconds=None if gone_at else live.beat.elapsed_seconds,
        status="crashed",
        exit_reason=why,
        detected_by="lease" if why == "lease_expired" else "liveness",
    )


class Watch:
    """The thread that looks after live sessions.

    Args:
        presence: who is live.
        ingest: stores the ends that are concluded.
        deliver_gone: takes in the journals of sessions whose processes are gone, and when each was seen to
            be: a journal may hold the true end, and has the last counts.
        sweep: takes all of this user's outbox in.
        exits: tells which processes exit.
        clock: monotonic seconds.
        now: the time.
    """

    def __init__(
        self,
        presence: Presence,
        ingest: Callable[[Sequence[Arrival]], Sequence[Taken]],
        deliver_gone: Callable[[Mapping[str, Moment | None]], object],
        sweep: Callable[[], object],
        exits: Exits,
        *,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], Moment] = Moment.now,
    ) -> None:
        self._presence = presence
        self._ingest = ingest
        self._deliver_gone = deliver_gone
        self._sweep = sweep
        self._exits = exits
        self._clock = clock
        self._now = now
        self._next_sweep = self._next_leases = float("-inf")
        # Sessions whose process runs, or ran, on this host; of these, whom the kernel does not tell of; and
        # when each was seen to be gone: None, before the first look.
        self._here: dict[str, Live] = {}
        self._polled: set[str] = set()
        self._gone: dict[str, Moment | None] = {}
        self._trouble: dict[str, str] = {}
        self._stop = Signal()
        self._thread = Thread(target=self._run, name="session-buddy-watch", daemon=True)

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
            if not self._try("wait", self._wait):
                self._stop.wait(TICK_SECONDS)

    def _wait(self) -> None:
        """Until a process exits, a session comes, or something is due.

        For a second at most while there are processes of which the kernel does not tell, or ends that could
        not be stored.
        """
        due = min(self._next_sweep, self._next_leases) - self._clock()
        pause = TICK_SECONDS if self._polled or self._gone else due
        self._note(self._exits.wait(max(0.0, pause)))

    def _try(self, name: str, action: Callable[[], object]) -> bool:
        """Do it; what fails is told once, until it succeeds or fails otherwise, and done again in time."""
        try:
            action()
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
            if self._trouble.get(name) != trouble:
                unforeseen = not isinstance(error, StoreError)
                log.warning("the watch goes on", failed=name, reason=trouble, exc_info=unforeseen)
            self._trouble[name] = trouble
            return False
        self._trouble.pop(name, None)
        return True

    def look(self) -> None:
        """Look once: end the sessions whose process is gone; sweep, and look at leases, if it is time."""
        self._follow()
        self._note(self._exits.wait(0))
        self._note([one for one in self._polled if look_at(self._here[one]) == "gone"])
        if self._gone:
            self._try("deliver", lambda: self._deliver_gone(self._gone))
            self._follow()
            # Those that no journal told of; what cannot be stored now is tried again at the next look.
            self._try("conclude", self._conclude_gone)
            self._follow()
        if (began := self._clock()) >= self._next_sweep:
            self._try("sweep", self._sweep)
            took = self._clock() - began
            pause = min(_LONGEST_PAUSE, max(SWEEP_SECONDS, _PAUSE_PER_SWEEP * took))
            self._next_sweep = self._clock() + pause
        if (now := self._clock()) >= self._next_leases:
            self._next_leases = now + LEASES_SECONDS
            self._conclude(end_of(live, "lease_expired") for live in expired(self._presence, now))

    def _follow(self) -> None:
        """Watch the processes of sessions that came, and those of the others no longer."""
        if not (news := self._presence.news()):
            return
        here = Here.now()
        for live, is_live in news:
            if not is_live:
                self._exits.forget(live.session_id)
                self._polled.discard(live.session_id)
                self._here.pop(live.session_id, None)
                self._gone.pop(live.session_id, None)
            elif here.holds(live):
                self._here[live.session_id] = live
                self._begin(live)

    def _begin(self, live: Live) -> None:
        """Watch a process. Its start time is compared once the descriptor is open, which keeps its pid."""
        told = live.process is not None and self._exits.watch(live.session_id, live.pid)
        life = look_at(live)
        if told and life == "alive":
            return
        self._exits.forget(live.session_id)
        if life == "gone":
            self._gone[live.session_id] = None
        else:
            self._polled.add(live.session_id)

    def _note(self, gone: Iterable[str]) -> None:
        now = self._now()
        for session_id in gone:
            self._here[session_id].alive = False
            self._polled.discard(session_id)
            self._gone[session_id] = now

    def _conclude_gone(self) -> None:
        self._conclude(end_of(self._here[one], "process_gone", at) for one, at in self._gone.items())

    def _conclude(self, ends: Iterable[SessionEnd]) -> None:
        arrivals = [Arrival.of(end, SUBJECT, self._now().time, by_admin=True) for end in ends]
        if not arrivals:
            return
        for arrival, taken in zip(arrivals, self._ingest(arrivals), strict=True):
            log.info("session ended", session_id=arrival.session_id, verdict=taken.verdict)
