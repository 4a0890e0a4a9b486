"""Admin shells in real processes, under a pseudo-terminal and behind a pipe."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pexpect
import pytest

from oneiric import identity
from oneiric.shell import AdminShell, SessionEventEmitter, ShellConfig
from oneiric.shell.session_tracker import SessionEventEmitter as FromItsModule
from tests import forkserver
from tests.shells import PROMPT, install, journals, only_session
from tests.terminal import Start

SHOP = """
from oneiric.shell import AdminShell, ShellConfig

class ShopShell(AdminShell):
    def _get_adapters_info(self):
        return ["till"]
"""
PLAIN = SHOP + "ShopShell(object(), ShellConfig(banner='The Shop')).start()"


class Pipe(Protocol):
    def __call__(self, code: str, typed: str, **environ: str) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def pipe(environ: Mapping[str, str], tmp_path: Path) -> Pipe:
    """Run code with typed lines from a pipe."""

    def run(code: str, typed: str, **more: str) -> subprocess.CompletedProcess[str]:
        return forkserver.run([sys.executable, "-c", code], typed, env={**environ, **more}, cwd=tmp_path)

    return run


def leave(child: "pexpect.spawn[str]", typed: str = "exit()\r") -> str:
    """Type something that ends the shell; the rest of its output."""
    child.send(typed)
    child.expect(pexpect.EOF)
    child.wait()
    return child.before or ""


def press(child: "pexpect.spawn[str]", keys: str, awaited: str) -> None:
    """Type something until it is noticed.

    Readline notices a Ctrl-C that comes just before it waits at the next one; what was typed may go with it.
    """
    for _ in range(30):
        child.send(keys)
        if child.expect([awaited, pexpect.TIMEOUT], timeout=2) == 0:
            return
    raise AssertionError(f"{keys!r} was never noticed")


def test_the_emitter_is_found_where_components_import_it() -> None:
    assert FromItsModule is SessionEventEmitter


def test_the_session_starts_before_the_first_prompt_and_ends_with_it(start: Start, folder: Path) -> None:
    child = start(PLAIN)
    child.expect("The Shop")
    child.expect("Session Tracking: ✓ Enabled")
    child.expect(PROMPT.format(1))
    [[began]] = journals(folder)
    assert (began["component_name"], began["shell_type"]) == ("shop", "ShopShell")
    assert began.get("session_type", "admin_shell") == "admin_shell"
    assert began["metadata"] == {
        "version": "unknown",
        "adapters": ["till"],
        "cli_preprocessing_enabled": False,
        "tab_completion_enabled": True,
        "command_tree_size": 0,
    }
    leave(child)
    assert child.exitstatus == 0
    _, ended = only_session(folder)
    assert (ended["status"], ended["exit_reason"], ended["exit_code"]) == ("ended", "exit", 0)


@pytest.mark.parametrize(
    ("typed", "reason"),
    [("exit()\r", "exit"), ("quit\r", "exit"), ("exit\r", "exit"), ("quit()\r", "exit"), ("\x04", "eof")],
)
def test_how_the_shell_was_left_is_known(start: Start, folder: Path, typed: str, reason: str) -> None:
    child = start(PLAIN)
    child.expect(PROMPT.format(1))
    leave(child, typed)
    assert child.exitstatus == 0
    assert only_session(folder)[1]["exit_reason"] == reason


def test_an_exception_out_of_the_shell_is_the_reason_and_goes_on(start: Start, folder: Path) -> None:
    child = start(PLAIN)
    child.expect(PROMPT.format(1))
    child.send("get_ipython().run_cell = None\r")
    child.expect(PROMPT.format(2))
    assert "TypeError" in leave(child, "1\r")
    assert child.exitstatus == 1
    _, ended = only_session(folder)
    assert (ended["status"], ended["exit_reason"], ended["exit_code"]) == ("crashed", "exception", 1)


@pytest.mark.parametrize(
    ("lines", "reason", "code"),
    [
        ("%exit_raise", "exit", 1),
        ("try:\r    raise EOFError\rexcept EOFError:\r    exit()\r", "exit", 0),
        ("type(get_ipython()).mainloop\r\x04", "eof", 0),
    ],
)
def test_who_chooses_to_leave_has_left(
    start: Start, folder: Path, lines: str, reason: str, code: int
) -> None:
    child = start(PLAIN, IPY_TEST_SIMPLE_PROMPT="1")
    child.expect(PROMPT.format(1))
    leave(child, lines + "\r" * (not lines.endswith("\x04")))
    _, ended = only_session(folder)
    assert (ended["status"], ended["exit_reason"], ended["exit_code"]) == ("ended", reason, code)


def test_a_standard_input_that_cannot_be_read_has_ended(environ: Mapping[str, str], folder: Path) -> None:
    with Path(os.devnull).open("w") as unreadable:
        done = subprocess.run(
            [sys.executable, "-c", PLAIN], stdin=unreadable, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert only_session(folder)[1]["exit_reason"] == "eof"


@pytest.mark.parametrize(("number", "reason"), [(signal.SIGTERM, "sigterm"), (signal.SIGHUP, "sighup")])
def test_a_signal_is_the_reason_and_still_kills(
    start: Start, folder: Path, number: signal.Signals, reason: str
) -> None:
    child = start(PLAIN)
    child.expect(PROMPT.format(1))
    child.kill(number)
    child.expect(pexpect.EOF)
    child.wait()
    assert child.signalstatus == number
    assert only_session(folder)[1]["exit_reason"] == reason


@pytest.mark.parametrize("simple", ["", "1"])
def test_ctrl_c_at_the_prompt_does_not_leave_the_shell(start: Start, folder: Path, simple: str) -> None:
    child = start(PLAIN, **({"IPY_TEST_SIMPLE_PROMPT": simple} if simple else {}))
    child.expect(PROMPT.format(1))
    child.send("half a li")
    child.expect("half a li" if simple else r"half.*li")
    if simple:
        press(child, "\x03", PROMPT.format(1))
        press(child, "6 * 7\r", "42")
    else:
        child.sendintr()
        child.send("6 * 7\r")
        child.expect("42")
    leave(child)
    assert only_session(folder)[1]["exit_reason"] == "exit"


def test_input_from_a_pipe_is_run_and_counted(pipe: Pipe, folder: Path) -> None:
    done = pipe(PLAIN, "print(6 * 7)\n1 / 0\nx = 1\n")
    assert done.returncode == 0
    assert "42" in done.stdout
    _, ended = only_session(folder)
    assert ended["exit_reason"] == "eof"
    assert (ended["activity"]["commands"], ended["activity"]["errors"]) == (3, 1)


def test_an_empty_pipe_ends_at_once(pipe: Pipe, folder: Path) -> None:
    assert pipe(PLAIN, "").returncode == 0
    ended = only_session(folder)[1]
    # It counts, and has counted none.
    assert (ended["exit_reason"], ended["activity"]) == ("eof", {"commands": 0, "errors": 0})


def test_two_starts_are_two_sessions(pipe: Pipe, folder: Path) -> None:
    done = pipe(
        SHOP + "shell = ShopShell(object()); shell.start(); print(shell.session_id); shell.start()", ""
    )
    assert "None" in done.stdout
    assert [[event["event_type"] for event in events] for events in journals(folder)] == [
        ["session_start", "session_end"],
        ["session_start", "session_end"],
    ]


def test_a_shell_starts_below_a_running_event_loop(start: Start, folder: Path) -> None:
    child = start(
        SHOP
        + """
