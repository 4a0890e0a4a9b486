"""How a process ends is seen from outside: each test is a real process."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pexpect
import pytest

from oneiric.testing import journals


def end_of(folder: Path) -> dict[str, Any]:
    (entry,) = journals(folder)
    assert entry.end is not None, "the journal has no end"
    return entry.end


@pytest.mark.parametrize(
    ("code", "reason", "status", "exit_code"),
    [
        ("pass", "exit", "ended", 0),
        ("import sys; sys.exit(3)", "exit", "ended", 3),
        ("1/0", "exception", "crashed", 1),
        ("raise KeyboardInterrupt", "exception", "crashed", -signal.SIGINT),
    ],
)
def test_an_installed_session_ends_with_its_process(
    python: Any, folder: Path, code: str, reason: str, status: str, exit_code: int
) -> None:
    done = python(f"import oneiric; oneiric.install('shop'); {code}")
    assert done.returncode == exit_code
    end = end_of(folder)
    assert (end["exit_reason"], end["status"], end["detected_by"]) == (reason, status, "emitter")


@pytest.mark.parametrize(
    ("code", "reason", "exit_code"),
    [
        ("pass", "exit", None),
        ("raise SystemExit(3)", "exit", 3),
        ("raise SystemExit", "exit", 0),
        ("1/0", "exception", None),
    ],
)
def test_a_block_ends_as_it_was_left(
    python: Any, folder: Path, code: str, reason: str, exit_code: int | None
) -> None:
    python(f"import oneiric\nwith oneiric.track_session('shop'): {code}")
    end = end_of(folder)
    assert (end["exit_reason"], end.get("exit_code")) == (reason, exit_code)


@pytest.mark.parametrize("death", ["os._exit(4)", "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 15)"])
def test_a_process_that_cannot_say_goodbye_leaves_an_orphan(python: Any, folder: Path, death: str) -> None:
    python(f"import os, oneiric; oneiric.install('shop'); {death}")
    assert journals(folder)[0].end is None


@pytest.mark.parametrize("code", ["pass", "1/0", "raise SystemExit(2)"])
def test_nothing_of_ours_is_printed(python: Any, code: str) -> None:
    plain = python(code)
    tracked = python(f"import oneiric; oneiric.install('shop')\n{code}", "-W", "error")
    assert tracked.stdout == plain.stdout == ""
    assert tracked.returncode == plain.returncode
    assert tracked.stderr.replace("line 2", "line 1") == plain.stderr.replace("line 2", "line 1")


def prompt(environ: Mapping[str, str]) -> "pexpect.spawn[str]":
    """A plain Python prompt with a live session.

    Signalled just before it waits for its terminal, such a prompt notices at the next signal.
    """
    child = pexpect.spawn(
        sys.executable,
        ["-q", "-i", "-c", "import oneiric; e = oneiric.install('shop')"],
        env={**environ, "PYTHON_BASIC_REPL": "1"},
        encoding="utf-8",
        timeout=60,
    )
    child.expect(">>> ")
    return child


def interrupt(child: "pexpect.spawn[str]") -> None:
    """Ctrl-C at a plain prompt, until it notices; for each time it may notice once more."""
    child.sendintr()
    for _ in range(30):
        if child.expect(["KeyboardInterrupt", pexpect.TIMEOUT], timeout=1) == 0:
            break
        child.sendintr()
    child.expect(">>> ")
    for _ in range(30):
        child.sendline("'list' + 'ens'")
        if child.expect(["listens", pexpect.TIMEOUT], timeout=5) == 0:
            break
    child.expect(">>> ")


@pytest.mark.parametrize(("number", "reason"), [(signal.SIGTERM, "sigterm"), (signal.SIGHUP, "sighup")])
def test_a_prompt_killed_by_a_signal_says_so_and_dies_by_it(
    environ: Mapping[str, str], folder: Path, number: int, reason: str
) -> None:
    child = prompt(environ)
    for _ in range(30):
        child.kill(number)
        if child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=1) == 0:
            break
    child.wait()
    assert child.signalstatus == number
    end = end_of(folder)
    assert (end["exit_reason"], end["signal"], end["status"]) == (reason, number, "ended")


def test_a_closed_terminal_is_a_hangup(environ: Mapping[str, str], folder: Path) -> None:
    child = prompt(environ)
    # Not the child's own close: that sends signals too, and gives up on who takes his time to die.
    child.ptyproc.fileobj.close()  # type: ignore[attr-defined]  # the stubs leave it out
    child.wait()
    assert end_of(folder)["exit_reason"] == "sighup"


def test_an_exception_at_the_prompt_is_no_crash(environ: Mapping[str, str], folder: Path) -> None:
    child = prompt(environ)
    child.sendline("1/0")
    child.expect("ZeroDivisionError")
    child.expect(">>> ")
    child.sendline("exit()")
    child.expect(pexpect.EOF)
    assert end_of(folder)["status"] == "ended"


def test_an_interrupt_at_the_prompt_ends_nothing(environ: Mapping[str, str], folder: Path) -> None:
    child = prompt(environ)
    interrupt(child)
    child.sendline("print('al' + 'ive', e.session_id)")
    child.expect(r"alive shop-")
    # Before the prompt is there, an end of input is none.
    child.expect(">>> ")
    child.sendeof()
    child.expect(pexpect.EOF)
    assert end_of(folder)["exit_reason"] == "exit"


def test_a_hosts_own_handlers_stay(at_terminal: Any, folder: Path) -> None:
    code = """
