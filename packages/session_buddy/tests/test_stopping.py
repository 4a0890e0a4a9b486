"""Who is signalled when the server is to end, and who is not."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from oneiric.paths import Paths
from session_buddy.errors import AlreadyRunning, ServerFailed
from session_buddy.host import process, stopping
from session_buddy.host.server_file import ServerInfo

HOLD = """
import signal, sys, time
from oneiric.paths import user_paths
from session_buddy.host.process import only_one
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with only_one(user_paths(), "server"):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def _running(code: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that has said that it is ready."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        try:
            yield child
        finally:
            child.kill()


@pytest.fixture
def innocent() -> Iterator["subprocess.Popen[str]"]:
    """A process that is no server."""
    with _running("import time; print('here', flush=True); time.sleep(600)") as child:
        yield child


def name(paths: Paths, pid: int) -> None:
    """Write a ``server.json`` that names this process."""
    paths.server_file.parent.mkdir(parents=True, exist_ok=True)
    texts = dict.fromkeys(("url", "version", "database", "started_at", "log"), "")
    said = {**texts, "socket": str(paths.socket), "pid": pid}
    paths.server_file.write_text(json.dumps(said))


def test_nothing_runs_so_nothing_is_signalled(paths: Paths, innocent: "subprocess.Popen[str]") -> None:
    assert stopping.stop(paths) is None
    name(paths, innocent.pid)
    assert stopping.stop(paths) is None
    assert innocent.poll() is None


def test_the_server_is_whom_the_kernel_says_it_is_whatever_a_file_says(
    server: ServerInfo, paths: Paths, innocent: "subprocess.Popen[str]"
) -> None:
    said = json.loads(paths.server_file.read_text())
    paths.server_file.write_text(json.dumps({**said, "pid": innocent.pid}))
    running = process.running(paths)
    assert running is not None
    assert running.pid == server.pid
    assert stopping.stop(paths) == server.pid
    assert innocent.poll() is None


def test_who_holds_the_lock_is_found_without_any_file(
    paths: Paths, innocent: "subprocess.Popen[str]"
) -> None:
    with _running(HOLD) as holder:
        name(paths, innocent.pid)
        assert stopping.stop(paths) == holder.pid
        # A zombie, until its parent asks: for others it is gone.
        assert psutil.Process(holder.pid).status() == psutil.STATUS_ZOMBIE
        assert holder.wait() == -signal.SIGTERM
    assert innocent.poll() is None


def test_a_server_that_takes_no_more_connections_is_found_by_its_lock(
    paths: Paths, crowd: Callable[[Path], None]
) -> None:
    crowd(paths.socket)
    with _running(HOLD) as holder:
        name(paths, os.getpid())
        assert stopping.stop(paths) == holder.pid
        assert holder.wait() == -signal.SIGTERM


def test_what_does_not_end_is_told_and_ended_by_force(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "HANG_SECONDS", 0.1)
    monkeypatch.setattr(stopping, "STOP_SECONDS", 0.1)
    with _running(HOLD, "deaf") as deaf:
        with pytest.raises(ServerFailed, match=rf"pid {deaf.pid}.*: session-buddy mcp stop --force$"):
            stopping.stop(paths)
        monkeypatch.undo()
        assert stopping.stop(paths, force=True) == deaf.pid
        assert deaf.wait() == -signal.SIGKILL


def test_a_restore_is_left_alone(paths: Paths) -> None:
    with (
        process.only_one(paths, "restore"),
        pytest.raises(AlreadyRunning, match="a restore of this user is at work"),
    ):
        stopping.stop(paths)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs a pid namespace")
def test_from_another_container_nobody_is_signalled(server: ServerInfo, paths: Paths) -> None:
    # In that container another process has the pid that server.json names, as every one has a number 1.
    said = json.loads(paths.server_file.read_text())
    paths.server_file.write_text(json.dumps({**said, "pid": 1}))
    container = ["unshare", "--pid", "--fork", "--mount-proc"]
    command = [*container, sys.executable, "-m", "session_buddy", "mcp", "stop"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "runs where it cannot be seen from here" in done.stderr
    assert process.running(paths) is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_lock_that_may_not_be_looked_at_is_not_a_free_one(paths: Paths) -> None:
    folder = paths.server_file.parent
    folder.mkdir(parents=True)
    folder.chmod(0)
    code = (
        "import os; from oneiric.paths import user_paths; from session_buddy.host import stopping\n"
        "paths = user_paths(); os.seteuid(54321); stopping.stop(paths)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    folder.chmod(0o700)
    assert "cannot be looked at: Permission denied" in done.stderr