import asyncio
async def main():
    ShopShell(object()).start()
    await asyncio.sleep(0)
    print("the loop goes", "on", asyncio.get_running_loop().is_running())
asyncio.run(main())
"""
    )
    child.expect(PROMPT.format(1))
    child.send("await asyncio.sleep(0, 6 * 7)\r")
    child.expect("42")
    assert "the loop goes on True" in leave(child)
    assert only_session(folder)[1]["exit_reason"] == "exit"


def test_what_embedding_changes_in_the_host_is_put_back(pipe: Pipe) -> None:
    done = pipe(
        SHOP
        + """
import asyncio, sys
from IPython.core.interactiveshell import InteractiveShell
def changed():
    return [name for name in before | vars(sys) if before.get(name, "-") is not vars(sys).get(name, "-")]
before = dict(vars(sys))
ShopShell(object()).start()
print("changed", changed(), "no shell", InteractiveShell._instance is None)
asyncio.get_event_loop_policy().get_event_loop().close()
print("a loop", "is current")
before["ps1"] = sys.ps1 = "mine> "
ShopShell(object()).start()
print("changed again", changed())
""",
        "1 / 0\n",
    )
    assert "changed [] no shell True" in done.stdout, done.stdout
    assert "a loop is current" in done.stdout, done.stderr
    assert "changed again []" in done.stdout, done.stdout


@pytest.mark.parametrize(("then", "reason"), [("", "exit"), ("1 / 0", "exception")])
def test_a_host_that_showed_a_prompt_ends_for_its_own_reason(
    pipe: Pipe, folder: Path, then: str, reason: str
) -> None:
    """And for none of what failed at that prompt."""
    code = """
