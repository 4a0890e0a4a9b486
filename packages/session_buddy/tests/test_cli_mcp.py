import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pexpect
import psutil
import pytest

from oneiric.paths import Paths
from oneiric.transport import Endpoint, call_tool
from session_buddy.cli import facts
from session_buddy.host import process, stopping
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.server_file import ServerInfo, read_server_file
from tests import forkserver
from tests.terminal import Terminal

Cli = Callable[..., Any]
Shell = Callable[..., str]
COMMAND = [sys.executable, "-P", "-m", "session_buddy"]
TOOLS = {
    "track_session_start",
    "track_session_end",
    "track_events",
    "list_sessions",
    "get_session",
    "session_statistics",
    "session_timeline",
    "end_session",
    "health_check",
}


@pytest.fixture
def foreground(home: Path, port: int) -> Iterator["pexpect.spawn[str]"]:
    """A server in the foreground of a terminal, up."""
    child = Terminal(
        COMMAND[0], [*COMMAND[1:], "mcp", "start"], dimensions=(24, 300), encoding="utf-8", timeout=60
    )
    child.expect("Tools registered[^\n]*\n")
    yield child
    child.close(force=True)


@contextmanager
def _stranger(port: int) -> Iterator[subprocess.Popen[str]]:
    """Another program that listens on ``port``."""
    code = (
        "import socket, sys\n"
        f"with socket.create_server(('127.0.0.1', {port})): print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "up\n"
        yield other
        other.communicate()


def test_the_foreground_says_where_it_is_and_what_it_offers(home: Path, port: int) -> None:
    child = pexpect.spawn(
        COMMAND[0], [*COMMAND[1:], "mcp", "start"], dimensions=(24, 300), encoding="utf-8", timeout=60
    )
    child.expect("Tools registered: ")
    said = str(child.before)
    assert "Ctrl-C stops it" in said
    assert "Listens on" not in said
    child.expect("\r\n")
    assert set(str(child.before).split(", ")) == TOOLS
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert str(child.before).endswith("\r\nSession-Buddy is stopped.\r\n")
    assert f"http://127.0.0.1:{port}/mcp" in said
    assert "sessions.duckdb" in said
    assert "error" not in (said + str(child.before)).lower()
    assert "Traceback" not in said + str(child.before)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_foreground_in_order(
    foreground: "pexpect.spawn[str]", paths: Paths, ending: signal.Signals
) -> None:
    info = read_server_file(paths)
    assert info is not None
    foreground.kill(ending)
    foreground.expect(pexpect.EOF)
    foreground.close()
    assert "Traceback" not in str(foreground.before)
    assert foreground.exitstatus == 0
    assert not paths.server_file.exists()
    assert not info.socket.exists()


def test_in_the_background_it_outlives_the_command_and_answers(cli: Cli, paths: Paths, port: int) -> None:
    started = cli("mcp", "start", "--background")
    info = read_server_file(paths)
    assert info is not None
    assert started.returncode == 0
    where = f"http://127.0.0.1:{port}/mcp (pid {info.pid}, database {info.database})"
    assert started.stdout == f"Session-Buddy is running at {where}.\n"
    assert psutil.Process(info.pid).is_running()
    assert cli("mcp", "stop").stdout == f"Session-Buddy (pid {info.pid}) is stopped.\n"
    assert process.running(paths) is None
    assert not info.socket.exists()


@pytest.mark.parametrize("how", [[], ["--background"]])
def test_starting_twice_says_that_it_runs(cli: Cli, server: ServerInfo, how: list[str]) -> None:
    again = cli("mcp", "start", *how)
    assert again.returncode == 0
    assert again.stdout.startswith(f"Session-Buddy is already running at {server.url} (pid {server.pid},")
    assert again.stderr == ""


@pytest.mark.parametrize(
    ("options", "variable", "said"),
    [
        (["--port", "1"], "", "set now: session-buddy mcp restart --port=1\n"),
        (
            [],
            "SESSION_BUDDY_ALLOWED_HOSTS=a.example",
            "BUDDY_ALLOWED_HOSTS='', not a.example;",
        ),
        (["--host", "127.0.0.2"], "", "it has SESSION_BUDDY_HOST=127.0.0.1, not 127.0.0.2"),
        (["--background"], "SESSION_BUDDY_LOG_LEVEL=debug", "it has SESSION_BUDDY_LOG_LEVEL=info, not debug"),
        ([], "SESSION_BUDDY_PORT=9000", "not 9000"),
        (["--background", "--db", "other.duckdb"], "", "session-buddy mcp restart --db=other.duckdb\n"),
        (["--log-level", "info", "--db", ".local/share/session-buddy/sessions.duckdb"], "", ""),
        (["--port", "0"], "", ""),
    ],
)
def test_what_a_server_that_runs_does_not_have_is_not_obeyed(
    cli: Cli, server: ServerInfo, home: Path, options: list[str], variable: str, said: str
) -> None:
    name, _, value = variable.partition("=")
    again = cli("mcp", "start", *options, env={**os.environ, **({name: value} if name else {})})
    assert again.returncode == bool(said)
    assert again.stdout.startswith("Session-Buddy is already running")
    assert again.stderr.count("\n") == bool(said)
    assert said in again.stderr
    assert ("session-buddy mcp restart" in again.stderr) is bool(said)
    assert not (home / "other.duckdb").exists()


def test_a_terminal_that_is_closed_ends_the_foreground_in_order(
    foreground: "pexpect.spawn[str]", paths: Paths
) -> None:
    info = read_server_file(paths)
    assert info is not None
    with Path(os.devnull).open() as null:
        os.dup2(null.fileno(), foreground.child_fd)  # which closes it
    assert foreground.wait() == 0
    assert Path(info.log).read_text().splitlines()[-1].endswith('event="server stopped"')
    assert not info.socket.exists()


@pytest.mark.parametrize("how", [[], ["--background"]])
def test_of_racing_starts_one_wins_and_the_others_say_so(
    cli: Cli, paths: Paths, port: int, how: list[str]
) -> None:
    racers = [
        forkserver.popen([*COMMAND, "mcp", "start", *how], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    try:
        assert all(racer.stdout for racer in racers)
        first_lines = [racer.stdout.readline() for racer in racers if racer.stdout]
        info = read_server_file(paths)
        assert info is not None
        assert sum(f"pid {info.pid}" in line for line in first_lines) >= 2
    finally:
        assert cli("mcp", "stop").returncode == 0
    for racer in racers:
        _, complaint = racer.communicate(timeout=60)
        assert complaint == ""
        assert racer.returncode == 0


@pytest.fixture
def coming_up(home: Path, paths: Paths, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server in the foreground that has taken the lock, and does not answer yet."""
    lock = paths.server_file.with_name("server.lock")
    with subprocess.Popen([*COMMAND, "mcp", "start"], stdout=subprocess.DEVNULL) as child:
        while not lock.exists() and child.poll() is None:
            time.sleep(0.01)
        yield child
        child.kill()


def test_what_is_coming_up_can_be_stopped(cli: Cli, coming_up: subprocess.Popen[bytes]) -> None:
    assert cli("mcp", "stop").stdout == f"Session-Buddy (pid {coming_up.pid}) is stopped.\n"
    assert coming_up.wait(timeout=60) == 0


def test_a_library_that_makes_an_error_of_an_exit_does_not_make_it_a_failure(home: Path) -> None:
    code = """
import signal
from session_buddy.server import assembly, wiring
from session_buddy.host.settings import Settings
def fails(*_):
    # As pydantic does with what is raised while it builds a model, a moment that nothing outside can time.
    try: signal.raise_signal(signal.SIGTERM)
    except SystemExit: raise ValueError
assembly.run = fails
wiring.serve(Settings(), print)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_restart_while_another_comes_up_has_its_own_options(
    cli: Cli, paths: Paths, port: int, coming_up: subprocess.Popen[bytes]
) -> None:
    restarted = cli("mcp", "restart", "--port", "0")
    assert restarted.stdout.startswith(f"Session-Buddy (pid {coming_up.pid}) is stopped.\n")
    info = process.running(paths)
    assert info is not None
    assert f":{port}/" not in info.url
    cli("mcp", "stop")


def test_what_does_not_run_can_be_stopped_and_is_reported(cli: Cli) -> None:
    stopped = cli("mcp", "stop")
    assert (stopped.returncode, stopped.stdout) == (0, "Session-Buddy is not running.\n")
    status = cli("mcp", "status")
    assert status.returncode == 3
    assert "not running" in status.stdout
    health = cli("mcp", "health")
    assert health.returncode == 1
    assert health.stderr == "Error: Session-Buddy is not running; start it with `session-buddy mcp start`\n"


def test_status_tells_where_it_runs_and_what_it_offers(cli: Cli, server: ServerInfo) -> None:
    status = cli("mcp", "status")
    assert status.returncode == 0
    told = dict(re.findall(r"^  ([A-Z][a-z ]+): +(.+)$", status.stdout, re.MULTILINE))
    first = f"Session-Buddy {server.version} is running (pid {server.pid})."
    assert status.stdout.splitlines()[0] == first
    assert told["Address"] == server.url
    assert told["Listens on"] == f"{server.url[7:-4]} (this machine only)"
    assert told["Database"] == server.database
    assert told["Uptime"].endswith("s")
    assert set(told["Tools registered"].split(", ")) == TOOLS
    assert Path(told["Log"]).is_file()


def test_status_for_programs_is_one_object(cli: Cli, server: ServerInfo, paths: Paths) -> None:
    status = cli("mcp", "status", "--format", "json")
    assert (status.returncode, status.stderr, status.stdout.count("\n")) == (0, "", 1)
    told = json.loads(status.stdout)
    assert told["running"] is True
    assert (told["pid"], told["address"], told["log"]) == (server.pid, server.url, server.log)
    assert told["listens_on"] == [{"host": "127.0.0.1", "port": int(server.url[7:-4].split(":")[1])}]
    assert set(told["tools"]) == TOOLS
    assert told["live_sessions"] == 0
    assert told["uptime_seconds"] > 0
    stopping.stop(paths)
    stopped = cli("mcp", "status", "--format", "json")
    assert (stopped.returncode, json.loads(stopped.stdout)) == (3, {"running": False})


def test_status_on_a_narrow_terminal_breaks_between_words(server: ServerInfo) -> None:
    # readline, which pytest imports, adds COLUMNS=80 to the environment, which hides the terminal's width.
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    child = Terminal(
        COMMAND[0],
        [*COMMAND[1:], "mcp", "status"],
        dimensions=(24, 60),
        encoding="utf-8",
        timeout=60,
        env=env,
    )
    child.expect(pexpect.EOF)
    child.close()
    tools = str(child.before).partition("Tools registered: ")[2].partition("  Log:")[0]
    first, *others = tools.splitlines()
    assert len(first) <= 40
    assert others
    assert all(line.startswith(" " * 20) and len(line) <= 60 for line in others)
    assert set(" ".join([first, *others]).replace(",", "").split()) == TOOLS


def test_a_server_that_is_open_to_others_is_said_to_be(cli: Cli, paths: Paths, port: int) -> None:
    open_to_all = f"0.0.0.0:{port} (every interface)"
    started = cli("mcp", "start", "--background", "--host", "0.0.0.0")  # noqa: S104 - what it is about
    assert started.stdout.splitlines()[1] == f"Listens on: {open_to_all}"
    assert re.search(rf"^  Listens on: +{re.escape(open_to_all)}$", cli("mcp", "status").stdout, re.MULTILINE)
    cli("mcp", "stop")


def test_where_another_server_is_named_looking_at_the_local_one_says_so(
    cli: Cli, server: ServerInfo, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_BUDDY_MCP_ENDPOINT", "http://buddy.example:8678/mcp")
    running = cli("mcp", "status")
    assert running.returncode == 0
    stopping.stop(paths)
    for said in (running, cli("mcp", "status"), cli("mcp", "stop")):
        assert said.stderr.count("\n") == 1
        assert "SESSION_BUDDY_MCP_ENDPOINT names another server, http://buddy.example:8678/mcp" in said.stderr
        assert "the local one only" in said.stderr


def test_health_makes_a_call_over_tcp_with_a_token(cli: Cli, server: ServerInfo) -> None:
    health = cli("mcp", "health")
    assert (health.returncode, health.stderr) == (0, "")
    assert server.url in health.stdout
    assert server.database in health.stdout


def test_health_of_a_named_server_uses_the_token_given(
    cli: Cli, server: ServerInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = cli("token", "create", "--subject", "web1", "--scope", "track").stdout.strip()
    monkeypatch.setenv("SESSION_BUDDY_MCP_ENDPOINT", server.url)
    monkeypatch.setenv("SESSION_BUDDY_TOKEN", token)
    assert cli("mcp", "health").returncode == 0
    monkeypatch.setenv("SESSION_BUDDY_TOKEN", "nonsense")
    assert "SESSION_BUDDY_TOKEN" in cli("mcp", "health").stderr


def test_a_killed_server_is_noticed_and_can_be_replaced(cli: Cli, server: ServerInfo, paths: Paths) -> None:
    os.kill(server.pid, signal.SIGKILL)
    while process.running(paths) is not None:
        pass
    health = cli("mcp", "health")
    assert health.returncode == 1
    assert health.stderr.count("\n") == 1
    assert cli("mcp", "status").returncode == 3
    again = cli("mcp", "start", "--background")
    assert again.returncode == 0, again.stderr


def test_status_of_a_server_that_hangs(cli: Cli, server: ServerInfo) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        status = cli("mcp", "status")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert status.returncode == 3
    assert f"pid {server.pid}" in status.stderr
    assert status.stderr.count("\n") == 1


def test_status_of_a_server_that_cannot_read_its_database(cli: Cli, server: ServerInfo) -> None:
    Path(DatabaseUrl.parse(server.database).name).unlink()
    status = cli("mcp", "status")
    assert status.returncode == 3
    assert status.stderr.count("\n") == 1
    assert "was removed or exchanged while it is in use" in status.stderr
    assert f"(pid {server.pid}, log {server.log})" in status.stderr


def test_status_for_programs_of_a_server_that_is_gone_in_the_middle(paths: Paths) -> None:
    paths.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = ServerInfo(paths.socket, "http://127.0.0.1:9/mcp", os.getpid(), "0", "", "", "here.log")
    told = facts.of_server(info)
    assert told["running"] is False
    assert told["pid"] == os.getpid()
    assert "does not answer" in told["error"]


def test_restart_gives_another_process_with_the_same_history(
    cli: Cli, shell: Shell, server: ServerInfo, paths: Paths
) -> None:
    session_id = shell()
    restarted = cli("mcp", "restart")
    assert restarted.returncode == 0
    info = read_server_file(paths)
    assert info is not None
    assert info.pid != server.pid
    assert session_id in cli("list-sessions").stdout


def test_restart_starts_what_does_not_run(cli: Cli, paths: Paths, port: int) -> None:
    assert cli("mcp", "restart").returncode == 0
    assert read_server_file(paths) is not None
    cli("mcp", "stop")


@pytest.mark.parametrize(
    ("variable", "value"), [("SESSION_BUDDY_PORT", "http"), ("SESSION_BUDDY_STORAGE_URL", "mysql://x")]
)
def test_with_bad_settings_restart_leaves_alone_what_runs(
    cli: Cli, server: ServerInfo, paths: Paths, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    failed = cli("mcp", "restart")
    assert failed.returncode == 1
    assert value in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert process.running(paths) == server


def test_a_restart_that_fails_leaves_a_server_as_it_was(
    cli: Cli, server: ServerInfo, paths: Paths, home: Path
) -> None:
    letter = home / "letter.txt"
    letter.write_text("Dear Ada, " * 100)
    failed = cli("mcp", "restart", "--db", str(letter))
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert failed.stderr.endswith("; the server runs again as it did\n")
    again = process.running(paths)
    assert again is not None
    assert (again.url, again.database) == (server.url, server.database)


@contextmanager
def _full(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """A process whose output takes nothing."""
    with Path("/dev/full").open("w") as full:
        yield forkserver.popen(command, stdout=full, stderr=subprocess.PIPE)


def _closed(command: list[str]) -> "subprocess.Popen[str]":
    """A process whose output is closed, which Python finds out when it starts."""
    closing = ["bash", "-c", f"exec {shlex.join(command)} >&-"]
    return subprocess.Popen(closing, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("output", "lines"), [(_full, 1), (_closed, 0)])
def test_the_foreground_serves_also_where_nobody_can_read_what_it_says(
    cli: Cli,
    paths: Paths,
    port: int,
    output: Callable[[list[str]], AbstractContextManager["subprocess.Popen[str]"]],
    lines: int,
) -> None:
    with output([*COMMAND, "mcp", "start"]) as serving:
        assert process.wait_running(paths, 60) is not None
        assert cli("mcp", "stop").returncode == 0
        said = serving.communicate(timeout=60)[1]
    assert serving.returncode == 0
    assert said.count("\n") == lines
    assert "unexpected" not in said


@pytest.mark.parametrize("how", [[], ["--background"]])
def test_a_taken_port_names_its_holder_and_the_setting(
    cli: Cli, paths: Paths, port: int, how: list[str]
) -> None:
    with _stranger(port) as other:
        failed = cli("mcp", "start", *how)
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    for text in (str(port), f"pid {other.pid}", "python", "SESSION_BUDDY_PORT", "--port"):
        assert text in failed.stderr
    assert not paths.server_file.exists()


def test_flags_name_port_and_database(cli: Cli, home: Path, paths: Paths) -> None:
    started = cli(
        "mcp", "start", "--background", "--port", "0", "--db", "mine.duckdb", "--log-level", "debug"
    )
    assert started.returncode == 0, started.stderr
    info = read_server_file(paths)
    assert info is not None
    assert info.database.endswith(f"{home}/mine.duckdb")
    cli("mcp", "stop")
    assert (home / "mine.duckdb").exists()


def test_a_folder_named_like_the_package_does_no_harm(cli: Cli, home: Path, port: int) -> None:
    (home / "session_buddy").mkdir()
    (home / "session_buddy" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    assert cli("mcp", "start", "--background").returncode == 0
    assert cli("mcp", "stop").returncode == 0


@pytest.mark.sampled
@pytest.mark.parametrize("how", [[], ["--background"]])
@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("SESSION_BUDDY_SECRET", "short", "secrets.token_urlsafe(32)"),
        ("SESSION_BUDDY_PORT", "http", "SESSION_BUDDY_PORT"),
        ("SESSION_BUDDY_STORAGE_URL", "mysql://x", "mysql://x"),
    ],
)
def test_bad_settings_are_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, how: list[str], variable: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(variable, value)
    failed = cli("mcp", "start", *how)
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: ")
    assert failed.stderr.count("\n") == 1
    assert complaint in failed.stderr


def test_another_secret_at_each_start_breaks_no_command_of_this_user(
    cli: Cli, shell: Shell, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("SESSION_BUDDY_SECRET", "x" * 43)
    request.getfixturevalue("server")
    monkeypatch.delenv("SESSION_BUDDY_SECRET")
    session_id = shell()
    assert session_id in cli("list-sessions").stdout
    assert cli("mcp", "status").returncode == 0
    assert cli("mcp", "health").returncode == 0


def test_tcp_without_a_token_is_refused(server: ServerInfo) -> None:
    with pytest.raises(Exception, match="token"):
        call_tool(Endpoint(url=server.url), "health_check", {})
    with socket.create_connection(("127.0.0.1", int(server.url.split(":")[2].split("/")[0]))):
        pass
