import asyncio
import io
import json
import os
import shlex
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from oneiric.paths import Paths
from oneiric.testing import start_event
from oneiric.transport import Endpoint
from session_buddy.access.callers import RIGHTS
from session_buddy.client import bridge
from session_buddy.client.bridge import Bridge, Message
from session_buddy.host import process
from session_buddy.host.server_file import ServerInfo
from tests import forkserver
from tests.world import wait_for_end

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


def _answers(find_socket: Callable[[], Path], *lines: bytes) -> list[dict[str, Any]]:
    output = io.BytesIO()
    Bridge(lambda: Endpoint(find_socket()), output).run(lines)
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


@pytest.mark.parametrize("line", [b'{"params": [], "id": 1}', b'{"params": {"_meta": 3}}'])
def test_any_object_is_a_message(line: bytes) -> None:
    assert Message.parse(line).version is None


def test_an_answer_becomes_one_line(home: Path) -> None:
    with _listening(home / "s", 200, "application/json", b'{\r\n "id": 1\n}') as listener:
        assert _answers(lambda: home / "s", b"\n", _line(id=1, method="ping")) == [{"id": 1}]
    assert len(listener.headers) == 1


def test_each_event_of_a_stream_becomes_a_line(home: Path) -> None:
    events = (
        b'event: message\r\ndata: {"method": "notifications/progress"}\r\n\r\n: ping\r\n\r\ndata:\r\n\r\n'
        b'data: {"id": 1, "result": {}}\r\n\r\n'
    )
    with _listening(home / "s", 200, "text/event-stream; charset=utf-8", events):
        answers = _answers(lambda: home / "s", _line(id=1, method="x"))
    assert answers == [{"method": "notifications/progress"}, {"id": 1, "result": {}}]


def test_the_agreed_version_is_remembered(home: Path) -> None:
    answer = b'{"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": "2025-11-25"}}'
    output = io.BytesIO()
    with _listening(home / "s", 200, "application/json", answer) as listener:
        bridge = Bridge(lambda: Endpoint(home / "s"), output)
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


# The clients are imported where they are used: each process that runs tests imports each module of them.


def _fastmcp_client(mode: str) -> Any:
    from fastmcp import Client
    from fastmcp.client.transports import StdioTransport

    return Client(StdioTransport(sys.executable, BRIDGE, env=dict(os.environ), keep_alive=False), mode=mode)


def _sdk_client(mode: str) -> Any:
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client

    parameters = StdioServerParameters(command=sys.executable, args=BRIDGE, env=dict(os.environ))
    return Client(stdio_client(parameters), mode=mode)


@pytest.mark.sampled
@pytest.mark.parametrize("connect", [_fastmcp_client, _sdk_client])
@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
def test_a_client_of_each_era_tracks_a_session(
    server: ServerInfo, connect: Callable[[str], Any], mode: str
) -> None:
    async def talk() -> None:
        async with connect(mode) as client:
            listed = await client.list_tools()
            names = {tool.name for tool in getattr(listed, "tools", listed)}
            assert {"track_session_start", "track_session_end"} <= names
            session_id = await _track(client, 1)
            found = await client.call_tool("get_session", {"session_id": session_id})
            assert _content(found)["session"]["duration_seconds"] == 59.5

    asyncio.run(talk())


def test_two_agents_are_served_at_once_while_the_command_line_works(server: ServerInfo, cli: Any) -> None:
    async def talk(number: int) -> list[str]:
        async with _fastmcp_client("auto") as client:
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
    with forkserver.popen([sys.executable, *BRIDGE], text=False, **pipes) as bridge:
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
    assert len(answers[2]["result"]["tools"]) == len(RIGHTS)
    info = process.running(paths)
    assert info is not None
    assert f":{port}/" in info.url
    cli("mcp", "stop")


def test_a_server_killed_in_between_is_replaced(server: ServerInfo, cli: Any, paths: Paths) -> None:
    async def talk() -> None:
        async with _fastmcp_client("auto") as client:
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


