"""For tests of programs that emit: a fake Session-Buddy on real sockets, and what lies in an outbox.

    >>> from pathlib import Path; import tempfile
    >>> from oneiric import SessionEventEmitter
    >>> home = tempfile.mkdtemp()
    >>> with FakeServer({"HOME": home}) as server:
    ...     emitter = SessionEventEmitter("shop", environ={"HOME": home})
    ...     session_id = emitter.start_session("ShopShell")
    ...     emitter.shutdown()
    ...     server.wait_for(lambda events: any(event["event_type"] == "session_end" for event in events))
    True

A start may come twice, alone and again with its end: a server recognises it.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any, Self

from oneiric import entries, outbox
from oneiric.compose import session_id_of
from oneiric.entries import Entry
from oneiric.events import InvalidEvent, SessionHeartbeat, SessionStart, parse_event
from oneiric.paths import user_paths

Answer = Callable[[list[dict[str, Any]]], dict[str, Any]]


class FakeServer:
    """Answers ``track_events`` on this user's Unix socket and keeps what came.

    Args:
        environ: names the home to serve, as :func:`oneiric.paths.user_paths` reads it.
        answer: makes the structured answer of a call from its events; the default accepts valid ones.

    Attributes:
        events: all events received so far, repeats included.
        calls: how many calls came.
    """

    def __init__(self, environ: Mapping[str, str], answer: Answer | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.calls = 0
        self._paths = user_paths(environ)
        self._answer = answer or self.accept
        self._changed = threading.Condition()
        self._server: _Server | None = None

    def __repr__(self) -> str:
        return f"<FakeServer calls={self.calls} events={len(self.events)}>"

    def __enter__(self) -> Self:
        """Listen, and say so in ``server.json``."""
        socket = self._paths.socket
        socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._server = _Server(os.fspath(socket), _Handler)
        self._server.receive = self._receive
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self._paths.server_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._paths.server_file.write_text(json.dumps({"socket": os.fspath(socket)}))
        return self

    def __exit__(self, *_exception: object) -> None:
        """Stop listening."""
        self._paths.server_file.unlink(missing_ok=True)
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._paths.socket.unlink(missing_ok=True)
        with suppress(OSError):
            self._paths.socket.parent.rmdir()

    def wait_for(self, condition: Callable[[list[dict[str, Any]]], bool], timeout: float = 10.0) -> bool:
        """Wait until ``condition(events)`` holds; ``False`` after ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self.events), timeout)

    def accept(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        """The answer of a server that has room: stored, duplicate, not_found or invalid, one an event."""
        known = {event.get("event_id") for event in self.events}
        starts = (event for event in self.events if event["event_type"] == "session_start")
        started = {session_id_of(start) for start in starts}
        results = [_result(event, known, started) for event in events]
        return {"results": results, "server_instance": f"fake-{id(self)}", "next_heartbeat_seconds": 15.0}

    def _receive(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        with self._changed:
            answer = self._answer(events)
            self.events.extend(events)
            self.calls += 1
            self._changed.notify_all()
        return answer


def journals(folder: Path, kind: str = "") -> list[Entry]:
    """What the journals of an outbox say, or those in its ``done``, ``rejected`` or ``corrupt`` folder."""
    found = []
    for path in outbox.journals(folder / kind):
        # Somebody may have delivered it since it was listed.
        with suppress(FileNotFoundError):
            found.append(entries.read(path))
    return found


def start_event(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any field of the event
    """A valid start event, with ``changes``."""
    return {
        "event_version": "1.0",
        "event_id": "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed",
        "event_type": "session_start",
        "component_name": "shop",
        "shell_type": "ShopShell",
        "timestamp": "2026-01-02T03:04:05.500000+00:00",
        "pid": 4242,
        "user": {"username": "ada", "home": "/home/ada"},
        "hostname": "db1",
        "environment": {"python_version": "3.11.7", "platform": "Linux", "cwd": "/"},
        "metadata": {},
        **changes,
    }


def _result(event: dict[str, Any], known: set[str | None], started: set[str]) -> dict[str, Any]:
    result: dict[str, Any] = {"status": "stored", "session_id": None, "field": None, "error": None}
    try:
        parsed = parse_event(event)
    except InvalidEvent as error:
        return result | {"status": "invalid", "field": error.field, "error": str(error)}
    result["session_id"] = parsed.session_id
    if isinstance(parsed, SessionStart):
        started.add(parsed.session_id)
    elif parsed.session_id not in started:
        result["status"] = "not_found"
    if not isinstance(parsed, SessionHeartbeat) and str(parsed.event_id) in known:
        result["status"] = "duplicate"
    return result


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    receive: Answer

    def handle_error(self, _request: object, _address: object) -> None:
        """A client that leaves early is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = self.server.receive(body["params"]["arguments"]["events"])
        result = {"content": [], "isError": False, "structuredContent": content}
        answer = json.dumps({"jsonrpc": "2.0", "id": body["id"], "result": result}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_arguments: object) -> None:
        """Tests read events, not access logs."""
