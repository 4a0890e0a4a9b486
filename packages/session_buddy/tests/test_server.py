"""The server as a process: up, down, and what stands in its way."""

import os
import signal
import socket
import stat
import sys
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from oneiric.paths import Paths
from oneiric.transport import CallRefused, Endpoint, call_tool
from session_buddy.access.callers import RIGHTS, local_subject
from session_buddy.access.secret import own_secret
from session_buddy.access.tokens import issue
from session_buddy.host import process
from session_buddy.host.layers import load_settings
from session_buddy.host.server_file import ServerInfo
from session_buddy.store import open_store
from tests import forkserver
from tests.samples import heartbeat_event, session_id_of, start_event
from tests.serverprocess import ServerProcess

Launch = Callable[..., ServerProcess]
HALF_A_CALL = b"""\
POST /mcp HTTP/1.1\r
Host: localhost\r
Content-Type: application/json\r
Accept: application/json, text/event-stream\r
Content-Length: 5000\r
\r
{"jsonrpc":"""


@pytest.fixture
def launch(paths: Paths, port: int) -> Iterator[Launch]:
    with ExitStack() as stack:
        yield lambda **environ: stack.enter_context(ServerProcess(environ))


@pytest.fixture
def running(launch: Launch) -> ServerProcess:
    return launch()


@pytest.fixture
def info(running: ServerProcess) -> ServerInfo:
    return running.until_up()


def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.03)
    raise AssertionError("it never came to be")


def listed(info: ServerInfo) -> list[tuple[str, str]]:
    sessions = call_tool(info.endpoint, "list_sessions", {})["sessions"]
    return [(one["session_id"], one["status"]) for one in sessions]


# --- up and down


def test_it_says_what_it_is_and_leaves_nothing_behind(
    running: ServerProcess, info: ServerInfo, paths: Paths, port: int
) -> None:
    assert running.lines == [
        f"Session-Buddy 0.1.0 started (pid {running.process.pid})",
        f"Address: http://127.0.0.1:{port}/mcp",
        f"Socket: {paths.socket}",
        f"Database: duckdb:///{paths.data}/session-buddy/sessions.duckdb",
        "Tools registered: " + ", ".join(RIGHTS),
        f"Log: {paths.state}/session-buddy/session-buddy.log",
    ]
    assert (info.pid, info.url) == (running.process.pid, f"http://127.0.0.1:{port}/mcp")
    assert stat.S_IMODE(paths.server_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(paths.socket.parent.stat().st_mode) == 0o700
    log = Path(info.log).read_text()
    assert "server started" in log
    assert "error" not in log.lower()
    assert running.stop() == 0
    assert not paths.server_file.exists()
    assert not paths.socket.exists()
    assert not (paths.data / "session-buddy" / "sessions.duckdb.wal").exists()


def test_ctrl_c_ends_it_as_well_and_heartbeats_outlive_it(running: ServerProcess, info: ServerInfo) -> None:
    raw = start_event()
    session = session_id_of(raw)
    call_tool(info.endpoint, "track_events", {"events": [raw]})
    call_tool(info.endpoint, "track_events", {"events": [heartbeat_event(session, commands=7)]})
    assert running.stop(signal.SIGINT) == 0
    store = open_store(load_settings().database_url())
    assert store.find(session).commands == 7
    store.close()


def test_a_term_while_it_starts_ends_it(running: ServerProcess, paths: Paths) -> None:
    eventually((paths.state / "session-buddy" / "server.lock").exists)
    assert running.stop() == 0
    assert not paths.server_file.exists()


def test_who_hangs_up_in_the_middle_of_a_request_is_no_error(
    running: ServerProcess, info: ServerInfo, paths: Paths
) -> None:
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(paths.socket))
            client.sendall(HALF_A_CALL)
    assert call_tool(info.endpoint, "health_check", {})["status"] == "ok"
    assert running.stop() == 0
    log = Path(info.log).read_text()
    assert "server stopped" in log
    assert "error" not in log.lower()