import os, signal, oneiric
signal.signal(signal.SIGTERM, lambda *_: print("mine"))
e = oneiric.SessionEventEmitter("shop")
e.start_session("x")
os.kill(os.getpid(), signal.SIGTERM)
print(signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL)
e.end_session()
print(signal.getsignal(signal.SIGHUP) is signal.SIG_DFL)
"""
    assert at_terminal(code).stdout.split() == ["mine", "True", "True"]


def test_a_forked_child_is_not_the_session(python: Any, folder: Path) -> None:
    code = """
import os, sys, oneiric
from oneiric import outbox
from oneiric.paths import user_paths
e = oneiric.install("shop")
pid = os.fork()
if pid == 0:
    assert e.session_id is None
    assert not e.end_session()
    e.record(1)
    sys.exit(0)
os.waitpid(pid, 0)
assert e.session_id
(path,) = outbox.journals(user_paths().outbox)
with outbox.claim(path) as claimed:
    print("taken for dead" if claimed else "alive")
print(e.end_session())
"""
    assert python(code).stdout.split() == ["alive", "True"]
    assert end_of(folder)["detected_by"] == "emitter"


def test_a_forked_child_that_is_killed_does_not_end_its_parents_session(
    at_terminal: Any, folder: Path
) -> None:
    code = """
import os, signal, oneiric
e = oneiric.SessionEventEmitter("shop")
e.start_session("x")
pid = os.fork()
if pid == 0:
    os.kill(os.getpid(), signal.SIGTERM)
os.waitpid(pid, 0)
print(e.session_id is not None)
e.end_session(exit_reason="eof")
"""
    assert at_terminal(code).stdout.strip() == "True"
    assert end_of(folder)["exit_reason"] == "eof"


def test_hooks_come_and_go_with_the_async_calls(at_terminal: Any, folder: Path) -> None:
    code = """
import asyncio, os, signal, oneiric
async def main():
    e = oneiric.SessionEventEmitter("shop")
    await e.emit_session_start("x")
    print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    await e.emit_session_end()
    print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True)
asyncio.run(main())
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = at_terminal(code)
    assert done.stdout.split() == ["False", "True"]
    assert done.returncode == -signal.SIGTERM
    assert end_of(folder)["exit_reason"] == "exit"


@pytest.mark.parametrize(
    "forked_by",
    ["fork()", "thread = threading.Thread(target=fork); thread.start(); thread.join()"],
    ids=["main thread", "another thread"],
)
def test_a_forked_child_dies_by_the_default_action(at_terminal: Any, folder: Path, forked_by: str) -> None:
    code = f"""
import os, signal, threading, oneiric

def fork():
    if os.fork() == 0:
        print(*(signal.getsignal(n) is signal.SIG_DFL for n in (signal.SIGTERM, signal.SIGHUP)), flush=True)
        os._exit(0)
    os.wait()

e = oneiric.SessionEventEmitter("shop")
e.start_session("x")
{forked_by}
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = at_terminal(code, "-W", "ignore")
    assert done.stdout.split() == ["True", "True"], done.stderr
    assert done.returncode == -signal.SIGTERM
    assert end_of(folder)["exit_reason"] == "sigterm"


def test_the_session_after_one_that_another_thread_ended_is_hooked(at_terminal: Any, folder: Path) -> None:
    code = """
