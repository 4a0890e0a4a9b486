"""A terminal in which a command runs that is forked, where that is the same as started."""

import os
import re
import sys
from typing import TYPE_CHECKING, Any, Protocol

import pexpect
import ptyprocess  # type: ignore[import-untyped]

from tests import forkserver

if TYPE_CHECKING:
    import subprocess

    _Spawn = pexpect.spawn[str]
else:
    _Spawn = pexpect.spawn


class Start(Protocol):
    """Runs code of a shell in a terminal."""

    def __call__(self, code: str, **environ: str) -> "pexpect.spawn[str]": ...


class Terminal(_Spawn):
    """A pseudo-terminal in which a command runs that is started as :func:`tests.forkserver.popen` does."""

    def _spawnpty(self, words: list[str | bytes], **options: Any) -> ptyprocess.PtyProcess:
        command = [os.fsdecode(word) for word in words]
        if not forkserver.can_fork(command, options["env"]):
            return super()._spawnpty(words, **options)  # type: ignore[misc]  # pexpect's own
        ours, theirs = os.openpty()
        pty = _Pty(ours)
        pty.setwinsize(*(options.get("dimensions") or (24, 80)))
        pty.runs(
            forkserver.popen(
                command,
                env=options["env"],
                cwd=options["cwd"],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        )
        os.close(theirs)
        return pty


class _Pty(ptyprocess.PtyProcess):  # type: ignore[misc]  # it has no types
    """What :mod:`pexpect` asks of the process in its terminal."""

    _process: "subprocess.Popen[str]"
    exitstatus: int | None
    signalstatus: int | None

    def __init__(self, fd: int) -> None:
        super().__init__(-1, fd)

    def runs(self, process: "subprocess.Popen[str]") -> None:
        """This is the process in the terminal."""
        self._process = process
        self.pid = process.pid

    def isalive(self) -> bool:
        """Whether it has not ended; notes how it has."""
        # Who sees the end of its output waits for its own.
        code = self._process.wait() if self.flag_eof else self._process.poll()
        if code is None:
            return True
        self.terminated = True
        self.exitstatus = None if code < 0 else code
        self.signalstatus = -code if code < 0 else None
        return False

    def wait(self) -> int | None:
        """Wait until it has ended; returns its exit code."""
        self._process.wait()
        self.isalive()
        return self.exitstatus


def printed(*arguments: str, columns: int = 200) -> str:
    """What ``session-buddy`` prints to a terminal that is so many cells wide, without its colours."""
    # readline, which pytest imports, adds COLUMNS=80 to the environment, which hides the terminal's width.
    environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-P", "-m", "session_buddy", *arguments]
    child = Terminal(
        command[0],
        command[1:],
        dimensions=(24, columns),
        encoding="utf-8",
        timeout=60,
        env=environ | {"TERM": "xterm"},
    )
    child.expect(pexpect.EOF)
    child.close()
    return re.sub(r"\x1b\[[0-9;]*m|\r", "", str(child.before))