host = SessionEventEmitter("host")
host.start_session("Host")
ShopShell(object()).start()
"""
    pipe("from oneiric.shell import SessionEventEmitter" + SHOP + code + then, "1 / 0\n")
    [(_, ended)] = [events for events in journals(folder) if events[0]["component_name"] == "host"]
    assert ended["exit_reason"] == reason


def test_a_shell_inside_ipython_gives_it_back(pipe: Pipe) -> None:
    done = pipe(
        SHOP
        + """
from IPython.core.interactiveshell import InteractiveShell
outer = InteractiveShell.instance()
ShopShell(object()).start()
print("outer is back", InteractiveShell.instance() is outer)
""",
        "get_ipython().banner1\n",
    )
    assert "outer is back True" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "spoil", ["os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')", "shell.namespace = 'no namespace'"]
)
def test_a_prompt_that_cannot_start_gives_the_outer_ipython_back(pipe: Pipe, spoil: str) -> None:
    code = f"""
import os
from IPython.core.interactiveshell import InteractiveShell
outer = InteractiveShell.instance()
shell = ShopShell(object())
{spoil}
try:
    shell.start()
except BaseException as error:
    print("no prompt:", type(error))
os.chdir("/")
print("outer is back", InteractiveShell._instance is outer)
"""
    done = pipe(SHOP + code, "")
    assert "no prompt:" in done.stdout, done.stderr
    assert "outer is back True" in done.stdout


def test_a_disabled_shell_records_nothing_and_says_why(pipe: Pipe, folder: Path) -> None:
    done = pipe(SHOP + "ShopShell(object(), ShellConfig(tracking_disabled='by the test')).start()", "")
    assert "Session Tracking: ✗ Disabled (by the test)" in done.stdout
    assert not journals(folder)


def test_tracking_switched_off_for_all_is_said(pipe: Pipe, folder: Path) -> None:
    done = pipe(PLAIN, "", ONEIRIC_TRACKING="off")
    assert "Session Tracking: ✗ Disabled (ONEIRIC_TRACKING=off)" in done.stdout
    assert not journals(folder)


def test_a_home_that_cannot_be_written_stops_neither_shell_nor_history(pipe: Pipe) -> None:
    # IPython warns of such a home.
    done = pipe(PLAIN, "print(6 * 7)\n", HOME="/dev/null", PYTHONWARNINGS="default")
    assert done.returncode == 0
    assert "✗ Disabled" in done.stdout
    assert "42" in done.stdout


def test_a_terminal_without_the_characters_gets_others(pipe: Pipe) -> None:
    done = pipe(PLAIN, "print(6 * 7)\n", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0
    assert "Session Tracking: ? Enabled" in done.stdout


def test_the_prompt_can_be_silent_and_its_tracebacks_verbose(pipe: Pipe) -> None:
    config = "ShellConfig(display_prompt=False, show_tracebacks=True)"
    done = pipe(
        SHOP + f"ShopShell(object(), {config}).start()", "hidden = 6 * 7\n1 / (hidden - 42)\n(\n41 + 2)\n"
    )
    assert "In [" not in done.stdout
    assert re.search(r"hidden \S*= \S*42", done.stdout)
    assert "43" in done.stdout


def test_the_namespace_holds_the_application_and_what_was_added(pipe: Pipe) -> None:
    code = """