import os, signal, threading, oneiric
e = oneiric.SessionEventEmitter("shop")
e.start_session("x")
thread = threading.Thread(target=e.end_session)
thread.start()
thread.join()
e.start_session("x")
os.kill(os.getpid(), signal.SIGTERM)
"""
    assert at_terminal(code).returncode == -signal.SIGTERM
    reasons = [entry.end and entry.end["exit_reason"] for entry in journals(folder)]
    assert sorted(reasons, key=str) == ["exit", "sigterm"]


def test_a_start_on_another_thread_hooks_nothing_until_the_main_one_comes_by(
    at_terminal: Any, folder: Path
) -> None:
    code = """
import os, signal, threading, oneiric
e = oneiric.SessionEventEmitter("shop")
thread = threading.Thread(target=e.start_session, args=("x",))
thread.start()
thread.join()
print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, e.dropped)
session_id = e.session_id
print(e.start_session("x") == session_id, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True)
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = at_terminal(code)
    assert done.stdout.split() == ["True", "0", "True", "False"], done.stderr
    assert done.returncode == -signal.SIGTERM
    assert end_of(folder)["exit_reason"] == "sigterm"


NESTED = """
import os, signal, oneiric
outer = oneiric.install("outer")
inner = oneiric.SessionEventEmitter("inner")
inner.start_session("x")
outer.record(2)
{}
os.kill(os.getpid(), signal.SIGHUP)
"""


@pytest.mark.parametrize(
    ("before", "inner", "outer"),
    [
        ("", "sighup", "sighup"),
        ("inner.end_session()", "exit", "sighup"),
        ("outer.end_session()", "sighup", "exit"),
        # One whose journal cannot be written any more costs the other nothing.
        ("inner._recorder.session.journal.close()", None, "sighup"),
    ],
)
def test_a_hangup_ends_every_session_of_the_process(
    at_terminal: Any, folder: Path, before: str, inner: str | None, outer: str
) -> None:
    assert at_terminal(NESTED.format(before)).returncode == -signal.SIGHUP
    ends = {entry.start["component_name"]: entry.end for entry in journals(folder)}
    assert (ends["inner"] and ends["inner"]["exit_reason"]) == inner
    assert ends["outer"] is not None
    assert (ends["outer"]["exit_reason"], ends["outer"]["activity"]["commands"]) == (outer, 2)


def test_what_c_code_hooked_stays(at_terminal: Any, folder: Path) -> None:
    code = """
import faulthandler, os, signal, sys, oneiric
faulthandler.register(signal.SIGTERM, file=open(os.devnull, "w"), chain=False)
emitter = oneiric.install("shop")
os.kill(os.getpid(), signal.SIGTERM)
print("alive", flush=True)
"""
    assert at_terminal(code).stdout == "alive\n"
    assert end_of(folder)["exit_reason"] == "exit"


def test_a_subinterpreter_at_a_terminal_has_a_whole_session(at_terminal: Any, folder: Path) -> None:
    code = """
try: import _interpreters as interpreters
except ImportError: import _xxsubinterpreters as interpreters
run = getattr(interpreters, "exec", None) or interpreters.run_string
run(interpreters.create(), "import oneiric; e = oneiric.install('shop'); print(e.session_id, e.dropped)")
"""
    session_id, dropped = at_terminal(code).stdout.split()
    assert (session_id.partition("-")[0], dropped) == ("shop", "0")


def test_an_end_needs_no_hook_of_the_hosts(python: Any, folder: Path) -> None:
    code = """
import atexit, oneiric
class Hook:
    key = 1
    def __call__(self): pass
    def __eq__(self, other): return self.key == other.key
atexit.register(Hook())
emitter = oneiric.install("shop")
print(emitter.end_session(exit_reason="eof"), emitter.dropped, emitter.session_id)
"""
    assert python(code).stdout == "True 0 None\n"
    assert end_of(folder)["exit_reason"] == "eof"


def test_where_nobody_types_a_signal_acts_at_once(python: Any, folder: Path) -> None:
    code = "import os, signal, oneiric; oneiric.install('shop'); print(signal.getsignal(signal.SIGTERM).name)"
    assert python(code).stdout.strip() == "SIG_DFL"


