"""Programs run from the prompt, on its terminal."""

import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pexpect
import pytest

from oneiric.shell.dispatch import run


@pytest.mark.parametrize(
    ("code", "expected"),
    [("pass", 0), ("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)],
)
def test_an_exit_code_is_given_as_shells_give_it(code: str, expected: int) -> None:
    assert run(shlex.join([sys.executable, "-c", code])) == expected


def test_a_program_that_cannot_be_started_is_named(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert run(missing) == 127
    assert re.search(rf"{missing}:? (No such file|not found)", capfd.readouterr().err)


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash", "/bin/false"])
def test_ctrl_c_is_the_childs_to_decide(environ: Mapping[str, str], tmp_path: Path, shell: str) -> None:
    """The child catches it and leaves by its own code; the shell waits and lives on."""
    (tmp_path / "child.py").write_text(
        "import os, sys, time\n"
        "from oneiric import facts\n"
        # Until the shell waits, as it does from then on.
        "while ') S ' not in facts._read(f'/proc/{os.getppid()}/stat'): time.sleep(0.01)\n"
        # In short waits: a Ctrl-C that comes just before a wait is noticed after it.
        "try:\n    print('wai' + 'ting', flush=True)\n    while True: time.sleep(0.1)\n"
        "except KeyboardInterrupt:\n    sys.exit(7)\n"
    )
    code = (
        "import sys; from oneiric.shell.dispatch import run; print('code', run(sys.executable + ' child.py'))"
    )
    child = pexpect.spawn(
        sys.executable,
        ["-c", code],
        env={**environ, "SHELL": shell},
        cwd=str(tmp_path),
        encoding="utf-8",
        timeout=60,
    )
    child.expect("waiting")
    child.sendintr()
    child.expect("code 7")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == os.EX_OK


@pytest.mark.parametrize(
    "line", ["while :; do sleep 0.1; done", "sleep 60; echo next", "sleep 60 | cat; echo n"]
)
def test_ctrl_c_ends_the_whole_line(environ: Mapping[str, str], line: str) -> None:
    code = f"from oneiric.shell.dispatch import run; print('code', run({'echo begun; ' + line!r}))"
    child = pexpect.spawn(sys.executable, ["-c", code], env=dict(environ), encoding="utf-8", timeout=60)
    child.expect("begun")
    found = 1
    while found:
        child.sendintr()
        found = child.expect(["code (130|0)", pexpect.TIMEOUT], timeout=2)
    child.expect(pexpect.EOF)
    assert "n" not in str(child.before)


def test_an_interrupt_just_as_the_child_leaves_does_not_lose_its_exit_code(python: Any) -> None:
    code = """
from oneiric.shell.dispatch import run
print({run("kill -INT $PPID; exit 7") for _ in range(300)})
"""
    assert python(code).stdout == "{7}\n"


def test_tab_completes_commands_at_the_prompt(environ: Mapping[str, str], tmp_path: Path) -> None:
    code = """
from IPython.core.completer import provisionalcompleter
from oneiric.shell import ShellConfig
from oneiric.shell.commands import Command, Commands
from oneiric.shell.dispatch import Dispatcher
from oneiric.shell.prompt import embedded
tree = Command("till", (), {"list-orders": Command("list-orders", ("--state",)), "close": Command("close")})
with embedded({}, ShellConfig()) as prompt:
    Dispatcher(prompt, Commands([tree])).install(completion=True)
    prompt.Completer.use_jedi = False
    for text in ("list-o", "till cl", "%cli till cl", "list-orders --st", "till", "impo"):
        with provisionalcompleter():
            found = list(prompt.Completer.completions(text, len(text)))
        print(text, "->", [text[:each.start] + each.text for each in found])
"""
    done = pexpect.run(
        f'{sys.executable} -W ignore "{_script(tmp_path, code)}"',
        env=dict(environ),
        encoding="utf-8",
        timeout=60,
    )
    for line in (
        "list-o -> ['list-orders'",
        "till cl -> ['till close']",
        "%cli till cl -> ['%cli till close']",
        "list-orders --st -> ['list-orders --state']",
        "till -> ['till'",
        "impo -> ['import'",
    ):
        assert line in done


def _script(folder: Path, code: str) -> Path:
    path = folder / "script.py"
    path.write_text(code)
    return path
