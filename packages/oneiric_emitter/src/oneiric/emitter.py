"""The emitter: what a shell holds on to. It records at once and never raises, prints or blocks."""

import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

from oneiric import compose, config, contract, couriers, endings, facts, log, outbox, transport
from oneiric.delivery import Courier, Session
from oneiric.journal import Journal
from oneiric.lineage import Lineage
from oneiric.paths import Paths, user_paths

_T = TypeVar("_T")


class SessionEventEmitter:
    """Reports one shell's session: start, life, end.

    Nothing here raises into its host, prints, or waits for a server; what cannot be recorded is counted in
    :attr:`dropped` and explained by :attr:`unavailable_reason`.

    Args:
        component_name: what the shell belongs to; characters other than ``A-Za-z0-9_-`` become ``_``.
        session_buddy_path: accepted from older callers; a server is found through its socket.
        interactive: at a prompt on the main thread, where SIGTERM and SIGHUP may be hooked.
        environ: the environment to read and to announce the session in, by default the process's.

    Attributes:
        component_name: as cleaned.
        dropped: how many starts and ends could not be recorded.
        interactive: as given; may be set until the session starts.
    """

    def __init__(
        self,
        component_name: str,
        session_buddy_path: str | None = None,
        *,
        interactive: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        del session_buddy_path
        self.component_name = _component(component_name)
        self.dropped = 0
        self.interactive = interactive
        self._lock = threading.RLock()
        self._lock_pid = os.getpid()
        self._environ = os.environ if environ is None else environ
        self._session: Session | None = None
        self._reason: str | None = None
        self._take_back: Callable[[], None] | None = None
        self._hooks: endings.SignalHooks | None = None
        self._lineage = Lineage(self._environ)
        self._last_courier: Courier | None = None
        self._guarded(self._prepare, None)

    def __repr__(self) -> str:
        return f"<SessionEventEmitter {self.component_name} session={self.session_id} dropped={self.dropped}>"

    @property
    def session_id(self) -> str | None:
        """The live session's id; ``None`` before the start, after the end, and in a forked child."""
        session = self._own_session()
        return session.id if session else None

    @property
    def available(self) -> bool:
        """Whether a session can be recorded: tracking is on and the outbox can be written."""
        return self._own_session() is not None or self._guarded(self._find_reason, None) is None

    @property
    def unavailable_reason(self) -> str | None:
        """Why nothing can be recorded, or could be the last time that it was tried; ``None`` while it can."""
        if self._own_session() is not None:
            return None
        return self._guarded(self._find_reason, None) or self._reason

    @property
    def connected(self) -> bool:
        """Whether the latest call to a server was answered."""
        courier = self._own_courier()
        return courier is not None and courier.connected

    @property
    def problem(self) -> str | None:
        """Why nothing was delivered lately; ``None`` while delivery works or was not tried."""
        courier = self._own_courier()
        return courier.problem if courier else None

    @property
    def turned_away(self) -> bool:
        """Whether a server answered and turned this emitter away; :attr:`problem` says why."""
        courier = self._own_courier()
        return courier is not None and courier.turned_away

    @property
    def outbox(self) -> dict[str, int]:
        """How many journals are open (live, or not delivered yet), were rejected, or cannot be read."""
        return self._guarded(self._count_journals, {})

    def start_session(
        self,
        shell_type: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        session_type: str = contract.DEFAULT_SESSION_TYPE,
        reason: str | None = None,
        actor: str | None = None,
        **_unknown: object,
    ) -> str | None:
        """Begin the session, once: a live session's id is returned again.

        Returns:
            The session id as soon as the start is in the journal; ``None`` where it could not be recorded.
        """
        optional = {"session_type": session_type, "reason": reason, "actor": actor}
        with self._own_lock():
            session_id = self._guarded(lambda: self._start(shell_type, metadata, optional), None)
        self._guarded(self._hook_signals, None)
        return session_id

    def end_session(
        self,
        session_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        exit_reason: str = "exit",
        exit_code: int | None = None,
        signal: int | None = None,
        status: str | None = None,
        **_unknown: object,
    ) -> bool:
        """End the live session, or nothing when ``session_id`` names another one.

        Returns:
            Whether the end is in the journal.
        """
        ending = {
            "exit_reason": exit_reason,
            "exit_code": exit_code,
            "signal": signal,
            "status": status or endings.status_of(exit_reason),
        }
        with self._own_lock():
            return self._guarded(lambda: self._end(session_id, metadata, ending), default=False)

    def record(self, commands: int = 0, errors: int = 0) -> None:
        """Count what happened in the shell; the next heartbeat and the end carry it."""
        with self._own_lock():
            self._guarded(lambda: self._record(commands, errors), None)

    def wait_connected(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for a server's first answer; returns :attr:`connected`."""
        courier = self._own_courier()
        if courier is not None:
            courier.flush(timeout)
        return self.connected

    def shutdown(self) -> None:
        """End what still lives and give delivery a moment: 0.2 s at most. Safe to call twice."""
        self.end_session()
        courier = self._own_courier()
        if courier is not None:
            courier.say_goodbye(couriers.EXIT_BUDGET_SECONDS)

    async def emit_session_start(
        self,
        shell_type: str,
        metadata: Mapping[str, Any] | None = None,
        **optional: Any,  # noqa: ANN401 - the keywords of start_session
    ) -> str | None:
        """:meth:`start_session` for asyncio and trio."""
        session_id: str | None = await _in_thread(
            lambda: self.start_session(shell_type, metadata, **optional)
        )
        self._guarded(self._hook_signals, None)
        return session_id

    async def emit_session_end(
        self,
        session_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **extra: Any,  # noqa: ANN401 - the keywords of end_session, and older callers' own
    ) -> bool:
        """:meth:`end_session` for asyncio and trio."""
        ended: bool = await _in_thread(lambda: self.end_session(session_id, metadata, **extra))
        self._guarded(self._unhook_signals, None)
        return ended

    async def close(self) -> None:
        """:meth:`shutdown` for asyncio and trio."""
        await _in_thread(self.shutdown)

    async def _check_availability(self) -> bool:
        """The older name of :attr:`available`."""
        return self.available

    def _prepare(self) -> None:
        """Load what a named endpoint needs now, 20 ms: not within a call that somebody waits for."""
        transport.prepare(transport.Endpoint(url=self._environ.get("SESSION_BUDDY_MCP_ENDPOINT") or None))

    def _own_session(self) -> Session | None:
        """The live session, if this process is the one that began it."""
        session = self._session
        return session if session is not None and session.pid == os.getpid() else None

    def _own_lock(self) -> threading.RLock:
        """Keeps threads from beginning two sessions.

        In a forked child, and while the interpreter finalises, a thread that is no more may hold it for good.
        """
        if self._lock_pid != os.getpid() or sys.is_finalizing():
            self._lock, self._lock_pid = threading.RLock(), os.getpid()
        return self._lock

    def _own_courier(self) -> Courier | None:
        courier = self._last_courier
        return courier if courier is not None and courier.pid == os.getpid() else None

    def _count_journals(self) -> dict[str, int]:
        folder = user_paths(self._environ).outbox
        return {
            "open": outbox.count(folder),
            "rejected": outbox.count(folder, "rejected"),
            "corrupt": outbox.count(folder, "corrupt"),
        }

    def _find_reason(self) -> str | None:
        if os.name != "posix":
            return "this platform is not supported"
        paths = user_paths(self._environ)
        reason = config.off_reason(self._environ, paths)
        if reason is None:
            folder = paths.outbox
            try:
                outbox.prepare(folder, paths.home)
            except OSError as error:
                return _explanation(error)
            if not os.access(folder, os.W_OK | os.X_OK):
                return f"the outbox {folder} cannot be written"
        return reason

    def _start(
        self, shell_type: str, metadata: Mapping[str, Any] | None, optional: dict[str, Any]
    ) -> str | None:
        live = self._own_session()
        if live is not None:
            return live.id
        if os.name != "posix":
            return None
        paths = user_paths(self._environ)
        if config.off_reason(self._environ, paths) is not None:
            return None
        start = self._compose_start(paths, shell_type, metadata, optional)
        session_id = compose.session_id_of(start)
        courier = couriers.courier_for(paths, self._environ)
        outbox.prepare(courier.folder, paths.home)
        journal = Journal.create(outbox.path_for(courier.folder, session_id, courier.destination), start)
        self._last_courier = courier
        self._session = Session(session_id, start, journal)
        self._lineage.announce(session_id)
        # The courier's own exit hook, registered before this one, runs after it: the end is written by then.
        self._take_back = endings.at_exit(self._at_exit)
        self._reason = None
        courier.add(self._session)
        return session_id

    def _compose_start(
        self, paths: Paths, shell_type: str, metadata: Mapping[str, Any] | None, optional: dict[str, Any]
    ) -> dict[str, Any]:
        environ = self._environ
        optional["reason"] = optional["reason"] or environ.get("ONEIRIC_REASON")
        optional["actor"] = optional["actor"] or environ.get("ONEIRIC_ACTOR")
        return compose.session_start(
            event_id=contract.new_event_id(),
            component=self.component_name,
            shell_type=shell_type,
            when=datetime.now(UTC),
            pid=os.getpid(),
            user=facts.user(environ, os.fspath(paths.home)),
            hostname=facts.hostname(),
            environment=facts.environment(),
            metadata=metadata,
            process=facts.process(os.getpid()),
            origin=facts.origin(environ) or None,
            parent_session_id=self._lineage.parent,
            **optional,
        )

    def _end(
        self, session_id: str | None, metadata: Mapping[str, Any] | None, ending: dict[str, Any]
    ) -> bool:
        session = self._own_session()
        if session is None or session_id not in (None, session.id):
            return False
        end = compose.session_end(
            session.id,
            datetime.now(UTC),
            event_id=contract.new_event_id(),
            metadata=metadata,
            detected_by="emitter",
            activity=session.activity,
            **ending,
        )
        self._session = None
        self._unhook_signals()
        self._lineage.withdraw(session.id)
        if self._take_back is not None:
            self._take_back()
        try:
            session.journal.append_end(end)
        finally:
            # Also where the disk is full: a server that is there hears of it all the same.
            if self._last_courier is not None:
                self._last_courier.finish(session, end)
        self._reason = None
        return True

    def _record(self, commands: int, errors: int) -> None:
        session = self._own_session()
        if session is not None:
            more, worse = _addend(commands, session.commands), _addend(errors, session.errors)
            # In one step each: a signal handler of the host's may count too.
            session.commands += more
            session.errors += worse
            session.last_activity = compose.timestamp(datetime.now(UTC))

    def _hook_signals(self) -> None:
        session = self._own_session()
        # A start from a worker thread (the async call) hooks when it is back on the main one.
        if not self.interactive or session is None or not _on_main_thread():
            return
        if self._hooks is None or self._hooks.session is not session:
            # An earlier session that ended on another thread has left its own behind.
            self._unhook_signals()
            self._hooks = endings.SignalHooks(session)
            self._hooks.install()

    def _unhook_signals(self) -> None:
        # Off the main thread signals cannot be touched; the async call comes by again on it.
        if self._hooks is not None and _on_main_thread():
            self._hooks.remove()
            self._hooks = None

    def _at_exit(self) -> None:
        if self.session_id is not None:
            # BaseException: Ctrl-C just now must not print a traceback.
            with suppress(BaseException):
                self.end_session(exit_reason=endings.at_exit_reason())

    def _guarded(self, action: Callable[[], _T], default: _T) -> _T:
        """The edge to the host: what fails here is counted, logged and explained, never raised."""
        try:
            result = action()
        except Exception as error:  # noqa: BLE001 - nothing of ours may reach the host
            self.dropped += 1
            self._reason = _explanation(error)
            log.debug("a session event could not be recorded")
            return default
        return result


def _explanation(error: Exception) -> str:
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return f"the outbox{where} cannot be written: {error.strerror or error}"
    return str(error) or type(error).__name__


def _addend(number: int, so_far: int) -> int:
    """What to add to a count: hosts hand in floats, decimals and numbers of their own, and more than fits."""
    return min(max(0, int(number)), contract.MAX_COUNT - so_far)


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _component(name: object) -> str:
    clean = re.sub(r"[^A-Za-z0-9_-]", "_", str(name))[: contract.MAX_COMPONENT]
    return clean or contract.UNKNOWN


async def _in_thread(action: Callable[[], _T]) -> _T:
    """Run ``action`` off the event loop; without anyio, here: it takes a tenth of a millisecond."""
    with suppress(ImportError, RuntimeError):
        # RuntimeError: no loop that anyio knows.
        from anyio import CancelScope, to_thread

        # A task that is cancelled ends its session all the same.
        with CancelScope(shield=True):
            return await to_thread.run_sync(action)
    return action()
