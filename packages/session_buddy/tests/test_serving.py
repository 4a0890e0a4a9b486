"""Connections that cost a server nothing but a place: the silent, the slow, and those that do not read."""

import json
import resource
import selectors
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress

import pytest

from oneiric.transport import Endpoint, call_tool
from session_buddy.access.tokens import issue
from session_buddy.host.server_file import ServerInfo
from tests.samples import start_event
from tests.serverprocess import ServerProcess, environ_in, port_of

FILES = 1024
SILENT = 1500
# Shorter than the server's own, which nobody need wait for here.
PATIENCE = 4
SECRET = "tests-only-" + uuid.uuid4().hex
HEAD = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module", autouse=True)
def _many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerInfo]:
    environ = environ_in(tmp_path_factory.mktemp("home"), SESSION_BUDDY_SECRET=SECRET)
    with ServerProcess(environ, files=FILES, patience=PATIENCE) as server:
        yield server.until_up()


def connected(info: ServerInfo, stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", port_of(info)), timeout=60))


def closed(connections: list[socket.socket]) -> int:
    """How many of them the server has closed."""
    with selectors.DefaultSelector() as ready:
        for connection in connections:
            ready.register(connection, selectors.EVENT_READ)
        return len(ready.select(0))


def test_any_number_of_silent_strangers_close_no_door(info: ServerInfo) -> None:
    remote = Endpoint(url=info.url, token=issue(SECRET, "ann", ["track", "read"], 600))
    with ExitStack() as stack:
        silent = [connected(info, stack) for _ in range(SILENT)]
        for endpoint in (info.endpoint, remote):
            for number in range(5):
                call_tool(endpoint, "track_session_start", start_event(number), timeout=20)
            assert call_tool(endpoint, "list_sessions", {}, timeout=20)["sessions"]
        assert closed(silent) >= SILENT - FILES // 8


def test_who_brings_no_request_is_let_go_of(info: ServerInfo) -> None:
    half = [b"", b"POST", HEAD, HEAD + b"Content-Length: 100\r\n\r\n{"]
    with ExitStack() as stack:
        slow = [connected(info, stack) for _ in half]
        for _ in half:
            slow.append(stack.enter_context(socket.socket(socket.AF_UNIX)))
            slow[-1].connect(str(info.socket))
        for connection, sent in zip(slow, half * 2, strict=True):
            connection.sendall(sent)
        begun = time.monotonic()
        for connection in slow:
            connection.settimeout(60)
            try:
                while connection.recv(1000):
                    pass
            except ConnectionResetError:
                pass
        assert time.monotonic() - begun >= PATIENCE / 2


@pytest.mark.parametrize("head", [b"", b"Content-Length: 4000000\r\n\r\n"], ids=["headers", "body"])
def test_who_drips_is_let_go_of(info: ServerInfo, head: bytes) -> None:
    pause = threading.Event()
    with ExitStack() as stack:
        slow = connected(info, stack)
        slow.sendall(HEAD + head)
        with suppress(ConnectionResetError, BrokenPipeError):
            # Until the server closes it: the test's own time would be over otherwise.
            while not pause.wait(0.5):
                slow.sendall(b"a:b\r\n")


def test_who_does_not_read_is_let_go_of(info: ServerInfo) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    request = (
        HEAD
        + b"Accept: application/json, text/event-stream\r\nMcp-Protocol-Version: 2025-06-18\r\n"
        + b"Authorization: Bearer %s\r\n" % issue(SECRET, "ann", ["read"], 600).encode()
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )
    with ExitStack() as stack:
        deaf = connected(info, stack)
        deaf.settimeout(60)
        with suppress(ConnectionResetError, BrokenPipeError):
            while True:
                deaf.sendall(request)


def test_who_reads_slowly_gets_the_whole_answer(info: ServerInfo) -> None:
    for number in range(40):
        call_tool(info.endpoint, "track_session_start", start_event(number, metadata={"x": "y" * 16_000}))
    body = json.dumps(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "list_sessions", "arguments": {"fields": ["*"]}},
        }
    ).encode()
    request = HEAD + b"Accept: application/json, text/event-stream\r\nMcp-Protocol-Version: 2025-06-18\r\n"
    received, pause = b"", threading.Event()
    with socket.socket(socket.AF_UNIX) as slow:
        slow.settimeout(60)
        slow.connect(str(info.socket))
        slow.sendall(request + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        begun = time.monotonic()
        while time.monotonic() - begun < 2 * PATIENCE:
            received += slow.recv(40_000)
            pause.wait(0.5)
        while not received.endswith(b"}"):
            more = slow.recv(1_000_000)
            assert more, len(received)
            received += more
    _, _, answer = received.partition(b"\r\n\r\n")
    assert json.loads(answer)["result"]["structuredContent"]["next_cursor"]


def test_who_sends_is_not_pushed_out_by_who_is_silent(info: ServerInfo) -> None:
    size, sent = 200_000, 0
    known = b"Authorization: Bearer %s\r\n" % issue(SECRET, "ann", ["track"], 600).encode()

    def strangers(stack: ExitStack) -> None:
        # A stranger may wait for seconds until the kernel takes it; the sender does not wait with it.
        for _ in range(3 * FILES // 8):
            connected(info, stack)

    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        sender = connected(info, stack)
        # More than is read before the application takes some.
        sender.sendall(HEAD + known + b"Content-Length: %d\r\n\r\n" % size + b" " * (size // 2))
        coming = pool.submit(strangers, stack)
        while not wait([coming], 0.02).done:
            sender.sendall(b" ")
            sent += 1
        coming.result()
        sender.sendall(b" " * (size // 2 - sent))
        assert sender.recv(100).startswith(b"HTTP/1.1 4")


def test_a_connection_is_kept_between_two_requests(info: ServerInfo) -> None:
    request, pause = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", threading.Event()
    with ExitStack() as stack:
        client = connected(info, stack)
        for seconds in (PATIENCE + 1, 0):
            client.sendall(request)
            answer = b""
            while not answer.endswith(b"}"):
                more = client.recv(1000)
                assert more, answer
                answer += more
            assert answer.startswith(b"HTTP/1.1 200 ")
            pause.wait(seconds)
