"""Shells in the styles that were written for the earlier base, each left in every way."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pexpect
import pytest

from oneiric import log
from oneiric.shell import AdminShell, SessionEventEmitter, ShellConfig
from tests.shells import PROMPT, only_session
from tests.terminal import Start
from tests.world import hang_up

BEGINNING = """
import asyncio, sys
from unittest import mock
from oneiric.shell import AdminShell, ShellConfig
from oneiric.shell.session_tracker import SessionEventEmitter

class Shell(AdminShell):
    def _get_component_name(self):
        return "stall"
"""
OWN_TRACKER = """
    def __init__(self, app, config=None):
        super().__init__(app, config)
        self.session_tracker = SessionEventEmitter(component_name="stall")
        self._session_id = None
"""
LOOK_ALIKE = """
class Tracker:
    def __init__(self, component_name, **more):
        self.component_name = component_name
    async def emit_session_start(self, shell_type="UnknownShell", metadata=None):
        print("told of a start:", shell_type, sorted(metadata))
        return None if self.component_name == "silent" else "theirs-1"
    async def emit_session_end(self, session_id, metadata=None):
        print("told of an end:", session_id)
    async def close(self):
        pass
"""
STYLES = {
    "an end of its own": OWN_TRACKER
    + """
    async def _emit_session_end(self):
        if self.session_id:
            await self.session_tracker.emit_session_end(session_id=self.session_id, metadata={"left": True})
            self._session_id = None
""",
    "both hooks": OWN_TRACKER
    + """
    async def _emit_session_start(self):
        self._session_id = await self.session_tracker.emit_session_start(
            shell_type=self.__class__.__name__, metadata={"component_type": "curator"})
    async def _emit_session_end(self):
        if not self._session_id:
            return
        try:
            await self.session_tracker.emit_session_end(session_id=self._session_id, metadata={})
        finally:
            self._session_id = None
""",
    "hooks of the first names": """
    async def _notify_session_start(self):
        self.session_id = await self.session_tracker.emit_session_start(
            shell_type=self.__class__.__name__, metadata={"cli_enabled": False})
    async def _notify_session_end(self):
        if self.session_id and self.session_tracker:
            await self.session_tracker.emit_session_end(
                session_id=self.session_id, metadata={"duration_seconds": None})
""",
    "a start that emits by itself": OWN_TRACKER
    + """
    async def start(self):
        if await self.session_tracker._check_availability():
            await self.session_tracker.emit_session_start(shell_type="Shell", metadata={})
        super().start()
""",
    "a tracker of its own kind": """
    def __init__(self, app, config=None):
        super().__init__(app, config)
        self.session_tracker = Tracker("stall")
""",
    "a tracker that does nothing": """
    def __init__(self, app, config=None):
        super().__init__(app, config)
        self.session_tracker = Tracker("silent")
    async def _emit_session_start(self):
        self._session_id = await self.session_tracker.emit_session_start("Shell", {})
    async def _emit_session_end(self):
        if self._session_id:
            await self.session_tracker.emit_session_end(session_id=self._session_id)
""",
    "a tracker that holds ours": """
    def __init__(self, app, config=None):
        super().__init__(app, config)
        self.session_tracker = Holder("stall")
""",
    "a tracker that is a stand-in": """
    def __init__(self, app, config=None):
        super().__init__(app, config)
        self.session_tracker = mock.create_autospec(SessionEventEmitter, instance=True)
""",
    "a tracker that is only read": """
    kept = SessionEventEmitter("stall")
    @property
    def session_tracker(self):
        return self.kept
""",
    "an end that exits": """
    async def _emit_session_end(self):
        sys.exit(0)
""",
    "a tracker that the hook puts in": """
    async def _emit_session_start(self):
        self.session_tracker = SessionEventEmitter("stall")
        self._session_id = await self.session_tracker.emit_session_start("Shell", {})
    async def close(self):
        await self.session_tracker.close()
""",
    "a hook that is cancelled": """
    async def _emit_session_start(self):
        raise asyncio.CancelledError
""",
    "optional imports": """
    def _build_namespace(self):
        super()._build_namespace()
        self.namespace["Tree"] = self._try_import("rich.tree", "Tree")
        self.namespace["missing"] = (
            self._try_import("no_such_module", "x"), self._try_import("rich.tree", "NoSuchName"))
""",
    "an input transformer": """
    def _register_magics(self):
        super()._register_magics()
        self.shell.input_transformers_cleanup.append(
            lambda lines: [line.replace("stall now!", "print('NOW')") for line in lines])
""",
    "a shell type to the end": OWN_TRACKER
    + """
    async def _emit_session_end(self):
        await self.session_tracker.emit_session_end(shell_type="ipython", metadata={"component": "stall"})
""",
}
HOLDER = """
class Holder:
    def __init__(self, component_name):
        self.inner = SessionEventEmitter(component_name)
    async def emit_session_start(self, shell_type, metadata=None):
        return await self.inner.emit_session_start(shell_type, metadata)
    async def emit_session_end(self, session_id, metadata=None):
        return await self.inner.emit_session_end(session_id, metadata)
