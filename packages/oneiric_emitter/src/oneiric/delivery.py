"""The delivery thread: one a process, for all of its sessions.

It syncs journals to disk, delivers starts and ends, sends heartbeats at the server's pace, and sweeps up
what others left. It imports nothing and holds no lock of the host's: a fork can happen at any moment.
"""

import os
import signal
import sys
import time
from _thread import LockType, RLock, allocate_lock, start_new_thread
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from oneiric import compose, contract, log, outbox, transport
from oneiric.descriptors import sync_folder
from oneiric.journal import Journal
from oneiric.sweep import sweep
from oneiric.transport import Endpoint, Misdirected, TransportError, Unauthorized, Unreachable

PULSE_SECONDS = 15.0
SWEEP_SECONDS = 60.0
CALL_SECONDS = 5.0
_FIRST_RETRY = 0.5
# With more sessions than that, say because the disk is slow, an ended one holds no descriptor of the host's.
_MOST_HELD = 64


class Session:
    """A session of this process: its journal, its activity, and how far it is delivered."""

    def __init__(self, session_id: str, start: dict[str, Any], journal: Journal) -> None:
        self.id = session_id
        self.start = start
        self.end: dict[str, Any] | None = None
        self.journal = journal
        self.pid = os.getpid()
        self.commands = 0
        self.errors = 0
        self.last_activity: str | None = None
        self.synced = False
        self.acknowledged = False
        self.delivered = False
        self.refused = False
        self.healed_for: str | None = None

    def __repr__(self) -> str:
        return f"<Session {self.id} commands={self.commands} errors={self.errors}>"

    @property
    def activity(self) -> dict[str, Any]:
        """What happened so far, as heartbeats and ends report it."""
        found: dict[str, Any] = {"commands": self.commands, "errors": self.errors}
        return found | ({"last_activity": self.last_activity} if self.last_activity else {})