CALL = {"jsonrpc": "2.0", "method": "tools/call"}
CURRENT = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def _call(request_id: object, name: str, **arguments: object) -> bytes:
    params = {"name": name, "arguments": arguments, "_meta": CURRENT}
    return json.dumps({**CALL, "id": request_id, "params": params}).encode() + b"\n"


def test_no_request_is_left_without_an_answer(server: ServerInfo) -> None:
    lines = [
        _call(1, "get_session", session_id="\ud83d"),
        _call(2, "get_session", session_id="x").replace(b'"x"', b'"\xff\xfe"'),
        b'{"jsonrpc":"2.0","id":3,"method":"tools/list","params":[]}\n',
        b'{"jsonrpc":"2.0","id":4,"result":{}}\n',
        b'{"jsonrpc":"2.0","id":5}\n',
        b'{"jsonrpc":"2.0","id":"6","method":7}\n',
        b'{"id":7,"method":"ping"}\n',
        _call(8, "track_events", events=["x" * 10_000_000]),
        _call(9, "no_such_tool"),
        b'{"jsonrpc":"2.0","id":10,"method":"tools/call","params":{"name":{},"arguments":[]}}\n',
        b'{"jsonrpc":"2.0","id":null,"method":"ping"}\n',
        _call(11, "health_check"),
    ]
    answers = _bridged(*lines)
    assert set(answers) == {1, 2, 3, 4, 5, "6", 7, 8, 9, 10, None, 11}
    for request_id in (2, 3, 4, 5, "6", 8):
        assert answers[request_id]["error"]["message"], request_id
    assert "HTTP 413" in answers[8]["error"]["message"]
    assert answers[11]["result"]["structuredContent"]["database"] == server.database


@pytest.mark.parametrize("line", [b"7\n", b"[]\n", b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]\n'])
def test_what_is_no_message_is_told(home: Path, line: bytes) -> None:
    [answer] = _answers(lambda: home / "nowhere", line)
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)


def test_the_last_words_of_a_client_are_heard(tmp_path: Path) -> None:
    spoken, heard = os.pipe()[::-1], os.pipe()
    long = b"x" * 3_000_000
    writing = threading.Thread(target=_say, args=(spoken[0], [b"one\ntwo\n" + long, b"\nlast"], heard[0]))
    writing.start()
    assert list(bridge.lines(spoken[1], heard[1])) == [b"one", b"two", long, b"last"]
    writing.join()
    os.close(spoken[1])
    os.close(heard[1])


def _say(sink: int, words: list[bytes], source: int) -> None:
    """As a client that leaves when it has spoken: nobody reads the answers any more."""
    os.close(source)
    with os.fdopen(sink, "wb") as pipe:
        for word in words:
            pipe.write(word)


def test_who_does_not_answer_is_asked_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "_CALL_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as hole:
        hole.bind(str(home / "s"))
        hole.listen()
        [answer] = _answers(lambda: home / "s", _line(id=1, method="ping"))
        hole.settimeout(60)
        hole.accept()[0].close()
        hole.settimeout(0)
        with pytest.raises(BlockingIOError):
            hole.accept()
    assert "timed out" in answer["error"]["message"]


def test_an_output_that_takes_nothing_is_one_line(server: ServerInfo) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, *BRIDGE],
            input=_line(id=1, method="ping"),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == b"Error: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("number", [b"1e999", b"NaN", b"-Infinity"])
def test_a_number_that_json_does_not_have_is_no_id(home: Path, number: bytes) -> None:
    [answer] = _answers(lambda: home / "nowhere", b'{"jsonrpc":"2.0","method":"ping","id":' + number + b"}")
    assert answer["id"] is None
    assert "Session-Buddy cannot be asked" in answer["error"]["message"]


