import http.server
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from oneiric import descriptors, transport
from oneiric.paths import user_paths
from oneiric.testing import FakeServer, start_event
from oneiric.transport import (
    CallRefused,
    Endpoint,
    Misdirected,
    Unauthorized,
    Unreachable,
    announced,
    call_tool,
    local_endpoint,
)


@contextmanager
def listening(answer: bytes | None, path: Path) -> Iterator[Endpoint]:
    """A Unix socket whose server reads a request and answers with these bytes, or never."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    held: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):
            connection, _ = server.accept()
            held.append(connection)
            connection.recv(65536)
            if answer is not None:
                connection.sendall(answer)
                connection.close()

    threading.Thread(target=serve, daemon=True).start()
    yield Endpoint(socket=path)
    server.close()
    for connection in held:
        connection.close()


def http_answer(content: object, status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n\r\n{json.dumps(content)}".encode()


def test_a_call_returns_the_structured_content(environ: Mapping[str, str]) -> None:
    with FakeServer(environ) as server:
        endpoint = local_endpoint(user_paths(environ))
        assert endpoint is not None
        answer = call_tool(endpoint, "track_events", {"events": [start_event()]})
    assert answer["results"][0]["status"] == "stored"
    assert server.events == [start_event()]


def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"no\.sock"):
        call_tool(Endpoint(socket=tmp_path / "no.sock"), "track_events", {})


def test_a_silent_server_is_unreachable_in_time(tmp_path: Path) -> None:
    with listening(None, tmp_path / "s") as endpoint, pytest.raises(Unreachable, match="timed out"):
        call_tool(endpoint, "track_events", {}, timeout=0.05)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"hello\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n<html>",
        http_answer([]),
        http_answer({"result": {}}),
        http_answer({"result": {"structuredContent": 3}}),
        http_answer({"result": None}),
    ],
)
def test_an_answer_that_is_not_mcp_is_unreachable(tmp_path: Path, answer: bytes) -> None:
    with listening(answer, tmp_path / "s") as endpoint, pytest.raises(Unreachable):
        call_tool(endpoint, "track_events", {})


def test_a_tool_error_is_its_message(tmp_path: Path) -> None:
    answer = http_answer({"result": {"isError": True, "content": [{"text": "pid: 0 is not valid"}]}})
    with (
        listening(answer, tmp_path / "s") as endpoint,
        pytest.raises(CallRefused, match=r"^pid: 0 is not valid$"),
    ):
        call_tool(endpoint, "track_events", {})


def test_a_protocol_error_is_its_message(tmp_path: Path) -> None:
    answer = http_answer({"error": {"code": -32601, "message": "Method not found"}}, 404)
    with listening(answer, tmp_path / "s") as endpoint, pytest.raises(CallRefused, match="Method not found"):
        call_tool(endpoint, "track_events", {})


@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_token_is_unauthorized(tmp_path: Path, status: int) -> None:
    with listening(http_answer({}, status), tmp_path / "s") as endpoint, pytest.raises(Unauthorized):
        call_tool(endpoint, "track_events", {})


def test_a_server_of_another_name_says_what_to_do(tmp_path: Path) -> None:
    answer = http_answer({}, 421)
    with listening(answer, tmp_path / "s") as endpoint, pytest.raises(Misdirected, match="ALLOWED_HOSTS"):
        call_tool(endpoint, "track_events", {})


def test_a_file_where_the_socket_should_be_gets_nothing(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("")
    with pytest.raises(Unreachable, match="no socket of this user"):
        call_tool(Endpoint(socket=tmp_path / "s"), "track_events", {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's socket")
def test_a_strangers_socket_gets_nothing(tmp_path: Path) -> None:
    with listening(http_answer({}), tmp_path / "s") as endpoint:
        os.chown(tmp_path / "s", 12345, 12345)
        with pytest.raises(Unreachable, match="no socket of this user"):
            call_tool(endpoint, "track_events", {})


@pytest.mark.parametrize("content", ["", "{", "[]", '{"socket": 1}', '{"url": "http://127.0.0.1"}'])
def test_a_torn_server_file_is_no_server(environ: Mapping[str, str], content: str) -> None:
    paths = user_paths(environ)
    assert announced(paths) == {}
    paths.server_file.parent.mkdir(parents=True)
    paths.server_file.write_text(content)
    assert announced(paths) == {}


def test_a_newer_server_may_say_more(environ: Mapping[str, str]) -> None:
    paths = user_paths(environ)
    with FakeServer(environ):
        said = json.loads(paths.server_file.read_text())
        paths.server_file.write_text(json.dumps({**said, "color": "blue"}))
        assert announced(paths)["socket"] == str(paths.socket)


@pytest.fixture
def web_server() -> Iterator[Callable[[bytes, str], tuple[Endpoint, list[Mapping[str, str]]]]]:
    """A web server on a free port that answers every POST with these bytes and keeps the headers it got."""
    servers: list[http.server.HTTPServer] = []

    def start(answer: bytes, kind: str) -> tuple[Endpoint, list[Mapping[str, str]]]:
        seen: list[Mapping[str, str]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                seen.append(dict(self.headers))
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_arguments: object) -> None:
                """Keep the test's output clean."""

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return Endpoint(url=f"http://127.0.0.1:{server.server_port}/mcp", token="secret"), seen

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_named_endpoint_gets_the_token(
    web_server: Callable[[bytes, str], tuple[Endpoint, list[Mapping[str, str]]]],
) -> None:
    answer = json.dumps({"result": {"structuredContent": {"ok": True}}}).encode()
    endpoint, seen = web_server(answer, "application/json")
    assert call_tool(endpoint, "track_events", {}) == {"ok": True}
    assert seen[0]["Authorization"] == "Bearer secret"
    assert seen[0]["Mcp-Name"] == "track_events"
    assert "secret" not in repr(endpoint)


