"""The delivery of this process's sessions to one server, on a thread of its own.

It syncs journals to disk, delivers starts and ends, sends heartbeats at the server's pace, and sweeps up what
others left.
"""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from oneiric import compose, log
from oneiric.server import Server
from oneiric.session import Session, Sessions
from oneiric.sweep import sweep
from oneiric.threads import Owned
from oneiric.transport import TransportError
from oneiric.worker import Worker

PULSE_SECONDS = 15.0
SWEEP_SECONDS = 60.0


class Delivery(Owned):
    """Delivers the sessions of this process that are for one server, from the outbox ``folder``."""

    def __init__(
        self,
        folder: Path,
        server: Server,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__()
        self.server = server
        self.worker = Worker(self._turn, self._pause)
        self.sessions = Sessions(folder)
        self._monotonic = monotonic
        self._wall = wall
        self._next_pulse = self._next_beat = monotonic() + PULSE_SECONDS
        self._next_contact = self._next_sweep = 0.0
        self._undelivered = False

    def __repr__(self) -> str:
        return f"<Delivery sessions={len(self.sessions)} connected={self.server.connected}>"

    def add(self, session: Session) -> None:
        """Take a session on."""
        self.sessions[session.id] = session
        self.worker.ask()

    def finish(self, session: Session, end: dict[str, Any]) -> None:
        """Deliver the end of a session; it is in the journal already, unless the disk was full."""
        self.sessions.finish(session, end)
        self.worker.ask()

    def _pause(self) -> float | None:
        if self._sweep_is_due():
            return 0.0
        # What is left for this user's own server it takes in by itself; another one has only us.
        if not self.sessions and not (self._undelivered and self.server.destination):
            return None
        return min(self._next_pulse, self._next_contact) - self._monotonic()

    def _turn(self) -> None:
        asked = self.worker.asked
        try:
            self.sessions.sync()
            self._pulse()
            now = self._monotonic()
            if now >= self._next_contact or (asked and now >= self.server.retry_at):
                self._contact()
            elif asked:
                # A server that just failed is not asked again at once: each try would take the host's GIL.
                self._close(self.sessions.ended())
            elif self._sweep_is_due():
                self._sweep()
        except Exception as error:  # noqa: BLE001 - the edge: nothing may end the thread
            log.debug("a delivery turn failed and will be tried again")
            self._failed(error)

    def _pulse(self, *, early: bool = False) -> None:
        if early or self._monotonic() >= self._next_pulse:
            self._next_pulse = self._monotonic() + PULSE_SECONDS
            for session in self.sessions.live():
                session.pulse(compose.timestamp(self._wall()))

    def _contact(self) -> None:
        ended = self.sessions.ended()
        try:
            self.server.find()
            waiting = [session for session in ended if not session.delivered]
            self._send((one, [event for event in (one.start, one.end) if event]) for one in waiting)
            self._send((one, [one.start]) for one in self.sessions.live() if not one.acknowledged)
            if self._monotonic() >= self._next_beat:
                self._beat()
        except TransportError as error:
            self._failed(error)
        else:
            self._next_contact = self._next_beat
        finally:
            self._close(ended)

    def _beat(self) -> None:
        # What the server hears the journal has said: else a later end would look refuted.
        self._pulse(early=True)
        beating = [one for one in self.sessions.live() if one.acknowledged and not one.refused]
        self._send((one, [compose.heartbeat(one.id, *one.journal.pulsed, one.doing)]) for one in beating)
        # The start again where the server no longer knows the session.
        self._send((one, [one.start]) for one in beating if not one.acknowledged)
        self._next_beat = self._monotonic() + self.server.pace

    def _send(self, items: Iterable[tuple[Session, list[dict[str, Any]]]]) -> None:
        """Deliver events of this process's sessions, in as many calls as they need."""
        for batch in compose.batches(items, lambda item: item[1]):
            said = [(session, event) for session, events in batch for event in events]
            results = self._call([event for _, event in said])
            for (session, event), result in zip(said, results, strict=True):
                session.take_answer(event, result, self.server.instance)

    def _call(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        # Between the calls: each may take its whole limit.
        self._pulse()
        results = self.server.call(events)
        self._next_beat = min(self._next_beat, self._monotonic() + self.server.pace)
        return results

    def _sweep_is_due(self) -> bool:
        # Whoever has a session and no server hears from the contact for that session when there is one.
        due = self._monotonic() >= max(self._next_sweep, self.server.retry_at)
        return due and (self.server.connected or not self.sessions.live())

    def _sweep(self) -> None:
        self._next_sweep = self._monotonic() + SWEEP_SECONDS
        try:
            self.server.find()
            if not self.server.connected:
                # Ask before reading: hundreds of journals read for a server that is not there cost the host.
                self._call([])
            folder, destination = self.sessions.folder, self.server.destination
            if sweep(folder, self._call_for_others, now=self._wall(), destination=destination):
                self._undelivered = False
        except _OwnWorkFirst:
            self._next_sweep = 0.0
        except TransportError as error:
            self._failed(error)
        except Exception:  # noqa: BLE001 - other shells' journals must not stop this one
            log.debug("the outbox %s cannot be swept", self.sessions.folder)

    def _call_for_others(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if self.worker.asked:
            raise _OwnWorkFirst
        return self._call(events)

    def _close(self, ended: list[Session]) -> None:
        if self.sessions.close(ended):
            self._undelivered, self._next_sweep = True, 0.0

    def _failed(self, error: Exception) -> None:
        self.server.failed(error)
        self._next_contact = self.server.retry_at


class _OwnWorkFirst(Exception):  # noqa: N818 - a signal, not an error
    """This process's own session asks to be delivered: a shell may be waiting to exit."""
