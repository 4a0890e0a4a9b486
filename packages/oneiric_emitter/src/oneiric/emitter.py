"""The emitter: what a shell holds on to. It records at once and never raises, prints or blocks."""

import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from oneiric import config, contract, endings, log, outbox, transport
from oneiric.paths import user_paths
from oneiric.recorder import Recorder
from oneiric.server import Server

_T = TypeVar("_T")


class SessionEventEmitter:
    """Reports one shell's session: start, life, end.

    Nothing here raises into its host, prints, or waits for a server; what cannot be recorded is counted in
    :attr:`dropped` and explained by :attr:`unavailable_reason`.

    Args:
        component_name: what the shell belongs to; characters other than ``A-Za-z0-9_-`` become ``_``.
        session_buddy_path: accepted from older callers; a server is found through its socket.
        environ: the environment to read and to announce the session in, by default the process's.

    Attributes:
        component_name: as cleaned.
        dropped: how many starts, ends and records were lost, because they could not be recorded.
        person: who is behind the account, by that person's word; a start that is told nobody carries it.
        leaving: reason and exit code of an end that is told neither; a shell sets it when it is left.
    """

    def __init__(
        self,
        component_name: str,
        session_buddy_path: str | None = None,
        *,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        del session_buddy_path
        self.component_name = contract.component_for(component_name)
        self.dropped = 0
        self.person: str | None = None
        self.leaving: tuple[contract.ExitReason, int] | None = None
        self._environ = os.environ if environ is None else environ
        self._recorder = Recorder(self.component_name, self._environ, self._at_exit)
        self._not_recorded: str | None = None
        self._locks: dict[int, threading.RLock] = {}
        # What a named endpoint needs, 20 ms: not within a call that somebody waits for.
        _guarded(lambda: transport.prepare(config.named_url(self._environ)), None)

    def __repr__(self) -> str:
        return f"<SessionEventEmitter {self.component_name} session={self.session_id} dropped={self.dropped}>"

    @property
    def session_id(self) -> str | None:
        """The live session's id; ``None`` before the start, after the end, and in a forked child."""
        session = self._recorder.session
        return session.id if session else None

    @property
    def available(self) -> bool:
        """Whether a session can be recorded: tracking is on and the outbox can be written."""
        return self._obstacle() is None

    @property
    def unavailable_reason(self) -> str | None:
        """Why nothing can be recorded, or could be the last time that it was tried; ``None`` while it can."""
        return self._obstacle() or (None if self.session_id else self._not_recorded)

    @property
    def connected(self) -> bool:
        """Whether the latest call to a server was answered."""
        server = self._server
        return server is not None and server.connected

    @property
    def problem(self) -> str | None:
        """Why nothing was delivered lately; ``None`` while delivery works or was not tried."""
        server = self._server
        return server.problem if server else None

    @property
    def turned_away(self) -> bool:
        """Whether a server answered and turned this emitter away; :attr:`problem` says why."""
        server = self._server
        return server is not None and server.turned_away

    @property
    def outbox(self) -> dict[str, int]:
        """How many journals are open (live, or not delivered yet), were rejected, or cannot be read."""
        return _guarded(lambda: outbox.counts(user_paths(self._environ).outbox), {})

    def start_session(
        self,
        shell_type: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        session_type: str = contract.DEFAULT_SESSION_TYPE,
        reason: str | None = None,
        actor: str | None = None,
        person: str | None = None,
        **_unknown: object,
    ) -> str | None:
        """Begin the session, once: a live session's id is returned again.

        Args:
            shell_type: e.g. the class of the shell.
            metadata: a JSON object of at most 16 KiB.
            session_type: a word such as ``admin_shell``.
            reason: why it is held: a ticket, a sentence.
            actor: ``human``, ``agent`` or ``automation``.
            person: who is behind the account, by that person's word.

        Returns:
            The session id as soon as the start is in the journal; ``None`` where it could not be recorded.
        """
        said = {"reason": reason, "actor": actor, "person": person or self.person}
        optional = {"session_type": session_type, **said}
        session = self._recorded(lambda: self._recorder.start(shell_type, metadata, optional), None)
        return session.id if session else None

    def end_session(
        self,
        session_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        exit_reason: str | None = None,
        exit_code: int | None = None,
        signal: int | None = None,
        status: str | None = None,
        **_unknown: object,
    ) -> bool:
        """End the live session, or nothing when ``session_id`` names another one.

        Returns:
            Whether the end is in the journal.
        """
        if exit_reason is None:
            exit_reason, code = self.leaving or ("exit", None)
            exit_code = code if exit_code is None else exit_code
        ending = {
            "exit_reason": exit_reason,
            "exit_code": exit_code,
            "signal": signal,
            "status": status or endings.status_of(exit_reason),
        }
        return self._recorded(lambda: self._recorder.end(session_id, metadata, ending), default=False)

    def record(self, commands: int = 0, errors: int = 0) -> None:
        """Count what happened in the shell; the next heartbeat and the end carry it."""
        self._recorded(lambda: self._recorder.record(commands, errors), None)

    def wait_connected(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for a server's first answer; returns :attr:`connected`."""
        delivery = self._recorder.delivery
        if delivery is not None:
            delivery.worker.flush(timeout)
        return self.connected

    def shutdown(self) -> None:
        """End what still lives and give delivery a moment: 0.2 s at most. Safe to call twice."""
        self.end_session()
        delivery = self._recorder.delivery
        if delivery is not None:
            delivery.worker.flush_at_exit()

    async def emit_session_start(
        self,
        shell_type: str,
        metadata: Mapping[str, Any] | None = None,
        **optional: Any,  # noqa: ANN401 - the keywords of start_session
    ) -> str | None:
        """:meth:`start_session` for any event loop: a tenth of a millisecond, in which nothing is awaited."""
        return self.start_session(shell_type, metadata, **optional)

    async def emit_session_end(
        self,
        session_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **extra: Any,  # noqa: ANN401 - the keywords of end_session, and older callers' own
    ) -> bool:
        """:meth:`end_session` for any event loop, as :meth:`emit_session_start`."""
        return self.end_session(session_id, metadata, **extra)

    async def close(self) -> None:
        """End what still lives, and do not wait for delivery: the exit of the process gives it a moment."""
        self.end_session()

    async def _check_availability(self) -> bool:
        """The older name of :attr:`available`."""
        return self.available

    @property
    def _server(self) -> Server | None:
        delivery = self._recorder.delivery
        return delivery.server if delivery else None

    def _obstacle(self) -> str | None:
        if self._recorder.session is not None:
            return None
        try:
            return self._recorder.obstacle()
        except Exception as error:  # noqa: BLE001 - nothing of ours may reach the host
            return _explanation(error)

    def _at_exit(self) -> None:
        if self.session_id is not None:
            # BaseException: Ctrl-C just now must not print a traceback.
            with suppress(BaseException):
                self.end_session(exit_reason=endings.at_exit_reason())

    def _recorded(self, action: Callable[[], _T], default: _T) -> _T:
        """The edge to the host: what cannot be recorded is counted, logged and explained, never raised."""
        with self._lock():
            try:
                result = action()
            except Exception as error:  # noqa: BLE001 - nothing of ours may reach the host
                self.dropped += 1
                self._not_recorded = _explanation(error)
                log.debug("a session event could not be recorded")
                return default
            if result:
                self._not_recorded = None
            return result

    def _lock(self) -> threading.RLock:
        """Keeps threads from beginning two sessions; each process has its own.

        In a forked child, and while the interpreter finalises, a thread that is no more may hold it for good.
        """
        if sys.is_finalizing():
            return threading.RLock()
        return self._locks.setdefault(os.getpid(), threading.RLock())


def _guarded(action: Callable[[], _T], default: _T) -> _T:
    """The edge to the host where nothing can be lost: what fails is logged, never raised."""
    try:
        return action()
    except Exception:  # noqa: BLE001 - nothing of ours may reach the host
        log.debug("a look at the session tracking failed")
        return default


def _explanation(error: Exception) -> str:
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return f"the outbox{where} cannot be written: {error.strerror or error}"
    return str(error) or type(error).__name__