def test_signals_while_it_closes_do_not_cut_that_short(
    running: ServerProcess, info: ServerInfo, paths: Paths
) -> None:
    for first in range(0, 3000, 500):
        events = [start_event(first + number) for number in range(500)]
        call_tool(info.endpoint, "track_events", {"events": events}, 60)
    while running.process.poll() is None:
        running.process.send_signal(signal.SIGTERM)
        running.process.send_signal(signal.SIGINT)
        threading.Event().wait(0.01)
    assert running.refusal() == ""
    assert running.process.returncode == 0
    assert not paths.server_file.exists()
    assert not (paths.data / "session-buddy" / "sessions.duckdb.wal").exists()


def test_a_killed_one_is_followed_by_another(
    running: ServerProcess, info: ServerInfo, launch: Launch, paths: Paths
) -> None:
    running.stop(signal.SIGKILL)
    assert paths.server_file.exists()
    assert paths.socket.exists()
    server = launch()
    first_seen = process.wait_running(paths, 60)
    assert first_seen is not None
    assert first_seen.pid == server.process.pid
    again = server.until_up()
    assert again.pid != info.pid
    assert call_tool(again.endpoint, "health_check", {})["status"] == "ok"


def track_one() -> str:
    code = "import oneiric\nwith oneiric.track_session('shop') as s: print(s.id)"
    return forkserver.run([sys.executable, "-c", code]).stdout.strip()


def test_what_waits_in_the_outbox_is_taken_in(running: ServerProcess, home: Path) -> None:
    tracked = track_one()
    info = running.until_up()
    eventually(lambda: listed(info) == [(tracked, "ended")])


def test_a_wiped_database_gets_its_history_back(launch: Launch, home: Path, paths: Paths) -> None:
    server = launch()
    info = server.until_up()
    tracked = track_one()
    eventually(lambda: listed(info) == [(tracked, "ended")])
    eventually(lambda: list((paths.outbox / "done").glob("*.jsonl")) != [])
    server.stop()
    (paths.data / "session-buddy" / "sessions.duckdb").unlink()
    again = launch().until_up()
    eventually(lambda: listed(again) == [(tracked, "ended")])
    eventually(lambda: "it was here before and is gone" in Path(again.log).read_text())


def test_a_database_that_is_removed_under_a_server_is_noticed_and_nothing_is_lost(
    launch: Launch, home: Path, paths: Paths
) -> None:
    server = launch()
    info = server.until_up()
    before = track_one()
    eventually(lambda: list((paths.outbox / "done").glob("*.jsonl")) != [])
    (paths.data / "session-buddy" / "sessions.duckdb").unlink()
    with pytest.raises(CallRefused, match=r"was removed or exchanged .*: session-buddy mcp restart"):
        call_tool(info.endpoint, "health_check", {})
    with pytest.raises(CallRefused, match="was removed or exchanged"):
        call_tool(info.endpoint, "track_session_start", start_event())
    after = track_one()
    assert server.stop() == 0
    again = launch().until_up()
    eventually(lambda: sorted(listed(again)) == sorted([(before, "ended"), (after, "ended")]))


# --- what stands in its way


def test_a_second_one_says_that_it_is_running(info: ServerInfo, launch: Launch) -> None:
    running = f"AlreadyRunning: Session-Buddy is already running at {info.url} (pid {info.pid})\n"
    assert launch().refusal() == running


def test_one_with_another_state_folder_finds_the_socket_answered(
    info: ServerInfo, launch: Launch, home: Path
) -> None:
    other = str(home / "other")
    refusal = launch(XDG_STATE_HOME=other, XDG_DATA_HOME=other, SESSION_BUDDY_PORT="0").refusal()
    assert refusal.startswith("AlreadyRunning: ")