LEFT = {
    "a generator that is closed": (
        """
def work():
    with oneiric.track_session("shop"):
        yield
work().send(None)
""",
        "exit",
    ),
    "exit() within an except": (
        """
oneiric.install("shop")
try:
    1/0
except ZeroDivisionError:
    sys.exit()
""",
        "exit",
    ),
    "%exit_raise": (
        """
from IPython.terminal.embed import KillEmbedded
oneiric.install("shop")
raise KillEmbedded
""",
        "exit",
    ),
    "an exception that was shown": (
        """
import code
oneiric.install("shop")
code.InteractiveConsole().runsource("1/0")
""",
        "exit",
    ),
    "one that a coroutine showed": (
        """
import asyncio
oneiric.install("shop")
async def cell():
    try:
        1/0
    except ZeroDivisionError as error:
        sys.last_value = error
asyncio.run(cell())
""",
        "exit",
    ),
    "one that the host keeps for pdb": (
        """
oneiric.install("shop")
try:
    1/0
except ZeroDivisionError as error:
    sys.last_value = error
""",
        "exit",
    ),
    "one that the host keeps, without arguments": (
        """
import code
oneiric.install("shop")
code.InteractiveConsole().runsource("1/0")
del sys.argv
""",
        "exit",
    ),
    "one that is raised again": (
        """
oneiric.install("shop")
try:
    1/0
except ZeroDivisionError:
    raise
""",
        "exception",
    ),
    "one that passes a finally": (
        """
oneiric.install("shop")
try:
    1/0
finally:
    print("cleaned up")
""",
        "exception",
    ),
    "one that was shown before another": (
        """
import code
oneiric.install("shop")
code.InteractiveConsole().runsource("1/0")
def fails():
    raise KeyError
fails()
""",
        "exception",
    ),
    "one in a loop": (
        """
import asyncio
oneiric.install("shop")
async def fails():
    raise KeyError
asyncio.run(fails())
""",
        "exception",
    ),
}


@pytest.mark.parametrize("how", LEFT)
def test_only_what_left_the_program_is_a_crash(python: Any, folder: Path, how: str) -> None:
    code, reason = LEFT[how]
    python(f"import oneiric, sys\n{code}")
    assert end_of(folder)["exit_reason"] == reason


def test_an_exception_of_a_module_that_is_run_is_one(python: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text("import oneiric; oneiric.install('shop'); 1/0")
    subprocess.run([sys.executable, "-m", "fails"], cwd=tmp_path, capture_output=True, check=False)
    assert end_of(folder)["exit_reason"] == "exception"


@pytest.mark.parametrize("arguments", [[], ["-i"]])
def test_a_host_without_standard_input_is_not_hurt(environ: Mapping[str, str], arguments: list[str]) -> None:
    code = "import oneiric; print(oneiric.install('shop').session_id is not None)"
    command = f'exec {sys.executable} {" ".join(arguments)} -c "{code}" <&-'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "True", done.stderr


def test_a_host_that_shuts_down_by_itself_waits_once(environ: Mapping[str, str]) -> None:
    code = """
import time, oneiric
e = oneiric.install("shop")
e.shutdown()
from oneiric import deliveries
waits = []
for delivery in deliveries._deliveries.values():
    wait = delivery.worker.flush
    delivery.worker.flush = lambda timeout: waits.append(timeout) or wait(timeout)
import atexit
atexit._run_exitfuncs()
print(waits)
"""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}/mcp"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**environ, "SESSION_BUDDY_MCP_ENDPOINT": endpoint},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_forked_child_can_have_a_session_of_its_own(python: Any, folder: Path) -> None:
    code = """
import os, sys, oneiric
e = oneiric.install("shop")
pid = os.fork()
if pid == 0:
    with oneiric.track_session("child"):
        sys.exit(0)
os.waitpid(pid, 0)
"""
    python(code)
    entries = {entry.start["component_name"]: entry for entry in journals(folder)}
    assert entries["child"].start["parent_session_id"].startswith("shop-")
    assert all(entry.end and entry.end["exit_reason"] == "exit" for entry in entries.values())


def test_a_session_in_another_process_does_not_hold_up_its_end(
    environ: Mapping[str, str], folder: Path
) -> None:
    code = "import oneiric, sys; oneiric.install('shop'); sys.stdin.read()"
    shells = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, env=dict(os.environ))
        for _ in range(5)
    ]
    for shell in shells:
        shell.communicate()
    ends = [entry.end for entry in journals(folder)]
    assert len(ends) == 5
    assert all(ends)
