"""What an emitter does: one shell's session begun, counted and ended, in a journal and for a delivery."""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from oneiric import agents, compose, config, contract, deliveries, endings, facts, identity, outbox, ssh_auth
from oneiric.delivery import Delivery
from oneiric.entries import Moment
from oneiric.interrupts import suppress
from oneiric.journal import Journal
from oneiric.lineage import Lineage
from oneiric.paths import Paths, user_paths
from oneiric.session import Session


class Recorder:
    """Records one session at a time, on whatever thread calls; whatever fails here raises.

    The session is announced in ``environ`` if that is the process's; ``at_exit`` ends it when that does.
    """

    def __init__(self, component_name: str, environ: Mapping[str, str], at_exit: Callable[[], None]) -> None:
        self._component_name = component_name
        self._environ = environ
        self._at_exit = at_exit
        self._lineage = Lineage(environ)
        self._session: Session | None = None
        self._delivery: Delivery | None = None
        self._end: dict[str, Any] | None = None
        self._take_back: Callable[[], None] = lambda: None

    @property
    def session(self) -> Session | None:
        """The live session; ``None`` also in a child that was forked from its process."""
        session = self._session
        return session if session is not None and session.made_here else None

    @property
    def delivery(self) -> Delivery | None:
        """What delivers the latest session; ``None`` also in a child that was forked from its process."""
        delivery = self._delivery
        return delivery if delivery is not None and delivery.made_here else None

    def obstacle(self) -> str | None:
        """Why nothing can be recorded; ``None`` while it can.

        Raises:
            OSError: the outbox cannot be made or written.
        """
        if os.name != "posix":
            return "this platform is not supported"
        paths = user_paths(self._environ)
        reason = config.off_reason(self._environ, paths)
        if reason is None:
            outbox.try_out(paths.outbox, paths.home)
        return reason

    def start(self, said: Mapping[str, Any]) -> Session | None:
        """Begin a session of which so much is said, or return the live one; ``None``: tracking is off."""
        if self.session is not None:
            # A start that came first, on another thread, could hook nothing.
            endings.hook_signals(self.session)
            return self.session
        if os.name != "posix":
            return None
        paths = user_paths(self._environ)
        if config.off_reason(self._environ, paths) is not None:
            return None
        now = Moment.now()
        start = self._compose_start(now.time, paths, said)
        session_id = compose.session_id_of(start)
        delivery = deliveries.delivery_for(paths, self._environ)
        folder = delivery.sessions.folder
        path = outbox.path_for(folder, session_id, delivery.server.destination)
        journal = Journal(path, start, now.boottime, paths.home)
        self._delivery = delivery
        self._session = session = Session(session_id, start, journal)
        self._lineage.announce(session_id)
        # The delivery's own exit hook, registered before this one, runs after it: the end is written by then.
        self._take_back = endings.at_exit(self._at_exit)
        endings.hook_signals(session)
        delivery.add(session)
        return session

    def begin_command(self) -> None:
        """Note that a command runs in the live session, until something is counted."""
        if self.session is not None:
            self.session.busy = True

    def record(self, commands: int, errors: int) -> None:
        """Count what happened in the live session, and write it down: a kill does not lose it."""
        session = self.session
        if session is not None:
            more, worse = _addend(commands, session.commands or 0), _addend(errors, session.errors or 0)
            # In one step each: a signal handler of the host's may count too.
            session.commands = (session.commands or 0) + more
            session.errors = (session.errors or 0) + worse
            if session.busy:
                session.busy = False
            now = compose.timestamp(datetime.now(UTC))
            if more or worse:
                session.last_activity = now
            session.pulse_unless_slow(now)

    def end(self, session_id: str | None, ending: Mapping[str, Any]) -> bool:
        """End the live session, unless ``session_id`` names another one; whether it did."""
        session = self.session
        if session is None or session_id not in (None, session.id):
            return False
        # Interrupted from here on, it still lives: the next end, at the latest that at the exit, goes on.
        end = self._end = self._end or session.compose_end(**ending)
        try:
            session.journal.append_end(end)
        except OSError:
            # The disk is full: a server that is there hears of it all the same.
            self._let_go(session, end)
            raise
        self._let_go(session, end)
        return True

    def _let_go(self, session: Session, end: dict[str, Any]) -> None:
        endings.unhook_signals(session)
        self._lineage.withdraw()
        # It compares with all that the host registered, which may raise.
        with suppress(Exception):
            self._take_back()
        if self._delivery is not None:
            self._delivery.finish(session, end)
        self._session = self._end = None

    def _compose_start(self, now: datetime, paths: Paths, said: Mapping[str, Any]) -> dict[str, Any]:
        environ, uid = self._environ, os.geteuid()
        on_host, key = facts.on_host(), ssh_auth.read(environ)
        origin = facts.origin(environ, on_host=on_host)
        acting = agents.acting(environ, said["actor"], at_terminal="tty" in origin)
        login_uid = origin.get("login_uid") if on_host else None
        proofs = {
            "login_name": None if login_uid is None else identity.account_name(login_uid),
            "ssh_key": key and key.fingerprint,
            "ssh_certificate": key and key.certificate,
            "actor_hint": acting.hint,
        }
        return compose.session_start(
            event_id=contract.new_event_id(),
            component_name=self._component_name,
            timestamp=compose.timestamp(now),
            pid=os.getpid(),
            user={"username": identity.account_name(uid), "uid": uid, "home": os.fspath(paths.home)},
            person=identity.person(environ, login_uid, key, said["person"]),
            hostname=facts.hostname(),
            environment=facts.environment(),
            process=facts.process(os.getpid()),
            origin=origin | {name: value for name, value in proofs.items() if value},
            parent_session_id=self._lineage.parent,
            shell_type=said["shell_type"],
            session_type=said["session_type"],
            metadata=said["metadata"],
            reason=said["reason"] or environ.get("ONEIRIC_REASON"),
            actor=acting.actor,
            agent=acting.agent,
        )


def _addend(number: int, so_far: int) -> int:
    """What to add to a count: hosts hand in floats, decimals and numbers of their own, and more than fits."""
    return min(max(0, int(number)), contract.MAX_COUNT - so_far)
