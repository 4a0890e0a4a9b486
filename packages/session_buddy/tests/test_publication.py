"""A running server stays found, whatever somebody removes; and it leaves its surroundings alone."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oneiric.paths import Paths
from session_buddy.host import process, stopping
from session_buddy.host.server_file import ServerInfo, read_server_file
from tests.world import eventually

Cli = Callable[..., Any]
Shell = Callable[..., str]


def moved(paths: Paths, server: ServerInfo) -> ServerInfo | None:
    """What ``server.json`` says once it names another socket, on which the server listens."""
    info = process.running(paths)
    return info if info is not None and info.socket != server.socket else None


def test_after_a_logout_it_listens_in_the_state_folder(
    cli: Cli, shell: Shell, server: ServerInfo, paths: Paths
) -> None:
    runtime = Path(os.environ["XDG_RUNTIME_DIR"])
    assert server.socket.is_relative_to(runtime)
    shutil.rmtree(runtime)
    info = eventually(lambda: moved(paths, server))
    assert info.pid == server.pid
    assert info.socket.stat().st_mode & 0o777 == 0o600
    session = shell()
    assert session in cli("list-sessions").stdout
    assert cli("mcp", "health").returncode == 0
    assert not runtime.exists()
    assert cli("mcp", "stop").stdout == f"Session-Buddy (pid {server.pid}) is stopped.\n"
    assert not info.socket.exists()
    assert not paths.server_file.exists()
    runtime.mkdir()  # for the fixture, which removes it


@pytest.mark.parametrize("what", ["server.json", "torn", "socket", "both", "state"])
def test_what_somebody_removes_comes_back(
    cli: Cli, shell: Shell, server: ServerInfo, paths: Paths, what: str
) -> None:
    if what in ("server.json", "both"):
        paths.server_file.unlink()
    if what in ("socket", "both"):
        server.socket.unlink()
    if what == "torn":
        paths.server_file.write_text("{")
    if what == "state":
        paths.server_file.parent.rename(paths.state / "removed")
    assert eventually(lambda: process.running(paths)) == server
    session = shell()
    assert session in cli("list-sessions").stdout
    assert cli("mcp", "stop").stdout == f"Session-Buddy (pid {server.pid}) is stopped.\n"


def test_just_after_a_logout_commands_wait_for_their_own_server(
    cli: Cli, shell: Shell, server: ServerInfo
) -> None:
    session = shell()
    assert session in cli("list-sessions").stdout
    shutil.rmtree(server.socket.parent)
    listed, made = cli("list-sessions"), cli("backup", "create")
    assert (listed.returncode, listed.stderr, made.returncode) == (0, "", 0)
    assert session in listed.stdout


def test_before_it_can_be_found_again_it_can_be_stopped(cli: Cli, server: ServerInfo, paths: Paths) -> None:
    # Stopped, it makes nothing again.
    os.kill(server.pid, signal.SIGSTOP)
    shutil.rmtree(server.socket.parent)
    paths.server_file.unlink()
    stopped = cli("mcp", "stop", "--force")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert stopped.stdout == f"Session-Buddy (pid {server.pid}) is stopped.\n"


def test_where_nothing_can_be_made_the_log_says_so_once(server: ServerInfo, paths: Paths) -> None:
    folder = paths.server_file.parent
    shutil.rmtree(server.socket.parent)
    server.socket.parent.symlink_to("/nonexistent")
    log = Path(server.log)
    eventually(lambda: "cannot recreate socket or server.json" in log.read_text())
    assert read_server_file(paths) == server, f"{folder} is as it was"
    server.socket.parent.unlink()
    assert eventually(lambda: process.running(paths)) == server
    assert log.read_text().count("cannot recreate socket or server.json") == 1


def test_its_folder_is_nobodys_disk(server: ServerInfo) -> None:
    assert Path(f"/proc/{server.pid}/cwd").readlink() == Path("/")


@pytest.mark.parametrize("command", [["list-sessions"], ["mcp", "status"], ["mcp", "stop"], ["mcp", "start"]])
def test_a_server_that_hangs_is_said_to_hang(cli: Cli, server: ServerInfo, command: list[str]) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        failed = cli(*command)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert failed.returncode in (1, 3)
    assert failed.stderr.count("\n") == 1
    assert f"pid {server.pid}" in failed.stderr
    assert "session-buddy mcp stop --force" in failed.stderr


def test_what_hangs_is_ended_by_force(cli: Cli, server: ServerInfo, paths: Paths) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    stopped = cli("mcp", "stop", "--force")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert process.running(paths) is None
    assert cli("list-sessions").returncode == 0


def test_after_a_stop_a_mark_says_so_until_a_server_starts(
    cli: Cli, server: ServerInfo, paths: Paths, port: int
) -> None:
    assert stopping.read_stop_marker(paths) is None
    stopping.stop(paths)
    assert stopping.read_stop_marker(paths) == "stop"
    assert cli("mcp", "start", "--background").returncode == 0
    assert stopping.read_stop_marker(paths) is None
    stopping.stop(paths)
