"""The emitter: what a shell holds on to."""

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from oneiric import compose, config, contract, deliveries, endings, transport
from oneiric.contract import Metadata
from oneiric.edge import attempt
from oneiric.recorder import Recorder
from oneiric.status import Status


class SessionEventEmitter(Status):
    """Reports one shell's session: start, life, end.

    Nothing here raises into its host, prints, or waits for a server; what cannot be recorded is counted in
    :attr:`dropped` and explained by :attr:`unavailable_reason`.

    Args:
        component_name: what the shell belongs to; characters other than ``A-Za-z0-9_-`` become ``_``.
        session_buddy_path: accepted from older callers; a server is found through its socket.
        environ: the environment to read and to announce the session in, by default the process's.

    Attributes:
        component_name: as cleaned.
        person: who is behind the account, by that person's word; a start that is told nobody carries it.
        leaving: reason and exit code of an end that is told neither; a shell sets it when it is left.
    """

    def __init__(
        self,
        component_name: str,
        session_buddy_path: str | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        **_unknown: object,
    ) -> None:
        del session_buddy_path
        super().__init__()
        self.component_name = attempt(
            lambda: contract.component_for(component_name), lambda _: contract.UNKNOWN
        )
        self.person: str | None = None
        self.leaving: tuple[contract.ExitReason, int] | None = None
        self._environ = os.environ if environ is None else environ
        self._recorder = Recorder(self.component_name, self._environ, self._at_exit)
        # What a named endpoint needs, 20 ms: not within a call that somebody waits for.
        attempt(lambda: transport.prepare(config.named_url(self._environ)), lambda _: None)

    def __repr__(self) -> str:
        return f"<SessionEventEmitter {self.component_name} session={self.session_id} dropped={self.dropped}>"

    def start_session(
        self,
        shell_type: str,
        metadata: Metadata = None,
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
        said = {
            "shell_type": shell_type,
            # Before signals are blocked: it may hold objects of the host's, whose code may do anything.
            "metadata": compose.metadata_object(metadata),
            "session_type": session_type,
            "reason": reason,
            "actor": actor,
            "person": person or self.person,
        }
        session = self._guarded(lambda: self._recorder.start(said), None)
        return session.id if session else None

    def end_session(
        self,
        session_id: str | None = None,
        metadata: Metadata = None,
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
            "metadata": compose.metadata_object(metadata),
            "exit_reason": exit_reason,
            "exit_code": exit_code,
            "signal": signal,
            "status": status or endings.status_of(exit_reason),
        }
        return self._guarded(lambda: self._recorder.end(session_id, ending), default=False)

    def begin_command(self) -> None:
        """Note that a command runs until the next :meth:`record`: heartbeats say so."""
        self._guarded(self._recorder.begin_command, None, "count")

    def record(self, commands: int = 0, errors: int = 0) -> None:
        """Count what happened in the shell; the next heartbeat and the end carry it."""
        self._guarded(lambda: self._recorder.record(commands, errors), None, "count")

    def wait_connected(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for a server's first answer; returns :attr:`connected`."""
        if delivery := self._recorder.delivery:
            delivery.worker.flush(timeout)
        return self.connected

    def shutdown(self) -> None:
        """End what still lives and give delivery a moment: 0.2 s at most. Safe to call twice."""
        self.end_session()
        if delivery := self._recorder.delivery:
            delivery.worker.flush_at_exit(deliveries.EXIT_BUDGET_SECONDS)

    async def emit_session_start(self, shell_type: str, metadata: Metadata = None, **said: Any) -> str | None:  # noqa: ANN401 - as start_session
        """:meth:`start_session` for any event loop: a tenth of a millisecond, in which nothing is awaited."""
        return self.start_session(shell_type, metadata, **said)

    async def emit_session_end(
        self,
        session_id: str | None = None,
        metadata: Metadata = None,
        **ending: Any,  # noqa: ANN401 - as above
    ) -> bool:
        """:meth:`end_session` for any event loop, as :meth:`emit_session_start`."""
        return self.end_session(session_id, metadata, **ending)

    async def close(self) -> None:
        """End what still lives, and do not wait for delivery: the exit of the process gives it a moment."""
        self.end_session()

    async def _check_availability(self) -> bool:
        """The older name of :attr:`available`."""
        return self.available

    def _at_exit(self) -> None:
        if self.session_id is not None:
            # BaseException: Ctrl-C just now must not print a traceback.
            with suppress(BaseException):
                self.end_session(exit_reason=endings.at_exit_reason())