CLIENT = """
import subprocess, sys, time
bridge = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
bridge.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}' + bytes([10]))
bridge.stdin.flush()
bridge.stdout.readline()
# Somebody who has inherited the pipe, and keeps it open.
heir = subprocess.Popen(["sleep", "600"], pass_fds=[bridge.stdin.fileno()])
print(bridge.pid, heir.pid, flush=True)
time.sleep(600)
"""


def test_the_bridge_ends_with_its_client_whoever_has_the_pipe(server: ServerInfo) -> None:
    command = [sys.executable, "-c", CLIENT, sys.executable, *BRIDGE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        bridge, heir = map(int, client.stdout.readline().split())
        client.kill()
        wait_for_end(bridge)
        os.kill(heir, signal.SIGKILL)


def test_the_bridge_ends_when_nobody_reads_any_more(server: ServerInfo) -> None:
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with forkserver.popen([sys.executable, *BRIDGE], text=False, **pipes) as bridge:
        assert bridge.stdin is not None
        assert bridge.stdout is not None
        assert bridge.stderr is not None
        bridge.stdin.write(_line(id=1, method="ping"))
        bridge.stdin.flush()
        assert json.loads(bridge.stdout.readline())["id"] == 1
        bridge.stdout.close()
        assert bridge.wait(60) == 0
        assert bridge.stderr.read() == b""


def test_a_stop_is_not_undone_by_who_asks_five_times_a_second(
    server: ServerInfo, cli: Any, paths: Paths, shell: Callable[[], str], size: Callable[[int, int], int]
) -> None:
    session = shell()
    answers: list[dict[str, Any]] = []
    assert session in cli("list-sessions").stdout
    backup = cli("backup", "create")
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    with forkserver.popen([sys.executable, *BRIDGE], text=False, **pipes) as bridge:
        assert bridge.stdin is not None
        assert bridge.stdout is not None
        wanted = threading.Event()

        def ask(asked: BinaryIO, answered: BinaryIO) -> None:
            while not wanted.wait(0.2):
                asked.write(_line(id=len(answers), method="ping"))
                asked.flush()
                answers.append(json.loads(answered.readline()))

        asking = threading.Thread(target=ask, args=(bridge.stdin, bridge.stdout))
        asking.start()
        try:
            for _ in range(size(1, 3)):
                assert cli("mcp", "stop").returncode == 0
                restored = cli("backup", "restore", "latest")
                assert restored.returncode == 0, restored.stderr
                assert cli("mcp", "start", "--background").returncode == 0
            # A restart is waited for.
            asked = len(answers)
            assert cli("mcp", "restart").returncode == 0
        finally:
            wanted.set()
            asking.join(60)
            bridge.stdin.close()
    assert backup.returncode == 0
    refused = [answer["error"]["message"] for answer in answers[:asked] if "error" in answer]
    assert all("session-buddy mcp start" in message for message in refused), refused
    assert all("result" in answer for answer in answers[asked:])
    assert _bridged(_line(id=1, method="ping"))[1]["result"] == {}
    assert cli("mcp", "stop").returncode == 0
    # Nor by a client that starts its bridge again.
    assert "session-buddy mcp start" in _bridged(_line(id=1, method="ping"))[1]["error"]["message"]
    assert process.running(paths) is None


def test_a_server_that_hangs_is_told_to_its_client(server: ServerInfo) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        # Together: one after another they would take half a minute.
        answers = _bridged(*[_line(id=number, method="ping") for number in range(6)])
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert len(answers) == 6
    assert all("session-buddy mcp stop --force" in one["error"]["message"] for one in answers.values())


def test_the_earlier_systems_module_is_the_bridge(server: ServerInfo) -> None:
    command = [sys.executable, "-P", "-m", "session_buddy.server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as bridge:
        answered, _ = bridge.communicate(_line(id=1, method="ping"), timeout=60)
    assert json.loads(answered)["result"] == {}
    assert bridge.returncode == 0
