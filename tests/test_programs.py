"""How a session ends in programs of others: each cell is a real program in a real terminal.

A prompt of others knows no more than its process does: a Ctrl-D leaves it as ``exit()`` does, so both are
``exit``, and no exit code is known.
"""

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pexpect
import pytest
from jupyter_client.client import KernelClient
from jupyter_client.manager import KernelManager

from tests.world import PATIENCE, World, eventually

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.sampled]

INSTALL = "import os, sys, oneiric; e = oneiric.install('shop'); e.record(2, 1); print('re' + 'ady')"
# What an embedded prompt returns to: a program that goes on, and may fail.
GOES_ON = "\nif os.path.exists('fail'): 1/0\n"
DJANGO = """
import django
from django.conf import settings
from django.core.management import call_command
settings.configure()
django.setup()
call_command("shell", interface="python")
"""

End = tuple[str, str, int | None]
EXIT: End = ("ended", "exit", None)
CRASH: End = ("crashed", "exception", None)


@dataclass(frozen=True)
class Program:
    """A program with a prompt.

    Attributes:
        words: behind ``python``.
        prompt: a pattern.
        typed: whether the session is begun at the prompt; else the program has begun it.
        leave: what one types to leave.
        confirm: what it asks for at a Ctrl-D.
        fails: whether something can fail behind its prompt, and end it.
        otherwise: ends that this program, which has handlers of its own, has instead.
    """

    words: list[str]
    prompt: str = ">>>"
    typed: bool = True
    leave: str = "exit()"
    confirm: str = ""
    fails: bool = False
    otherwise: dict[str, End] = field(default_factory=dict)


def embedding(code: str, prompt: str = ">>>", **more: Any) -> Program:
    """A program that begins a session, runs a prompt, and goes on."""
    return Program(["-c", f"{INSTALL}\n{code}{GOES_ON}"], prompt, typed=False, fails=True, **more)


IN = r"In .*\[.*\d+.*\]: "
READS = "print('>>> ', end='', flush=True); exec(sys.stdin.readline() or 'pass')"
PROGRAMS = {
    # Not a prompt, but a program that runs one line: an error leaves it.
    "python": embedding(READS, otherwise={"an error, then exit()": CRASH}),
    "python -i": Program(["-q", "-i"]),
    "python -": Program(["-q", "-"]),
    "python -m asyncio": Program(["-m", "asyncio"]),
    "IPython": Program(["-m", "IPython", "--no-banner", "--no-confirm-exit"], IN),
    "IPython.embed": embedding("import IPython; IPython.embed(colors='neutral', confirm_exit=False)", IN),
    "code.interact": embedding("import code; code.interact()"),
    "ptpython": embedding("import ptpython.repl; ptpython.repl.embed(globals(), locals())", confirm="y"),
    "bpython": Program(["-m", "bpython"]),
    "Django": Program(["-c", DJANGO]),
    "xonsh": Program(
        ["-m", "xonsh", "--no-rc", "-DPROMPT=>>> ", "-DXONSH_SHOW_TRACEBACK=1"],
        leave="exit",
        # It answers both by leaving, as its own handler does; the terminal that is gone fails it on the way.
        otherwise={"SIGTERM": EXIT, "a closed terminal": CRASH},
    ),
}


class Shell(pexpect.spawn):  # type: ignore[type-arg]  # of text
    """One of the programs in a terminal, in which a session has begun."""

    def __init__(self, program: Program, world: World, place: Path) -> None:
        environ = {**world.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "PYTHON_BASIC_REPL": "1"}
        super().__init__(
            sys.executable,
            list(program.words),
            env=environ,
            cwd=str(place),
            encoding="utf-8",
            timeout=60,
            dimensions=(40, 200),
        )
        self.program = program
        if program.typed:
            self.ready(program.prompt)
            self.type(INSTALL)
        self.ready("ready")
        self.ready(program.prompt)

    def ready(self, pattern: str) -> None:
        """Wait for output, and answer where bpython asks for the cursor's place."""
        while self.expect([pattern, r"\x1b\[6n"]) == 1:
            self.send("\x1b[1;1R")

    def type(self, line: str) -> None:
        """Type a line."""
        self.send(line)
        # What a prompt shows of it comes in pieces, among colours; the last of it means that it was read.
        self.send("\r")