def test_an_answer_as_an_event_stream_is_read(
    web_server: Callable[[bytes, str], tuple[Endpoint, list[Mapping[str, str]]]],
) -> None:
    answer = b'event: message\r\ndata: {"result":{"structuredContent":{"ok":true}}}\r\n\r\n'
    endpoint, _ = web_server(answer, "text/event-stream")
    assert call_tool(endpoint, "track_events", {}) == {"ok": True}


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        call_tool(Endpoint(url="http://no-such-host.invalid/mcp"), "track_events", {}, timeout=1)


class Dripper(http.server.BaseHTTPRequestHandler):
    """Sends a byte now and then, for ever: no step of a call ever takes long."""

    at_it = threading.Semaphore(0)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        try:
            if self.path == "/body":
                self.send_response(200)
                self.end_headers()
            else:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while True:
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            self.at_it.release()

    def log_message(self, *_arguments: object) -> None:
        """Keep the test's output clean."""


@pytest.mark.parametrize("slow", ["body", "head"])
def test_a_whole_call_has_a_limit_however_little_each_step_takes(slow: str) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dripper) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(Unreachable, match="timed out"):
            call_tool(Endpoint(url=f"http://127.0.0.1:{server.server_port}/{slow}"), "track_events", {}, 0.3)
        # It was hung up on, and nobody goes on reading.
        assert Dripper.at_it.acquire(timeout=60)
        server.shutdown()


def test_an_answer_that_breaks_off_is_closed_and_prints_nothing(python: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nbegun")
            # Closed like that, it is reset, and reading raises.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        code = f"""
import gc
from oneiric import transport
try: transport.call_tool(transport.Endpoint(url="http://127.0.0.1:{server.getsockname()[1]}/mcp"), "x", {{}})
except transport.Unreachable as error: print("reset" in str(error))
gc.collect()
"""
        done = python(code, "-X", "dev", "-W", "error")
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_call_takes_the_number_of_no_standard_stream(unmeasured: Mapping[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"""
import os, sys, oneiric
os.close(0), os.close(1)
os.environ["SESSION_BUDDY_MCP_ENDPOINT"] = "http://127.0.0.1:{server.getsockname()[1]}/mcp"
emitter = oneiric.install("shop")
os.read(int(sys.argv[1]), 1)
for number in (0, 1):
    try: os.write(number, b"printed by the host")
    except OSError: os.write(2, b"closed ")
os._exit(0)
"""
        reader, writer = os.pipe()
        shell = subprocess.Popen(
            [sys.executable, "-c", code, str(reader)],
            env=unmeasured,
            pass_fds=[reader],
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = server.accept()
        with connection:
            received = connection.recv(65536)
            os.write(writer, b"x")
            _, told = shell.communicate(timeout=60)
            while more := connection.recv(65536):
                received += more
    os.close(reader)
    os.close(writer)
    assert told == "closed closed "
    assert b"printed" not in received


def test_a_socket_that_the_host_closed_takes_no_file_of_the_hosts_with_it(tmp_path: Path) -> None:
    theirs = os.open("/dev/null", os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        with transport._connected(tmp_path / "s", time.monotonic() + 60) as connection:
            number = connection.fileno()
            assert number > 2
            os.dup2(theirs, number)
    assert descriptors.identity(number) == descriptors.identity(theirs)
    os.close(number)
    os.close(theirs)
