"""The admin shell that components subclass: a prompt, a namespace, and one tracked session."""

import asyncio
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from oneiric import endings, log
from oneiric.contract import ExitReason
from oneiric.emitter import SessionEventEmitter
from oneiric.shell.asking import ask_person
from oneiric.shell.commands import Commands, discover
from oneiric.shell.component import Component, answers
from oneiric.shell.config import ShellConfig
from oneiric.shell.dispatch import Dispatcher
from oneiric.shell.earlier import EarlierHooks
from oneiric.shell.magics import BaseMagics
from oneiric.shell.prompt import Prompt, embedded

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionResult

RULE = "━" * 50


class AdminShell(EarlierHooks, Component):
    """An IPython shell over ``app``; subclasses override ``_get_…``, ``_build_namespace`` and more.

    The session starts before the first prompt and ends when the prompt is left, however often a subclass
    starts or ends it too: one shell is one session.

    Attributes:
        app: the component's application, ``app`` at the prompt.
        config: the component's choices.
        namespace: what is defined at the prompt.
        shell: the running prompt, ``None`` before :meth:`start`.
        commands: what may be typed without a prefix.
        magics_classes: the magic commands; a subclass names its own behind the base's.
    """

    magics_classes: tuple[type[BaseMagics], ...] = (BaseMagics,)

    def __init__(self, app: object, config: ShellConfig | None = None) -> None:
        self.app: Any = app
        self.config = config or ShellConfig()
        self.shell: Prompt | None = None
        self._own_emitter = SessionEventEmitter(self.component_name)
        self.commands = Commands()
        self._activity = {"commands": 0, "errors": 0}
        self._build_namespace()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(component={self.component_name!r}, session_id={self.session_id!r})>"

    @property
    def activity(self) -> dict[str, int]:
        """``commands`` and ``errors`` so far."""
        return dict(self._activity)

    def start(self) -> None:
        """Show the prompt until the user leaves.

        Raises:
            Exception: whatever escapes from the prompt, after the session was ended for that reason.
        """
        if self.config.cli_preprocessing_enabled:
            self.commands = Commands(filter(None, map(discover, self._get_command_programs())))
        self._activity = {"commands": 0, "errors": 0}
        if self.config.ask_person and not self.config.tracking_disabled and self._emitter.person is None:
            self._emitter.person = ask_person(os.environ)
        with _outside_event_loop():
            self._track(self._emit_session_start)
            # The hook may have put another in its place, and may have begun nothing.
            emitter = self._emitter
            if emitter.unavailable_reason is None:
                self._track(self._begin)
            # 0 from here on, not unknown: this shell counts its commands.
            self.count()
            try:
                emitter.leaving = self._run_prompt(), 0
            except BaseException as error:
                code = endings.exit_code_of(error)
                emitter.leaving = endings.reason_of(error), 1 if code is None else code
                raise
            finally:
                self._own_emitter.leaving = emitter.leaving
                try:
                    self._track(self._emit_session_end)
                finally:
                    for one in (emitter, self._own_emitter):
                        one.end_session()
                        one.leaving = None

    def count(self, *, commands: int = 0, errors: int = 0) -> None:
        """Note what happened in this session; its heartbeats and its end carry the sums."""
        self._activity["commands"] += commands
        self._activity["errors"] += errors
        self._emitter.record(commands=commands, errors=errors)

    def tracking_status(self, wait: float = 0.0) -> str:
        """How this session is tracked, for its user; waits up to ``wait`` seconds for a server's answer."""
        emitter = self._emitter
        why = self.config.tracking_disabled or emitter.unavailable_reason
        if why:
            return f"✗ Disabled ({why})"
        if emitter.wait_connected(wait):
            return "✓ Enabled"
        why = "the server turns this shell away" if emitter.turned_away else "offline"
        return f"✓ Enabled ({why}, kept in the outbox)"

    def get_status(self) -> dict[str, str]:
        """Labels and values of ``%status``."""
        emitter = self._emitter
        counts = emitter.outbox | {"dropped": emitter.dropped}
        return {
            "Component": f"{self.component_name} {self._get_component_version()}",
            "Application": type(self.app).__name__,
            "Session": self.session_id or "none",
            "Session tracking": self.tracking_status(),
            "Activity": "{commands} commands, {errors} errors".format(**self._activity),
            "Outbox": ", ".join(f"{number} {name}" for name, number in counts.items()) or "unknown",
            "CLI commands": str(len(self.commands)),
        }

    async def close(self) -> None:
        """End the session, where one is live, and stop the emitter."""
        await self._emit_session_end()
        await self._emitter.close()
        if self._is_foreign and hasattr(self.session_tracker, "close"):
            await self.session_tracker.close()

    def _get_banner(self) -> str:
        tracking = f"Session Tracking: {self.tracking_status(self.config.connect_seconds)}"
        return f"{self.config.banner}\n{RULE}\n{tracking}\n%help_shell shows what this shell adds\n{RULE}\n"

    def _register_magics(self) -> None:
        if self.shell is None:
            return
        for kind in self.magics_classes:
            magics = kind(self.shell)
            magics.set_app(self.app)
            magics.admin = self
            self.shell.register_magics(magics)

    def _begin(self) -> None:
        """Begin the session, unless it has begun."""
        said = {} if self._emitter.session_id else answers(metadata=self._get_session_metadata)
        self._emitter.start_session(type(self).__name__, reason=self.config.session_reason, **said)

    def _run_prompt(self) -> ExitReason:
        with embedded(self.namespace, self.config) as self.shell:
            self._register_magics()
            if self.config.cli_preprocessing_enabled:
                Dispatcher(self.shell, self.commands).install(completion=self.config.tab_completion_enabled)
            self.shell.events.register("pre_run_cell", lambda *_: self._emitter.begin_command())
            self.shell.events.register("post_run_cell", self._count_cell)
            self.shell.banner1 = _printable(self._get_banner())
            self.shell()
            return self.shell.left_by

    def _count_cell(self, result: "ExecutionResult") -> None:
        self.count(commands=1, errors=int(not result.success))

    def _track(self, hook: Callable[[], Any]) -> None:
        """Run a tracking hook, a subclass's or ours; a shell works without tracking, so none may break it."""
        if self.config.tracking_disabled:
            return
        try:
            pending = hook()
            if inspect.isawaitable(pending):
                # Not asyncio.run: behind it the thread has no current event loop, which the host may rely on.
                with closing(asyncio.new_event_loop()) as loop:
                    loop.run_until_complete(pending)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - code of subclasses, see above
            log.debug("%s failed", getattr(hook, "__name__", hook))


@contextmanager
def _outside_event_loop() -> Iterator[None]:
    """Let a prompt run its own event loop below a coroutine that called us; that loop waits anyway."""
    outer = asyncio._get_running_loop()  # noqa: SLF001 - documented for code that runs loops
    asyncio._set_running_loop(None)  # noqa: SLF001 - the same
    try:
        yield
    finally:
        asyncio._set_running_loop(outer)  # noqa: SLF001 - the same


def _printable(text: str) -> str:
    """``text`` with what this terminal's encoding lacks replaced: a banner must not end the shell."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
