import http.server
import json
import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from oneiric import SessionEventEmitter, deliveries
from oneiric.outbox import journals as paths_of
from oneiric.outbox import parts_of
from oneiric.paths import user_paths
from oneiric.sweep import sweep
from oneiric.testing import FakeServer
from oneiric.transport import Endpoint
from tests.world import eventually


class TokenServer(http.server.ThreadingHTTPServer):
    """Takes every event that comes with the token of the moment, and keeps its kind."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/mcp"
        self.token = "first"
        self.kinds: list[str] = []
        self.changed = threading.Condition()

    def wait_for(self, kinds: list[str]) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.kinds == kinds, 60)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: TokenServer

    def do_POST(self) -> None:
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self.send_response(401)
            self.end_headers()
            return
        events = call["params"]["arguments"]["events"]
        results = [{"status": "stored", "error": None} for _ in events]
        content = {"results": results, "server_instance": "x", "next_heartbeat_seconds": 600}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"result": {"structuredContent": content}}).encode())
        with self.server.changed:
            self.server.kinds += [event["event_type"].removeprefix("session_") for event in events]
            self.server.changed.notify_all()

    def log_message(self, *_arguments: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def token_server() -> Iterator[TokenServer]:
    with TokenServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_a_token_file_is_read_for_each_contact(
    environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token_server: TokenServer
) -> None:
    file = tmp_path / "token"
    monkeypatch.setenv("SESSION_BUDDY_MCP_ENDPOINT", token_server.url)
    monkeypatch.setenv("SESSION_BUDDY_TOKEN_FILE", str(file))
    emitter = SessionEventEmitter("fleet", environ=environ)
    emitter.start_session("x")
    assert not emitter.wait_connected(60)
    assert "SESSION_BUDDY_TOKEN_FILE" in (emitter.problem or "")
    file.write_text("first\n")
    assert token_server.wait_for(["start"])
    token_server.token = "second"
    file.write_text("second\n")
    emitter.end_session()
    assert token_server.wait_for(["start", "start", "end"])
    emitter.start_session("x")
    assert token_server.wait_for(["start", "start", "end", "start"])
    file.unlink()
    emitter.end_session()
    assert token_server.wait_for(["start", "start", "end", "start", "start", "end"])


def test_a_token_that_was_read_once_is_held(
    environ: Mapping[str, str], tmp_path: Path, token_server: TokenServer
) -> None:
    (tmp_path / "token").write_text("first")
    named = {**environ, "SESSION_BUDDY_MCP_ENDPOINT": token_server.url}
    named["SESSION_BUDDY_TOKEN_FILE"] = str(tmp_path / "token")
    delivery = deliveries.delivery_for(user_paths(named), named)
    # As by a host that becomes another user, or goes to another folder, just after its start.
    (tmp_path / "token").unlink()
    delivery.server.find()
    delivery.server.call([])
    assert delivery.server.connected


@pytest.mark.parametrize("url", ["https://fleet.example/mcp", "no-address"])
def test_what_is_for_a_named_server_waits_for_it_though_it_cannot_be_called(
    environ: Mapping[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("SESSION_BUDDY_MCP_ENDPOINT", url)
    monkeypatch.setenv("SESSION_BUDDY_TOKEN_FILE", "/nowhere")
    emitter = SessionEventEmitter("fleet", environ=environ)
    emitter.start_session("x")
    emitter.end_session()
    assert not emitter.wait_connected(60)
    assert "SESSION_BUDDY" in (emitter.problem or "")
    assert [parts_of(path)[1] for path in paths_of(folder)] == [Endpoint(url=url).destination]
    assert sweep(folder, lambda _events: pytest.fail("delivered here"), now=datetime.now(UTC))


def test_each_person_of_a_process_reports_with_a_token_of_their_own(
    environ: Mapping[str, str], token_server: TokenServer, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("carols")
    who = {
        "alice": {"SESSION_BUDDY_TOKEN": "alices"},
        "bob": {"SESSION_BUDDY_TOKEN": "bobs"},
        "carol": {"SESSION_BUDDY_TOKEN_FILE": str(file)},
    }
    for name, token in who.items():
        emitter = SessionEventEmitter(
            name, environ={**environ, "SESSION_BUDDY_MCP_ENDPOINT": token_server.url, **token}
        )
        token_server.token = f"{name}s"
        emitter.start_session("x")
        assert emitter.wait_connected(60)
        emitter.end_session()
        assert emitter.wait_connected(60)


def test_what_one_person_left_is_not_reported_as_anothers(
    environ: Mapping[str, str], folder: Path, token_server: TokenServer
) -> None:
    def token(subject: str, issued: int) -> str:
        parts: list[dict[str, Any]] = [{"alg": "HS256"}, {"sub": subject, "iat": issued}, {}]
        return ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)

    def emitter(subject: str, issued: int = 1) -> SessionEventEmitter:
        named = {
            "SESSION_BUDDY_MCP_ENDPOINT": token_server.url,
            "SESSION_BUDDY_TOKEN": token(subject, issued),
        }
        return SessionEventEmitter("shop", environ={**environ, **named})

    for subject in ("ålice>", "bob"):
        one = emitter(subject)
        one.start_session("x")
        one.end_session()
        assert not one.wait_connected(60)
    assert len(paths_of(folder)) == 2
    # A new token of one of them: what that one left is swept up, and nobody else's.
    token_server.token = token("ålice>", 2)
    again = emitter("ålice>", 2)
    again.start_session("x")
    assert again.wait_connected(60)
    again.end_session()
    eventually(lambda: len(paths_of(folder)) == 1)
    assert token_server.kinds.count("end") == 2
    assert len(paths_of(folder / "done")) == 2


@pytest.mark.parametrize("claims", [b'{"sub": "\\ud800"}', b"[" * 50000, b'{"sub": {}}', b"[1]", b""])
def test_a_token_of_any_shape_costs_no_start(environ: Mapping[str, str], claims: bytes) -> None:
    token = f"x.{urlsafe_b64encode(claims).decode()}.x"
    named = {"SESSION_BUDDY_MCP_ENDPOINT": "http://127.0.0.1:9/mcp", "SESSION_BUDDY_TOKEN": token}
    emitter = SessionEventEmitter("shop", environ={**environ, **named})
    assert emitter.start_session("x")
    assert emitter.end_session()


def test_hung_servers_cost_one_exit(python: Any) -> None:
    code = """
