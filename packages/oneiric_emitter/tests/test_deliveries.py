import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from oneiric import SessionEventEmitter
from oneiric.outbox import destination_of
from oneiric.outbox import journals as paths_of
from oneiric.sweep import sweep
from oneiric.transport import Endpoint


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
    assert [destination_of(path) for path in paths_of(folder, None)] == [Endpoint(url=url).destination]
    assert sweep(folder, lambda _events: pytest.fail("delivered here"), now=datetime.now(UTC))
