"""A machine of a test's own: home, folders, port, database, and a checkout to stand in."""

import json
import os
import select
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pexpect

from oneiric.paths import user_paths
from oneiric.transport import Endpoint
from session_buddy.host.server_file import read_server_file
from tests import forkserver
from tests.engines import DuckDBFile, Engine
from tests.terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent
PATIENCE = 60.0


class World:
    """An isolated user of a machine.

    Args:
        folder: where everything of this user lies.
        forks: whether its server and its ``session-buddy`` are forked from an interpreter that has their
            libraries, see :mod:`tests.forkserver`, and not started from nothing.
    """

    def __init__(self, folder: Path, *, forks: bool = False) -> None:
        self._forks = forks
        self._servers: list[subprocess.Popen[str]] = []
        self.home = folder / "home"
        self.checkout = folder / "checkout"
        self.home.mkdir(parents=True)
        # What makes a folder a checkout of this workspace, for the place of the log.
        project = Path("packages", "session_buddy", "pyproject.toml")
        shutil.copyfile(ROOT / project, _made(self.checkout / project.parent) / project.name)
        shutil.copytree(ROOT / "settings", self.checkout / "settings")
        held = held_port()
        weakref.finalize(self, held.close)
        self.port: int = held.getsockname()[1]
        self.environ = self._environ(folder / "ipython")
        self.engine: Engine = DuckDBFile(self.database)

    def move_to(self, engine: Engine) -> None:
        """Have the history lie elsewhere from now on."""
        self.engine = engine
        self.environ["SESSION_BUDDY_STORAGE_URL"] = engine.url.whole

    def _environ(self, ipython: Path) -> dict[str, str]:
        # Without what measures coverage: what runs here is measured in the tests of each package.
        inherited = ("LANG", "PYTHONWARNINGS")
        return {name: os.environ[name] for name in inherited if name in os.environ} | {
            "HOME": str(self.home),
            "PATH": f"{PROGRAMS}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "USER": "ada",
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
            "SESSION_BUDDY_PORT": str(self.port),
            "XDG_RUNTIME_DIR": str(self._runtime()),
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "IPYTHONDIR": str(ipython),
            "COLUMNS": "200",
            # A tenth of a second is short where many tests run at once.
            "ONEIRIC_CONNECT_SECONDS": str(PATIENCE),
        }

    def _runtime(self) -> Path:
        """A folder for the socket, whose path has at most 100 bytes: a test's own folder is too deep."""
        folder = Path(tempfile.mkdtemp(prefix="session-buddy-test-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.home / ".local" / "state"

    @property
    def server_file(self) -> Path:
        """Where a running server says who it is."""
        return self.state / "session-buddy" / "server.json"

    @property
    def endpoint(self) -> Endpoint:
        """The running server's socket."""
        server = read_server_file(user_paths(self.environ))
        assert server is not None, "no server says where it is"
        return server.endpoint

    @property
    def database(self) -> Path:
        """The database file, where :attr:`engine` is one."""
        return self.home / ".local" / "share" / "session-buddy" / "sessions.duckdb"

    def run(self, *command: str, code: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; ``code`` is the exit code that it must give."""
        given: dict[str, Any] = {
            "env": self.environ,
            "cwd": self.checkout,
            "stdin": subprocess.DEVNULL,
            "timeout": PATIENCE,
        }
        options = {**given, **options}
        if self._is_forked(command):
            done = forkserver.run([*forkserver.COMMAND, *command[1:]], **options)
        else:
            done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        if code is not None and done.returncode != code:
            raise AssertionError(f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def _is_forked(self, command: Sequence[str]) -> bool:
        return (
            self._forks and command[0] == "session-buddy" and self.environ["PATH"].startswith(f"{PROGRAMS}:")
        )

    def said(self, line: str) -> str:
        """What a command prints whose line asks nothing of a shell."""
        return self.run(*shlex.split(line)).stdout

    def sh(self, line: str, code: int | None = 0) -> str:
        """Run a line in bash; returns what it printed."""
        return self.run("bash", "-o", "pipefail", "-c", line, code=code).stdout

    def sessions(self, *options: str) -> list[dict[str, Any]]:
        """What ``session-buddy list-sessions`` lists, newest first."""
        done = self.run("session-buddy", "list-sessions", "--format", "json", *options)
        listed: list[dict[str, Any]] = json.loads(done.stdout)
        return listed

    def start_server(self) -> dict[str, Any]:
        """Start the server in the background; returns what ``server.json`` says."""
        if self._is_forked(["session-buddy"]):
            self._fork_server()
        else:
            self.run("session-buddy", "mcp", "start", "--background")
        said: dict[str, Any] = json.loads(self.server_file.read_text())
        return said

    def _fork_server(self) -> None:
        """Fork a server; as with ``--background``, it answers when this returns."""
        with tempfile.TemporaryFile("w+") as said:
            server = forkserver.popen(
                [*forkserver.COMMAND, "mcp", "start"],
                env=self.environ,
                cwd=self.checkout,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            eventually(lambda: self._names(server.pid) or server.poll() is not None)
            if server.returncode:
                said.seek(0)
                raise AssertionError(f"the server gave {server.returncode}\n{said.read()}")
        self._servers.append(server)

    def _names(self, pid: int) -> bool:
        """Whether a server that answers is this process."""
        found = read_server_file(user_paths(self.environ))
        return found is not None and found.pid == pid

    def stop_server(self) -> None:
        """Stop the server, if there is one."""
        if self.run("session-buddy", "mcp", "stop", code=None).returncode:
            return
        # None runs any more; that they ended is reported a moment later.
        for server in self._servers:
            server.wait(PATIENCE)
        self._servers = []

    def banner_of(self, child: "pexpect.spawn[str]") -> str:
        """What a shell printed before its first prompt."""
        return child.before or ""

    def shell(self, *options: str, **environ: str) -> "pexpect.spawn[str]":
        """A Mahavishnu shell under a pseudo-terminal, at its first prompt."""
        spawn = Terminal if self._forks else pexpect.spawn
        child = spawn(
            sys.executable,
            ["-m", "mahavishnu", "shell", *options],
            env={**self.environ, **environ},
            cwd=str(self.checkout),
            encoding="utf-8",
            timeout=PATIENCE,
            dimensions=(40, 200),
        )
        child.expect("In ")
        return child


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True)
    return folder


def held_port() -> socket.socket:
    """A TCP port that nobody listens on, and that nobody is given while this is open.

    Whoever asks for this very port can have it, as servers do, with ``SO_REUSEADDR``.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def free_port() -> int:
    """A TCP port that nobody listens on just now."""
    with held_port() as held:
        port: int = held.getsockname()[1]
        return port


def hang_up(child: "pexpect.spawn[str]") -> None:
    """Close a terminal and wait until its program is gone, if by the SIGKILL that pexpect sends at last."""
    with suppress(pexpect.ExceptionPexpect):
        child.close(force=True)
    child.wait()


def eventually(look: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Look again until something is seen; what was seen last otherwise fails the test."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain")
        time.sleep(0.05)


def wait_for_end(pid: int) -> None:
    """Wait until a process is gone, whosever child it is."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], PATIENCE)[0], "it still runs"
    finally:
        os.close(handle)
