"""What is forked is as what is started."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from tests import forkserver
from tests.terminal import Terminal

Popen = Callable[..., "subprocess.Popen[str]"]
# What a process is, apart from its number: of each kind of thing one, and all descriptors.
SELF = """
import os, resource, signal, sys, threading
print(sys.argv, sys.path[:1], sys.executable, sys.flags.isolated, __name__)
print(os.getcwd(), ascii(os.environ["TOLD"]), os.environ.get("HOME"), len(os.environ))
print(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid(), oct(os.umask(0)))
print({number: signal.getsignal(number) for number in signal.valid_signals() if number < 32})
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), resource.getrlimit(resource.RLIMIT_NOFILE))
print(threading.active_count(), os.listdir("/proc/self/task") == [str(os.getpid())])
print(sorted(os.listdir("/proc/self/fd")))
for stream in (sys.stdin, sys.stdout, sys.stderr):
    print(stream.encoding, stream.errors, stream.line_buffering, stream.isatty(), stream.fileno())
print(sys.stdin.read(), file=sys.stderr)
"""


def started(command: list[str], **options: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, text=True, **options)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("options", [["-c"], ["-P", "-c"]])
@pytest.mark.parametrize("has_own_session", [False, True])
def test_a_forked_process_is_as_a_started_one(
    tmp_path: Path,
    options: list[str],
    has_own_session: bool,  # noqa: FBT001 - a column of the table
) -> None:
    def said(popen: Popen) -> tuple[str, str]:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [sys.executable, *options, SELF, "one", "--two"]
        environ = {"HOME": "/nowhere", "LC_ALL": "C.UTF-8", "TOLD": os.fsdecode(b"\xff")}
        with popen(command, **pipes, cwd=tmp_path, env=environ, start_new_session=has_own_session) as process:
            answer: tuple[str, str] = process.communicate("typed")
        assert process.returncode == 0
        return answer

    assert said(forkserver.popen) == said(started)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 0),
        ("raise SystemExit(3)", 3),
        ("import sys; sys.exit('no')", 1),
        ("1 / 0", 1),
        ("import os; os._exit(9)", 9),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
    ],
)
def test_it_ends_as_a_started_one(code: str, status: int) -> None:
    code = f"import atexit; atexit.register(print, 'at exit')\n{code}"
    ways: list[Popen] = [forkserver.popen, started]
    ends = []
    for popen in ways:
        with popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            printed, complaint = process.communicate()
        ends.append((process.returncode, printed, complaint.splitlines()[-1:]))
    assert ends[0] == ends[1]
    assert ends[0][0] == status


def test_what_only_a_start_reads_gets_one(tmp_path: Path) -> None:
    code = "import sys; print(sys.stdout.encoding, sys.modules.get('__main__').__spec__)"
    environ = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    assert forkserver.run([sys.executable, "-c", code], env=environ).stdout == "iso8859-1 None\n"
    assert not forkserver.can_fork([sys.executable, "-X", "importtime", "-m", "session_buddy"], None)
    assert not forkserver.can_fork(["bash", "-c", "exit"], None)


def test_a_terminal_that_is_closed_hangs_its_process_up() -> None:
    child = Terminal(
        sys.executable, ["-c", "print(open('/dev/tty').isatty()); input('> ')"], encoding="utf-8"
    )
    child.expect("True\r\n> ")
    child.close()
    assert child.signalstatus == signal.SIGHUP


def test_ctrl_c_in_a_terminal_interrupts() -> None:
    child = Terminal(sys.executable, ["-c", "input('> ')"], encoding="utf-8")
    child.expect("> ")
    # Python notices a signal that comes just before it begins to read only after that: press it again.
    for _ in range(60):
        child.sendintr()
        if child.expect(["KeyboardInterrupt", pexpect.TIMEOUT], timeout=0.5) == 0:
            break
    child.expect(pexpect.EOF)
    child.close()
    assert child.signalstatus == signal.SIGINT