shell = ShopShell({"name": "till"})
shell.add_helper("double", lambda x: 2 * x)
shell.add_object("stock", [1, 2])
shell.start()
"""
    done = pipe(SHOP + code, "print(app['name'], double(21), stock, run, Console, Table)\n")
    assert "till 42 [1, 2]" in done.stdout
    assert "rich.table.Table" in done.stdout


REPLACED = """
import asyncio, logging
from oneiric.shell import AdminShell, ShellConfig
from oneiric.shell.session_tracker import SessionEventEmitter

class OldShell(AdminShell):
    def __init__(self, app, config=None):
        super().__init__(app, config)
        self.session_tracker = SessionEventEmitter(component_name="old-shop")
        self._session_id = None
    def _get_component_name(self):
        return "old-shop"
    def _get_banner(self):
        return f"Old Shop {self._get_component_version()} {self.session_tracker.available}"
    async def _emit_session_start(self):
        self._session_id = await self.session_tracker.emit_session_start(
            shell_type=self.__class__.__name__, metadata={"component_type": "old"})
    async def _emit_session_end(self):
        if self._session_id:
            await self.session_tracker.emit_session_end(
                session_id=self._session_id, metadata={"left": True}, shell_type="OldShell")
            self._session_id = None
    async def close(self):
        await self._emit_session_end()
        await self.session_tracker.close()
"""


@pytest.mark.parametrize(
    "run",
    [
        "OldShell(object()).start()",
        "shell = OldShell(object()); asyncio.run(shell._emit_session_start()); shell.start()",
        "shell = OldShell(object()); shell.start(); asyncio.run(shell.close())",
    ],
)
def test_a_shell_with_its_own_tracker_and_hooks_is_one_session(pipe: Pipe, folder: Path, run: str) -> None:
    done = pipe(REPLACED + run, "print(6 * 7)\n")
    assert "Old Shop unknown True" in done.stdout
    assert "42" in done.stdout
    began, ended = only_session(folder)
    assert (began["component_name"], began["metadata"]) == ("old-shop", {"component_type": "old"})
    assert ended["metadata"] == {"left": True}
    assert ended["activity"]["commands"] == 1


def test_a_replaced_tracker_hears_of_signals_too(start: Start, folder: Path) -> None:
    child = start(REPLACED + "OldShell(object()).start()")
    child.expect(PROMPT.format(1))
    child.kill(signal.SIGTERM)
    child.expect(pexpect.EOF)
    assert only_session(folder)[1]["exit_reason"] == "sigterm"


def test_a_hook_that_fails_does_not_break_the_shell(pipe: Pipe, folder: Path) -> None:
    code = """
class Broken(ShopShell):
    async def _emit_session_start(self):
        await super()._emit_session_start()
        raise RuntimeError("start hook")
    def _emit_session_end(self):
        raise RuntimeError("end hook")
Broken(object()).start()
"""
    done = pipe(SHOP + code, "print(6 * 7)\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "42" in done.stdout
    assert only_session(folder)[1]["exit_reason"] == "eof"


@pytest.mark.parametrize(
    ("hook", "lost"),
    [
        ("_get_adapters_info", {"adapters"}),
        ("_get_component_version", {"version"}),
        (
            "_get_session_metadata",
            {
                "version",
                "adapters",
                "cli_preprocessing_enabled",
                "tab_completion_enabled",
                "command_tree_size",
            },
        ),
    ],
)
def test_facts_that_cannot_be_had_do_not_cost_the_session(
    pipe: Pipe, folder: Path, hook: str, lost: set[str]
) -> None:
    """It has the other facts, and the log names the hook that failed."""
    code = f"""
import logging, sys
logging.basicConfig(stream=sys.stdout)
class Broken(ShopShell):
    def {hook}(self):
        raise RuntimeError("the application is not ready")
Broken(object()).start()
"""
    done = pipe(SHOP + code, "print(6 * 7)\n")
    assert "✓ Enabled" in done.stdout, done.stderr
    assert re.search(rf"Broken\.{hook} failed.*the application is not ready", done.stdout)
    assert "42" in done.stdout
    began, ended = only_session(folder)
    facts = {
        "version": "unknown",
        "adapters": ["till"],
        "cli_preprocessing_enabled": False,
        "tab_completion_enabled": True,
        "command_tree_size": 0,
    }
    assert began.get("metadata", {}) == {name: fact for name, fact in facts.items() if name not in lost}
    assert ended["exit_reason"] == "eof"


def test_a_hook_that_starts_nothing_does_not_cost_the_session(pipe: Pipe, folder: Path) -> None:
    code = """