def ctrl_d(shell: Shell) -> None:
    shell.send("\x04" + shell.program.confirm)


def fails(shell: Shell) -> None:
    Path(str(shell.cwd), "fail").touch()
    ctrl_d(shell)


def errs(shell: Shell) -> None:
    shell.type("1/0")
    shell.ready("ZeroDivisionError")
    if shell.program is not PROGRAMS["python"]:
        shell.ready(shell.program.prompt)
        shell.type(shell.program.leave)


def terminates(shell: Shell) -> None:
    """Send SIGTERM once the prompt waits for a key: one that comes just before is acted on at that key."""
    main, looks = Path(f"/proc/{shell.pid}/task/{shell.pid}/status"), [""]

    def waits() -> bool:
        looks.append(main.read_text().partition("voluntary_ctxt_switches")[2])
        return looks[-1] == looks[-2] and "State:\tS" in main.read_text()

    eventually(waits)
    shell.kill(signal.SIGTERM)


def hangs_up(shell: Shell) -> None:
    shell.ptyproc.fileobj.close()  # type: ignore[attr-defined]  # the stubs leave it out


ENDS: dict[str, tuple[Callable[[Shell], object], End]] = {
    "exit()": (lambda shell: shell.type(shell.program.leave), EXIT),
    "Ctrl-D": (ctrl_d, EXIT),
    "an error, then exit()": (errs, EXIT),
    "an uncaught exception": (fails, CRASH),
    "SIGTERM": (terminates, ("ended", "sigterm", 15)),
    "a closed terminal": (hangs_up, ("ended", "sighup", 1)),
    "SIGKILL": (lambda shell: shell.kill(signal.SIGKILL), ("crashed", "process_gone", None)),
}


# At the other prompts nothing stays uncaught.
CELLS = [
    (name, end) for name, one in PROGRAMS.items() for end in ENDS if one.fails or ENDS[end][0] is not fails
]


@pytest.mark.parametrize(("name", "end"), CELLS)
def test_a_session_in_a_program_of_others_ends_as_the_program_does(
    world: World, tmp_path: Path, name: str, end: str
) -> None:
    program, (act, expected) = PROGRAMS[name], ENDS[end]
    shell = Shell(program, world, tmp_path)
    act(shell)
    if act is not hangs_up:
        shell.expect(pexpect.EOF)
    eventually(lambda: not shell.isalive())
    (session,) = world.sessions()
    told = session["status"], session["exit_reason"], session["signal"]
    assert told == program.otherwise.get(end, expected)
    assert (session["commands"], session["errors"], session["exit_code"]) == (2, 1, None)


# It has no terminal, so no Ctrl-D, nothing to hang up, and no signal is hooked; what is typed cannot end it.
KERNEL_ENDS: dict[str, tuple[Callable[[KernelManager, KernelClient], object], End]] = {
    "exit()": (lambda _, client: client.execute("exit()"), EXIT),
    "an error, then exit()": (
        lambda _, client: (client.execute("1/0", stop_on_error=False), client.execute("exit()")),
        EXIT,
    ),
    "SIGTERM": (lambda kernel, _: kernel.signal_kernel(signal.SIGTERM), ("crashed", "process_gone", None)),
    "SIGKILL": (lambda kernel, _: kernel.signal_kernel(signal.SIGKILL), ("crashed", "process_gone", None)),
}


@pytest.mark.parametrize("end", KERNEL_ENDS)
def test_a_session_in_a_kernel_ends_as_the_kernel_does(world: World, end: str) -> None:
    act, expected = KERNEL_ENDS[end]
    kernel = KernelManager(transport="ipc", connection_file=str(world.home / "kernel"))
    kernel.start_kernel(env=world.environ, cwd=world.checkout)
    client = kernel.client()
    client.start_channels()
    try:
        client.wait_for_ready(PATIENCE)
        told = client.execute_interactive(INSTALL, timeout=PATIENCE, output_hook=lambda _: None)
        assert told["content"]["status"] == "ok"
        act(kernel, client)
        eventually(lambda: not kernel.is_alive())
    finally:
        client.stop_channels()
        kernel.cleanup_resources()
    (session,) = world.sessions()
    assert (session["status"], session["exit_reason"], session["signal"]) == expected
    assert (session["commands"], session["errors"], session["exit_code"]) == (2, 1, None)