import atexit, os, socket, oneiric
from oneiric import deliveries
waits = []
@atexit.register
def told():
    print(sum(wait > 0 for wait in waits), len(waits))
hung = [socket.create_server(("127.0.0.1", 0)) for _ in range(10)]
for server in hung:
    url = f"http://127.0.0.1:{server.getsockname()[1]}/mcp"
    emitter = oneiric.SessionEventEmitter("shop", environ={**os.environ, "SESSION_BUDDY_MCP_ENDPOINT": url})
    emitter.start_session("x")
for delivery in deliveries._deliveries.values():
    def flush(timeout, flush=delivery.worker.flush):
        waits.append(timeout)
        return flush(timeout)
    delivery.worker.flush = flush
"""
    assert python(code).stdout == "1 10\n"


@pytest.mark.parametrize("served", [False, True], ids=["no server", "a server"])
def test_homes_that_are_done_with_leave_no_threads(
    environ: Mapping[str, str], tmp_path: Path, *, served: bool
) -> None:
    before = set(Path("/proc/self/task").iterdir())
    homes = [tmp_path / str(number) for number in range(20)]
    with ExitStack() as servers:
        for home in homes:
            home.mkdir()
            named = {**environ, "HOME": str(home)}
            if served:
                servers.enter_context(FakeServer(named))
            emitter = SessionEventEmitter("shop", environ=named)
            emitter.start_session("x")
            emitter.end_session()
        ours = [
            deliveries._deliveries[key] for key in deliveries._deliveries if key[0].startswith(str(tmp_path))
        ]
        assert len(ours) == len(homes)
        eventually(lambda: not any(one.worker._running for one in ours))
    # It begins again where it is asked.
    emitter.start_session("x")
    assert emitter.session_id is not None
    emitter.wait_connected(30)
    emitter.end_session()
    eventually(lambda: not (set(Path("/proc/self/task").iterdir()) - before))
