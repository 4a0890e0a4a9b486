import asyncio
import io
import json
import os
import shlex
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from mcp import Client as SdkClient
from mcp import StdioServerParameters
from mcp.client.stdio import stdio_client

from oneiric.paths import Paths
from oneiric.testing import start_event
from oneiric.transport import ServerInfo
from session_buddy.client.bridge import Bridge, Message
from session_buddy.host import process

BRIDGE = ["-P", "-m", "session_buddy", "mcp", "start", "--transport", "stdio"]
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}


class _Listener(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A web server that answers every POST in one way and keeps the headers that came."""

    daemon_threads = True
    block_on_close = False
    answer: tuple[int, str, bytes]
    headers: list[dict[str, str]]

    def handle_error(self, *_: object) -> None:
        """A client that has left without its answer is no error of the test."""


class _Handler(BaseHTTPRequestHandler):
    server: _Listener

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.headers.append(dict(self.headers))
        status, kind, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def _listening(path: Path, status: int, kind: str, body: bytes) -> Iterator[_Listener]:
    with _Listener(str(path), _Handler) as listener:
        listener.answer, listener.headers = (status, kind, body), []
        threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
        yield listener
        listener.shutdown()


def _line(**message: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"


def _answers(find_server: Callable[[], Path], *lines: bytes) -> list[dict[str, Any]]:
    output = io.BytesIO()
    Bridge(find_server, output).run(lines)
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_headers_repeat_a_current_message() -> None:
    line = _line(id=1, method="tools/call", params={"name": "get_session", "_meta": META})
    assert Message.parse(line).headers("2025-06-18") == {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "get_session",
    }


def test_headers_of_the_handshake_era_carry_the_agreed_version() -> None:
    assert "MCP-Protocol-Version" not in Message.parse(_line(id=1, method="initialize")).headers("2025-06-18")
    later = Message.parse(_line(id=2, method="tools/list", params=None)).headers("2025-06-18")
    assert later["MCP-Protocol-Version"] == "2025-06-18"
    assert "Mcp-Method" not in later


@pytest.mark.parametrize("name", ["naïve", "a\r\nX-Evil: 1", " padded ", "=?base64?eA==?="])
def test_a_name_cannot_break_out_of_its_header(name: str) -> None:
    line = _line(id=1, method="tools/call", params={"name": name, "_meta": META})
    header = Message.parse(line).headers(None)["Mcp-Name"]
    assert header.startswith("=?base64?")
    assert header.isascii()
    assert header.isprintable()


@pytest.mark.parametrize("line", [b"[]", b"7", b'{"params": [], "id": 1}', b'{"params": {"_meta": 3}}'])
def test_any_json_is_a_message(line: bytes) -> None:
    assert Message.parse(line).version is None


def test_an_answer_becomes_one_line(home: Path) -> None:
    with _listening(home / "s", 200, "application/json", b'{\r\n "id": 1\n}') as listener:
        assert _answers(lambda: home / "s", b"\n", _line(id=1, method="ping")) == [{"id": 1}]
    assert len(listener.headers) == 1


def test_each_event_of_a_stream_becomes_a_line(home: Path) -> None:
    events = b'event: message\r\ndata: {"a": 1}\r\n\r\n: ping\r\n\r\ndata:\r\n\r\ndata: {"b": 2}\r\n\r\n'
    with _listening(home / "s", 200, "text/event-stream; charset=utf-8", events):
        assert _answers(lambda: home / "s", _line(id=1, method="x")) == [{"a": 1}, {"b": 2}]


def test_the_agreed_version_is_remembered(home: Path) -> None:
    answer = b'{"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": "2025-11-25"}}'
    output = io.BytesIO()
    with _listening(home / "s", 200, "application/json", answer) as listener:
        bridge = Bridge(lambda: home / "s", output)
        bridge.run([_line(id=1, method="initialize")])
        bridge.run([_line(id=2, method="tools/list")])
    assert "MCP-Protocol-Version" not in listener.headers[0]
    assert listener.headers[1]["MCP-Protocol-Version"] == "2025-11-25"


def test_a_refusal_without_json_is_an_error_of_its_request(home: Path) -> None:
    with _listening(home / "s", 500, "text/plain", b"Internal Server Error"):
        [answer] = _answers(lambda: home / "s", _line(id="a", method="x"), _line(method="notifications/x"))
    assert answer["id"] == "a"
    assert "HTTP 500" in answer["error"]["message"]


def test_a_notification_gets_no_answer(home: Path) -> None:
    with _listening(home / "s", 202, "text/plain", b""):
        assert _answers(lambda: home / "s", _line(method="notifications/initialized")) == []


def test_a_line_that_is_not_json_is_answered_and_the_next_one_served(home: Path) -> None:
    with _listening(home / "s", 200, "application/json", b'{"id": 1}'):
        answers = _answers(lambda: home / "s", b"{nonsense\n", _line(id=1, method="ping"))
    assert {"id": 1} in answers
    assert any(answer.get("error", {}).get("code") == -32700 for answer in answers)


def test_a_server_that_cannot_be_had_is_an_error_of_its_request(home: Path) -> None:
    [answer] = _answers(lambda: home / "nowhere", _line(id=3, method="ping"), _line(method="notifications/x"))
    assert answer["id"] == 3
    assert "Session-Buddy cannot be asked" in answer["error"]["message"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's socket")
def test_another_user_who_poses_as_the_server_hears_nothing(home: Path) -> None:
    with _listening(home / "s", 200, "application/json", b'{"id": 1}') as stranger:
        os.chown(home / "s", 12345, 12345)
        [answer] = _answers(lambda: home / "s", _line(id=1, method="ping"))
    assert "is no socket of this user" in answer["error"]["message"]
    assert stranger.headers == []


def test_a_server_that_went_is_looked_for_again(home: Path) -> None:
    found = iter([home / "gone", home / "s"])
    with _listening(home / "s", 200, "application/json", b'{"id": 1}'):
        assert _answers(lambda: next(found), _line(id=1, method="ping")) == [{"id": 1}]


def _parameters() -> StdioServerParameters:
    return StdioServerParameters(command=sys.executable, args=BRIDGE, env=dict(os.environ))


def _transport() -> StdioTransport:
    return StdioTransport(sys.executable, BRIDGE, env=dict(os.environ), keep_alive=False)


def _start(number: int) -> dict[str, Any]:
    event_id = f"{number:08x}-bbfd-4b2d-9b5d-ab8dfbbd4bed"
    return start_event(event_id=event_id)


async def _track(client: Any, number: int) -> str:
    """Start and end a session as any MCP client would; returns its id."""
    started = await client.call_tool("track_session_start", _start(number))
    session_id: str = _content(started)["session_id"]
    ended = await client.call_tool(
        "track_session_end", {"session_id": session_id, "timestamp": "2026-01-02T03:05:05+00:00"}
    )
    assert _content(ended)["status"] == "ended"
    return session_id


def _content(result: Any) -> dict[str, Any]:
    content: dict[str, Any] = result.structured_content
    return content


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
def test_a_fastmcp_client_of_each_era_tracks_a_session(server: ServerInfo, mode: str) -> None:
    async def talk() -> None:
        async with Client(_transport(), mode=mode) as client:
            tools = await client.list_tools()
            assert {"track_session_start", "track_session_end"} <= {tool.name for tool in tools}
            session_id = await _track(client, 1)
            found = await client.call_tool("get_session", {"session_id": session_id})
            assert _content(found)["session"]["duration_seconds"] == 59.5

    asyncio.run(talk())


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
def test_an_sdk_client_of_each_era_tracks_a_session(server: ServerInfo, mode: str) -> None:
    async def talk() -> None:
        async with SdkClient(stdio_client(_parameters()), mode=mode) as client:
            tools = await client.list_tools()
            assert "track_events" in {tool.name for tool in tools.tools}
            await _track(client, 2)

    asyncio.run(talk())


def test_two_agents_are_served_at_once_while_the_command_line_works(server: ServerInfo, cli: Any) -> None:
    async def talk(number: int) -> list[str]:
        async with Client(_transport()) as client:
            return [await _track(client, 100 * number + index) for index in range(5)]

    async def both() -> list[list[str]]:
        listing = asyncio.to_thread(cli, "list-sessions")
        first, second, listed = await asyncio.gather(talk(1), talk(2), listing)
        assert listed.returncode == 0
        return [first, second]

    tracked = {session_id for ids in asyncio.run(both()) for session_id in ids}
    assert tracked == {row.split("\t")[0] for row in cli("list-sessions").stdout.splitlines()}


def _bridged(*lines: bytes) -> dict[Any, dict[str, Any]]:
    """What a bridge answers, by id; its input ends only then: it waits for the last answers a moment."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, *BRIDGE], **pipes) as bridge:
        assert bridge.stdin is not None
        assert bridge.stdout is not None
        bridge.stdin.write(b"".join(lines))
        bridge.stdin.flush()
        answers = [json.loads(bridge.stdout.readline()) for _ in lines]
        assert bridge.communicate(timeout=60) == (b"", b"")
    assert bridge.returncode == 0
    return {answer["id"]: answer for answer in answers}


def test_without_a_server_the_bridge_starts_one_that_stays(cli: Any, paths: Paths, port: int) -> None:
    answers = _bridged(_line(id=1, method="ping"), _line(id=2, method="tools/list"))
    assert answers[1]["result"] == {}
    assert len(answers[2]["result"]["tools"]) == 6
    info = process.running(paths)
    assert info is not None
    assert f":{port}/" in info.url
    cli("mcp", "stop")


def test_a_server_killed_in_between_is_replaced(server: ServerInfo, cli: Any, paths: Paths) -> None:
    async def talk() -> None:
        async with Client(_transport()) as client:
            await _track(client, 7)
            os.kill(server.pid, signal.SIGKILL)
            await _track(client, 8)

    asyncio.run(talk())
    info = process.running(paths)
    assert info is not None
    assert info.pid != server.pid
    assert len(cli("list-sessions").stdout.splitlines()) == 2


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_without_its_client_the_bridge_says_so(home: Path, closed: str) -> None:
    command = f"{shlex.join([sys.executable, *BRIDGE])} {closed}"
    failed = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: --transport stdio needs standard input and output")
    assert failed.stderr.count("\n") == 1


def test_a_server_that_cannot_start_is_an_error_in_mcp(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BUDDY_SECRET", "short")
    answers = _bridged(_line(id=1, method="ping"))
    assert "SESSION_BUDDY_SECRET" in answers[1]["error"]["message"]
    assert "Traceback" not in answers[1]["error"]["message"]