class Broken(ShopShell):
    async def _emit_session_start(self):
        raise RuntimeError("start hook")
Broken(object()).start()
"""
    done = pipe(SHOP + code, "%status\n")
    assert re.findall(r"Session [Tt]racking:? +(. \w+)", done.stdout) == ["✓ Enabled"] * 2, done.stdout
    began, ended = only_session(folder)
    assert (began["shell_type"], ended["exit_reason"]) == ("Broken", "eof")


def test_a_tracker_of_another_kind_needs_the_async_calls_alone(pipe: Pipe) -> None:
    code = """
class Other:
    async def emit_session_start(self, shell_type, metadata=None):
        print("other started", shell_type)
        return "other-1"
    async def emit_session_end(self, session_id=None, metadata=None):
        print("other ended", session_id)
    async def close(self): print("other closed")
class Shell(ShopShell):
    def __init__(self):
        super().__init__(object())
        self.session_tracker = Other()
    async def _emit_session_start(self):
        self._session_id = await self.session_tracker.emit_session_start(type(self).__name__)
    async def _emit_session_end(self):
        await self.session_tracker.emit_session_end(self._session_id)
shell = Shell()
shell.start()
import asyncio; asyncio.run(shell.close())
"""
    done = pipe(SHOP + code, "print(get_ipython())\n")
    for line in ("other started Shell", "other ended other-1", "other closed", "✓ Enabled"):
        assert line in done.stdout, done.stderr


@pytest.mark.usefixtures("environ")
def test_a_component_is_named_by_its_hook_or_its_class() -> None:
    class SessionBuddyShell(AdminShell):
        pass

    class Named(AdminShell):
        def _get_component_name(self) -> str:
            return "till_2"

    assert SessionBuddyShell(None).component_name == "session-buddy"
    assert Named(None).component_name == "till_2"
    assert repr(Named(None)) == "<Named(component='till_2', session_id=None)>"


@pytest.mark.usefixtures("environ")
def test_a_component_that_is_installed_has_its_version() -> None:
    class OneiricShell(AdminShell):
        pass

    assert OneiricShell(None)._get_component_version() != "unknown"


def test_its_own_commands_are_understood_where_that_is_switched_on(
    pipe: Pipe, folder: Path, tmp_path: Path
) -> None:
    """`list-orders` and `till list-orders` run, Python keeps what it knows, a failing command is an error."""
    programs = install(
        tmp_path,
        "till",
        "import sys, typer\n"
        "app = typer.Typer()\n"
        "@app.callback()\ndef options(): pass\n"
        "@app.command()\n"
        "def list_orders(state: str = 'any', code: int = 0):\n"
        "    print('orders in state', state); raise SystemExit(code)\n"
        "main = app\n",
    )
    code = (
        SHOP.replace("ShopShell", "TillShell")
        + "TillShell(1, ShellConfig(cli_preprocessing_enabled=True)).start()"
    )
    typed = """\