class Courier:
    """Delivers for this process.

    Args:
        folder: the outbox of this machine.
        locate: the server as of now, ``None`` where there is none.
        monotonic: seconds for timers.
        wall: the current time, in UTC.
        jitter: a number from 0 to 1 that spreads retries.
        longest_retry: seconds between two tries at most; short where a try costs a look at one local file.
        destination: what marks the journals for this server.

    Attributes:
        connected: the latest call was answered.
        problem: why the latest call was not.
        turned_away: a server answered, and does not accept our token or the name we call it by.
    """

    def __init__(
        self,
        folder: Path,
        locate: Callable[[], Endpoint | None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = lambda: os.urandom(1)[0] / 255,
        longest_retry: float = 5.0,
        destination: str = "",
    ) -> None:
        self.folder = folder
        self.destination = destination
        self.pid = os.getpid()
        self.sessions: dict[str, Session] = {}
        self.connected = False
        self.problem: str | None = None
        self.turned_away = False
        self._locate = locate
        self._monotonic = monotonic
        self._wall = wall
        self._jitter = jitter
        self._longest_retry = longest_retry
        # No threading.Condition: gevent can exchange the locks behind it, even while we wait. These locks,
        # the thread and its socket stay as they were at our import, all of one kind.
        self._lock = RLock()
        self._wake = _locked()
        self._waiting: list[tuple[int, LockType]] = []
        self._asked = 0
        self._done = 0
        self._given_up = -1
        self._running = False
        self._failures = 0
        self._pace = contract.DEFAULT_HEARTBEAT_SECONDS
        self._instance: str | None = None
        self._next_pulse = self._next_beat = monotonic() + PULSE_SECONDS
        self._next_contact = self._next_sweep = self._next_try = 0.0

    def __repr__(self) -> str:
        return f"<Courier sessions={len(self.sessions)} connected={self.connected}>"

    def add(self, session: Session) -> None:
        """Take a session on; the thread starts on first use."""
        self.sessions[session.id] = session
        self._ask()

    def finish(self, session: Session, end: dict[str, Any]) -> None:
        """Deliver the end of a session; it is in the journal already, unless the disk was full."""
        try:
            if len(self.sessions) > _MOST_HELD and session.journal.ended:
                session.journal.try_close()
        finally:
            # From here on the journal is the thread's alone.
            session.end = end
            self.sessions[session.id] = session
            self._ask()

    def flush(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until what was asked for is delivered, or cannot be now."""
        asked = self._asked
        if sys.is_finalizing() or not self._running:
            return self._done >= asked
        waiter = asked, _locked()
        self._waiting.append(waiter)
        try:
            return self._done >= asked or waiter[1].acquire(timeout=max(0.0, timeout))
        finally:
            self._waiting.remove(waiter)

    def say_goodbye(self, timeout: float) -> None:
        """:meth:`flush`, but not twice in vain for the same: a host's exit pays once."""
        if self._given_up != self._asked and not self.flush(timeout):
            self._given_up = self._asked

    def live(self) -> list[Session]:
        """The sessions that have not ended; safe beside other threads."""
        return [session for session in self._all() if session.end is None]

    def forget(self) -> None:
        """In a forked child: let go of the journals, which are the parent's; takes no lock."""
        for session in list(self.sessions.values()):
            session.journal.close()

    def _ask(self) -> None:
        if sys.is_finalizing():
            # The thread is stopped for good, maybe with the lock in its hands; the journal waits.
            return
        with self._lock:
            self._asked += 1
            if not self._running:
                self._start_thread()
        _release(self._wake)

    def _start_thread(self) -> None:
        """Start the thread deaf to signals: what it took would come past the masks of its host's threads."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        # Blocked, a fault would kill unseen by the host's handler for it, such as faulthandler's.
        faults = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
        try:
            # On the caller, whose mask the thread begins with: it is deaf from its first moment.
            signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals() - faults)
            # No thread to be had (a limit, a late exit): the journal waits for somebody else.
            with suppress(RuntimeError):
                start_new_thread(self._run, ())
                self._running = True
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _run(self) -> None:
        while os.getpid() == self.pid:
            asked = self._await_work()
            try:
                self._turn(asked=asked != self._done)
            except Exception as error:  # noqa: BLE001 - the edge: nothing may end the thread
                log.debug("a delivery turn failed and will be tried again")
                self._failed(repr(error))
            self._done = asked
            for number, waiter in list(self._waiting):
                if number <= asked:
                    _release(waiter)
            if self._monotonic() >= max(self._next_sweep, self._next_try) and (
                self.connected or not self.live()
            ):
                self._sweep()

    def _await_work(self) -> int:
        self._wake.acquire(blocking=False)
        if self._asked == self._done:
            pause = min(self._next_pulse, self._next_contact) - self._monotonic()
            self._wake.acquire(timeout=max(0.0, pause))
        return self._asked

    def _turn(self, *, asked: bool) -> None:
        self._sync()
        if self._monotonic() >= self._next_pulse:
            self._pulse()
        now = self._monotonic()
        if now >= self._next_contact or (asked and now >= self._next_try):
            self._contact()
        elif asked:
            # A server that just failed is not asked again at once: each try would take the host's GIL.
            self._let_go(self._ended())

    def _sync(self) -> None:
        """Have the disk hold the starts; what has ended by now is delivered or synced when it is let go."""
        fresh = [session for session in self._all() if not (session.synced or session.journal.ended)]
        for session in fresh:
            session.synced = True
        self._to_disk(fresh)

    def _to_disk(self, sessions: list[Session]) -> None:
        for session in sessions:
            with suppress(OSError):
                session.journal.sync()
        if sessions:
            with suppress(OSError):
                sync_folder(self.folder)

    def _pulse(self) -> str:
        """Write each live session's sign of life; returns its time."""
        self._next_pulse = self._monotonic() + PULSE_SECONDS
        now = compose.timestamp(self._wall())
        for session in self.live():
            with suppress(OSError):
                session.journal.pulse(now, session.activity)
        return now

    def _contact(self) -> None:
        ended = self._ended()
        try:
            endpoint = self._locate()
            if endpoint is None:
                raise Unreachable("no server is running")
            waiting = [session for session in ended if not session.delivered]
            self._send(
                endpoint, [event for session in waiting for event in (session.start, session.end) if event]
            )
            self._send(endpoint, [session.start for session in self.live() if not session.acknowledged])
            if self._monotonic() >= self._next_beat:
                self._beat(endpoint)
        except TransportError as error:
            self._failed(str(error), turned_away=isinstance(error, Unauthorized | Misdirected))
        else:
            self._next_contact = self._next_beat
        finally:
            self._let_go(ended)

    def _send(self, endpoint: Endpoint, events: list[dict[str, Any]]) -> None:
        """Deliver events of this process's sessions, in as many calls as they need."""
        for batch in compose.batches(events, lambda event: [event]):
            for event, result in zip(batch, self._call(endpoint, batch), strict=True):
                self._take_answer(event, result)

    def _call(self, endpoint: Endpoint, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        answer = transport.call_tool(endpoint, "track_events", {"events": events}, CALL_SECONDS)
        try:
            self._pace = max(1.0, float(answer["next_heartbeat_seconds"]))
            self._next_beat = min(self._next_beat, self._monotonic() + self._pace)
            self._instance = str(answer["server_instance"])
            results: list[dict[str, Any]] = answer["results"]
        except (KeyError, TypeError, ValueError) as error:
            raise Unreachable(f"the answer to track_events lacks {error}") from error
        if len(results) != len(events):
            raise Unreachable(f"{len(events)} events brought {len(results)} results")
        self.connected, self.problem, self.turned_away, self._failures = True, None, False, 0
        return results

    def _take_answer(self, event: dict[str, Any], result: dict[str, Any]) -> None:
        session = self.sessions.get(event.get("session_id") or compose.session_id_of(event))
        if session is None:
            return
        accepted = result["status"] in contract.ACCEPTED
        if event["event_type"] == "session_start":
            # A refused start is not sent again and again: the journal goes to rejected/ with the end.
            session.acknowledged = True
        elif event["event_type"] == "session_end":
            session.delivered = accepted
        if not accepted and event["event_type"] != "session_heartbeat":
            session.refused = True
            log.warning(
                "session %s: the server refused %s: %s", session.id, event["event_type"], result["error"]
            )
        elif result["status"] == "not_found" and session.healed_for != self._instance:
            # A database that was wiped: it gets the start again, once for each server.
            session.healed_for = self._instance
            session.acknowledged = False

    def _beat(self, endpoint: Endpoint) -> None:
        # The journal says no less than the server hears: else a later end would look refuted.
        now = self._pulse()
        beating = [session for session in self.live() if session.acknowledged and not session.refused]
        self._send(endpoint, [compose.heartbeat(session.id, now, session.activity) for session in beating])
        self._send(endpoint, [session.start for session in beating if not session.acknowledged])
        self._next_beat = self._monotonic() + self._pace

    def _sweep(self) -> None:
        self._next_sweep = self._monotonic() + SWEEP_SECONDS
        try:
            endpoint = self._locate()
            if endpoint is None:
                return
            if not self.connected:
                # Ask before reading: hundreds of journals read for a server that is not there cost the host.
                self._call(endpoint, [])
            sweep(
                self.folder,
                lambda events: self._call_for_others(endpoint, events),
                now=self._wall(),
                destination=self.destination,
            )
        except _OwnWorkFirst:
            self._next_sweep = 0.0
        except TransportError as error:
            self._failed(str(error))
        except Exception:  # noqa: BLE001 - other shells' journals must not stop this one
            log.debug("the outbox %s cannot be swept", self.folder)

    def _call_for_others(self, endpoint: Endpoint, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if self._asked != self._done:
            raise _OwnWorkFirst
        return self._call(endpoint, events)

    def _let_go(self, ended: list[Session]) -> None:
        """Settle ended sessions; undelivered ones are left to the next sweep, as if their process had gone.

        An end that is nowhere but here, on a full disk, is held until there is room for it.
        """
        left = []
        for session in ended:
            try:
                if session.end is not None:
                    session.journal.append_end(session.end)
            except OSError:
                continue
            self.sessions.pop(session.id, None)
            if session.refused or session.delivered:
                with suppress(OSError):
                    outbox.move(session.journal.path, "rejected" if session.refused else "done")
            else:
                left.append(session)
            session.journal.close()
        if left:
            self._next_sweep = 0.0
            self._to_disk(left)

    def _failed(self, problem: str, *, turned_away: bool = False) -> None:
        self.connected, self.problem, self.turned_away = False, problem, turned_away
        delay = min(self._longest_retry, _FIRST_RETRY * 2 ** min(self._failures, 10))
        self._failures += 1
        self._next_contact = self._next_try = self._monotonic() + delay * (0.5 + self._jitter())

    def _all(self) -> list[Session]:
        return list(self.sessions.values())

    def _ended(self) -> list[Session]:
        return [session for session in self._all() if session.end is not None]


class _OwnWorkFirst(Exception):  # noqa: N818 - a signal, not an error
    """This process's own session asks to be delivered: a shell may be waiting to exit."""


def _locked() -> LockType:
    """A lock that somebody else will release, once: what a thread waits for."""
    lock = allocate_lock()
    lock.acquire()
    return lock


def _release(lock: LockType) -> None:
    # RuntimeError: somebody has released it before.
    with suppress(RuntimeError):
        lock.release()
