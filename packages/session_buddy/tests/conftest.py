"""An isolated home for each test, the command line as users run it, and a real server."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
import structlog

from oneiric.paths import Paths, user_paths
from session_buddy.host import process, stopping
from session_buddy.host.server_file import ServerInfo
from tests import forkserver
from tests.engines import DuckDBFile, Engine, PostgresDatabase, new_database
from tests.postgres import POSTGRES, Postgres, shared

Cli = Callable[..., subprocess.CompletedProcess[str]]
# Out of the box, the library draws each traceback with the values of all variables, which takes seconds.
structlog.configure(
    processors=[structlog.stdlib.render_to_log_kwargs],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
)
_OURS = ("ONEIRIC_", "SESSION_BUDDY_", "XDG_", "SUDO_", "SSH_")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of the test's own, which is the working folder too; the environment names no other."""
    for name in list(os.environ):
        if name.startswith(_OURS):
            monkeypatch.delenv(name)
    # What is forked is measured all the same.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    # Not below tmp_path: a socket's path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="session-buddy-test-") as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        yield tmp_path


@pytest.fixture
def paths(home: Path) -> Paths:
    """Where things lie in the test's home."""
    return user_paths()


@pytest.fixture
def postgres(pytestconfig: pytest.Config) -> Postgres:
    """The PostgreSQL server of this run."""
    return shared(pytestconfig.stash[POSTGRES])


@pytest.fixture
def database(pytestconfig: pytest.Config) -> Iterator[PostgresDatabase]:
    """An empty PostgreSQL database."""
    with closing(new_database(pytestconfig)) as database:
        yield database


@pytest.fixture
def second(pytestconfig: pytest.Config) -> Iterator[PostgresDatabase]:
    """Another one."""
    with closing(new_database(pytestconfig)) as database:
        yield database


@pytest.fixture(params=["duckdb", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """An empty database, of each kind."""
    if request.param == "duckdb":
        return DuckDBFile(tmp_path / "history" / "sessions.duckdb")
    found: Engine = request.getfixturevalue("database")
    return found


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A TCP port which the settings name as the server's, and which nobody is given meanwhile."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        free: int = held.getsockname()[1]
        monkeypatch.setenv("SESSION_BUDDY_PORT", str(free))
        yield free


@pytest.fixture
def crowd(home: Path) -> Iterator[Callable[[Path], None]]:
    """Listen at a path and accept nobody, with so many waiting that the kernel turns away who comes next."""
    with ExitStack() as stack:

        def crowd(path: Path) -> None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(os.fspath(path))
            listener.listen(0)
            with suppress(BlockingIOError):
                while True:
                    caller = stack.enter_context(socket.socket(socket.AF_UNIX))
                    caller.settimeout(0)
                    caller.connect(os.fspath(path))

        yield crowd


@pytest.fixture
def cli(home: Path) -> Cli:
    """Run ``session-buddy`` with its output piped."""

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return forkserver.run([*forkserver.COMMAND, *arguments], **options)

    return run


@pytest.fixture
def start(paths: Paths, port: int) -> Iterator[Callable[..., ServerInfo]]:
    """Start a server as ``mcp start --background`` makes it, with options; gone when the test is over."""
    children = []

    def start(*options: str) -> ServerInfo:
        with TemporaryFile("w+") as said:
            child = forkserver.popen(
                [*forkserver.COMMAND, "mcp", "start", *options],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            children.append(child)
            while (info := process.running(paths)) is None and child.poll() is None:
                time.sleep(0.01)
            said.seek(0)
            assert info is not None, said.read()
        return info

    yield start
    stopping.stop(paths)
    for child in children:
        child.wait(60)


@pytest.fixture
def server(start: Callable[..., ServerInfo]) -> ServerInfo:
    """A server."""
    return start()


@pytest.fixture
def shell(home: Path) -> Callable[..., str]:
    """Start and end a session in a process of its own; returns its id."""

    def run(component: str = "shop", **keywords: Any) -> str:
        code = f"import oneiric\nwith oneiric.track_session({component!r}, **{keywords!r}) as s: print(s.id)"
        done = forkserver.run([sys.executable, "-P", "-c", code])
        done.check_returncode()
        return done.stdout.strip()

    return run