list-orders --state open
till list-orders --code 3
print('code', _exit_code)
wanted = 'ready'
%cli list-orders --state $wanted
%cli list-orders
%cli print(1)
orders = 2; list = 44
list-orders
%help_shell
%status
"""
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done = pipe(code, typed, PYTHONPATH=str(tmp_path), PATH=path)
    said = done.stdout
    for line in (
        "orders in state open",
        "code 3",
        "orders in state ready",
        "'print(1)' is no command here",
        "42",
    ):
        assert line in said, said + done.stderr
    assert said.count("orders in state any") == 2
    assert re.search(r"%help_shell +Show what this shell adds to IPython\.", said)
    assert "Commands (typed as they are): list-orders, till" in said
    assert re.search(r"Component +till 1\.0", said)
    assert re.search(r"Session tracking +✓ Enabled", said)
    assert re.search(r"CLI commands +1\n", said)
    began, ended = only_session(folder)
    assert began["metadata"]["command_tree_size"] == 1
    assert (ended["activity"]["commands"], ended["activity"]["errors"]) == (11, 1)


def test_a_components_own_magics_are_registered_beside_the_base(pipe: Pipe) -> None:
    code = '''
from IPython.core.magic import line_magic, magics_class
from oneiric.shell.magics import BaseMagics

@magics_class
class TillMagics(BaseMagics):
    @line_magic
    def till(self, line):
        """Show the till."""
        print("till of", self.app, line)

class TillShell(ShopShell):
    def _register_magics(self):
        super()._register_magics()
        magics = TillMagics(self.shell)
        magics.set_app(self.app)
        self.shell.register_magics(magics)
TillShell("shop 7").start()
'''
    done = pipe(SHOP + code, "%till open\n%help_shell\n%status\n")
    assert "till of shop 7 open" in done.stdout, done.stderr
    assert re.search(r"%till +Show the till\.", done.stdout)
    assert re.search(r"Application +str", done.stdout)


def test_a_shell_without_commands_announces_none(pipe: Pipe) -> None:
    done = pipe(SHOP + "ShopShell(object()).start()", "%help_shell\n%cli orders\n%cli\n")
    assert "%status" in done.stdout
    assert re.search(r"^ +%cli ", done.stdout, re.MULTILINE) is None
    assert "%cli: 'orders' is no command here; there are none" in done.stdout


def test_magics_registered_without_an_admin_shell_still_answer(pipe: Pipe) -> None:
    code = """
from IPython.core.interactiveshell import InteractiveShell
from oneiric.shell.magics import BaseMagics
shell = InteractiveShell.instance()
magics = BaseMagics(shell)
magics.set_app("the app")
shell.register_magics(magics)
for line in ("%status", "%help_shell", "%cli list-orders"):
    shell.run_cell(line)
"""
    done = pipe(code, "")
    assert re.search(r"Application +str", done.stdout), done.stderr
    assert "'list-orders' is no command here" in done.stdout


@pytest.mark.usefixtures("environ")
def test_magics_are_not_registered_before_there_is_a_prompt() -> None:
    shell = AdminShell("app", ShellConfig())
    shell._register_magics()
    assert shell.shell is None


ASKING = SHOP + "ShopShell(object(), ShellConfig(ask_person=True)).start()"


def test_who_is_in_a_shared_account_may_be_asked(start: Start, folder: Path) -> None:
    account = identity.account_name(os.geteuid())
    child = start(ASKING, ONEIRIC_SHARED_ACCOUNTS=account, USER="alice")
    child.expect_exact(f"Who are you? The history knows only {account} (Enter: leave it so) ")
    child.send("a" * 101 + "\r")
    child.expect_exact("A name has at most 100 letters, on one line.")
    child.expect_exact("Who are you?")
    child.send(account + "\r")
    child.expect_exact(f"{account} is a shared account, too; your own name is asked for.")
    child.expect_exact("Who are you?")
    child.send(" ann \r")
    child.expect(PROMPT.format(1))
    leave(child)
    began, _ = only_session(folder)
    alice = {"name": "alice", "evidence": "claimed"}
    assert began["person"] == {"name": "ann", "evidence": "asked", "also": [alice]}


@pytest.mark.parametrize("keys", ["\r", "\x04", "\x03"])
def test_who_does_not_answer_comes_in_unnamed(start: Start, folder: Path, keys: str) -> None:
    child = start(ASKING, ONEIRIC_SHARED_ACCOUNTS=identity.account_name(os.geteuid()), USER="", LOGNAME="")
    child.expect_exact("Who are you?")
    child.send(keys)
    child.expect(PROMPT.format(1))
    leave(child)
    assert "person" not in only_session(folder)[0]


@pytest.mark.parametrize(("variable", "person"), [("ONEIRIC_PERSON", "bea"), ("CLAUDECODE", None)])
def test_who_is_known_and_an_agent_are_not_asked(
    start: Start, folder: Path, variable: str, person: str | None
) -> None:
    account = identity.account_name(os.geteuid())
    child = start(ASKING, **{"ONEIRIC_SHARED_ACCOUNTS": account, "USER": "", "LOGNAME": "", variable: "bea"})
    child.expect(["Who are you", PROMPT.format(1)])
    assert child.after != "Who are you"
    leave(child)
    assert only_session(folder)[0].get("person", {}).get("name") == person