"""
ASYNC_START = "a start that emits by itself"


def code_of(style: str) -> str:
    started = "shell = Shell(object(), ShellConfig(banner='Stall', unknown_choice=1))\n"
    run = "asyncio.run(shell.start())" if style == ASYNC_START else "shell.start()"
    return LOOK_ALIKE + BEGINNING + STYLES[style] + HOLDER + started + run


def typed(keys: str) -> Callable[["pexpect.spawn[str]"], object]:
    return lambda child: child.send(keys)


ENDS: dict[str, tuple[Callable[["pexpect.spawn[str]"], object], dict[str, Any]]] = {
    "exit()": (typed("exit()\r"), {"status": "ended", "exit_reason": "exit", "exit_code": 0}),
    "Ctrl-D": (typed("\x04"), {"status": "ended", "exit_reason": "eof", "exit_code": 0}),
    "an exception": (
        typed("get_ipython().run_cell = None\r1\r"),
        {"status": "crashed", "exit_reason": "exception", "exit_code": 1},
    ),
    "SIGTERM": (
        lambda child: child.kill(signal.SIGTERM),
        {"status": "ended", "exit_reason": "sigterm", "signal": 15},
    ),
    "a closed terminal": (hang_up, {"status": "ended", "exit_reason": "sighup", "signal": 1}),
}


@pytest.mark.sampled
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("style", STYLES)
def test_it_is_one_session_with_its_end(start: Start, folder: Path, style: str, end: str) -> None:
    child = start(code_of(style))
    child.expect(PROMPT.format(1))
    act, expected = ENDS[end]
    act(child)
    if end != "a closed terminal":
        child.expect(pexpect.EOF)
    child.wait()
    began, ended = only_session(folder)
    assert (began["component_name"], began["shell_type"]) == ("stall", "Shell")
    assert ended.items() >= expected.items()


def test_a_tracker_of_its_own_kind_is_told(start: Start, folder: Path) -> None:
    child = start(code_of("a tracker of its own kind"))
    child.expect(r"told of a start: Shell \['adapters', .*'version'\]")
    child.expect(PROMPT.format(1))
    child.send("exit()\r")
    child.expect("told of an end: theirs-1")
    child.expect(pexpect.EOF)
    assert only_session(folder)[1]["exit_reason"] == "exit"


def test_what_can_be_imported_is_there_and_a_transformer_is_heard(start: Start) -> None:
    child = start(code_of("optional imports"))
    child.expect(PROMPT.format(1))
    child.send("Tree.__name__ * 2, missing\r")
    child.expect_exact("'TreeTree', (None, None)")
    child.close(force=True)
    child = start(code_of("an input transformer"))
    child.expect(PROMPT.format(1))
    child.send("stall now!\r")
    child.expect("NOW")


@pytest.mark.usefixtures("environ")
def test_any_tracker_can_be_closed() -> None:
    class Tracker:
        pass

    shell = AdminShell(None)
    for tracker in (shell.session_tracker, Tracker(), None):
        shell.session_tracker = tracker
        asyncio.run(shell.close())
        assert shell.session_id is None


@pytest.mark.usefixtures("environ")
def test_a_tracker_is_told_of_no_end_of_what_it_did_not_begin(folder: Path) -> None:
    class Tracker:
        ends: ClassVar[list[str]] = []

        async def emit_session_start(self, **_: object) -> str:
            raise OSError

        async def emit_session_end(self, session_id: str, **_: object) -> None:
            self.ends.append(session_id)

    shell = AdminShell(None)
    shell.session_tracker = Tracker()
    with pytest.raises(OSError):  # noqa: PT011 - it says no more
        asyncio.run(shell._emit_session_start())
    assert shell.session_id is not None
    asyncio.run(shell._emit_session_end())
    assert Tracker.ends == []
    assert only_session(folder)[1]["exit_reason"] == "exit"


@pytest.mark.usefixtures("environ")
def test_an_exit_code_that_is_said_counts(folder: Path) -> None:
    emitter = SessionEventEmitter("shop")
    emitter.start_session("x")
    emitter.leaving = "eof", 0
    emitter.end_session(exit_code=3)
    ended = only_session(folder)[1]
    assert (ended["exit_reason"], ended["exit_code"]) == ("eof", 3)


@pytest.mark.usefixtures("environ")
def test_a_session_id_may_be_set() -> None:
    shell = AdminShell(None)
    assert shell.session_id is None
    shell.session_id = "theirs-1"
    assert shell.session_id == "theirs-1"


def test_a_choice_that_is_unknown_is_named_and_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "warning", lambda message, *arguments: said.append(message % arguments))

    class Config(ShellConfig):
        currency: str = "EUR"

    config: Any = Config(currency="CHF", table_style="double", banner="x")  # type: ignore[call-arg]
    assert (config.currency, config.banner, hasattr(config, "table_style")) == ("CHF", "x", False)
    assert said == ["Config has no choice 'table_style', which is passed over"]


def test_events_have_their_earlier_names() -> None:
    from oneiric.shell import event_models as models

    start = models.SessionStartEvent(
        event_version="1.0",
        event_id="1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed",  # type: ignore[arg-type]  # as JSON has it
        component_name="stall",
        shell_type="Shell",
        timestamp="2026-02-06T12:34:56.789Z",  # type: ignore[arg-type]
        pid=12345,
        user=models.UserInfo(username="ann", home="/home/ann"),
        hostname="web1",
        environment=models.EnvironmentInfo(python_version="3.13.0", platform="Linux", cwd="/"),
    )
    assert (start.event_type, start.session_id) == ("session_start", "stall-20260206-123456-1b9d6bcd")
    end = models.SessionEndEvent(session_id=start.session_id, timestamp="2026-02-06T13:00:00Z")  # type: ignore[arg-type]
    assert end.event_type == "session_end"
    assert models.get_session_start_event_schema()["properties"]["pid"]["minimum"] == 1
    assert "session_id" in models.get_session_end_event_schema()["required"]
    with pytest.raises(ValueError, match="component_name"):
        models.SessionStartEvent.model_validate(start.model_dump() | {"component_name": "a b"})
