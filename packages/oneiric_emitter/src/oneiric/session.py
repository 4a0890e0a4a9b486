"""The sessions of this process: each with its journal, its activity, and how far it is delivered."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from oneiric import compose, contract, log, outbox
from oneiric.contract import ACCEPTED
from oneiric.descriptors import sync
from oneiric.interrupts import suppress
from oneiric.journal import Journal
from oneiric.threads import Owned

# Longer than a write takes where a busy thread of the host has to be waited for.
_SLOW_SECONDS = 0.02
# With more sessions than that, say because the disk is slow, an ended one holds no descriptor of the host's.
_MOST_HELD = 64


class Session(Owned):
    """One session.

    Attributes:
        end: the end event; from the moment that it is here the journal is the delivery thread's alone.
        synced: its start is on the disk, or was tried to be.
        acknowledged: a server has answered for its start.
        delivered: a server has its end.
        refused: a server took the start or the end for wrong.
        busy: a command runs; ``None`` where nobody says.
    """

    def __init__(self, session_id: str, start: dict[str, Any], journal: Journal) -> None:
        super().__init__()
        self.id = session_id
        self.start = start
        self.end: dict[str, Any] | None = None
        self.journal = journal
        self.commands: int | None = None
        self.errors: int | None = None
        self.last_activity: str | None = None
        self.busy: bool | None = None
        self.synced = self.acknowledged = self.delivered = self.refused = False
        self._sent_again_to: str | None = None
        self._patient_at = 0.0

    def __repr__(self) -> str:
        return f"<Session {self.id} commands={self.commands} errors={self.errors}>"

    @property
    def activity(self) -> dict[str, Any]:
        """What happened so far, as heartbeats and ends report it; nothing before somebody counts."""
        found = {"commands": self.commands, "errors": self.errors, "last_activity": self.last_activity}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def doing(self) -> dict[str, Any]:
        """That, and whether a command runs just now."""
        return self.activity if self.busy is None else {**self.activity, "busy": self.busy}

    def compose_end(self, **ending: Any) -> dict[str, Any]:  # noqa: ANN401 - the fields of an end
        """An end of this session that happens now."""
        return compose.session_end(
            self.id,
            datetime.now(UTC),
            event_id=contract.new_event_id(),
            detected_by="emitter",
            elapsed_seconds=self.journal.elapsed_seconds,
            activity=self.activity or None,
            **ending,
        )

    def write_end(self, **ending: Any) -> None:  # noqa: ANN401 - as above
        """Write an end into the journal, for a process that dies now; whoever reads it next delivers it."""
        if self.end is None and self.made_here:
            self.journal.append_end(self.compose_end(**ending))

    def pulse(self, when: str) -> None:
        """Write a pulse into the journal."""
        with suppress(OSError):
            self.journal.pulse(when, lambda: self.activity)

    def pulse_unless_slow(self, when: str) -> None:
        """:meth:`pulse` on the thread of a prompt, which waits for a slow disk a hundredth of its time."""
        begun = time.monotonic()
        if begun >= self._patient_at:
            self.pulse(when)
            took = time.monotonic() - begun
            if took > _SLOW_SECONDS:
                self._patient_at = begun + 100 * took

    def take_answer(self, event: dict[str, Any], result: dict[str, Any], instance: str) -> None:
        """Note what the server ``instance`` made of one event of this session."""
        kind, accepted = event["event_type"], result["status"] in ACCEPTED
        if kind == "session_start":
            # A refused start is not sent again and again: the journal goes to rejected/ with the end.
            self.acknowledged = True
        elif kind == "session_end":
            self.delivered = accepted
        if not accepted and kind != "session_heartbeat":
            self.refused = True
            log.warning("session %s: the server refused %s: %s", self.id, kind, result["error"])
        elif result["status"] == "not_found" and self._sent_again_to != instance:
            # A database that was wiped: it gets the start again, once for each server.
            self._sent_again_to = instance
            self.acknowledged = False


class Sessions(dict[str, Session]):
    """By id, those of one outbox that live, and those that ended and are not delivered yet."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def live(self) -> list[Session]:
        """The sessions that have not ended; safe beside other threads."""
        return [session for session in list(self.values()) if session.end is None]

    def ended(self) -> list[Session]:
        """The sessions whose journals wait to be closed; safe beside other threads."""
        return [session for session in list(self.values()) if session.end is not None]

    def finish(self, session: Session, end: dict[str, Any]) -> None:
        """Keep an end until it is delivered."""
        if len(self) > _MOST_HELD and session.journal.ended:
            session.journal.try_close()
        session.end = end
        self[session.id] = session

    def sync(self) -> None:
        """Have the disk hold the starts; what has ended by now is delivered or synced when it is closed."""
        fresh = [one for one in list(self.values()) if not (one.synced or one.journal.ended)]
        for session in fresh:
            session.synced = True
        self._to_disk(fresh)

    def close(self, ended: list[Session]) -> bool:
        """Close the journals of ended sessions; whether some are left to a sweep, since no server has them.

        An end that is nowhere but here, on a full disk, is held until there is room for it.
        """
        left = []
        for session in ended:
            try:
                if session.end is not None:
                    session.journal.append_end(session.end)
            except OSError:
                continue
            self.pop(session.id, None)
            if session.refused or session.delivered:
                with suppress(OSError):
                    outbox.move(session.journal.path, "rejected" if session.refused else "done")
            else:
                left.append(session)
            session.journal.close()
        self._to_disk(left)
        return bool(left)

    def _to_disk(self, sessions: list[Session]) -> None:
        # Slow on a network home, so on the delivery thread alone; the folder holds the journals' names.
        for path in [one.journal.path for one in sessions] + [self.folder] * bool(sessions):
            with suppress(OSError):
                sync(path)