def test_a_taken_port_names_its_holder(launch: Launch, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        assert launch().refusal().startswith(f"PortTaken: port {port} is taken by pid {os.getpid()} (")


def test_a_held_database_names_its_holder(launch: Launch, paths: Paths) -> None:
    store = open_store(load_settings().database_url())
    refusal = launch().refusal()
    assert refusal.startswith(f"StoreLocked: database {paths.data}")
    assert f"held by pid {os.getpid()} (" in refusal
    store.close()


def test_an_unwritable_state_folder_is_named(launch: Launch) -> None:
    assert launch(XDG_STATE_HOME="/proc/x").refusal().startswith("ConfigurationError: state folder /proc/x")


# --- its settings


def test_variables_of_other_servers_of_that_library_change_nothing(launch: Launch) -> None:
    others = {
        "FASTMCP_HTTP_ALLOWED_ORIGINS": '["*"]',
        "fastmcp_http_host_origin_protection": "false",
        "FASTMCP_STRICT_INPUT_VALIDATION": "no boolean",
        "FASTMCP_MASK_ERROR_DETAILS": "false",
    }
    info = launch(**others).until_up()
    evil = urllib.request.Request(
        info.url.replace("/mcp", "/health"), headers={"Origin": "http://evil.example"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused, urllib.request.urlopen(evil, timeout=30):
        pass
    with refused.value as answer:
        assert answer.code == HTTPStatus.FORBIDDEN


def test_a_new_secret_at_each_start_leaves_the_local_door_open(launch: Launch, paths: Paths) -> None:
    for _ in range(2):
        server = launch(SESSION_BUDDY_SECRET=uuid.uuid4().hex)
        info = server.until_up()
        assert call_tool(info.endpoint, "track_session_start", start_event())["status"] == "tracked"
        own = issue(own_secret(paths), local_subject(), ["track"], 60)
        door = Endpoint(url=info.url, token=own)
        assert call_tool(door, "track_session_start", start_event())["status"] == "tracked"
        assert server.stop() == 0


def test_a_public_address_is_shown_as_one_that_can_be_called(launch: Launch, port: int) -> None:
    server = launch(SESSION_BUDDY_HOST="0.0.0.0")  # noqa: S104 - that is the test
    assert server.until_up().url == f"http://127.0.0.1:{port}/mcp"
    assert server.lines[1:3] == [
        f"Address: http://127.0.0.1:{port}/mcp",
        f"Listens on: 0.0.0.0:{port} (every interface)",
    ]


def test_an_ipv6_address_is_shown_in_brackets(launch: Launch, port: int) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    info = launch(SESSION_BUDDY_HOST="::1").until_up()
    assert info.url == f"http://[::1]:{port}/mcp"


@pytest.mark.parametrize(("level", "tells"), [("debug", True), ("info", False)])
def test_at_debug_the_log_tells_of_each_call_and_each_commit(
    cli: Any,
    shell: Any,
    start: Callable[..., ServerInfo],
    level: str,
    tells: bool,  # noqa: FBT001
) -> None:
    info = start("--log-level", level)
    session = shell()
    assert session in cli("list-sessions").stdout
    log = Path(info.log).read_text()
    for said in ("event=call tool=track_events subject=local:", "tool=list_sessions", "event=written"):
        assert (said in log) is tells, log


def test_under_any_umask_what_is_made_is_for_its_user_alone(
    cli: Any, shell: Any, home: Path, port: int
) -> None:
    before = os.umask(0)
    try:
        for command in ("token show", "list-sessions", "mcp start --background", "mcp stop", "backup create"):
            assert cli(*command.split()).returncode == 0
            shell()
    finally:
        os.umask(before)
    made = [path for name in (".config", ".local") for path in (home / name, *(home / name).rglob("*"))]
    assert len(made) > 20
    assert [path for path in made if path.lstat().st_mode & 0o077] == []
