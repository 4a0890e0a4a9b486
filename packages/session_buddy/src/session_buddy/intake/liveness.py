"""Who is gone without a word: processes of this host that ended, and leases that ran out.

The clocks come in as arguments; :class:`Watch` calls once a second or so.
"""

import os
from collections.abc import Callable, Iterable, Sequence
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
from session_buddy.intake.presence import Live, Presence

TICK_SECONDS: Final = 1.0
SWEEP_SECONDS: Final = 5.0
# How long another's sweep may take to deliver the true end of a shell that is gone.
PATIENCE_SECONDS: Final = 30.0
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
    return "gone" if zombie or datetime.fromtimestamp(began, UTC) > before + _CLOCK_SLACK else "alive"


def gone(presence: Presence, now: datetime) -> list[Live]:
    """Live sessions whose process on this host has ended; notes who was seen alive."""
    here = Here.now()
    found = []
    for live in filter(here.holds, presence.everyone()):
        life = life_of(live)
        if life == "alive":
            live.alive_at = now
        live.alive = life == "alive"
        if life == "gone":
            found.append(live)
    return found


def expired(presence: Presence, clock: float) -> list[Live]:
    """Live sessions unheard of for a whole lease, and whose process was not seen alive just now."""
    return [live for live in presence.everyone() if clock - live.heard >= live.lease and not live.alive]


def end_of(live: Live, why: Literal["process_gone", "lease_expired"]) -> SessionEnd:
    """The end that is concluded for a session, dated with its last sign of life.

    Its id follows from that date: a second conclusion, after the session woke up, is another event.
    """
    last = live.last_seen if why == "lease_expired" else max(live.last_seen, live.alive_at or live.last_seen)
    return SessionEnd(
        event_type="session_end",
        event_id=end_event_id(live.session_id, f"{why}:{last.isoformat()}"),
        session_id=live.session_id,
        timestamp=last,
        status="crashed",
        exit_reason=why,
        detected_by="lease" if why == "lease_expired" else "liveness",
    )


class Watch:
    """The thread that looks after live sessions.

    Args:
        presence: who is live.
        ingest: stores the ends that are concluded.
        sweep: takes this user's outbox in: a dead shell's journal may hold its true end. False while
            somebody else does.
        clock: monotonic seconds.
        now: the time.
    """

    def __init__(
        self,
        presence: Presence,
        ingest: Callable[[Sequence[Arrival]], Sequence[Taken]],
        sweep: Callable[[], bool],
        *,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._presence = presence
        self._ingest = ingest
        self._sweep = sweep
        self._clock = clock
        self._now = now
        self._swept_at = float("-inf")
        self._swept = True
        self._gone_since: dict[str, float] = {}
        self._trouble: dict[str, str] = {}
        self._stop = Signal()
        self._thread = Thread(target=self._run, name="session-buddy-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; closing twice is allowed."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._try("look", self.look)
            self._stop.wait(TICK_SECONDS)

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
        """Look once: sweep if it is time or somebody is gone, then end who is still thought to live."""
        dead = gone(self._presence, self._now())
        if dead or self._clock() - self._swept_at >= SWEEP_SECONDS:
            self._try("sweep", self._take_outbox)
            self._swept_at = self._clock()
        still = {live.session_id for live in self._presence.everyone()}
        told = self._told(dead)
        ends = [end_of(live, "process_gone") for live in told if live.session_id in still]
        dying = {live.session_id for live in dead}
        late = [live for live in expired(self._presence, self._clock()) if live.session_id not in dying]
        self._conclude([*ends, *(end_of(live, "lease_expired") for live in late)])

    def _take_outbox(self) -> None:
        self._swept = self._sweep()

    def _told(self, dead: Sequence[Live]) -> list[Live]:
        """Those of the dead whose journal, if they left one, has told how they ended."""
        clock = self._clock()
        self._gone_since = {live.session_id: self._gone_since.get(live.session_id, clock) for live in dead}
        longest = PATIENCE_SECONDS
        return [live for live in dead if self._swept or clock - self._gone_since[live.session_id] >= longest]

    def _conclude(self, ends: Iterable[SessionEnd]) -> None:
        arrivals = [Arrival.of(end, SUBJECT, self._now(), by_admin=True) for end in ends]
        if not arrivals:
            return
        for arrival, taken in zip(arrivals, self._ingest(arrivals), strict=True):
            log.info("session ended", session_id=arrival.session_id, verdict=taken.verdict)
