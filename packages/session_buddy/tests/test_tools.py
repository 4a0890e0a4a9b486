"""The tools, asked at both doors of one server; each test has a component, or a subject, of its own."""

import base64
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import TypeAdapter, ValidationError

from oneiric import facts
from oneiric.transport import CallRefused, Endpoint, Unauthorized, call_tool
from session_buddy.access.callers import RIGHTS, Scope, local_subject
from session_buddy.access.tokens import issue
from session_buddy.host.server_file import ServerInfo
from session_buddy.server.mcp.tracking import Tracking
from tests.samples import end_event, heartbeat_event, session_id_of, start_event
from tests.serverprocess import ServerProcess, environ_in, port_of

SECRET = "tests-only-" + uuid.uuid4().hex


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerInfo]:
    environ = environ_in(
        tmp_path_factory.mktemp("home"),
        SESSION_BUDDY_SECRET=SECRET,
        SESSION_BUDDY_ALLOWED_HOSTS="http://Buddy.example.:8678/",
    )
    with ServerProcess(environ) as server:
        yield server.until_up()


@pytest.fixture
def local(info: ServerInfo) -> Callable[..., Any]:
    return lambda tool, **arguments: call(info.endpoint, tool, arguments)


def call(server: Endpoint, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return call_tool(server, tool, arguments, timeout=60)


@pytest.fixture
def component() -> str:
    return f"c{uuid.uuid4().hex}"


def remote(info: ServerInfo, *scopes: Scope, subject: str = "ann") -> Endpoint:
    return Endpoint(url=info.url, token=issue(SECRET, subject, scopes, 600))


def status_of(info: ServerInfo, path: str = "/health", **headers: str) -> int:
    """What a page answers."""
    request = urllib.request.Request(info.url.replace("/mcp", path), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


# --- reporting and asking


def test_a_session_is_tracked_listed_shown_and_ended(local: Callable[..., Any], component: str) -> None:
    raw = start_event(component_name=component)
    session = session_id_of(raw)
    started = local("track_session_start", **raw)
    assert (started["session_id"], started["status"], started["error"]) == (session, "tracked", None)
    assert started["next_heartbeat_seconds"] == 15
    listed = local("list_sessions", component=component, status="active")["sessions"]
    assert [one["session_id"] for one in listed] == [session]
    ended = local("track_session_end", **end_event(session))
    assert (ended["status"], ended["server_instance"]) == ("ended", started["server_instance"])
    record = local("get_session", session_id=session[-8:])["session"]
    assert (record["status"], record["exit_reason"], record["duration_seconds"]) == ("ended", "exit", 60.0)
    assert record["reported_by"] == local_subject()
    assert record["metadata"] == {"version": "1.2", "adapters": ["a", "b"]}


def test_a_query_is_answered_with_the_fields_and_the_count_that_are_asked_for(
    local: Callable[..., Any], component: str
) -> None:
    raws = [start_event(number, component_name=component, hostname=f"web{number}") for number in range(3)]
    for raw in raws:
        local("track_session_start", **raw)
    local("track_session_end", **end_event(session_id_of(raws[0])))
    query = f"component:{component} host:web* -status:active,lost"
    answer = local("list_sessions", query=query, fields=["hostname", "who"], count=True)
    assert answer["sessions"] == [{"hostname": "web0", "who": "ann"}]
    assert (answer["total"], answer["total_active"], answer["truncated"]) == (1, 0, False)
    answer = local("list_sessions", query=f"component:{component}", sort="host", limit=2, count=True)
    assert [one["hostname"] for one in answer["sessions"]] == ["web0", "web1"]
    assert (answer["total"], answer["total_active"], answer["truncated"]) == (3, 2, True)
    before = local("list_sessions", query=f"component:{component}", until="2025-12-31")
    assert before["sessions"] == []
    told = local("get_session", session_id=session_id_of(raws[1]), details=True)
    assert [event["event_type"] for event in told["events"]] == ["session_start"]


def test_sessions_are_counted(local: Callable[..., Any], component: str) -> None:
    for number in range(3):
        local("track_session_start", **start_event(number * 3600, component_name=component))
    told = local(
        "session_statistics",
        query=f"component:{component}",
        by="hour",
        period="2026-01-02 08:00..2026-01-02 09:59",
        timezone="Asia/Kathmandu",
    )
    assert [(row["hour"][11:], row["sessions"]) for row in told["rows"]] == [
        ("08:00:00+05:45", 1),
        ("09:00:00+05:45", 1),
    ]
    assert (told["metric"], told["by"], told["groups"], told["sessions"]) == ("sessions", "hour", 2, 2)


def test_a_window_is_told_in_order(local: Callable[..., Any], component: str) -> None:
    raws = [start_event(after, component_name=component) for after in (0.0, 30.0)]
    for raw in raws:
        local("track_session_start", **raw)
    local("track_session_end", **end_event(session_id_of(raws[0]), 90.0))
    window = {
        "since": "2026-01-02T03:04:30Z",
        "until": "2026-01-02T03:10:00Z",
        "query": f"component:{component}",
    }
    answer = local("session_timeline", **window)
    assert [event["change"] for event in answer["events"]] == ["in", "start", "end"]
    assert (answer["in_at_begin"], answer["in_at_end"], answer["truncated"]) == (1, 1, False)
    assert local("session_timeline", **window, limit=1)["truncated"]


def test_all_optional_fields_of_a_start_are_taken(local: Callable[..., Any], component: str) -> None:
    process = {"boot_id": "b", "pid_namespace": "p", "started_at": 1}
    optional: dict[str, Any] = {
        "reason": "TICKET-1",
        "actor": "agent",
        "origin": {"tty": "/dev/pts/1"},
        "session_type": "repl",
    }
    raw = start_event(component_name=component, process=process, **optional)
    local("track_session_start", **raw)
    record = local("get_session", session_id=session_id_of(raw))["session"]
    assert {name: record[name] for name in optional} == optional


def test_an_end_without_a_start_is_not_found_and_kept(local: Callable[..., Any], component: str) -> None:
    raw = start_event(component_name=component)
    session = session_id_of(raw)
    answer = local("track_session_end", session_id=session, timestamp=end_event(session)["timestamp"])
    assert (answer["session_id"], answer["status"], answer["error"]) == (session, "not_found", None)
    assert local("list_sessions", component=component)["sessions"] == []
    local("track_session_start", **raw)
    assert local("get_session", session_id=session)["session"]["status"] == "ended"


def test_a_batch_is_answered_one_by_one(local: Callable[..., Any], component: str) -> None:
    raw = start_event(component_name=component)
    session = session_id_of(raw)
    unknown = heartbeat_event("shop-20260102-030405-0123abcd")
    batch = [raw, raw, {}, unknown, heartbeat_event(session, commands=3), end_event(session)]
    results = local("track_events", events=batch)["results"]
    statuses = [result["status"] for result in results]
    assert statuses == ["stored", "duplicate", "invalid", "not_found", "stored", "stored"]
    assert local("get_session", session_id=session)["session"]["commands"] == 3


def test_a_heartbeat_is_seen_at_once(local: Callable[..., Any], component: str) -> None:
    raw = start_event(component_name=component)
    session = session_id_of(raw)
    local("track_session_start", **raw)
    local("track_events", events=[heartbeat_event(session, commands=7)])
    assert local("get_session", session_id=session)["session"]["commands"] == 7
    assert local("list_sessions", component=component, status="unreachable")["sessions"] == []


def test_health_is_a_read_of_the_database(local: Callable[..., Any], info: ServerInfo) -> None:
    local("track_session_start", **start_event())
    health = local("health_check")
    assert (health["status"], health["version"]) == ("ok", "0.1.0")
    assert health["live_sessions"] >= 1
    assert health["database"] == info.database
    assert set(health["tools"]) == set(RIGHTS)


def test_a_killed_process_of_this_host_is_seen(local: Callable[..., Any]) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as shell:
        now = datetime.now(UTC).isoformat()
        raw = start_event(pid=shell.pid, process=facts.process(shell.pid), timestamp=now)
        local("track_session_start", **raw)
        shell.kill()
    for _ in range(1000):
        record = local("get_session", session_id=session_id_of(raw))["session"]
        if record["status"] != "active":
            break
        threading.Event().wait(0.03)
    assert (record["status"], record["exit_reason"]) == ("crashed", "process_gone")


@pytest.mark.parametrize(
    ("tool", "arguments", "complaint"),
    [
        ("track_session_start", start_event(pid=0), "pid: 0 is not valid: Input should be greater than or"),
        ("track_session_start", start_event(user={"username": "x" * 101}), "user.username: 'xxx"),
        ("track_session_start", start_event(metadata={"x": "y" * 20_000}), "metadata: .*16384 are allowed"),
        ("track_session_start", {"pid": 1}, "event_version: .*[Mm]issing"),
        ("track_session_end", {"session_id": "x", "timestamp": "2026-01-01T00:00:00Z"}, "session_id: 'x'"),
        ("track_events", {"events": [{}] * 501}, "events: 501 in one call; 500 are allowed"),
        ("track_events", {"events": "x"}, "events: 'x' is not valid"),
        ("track_events", {"events": [1] * 1000}, r"^events\.0: 1 is not valid"),
        (
            "track_session_start",
            start_event(timestamp="1790000000"),
            "timestamp: '1790000000' is not",
        ),
        ("list_sessions", {"status": "dead"}, "status: 'dead' is not valid: one of ended, active"),
        ("list_sessions", {"since": "ago"}, "since: 'ago' is not valid: a time such as 17:28"),
        ("list_sessions", {"limit": 0}, "limit: 0 is not valid"),
        ("session_timeline", {"limit": 501}, "limit: 501 is not valid: a number from 1 to 500"),
        ("session_timeline", {"at": "..12:00"}, "at: '..12:00' is not valid: a range has a beginning here"),
        (
            "list_sessions",
            {"query": "usr:x"},
            "query at 1: 'usr:' is not valid: no such key; the nearest is user",
        ),
        ("list_sessions", {"fields": ["hostnme"]}, "fields: 'hostnme' is not valid: one of hostname"),
        ("list_sessions", {"sort": "hosts"}, "sort: 'hosts' is not valid: one of host"),
        ("session_statistics", {"metric": "user"}, "metric: 'user' is not valid: one of users"),
        ("session_statistics", {"timezone": "x" * 9000}, "timezone: 'xxx.* at most 8000"),
        ("get_session", {"session_id": "nothing"}, "no session 'nothing'"),
        ("get_session", {"session_id": ""}, "session_id: '' is not valid: an id, its last 8 digits, or"),
        ("drop\x1b[31m", {}, r"no tool 'drop\\x1b\[31m'; there are track_session_start, .*health_check$"),
        (
            "list_sessions",
            {"user": "x"},
            "user: 'x' is not valid: list_sessions takes query, session_type, compo",
        ),
        (
            "get_session",
            {"session_id": "x", "\x1b[2J\U000e0041": 1},
            r"^\\x1b\[2J\\U000e0041: 1 is not valid",
        ),
        ("track_session_start", start_event(user={"username": "x", "home": 7}), "user.home: 7 is not valid"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_one_line_that_names_it(
    local: Callable[..., Any], tool: str, arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(CallRefused, match=complaint) as caught:
        local(tool, **arguments)
    assert "\n" not in str(caught.value)


def test_of_a_million_bad_events_one_is_complained_of() -> None:
    declared = get_type_hints(Tracking.track_events, include_extras=True)["events"]
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(declared).validate_python([1] * 1_000_000)
    assert caught.value.error_count() == 1


def test_an_empty_filter_is_none(local: Callable[..., Any], component: str) -> None:
    local("track_session_start", **start_event(component_name=component))
    filters = dict.fromkeys(("session_type", "username", "status", "since"), "")
    assert len(local("list_sessions", component=component, **filters)["sessions"]) == 1


def test_a_token_among_the_arguments_is_passed_over(local: Callable[..., Any], component: str) -> None:
    raw = start_event(component_name=component)
    assert local("track_session_start", **raw, token="anything")["status"] == "tracked"
    assert local("track_session_end", **end_event(session_id_of(raw)), token=None)["status"] == "ended"


def test_of_a_bad_event_nothing_is_stored(local: Callable[..., Any], component: str) -> None:
    with pytest.raises(CallRefused):
        local("track_session_start", **start_event(component_name=component, hostname="x" * 256))
    assert local("list_sessions", component=component)["sessions"] == []


def test_another_start_under_the_same_id_is_refused(local: Callable[..., Any]) -> None:
    raw = start_event()
    local("track_session_start", **raw)
    other = raw["event_id"][:8] + "-0000-4000-8000-000000000000"
    with pytest.raises(CallRefused, match=r"event_id: .* has another start event"):
        local("track_session_start", **raw | {"event_id": other})


def test_refusals_are_in_the_log(local: Callable[..., Any], info: ServerInfo) -> None:
    with pytest.raises(CallRefused):
        local("get_session", session_id="nobody-knows-me")
    assert "no session 'nobody-knows-me'" in Path(info.log).read_text()


# --- the public door; tests/test_clients.py asks there with clients that we did not write


def test_a_token_that_nobody_signed_is_refused(info: ServerInfo) -> None:
    unsigned = "eyJhbGciOiJub25lIn0.e30."
    with pytest.raises(Unauthorized):
        call(Endpoint(url=info.url, token=unsigned), "health_check", {})


def _coded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "header",
    ["", '"x"', "[1]", "null", "1e999", "[" * 5000, "{}"],
    ids=lambda text: text[:9],
)
@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/api/v1/backups"])
def test_a_401_says_how_to_get_a_token(info: ServerInfo, header: str, path: str) -> None:
    known = {"Authorization": f"Bearer {_coded(header)}.e30.e30"}
    request = urllib.request.Request(info.url.replace("/mcp", path), b"{}", known)
    with pytest.raises(urllib.error.HTTPError) as refused, urllib.request.urlopen(request, timeout=30):
        pass
    with refused.value as answer:
        assert (answer.code, answer.headers["WWW-Authenticate"]) == (HTTPStatus.UNAUTHORIZED, "Bearer")
        assert "session-buddy token show" in json.load(answer)["detail"]
    assert "Traceback" not in Path(info.log).read_text()


@pytest.mark.parametrize(
    "body",
    [
        "null",
        "[]",
        "{}",
        '"x"',
        '{"jsonrpc": "2.0"}',
        '{"jsonrpc": "2.0", "id": 1, "method": 5}',
        '{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": []}',
        '[{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}]',
        '{"jsonrpc": "2.0", "id": null, "method": "tools/list"}',
        '{"jsonrpc": "2.0", "id": {}, "method": "tools/list"}',
        '{"jsonrpc": "2.0", "id": 1.5, "method": "tools/list"}',
        '{"jsonrpc": "2.0", "id": 1e999, "method": "tools/list"}',
        "{",
        "",
    ],
    ids=lambda text: text[-32:],
)
@pytest.mark.parametrize("protocol", ["2025-06-18", "2026-07-28"])
def test_a_body_that_is_no_request_is_told_so_in_a_line(info: ServerInfo, body: str, protocol: str) -> None:
    headers = {
        "Authorization": f"Bearer {remote(info, 'read').token}",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "Mcp-Protocol-Version": protocol,
    }
    request = urllib.request.Request(info.url, body.encode(), headers)
    with pytest.raises(urllib.error.HTTPError) as refused, urllib.request.urlopen(request, timeout=30):
        pass
    with refused.value as answer:
        told = json.load(answer)["error"]["message"]
        assert (answer.code, told.splitlines()) == (HTTPStatus.BAD_REQUEST, [told])
    assert "pydantic" not in told


def test_one_address_however_written(info: ServerInfo) -> None:
    known = remote(info, "read")
    assert call(known._replace(url=f"{info.url}/"), "health_check", {})["status"] == "ok"
    assert status_of(info, path="/health/") == HTTPStatus.OK


def test_a_caller_who_hangs_up_at_once_is_not_taken_for_local(
    info: ServerInfo, local: Callable[..., Any], component: str
) -> None:
    call = {"name": "track_session_start", "arguments": start_event(component_name=component)}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
    lines = [
        "POST /mcp HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        f"Content-Length: {len(body)}",
    ]
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port_of(info))) as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            caller.sendall("\r\n".join([*lines, "", body]).encode())
    assert local("list_sessions", component=component)["sessions"] == []


def test_a_foreign_origin_is_turned_away_and_an_allowed_host_is_not(info: ServerInfo) -> None:
    known = {"Authorization": f"Bearer {remote(info, 'admin').token}"}
    assert status_of(info, Origin="http://evil.example", **known) == HTTPStatus.FORBIDDEN
    assert status_of(info, Host="buddy.example:8678", **known) == HTTPStatus.OK
    assert status_of(info, Host="BUDDY.example.", **known) == HTTPStatus.OK
    assert status_of(info, Host="evil.example", **known) == HTTPStatus.MISDIRECTED_REQUEST


def test_an_endless_body_is_not_taken(info: ServerInfo) -> None:
    with socket.create_connection(("127.0.0.1", port_of(info)), timeout=30) as caller:
        caller.sendall(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
        assert caller.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_grows_too_large_is_told_so(info: ServerInfo) -> None:
    known = f"Authorization: Bearer {remote(info, 'track').token}\r\n".encode()
    with socket.create_connection(("127.0.0.1", port_of(info)), timeout=30) as caller:
        caller.sendall(
            b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n" + known + b"\r\n"
        )
        with suppress(ConnectionError):
            for _ in range(5):
                caller.sendall(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
        assert caller.recv(100).startswith(b"HTTP/1.1 413 ")
    assert "Traceback" not in Path(info.log).read_text()


def test_scopes_are_what_a_token_may_do(info: ServerInfo, component: str) -> None:
    tracker, reader = remote(info, "track"), remote(info, "read")
    call(tracker, "track_session_start", start_event(component_name=component))
    with pytest.raises(CallRefused, match=r"list_sessions needs a token with scope read; this one \(ann\)"):
        call(tracker, "list_sessions", {})
    for events in ([], [1], "x"):
        with pytest.raises(CallRefused, match="track_events needs a token with scope track"):
            call(reader, "track_events", {"events": events})
    (listed,) = call(reader, "list_sessions", {"component": component, "fields": ["reported_by"]})["sessions"]
    assert listed["reported_by"] == "ann"


def test_only_its_owner_or_an_admin_ends_a_session(info: ServerInfo) -> None:
    raws = [start_event(1), start_event(2)]
    ann, bob = remote(info, "track"), remote(info, "track", subject="bob")
    for raw in raws:
        call(ann, "track_session_start", raw)
    mine, other = (session_id_of(raw) for raw in raws)
    with pytest.raises(CallRefused, match=f"session {mine} was started by ann; bob may not speak for it"):
        call(bob, "track_session_end", end_event(mine))
    (result,) = call(bob, "track_events", {"events": [heartbeat_event(mine)]})["results"]
    assert result["status"] == "forbidden"
    assert call(ann, "track_session_end", end_event(mine))["status"] == "ended"
    root = remote(info, "admin", subject="root")
    assert call(root, "track_session_end", end_event(other))["status"] == "ended"


# --- clocks that were set


def live_through_a_jump(local: Callable[..., Any], component: str, jump: float) -> tuple[str, dict[str, Any]]:
    """A session that starts by a wrong clock, which is then set right; its id, and how it is shown then."""
    now = time.time()
    start = start_event(component_name=component, timestamp=iso(now - jump))
    session = local("track_session_start", **start)["session_id"]
    beat = {"event_type": "session_heartbeat", "session_id": session, "timestamp": iso(now + 60)}
    (taken,) = local("track_events", events=[beat | {"elapsed_seconds": 60.0}])["results"]
    assert taken["status"] == "stored"
    return session, local("get_session", session_id=session)["session"]


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@pytest.mark.parametrize("jump", [-30 * 86_400.0, 56 * 365 * 86_400.0, 3600.0])
def test_a_clock_that_was_set_tells_no_duration_and_no_place_in_a_list(
    local: Callable[..., Any], component: str, jump: float
) -> None:
    before = local("track_session_start", **start_event(component_name=component, timestamp=iso(time.time())))
    session, meanwhile = live_through_a_jump(local, component, jump)
    after = local("track_session_start", **start_event(component_name=component, timestamp=iso(time.time())))
    assert (meanwhile["duration_seconds"], meanwhile["clock_skew"]) == (60.0, True)
    listed = local("list_sessions", component=component, since="1h")["sessions"]
    assert [one["session_id"] for one in listed] == [after["session_id"], session, before["session_id"]]
    local("track_session_end", session_id=session, timestamp=iso(time.time() + 90), elapsed_seconds=90.25)
    ended = local("get_session", session_id=session)["session"]
    assert (ended["duration_seconds"], ended["clock_skew"], ended["status"]) == (90.25, True, "ended")


def test_no_page_misses_what_a_clock_moved_down(local: Callable[..., Any], component: str) -> None:
    hour = 3600.0
    there = {live_through_a_jump(local, component, jump)[0] for jump in (-hour, hour, -2 * hour, 2 * hour)}
    seen, cursor = [], None
    while True:
        answer = local("list_sessions", component=component, limit=1, cursor=cursor)
        seen += [one["session_id"] for one in answer["sessions"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert (sorted(seen), len(seen)) == (sorted(there), 4)


@pytest.mark.parametrize("elapsed", [-1, "soon", 1e300])
def test_what_is_no_elapsed_time_is_refused(
    local: Callable[..., Any], component: str, elapsed: object
) -> None:
    session = local("track_session_start", **start_event(component_name=component))["session_id"]
    end = end_event(session) | {"elapsed_seconds": elapsed}
    with pytest.raises(CallRefused, match=r"^elapsed_seconds: "):
        local("track_session_end", **end)
    (answer,) = local("track_events", events=[end])["results"]
    assert (answer["status"], answer["field"]) == ("invalid", "elapsed_seconds")
