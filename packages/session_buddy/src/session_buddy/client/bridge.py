"""MCP over stdio: each message of an agent's client goes on to the running server over its Unix socket.

The bridge understands no tool and opens no database, so any number of them serve side by side. Messages of
the current protocol carry their version with them; for handshake-era clients the version that ``initialize``
agreed on is remembered. Nothing but MCP is written to standard output.
"""

import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from oneiric.transport import require_own

_PARSE_ERROR: Final = -32700
_INTERNAL_ERROR: Final = -32603
_PROTOCOL_KEY: Final = "io.modelcontextprotocol/protocolVersion"
_AT_ONCE: Final = 16
_CALL_SECONDS: Final = 60.0
_LAST_ANSWERS_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Message:
    """What HTTP headers must repeat of one JSON-RPC message.

    Attributes:
        body: the message as it came.
        request_id: ``None`` for a notification, which gets no answer.
        method: e.g. ``tools/call``.
        name: the tool or resource that is meant, if one is.
        version: the protocol version that the message itself carries, as those of the current protocol do.
    """

    body: bytes
    request_id: object
    method: str
    name: str | None
    version: str | None

    @classmethod
    def parse(cls, line: bytes) -> "Message":
        """Read one line.

        Raises:
            ValueError: the line is not JSON.
        """
        message = _object(json.loads(line))
        params = _object(message.get("params"))
        return cls(
            body=line.strip(),
            request_id=message.get("id"),
            method=str(message.get("method", "")),
            name=_text(params.get("name", params.get("uri"))),
            version=_text(_object(params.get("_meta")).get(_PROTOCOL_KEY)),
        )

    def headers(self, agreed_version: str | None) -> dict[str, str]:
        """The headers of its POST; ``agreed_version`` counts where the message names none."""
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        version = self.version or (None if self.method == "initialize" else agreed_version)
        if version:
            headers["MCP-Protocol-Version"] = _header(version)
        if self.version:
            headers["Mcp-Method"] = _header(self.method)
        if self.version and self.name is not None:
            headers["Mcp-Name"] = _header(self.name)
        return headers


class Bridge:
    """Forwards JSON-RPC lines to the server behind a Unix socket and writes its answers.

    Args:
        find_server: gives the socket of a running server, starting one if need be; raises an exception
            whose text is one line where that cannot be done.
        output: receives one answer a line.
    """

    def __init__(self, find_server: Callable[[], Path], output: BinaryIO) -> None:
        self._find_server = find_server
        self._output = output
        self._finding = threading.Lock()
        self._writing = threading.Lock()
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self._agreed_version: str | None = None

    def run(self, lines: Iterable[bytes]) -> None:
        """Serve until ``lines`` ends, then wait a moment for the last answers."""
        threads: list[threading.Thread] = []
        for line in lines:
            if line.strip():
                self._places.acquire()
                threads = [old for old in threads if old.is_alive()]
                threads.append(threading.Thread(target=self._serve, args=(line,), daemon=True))
                threads[-1].start()
        deadline = time.monotonic() + _LAST_ANSWERS_SECONDS
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0))

    def _serve(self, line: bytes) -> None:
        try:
            for answer in self._answers(line):
                self._write(answer)
        except BrokenPipeError:
            pass  # the client has left; the end of its input stops the bridge
        finally:
            self._places.release()

    def _answers(self, line: bytes) -> Iterator[bytes]:
        try:
            message = Message.parse(line)
        except (ValueError, RecursionError) as error:
            yield _error(None, _PARSE_ERROR, f"the line is not JSON: {error}")
            return
        try:
            yield from self._forward(message)
        except Exception as error:  # noqa: BLE001 - the edge: whatever fails becomes this request's answer
            if message.request_id is not None:
                yield _error(message.request_id, _INTERNAL_ERROR, f"Session-Buddy cannot be asked: {error}")

    def _forward(self, message: Message) -> Iterator[bytes]:
        with self._post(message) as response:
            kind = response.getheader("Content-Type", "")
            if kind.startswith("text/event-stream"):
                yield from (data for line in response if (data := _event_data(line)))
            elif kind.startswith("application/json") and (body := response.read()):
                self._remember_version(message, body)
                yield body.replace(b"\r", b"").replace(b"\n", b"")
            elif message.request_id is not None:
                problem = f"Session-Buddy answered HTTP {response.status}"
                yield _error(message.request_id, _INTERNAL_ERROR, problem)

    def _remember_version(self, message: Message, body: bytes) -> None:
        if message.method == "initialize":
            self._agreed_version = _text(_object(json.loads(body).get("result")).get("protocolVersion"))

    def _post(self, message: Message) -> http.client.HTTPResponse:
        """Ask; once more after finding or starting a server when the one known has gone.

        Every tool can be called twice: events are recognised by their ids.
        """
        headers = message.headers(self._agreed_version)
        try:
            return _request(self._server(), headers, message.body)
        except (OSError, http.client.HTTPException):
            return _request(self._server(), headers, message.body)

    def _server(self) -> Path:
        # One at a time: each of several first messages would start a server of its own.
        with self._finding:
            return self._find_server()

    def _write(self, answer: bytes) -> None:
        with self._writing:
            self._output.write(answer + b"\n")
            self._output.flush()


class UnixConnection(http.client.HTTPConnection):
    """HTTP through a Unix socket of this user."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Go through the socket; another user's, who would pose as the server, is refused."""
        require_own(self._path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _request(path: Path, headers: dict[str, str], body: bytes) -> http.client.HTTPResponse:
    connection = UnixConnection(path, _CALL_SECONDS)
    try:
        connection.request("POST", "/mcp", body, {**headers, "Connection": "close"})
        return connection.getresponse()
    except BaseException:
        connection.close()
        raise


def _event_data(line: bytes) -> bytes:
    """What one line of an event stream carries; nothing, if it is a comment or the event's name."""
    return line.removeprefix(b"data:").strip() if line.startswith(b"data:") else b""


def _object(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _header(value: str) -> str:
    """``value`` as MCP writes it into a header: base64 where plain ASCII would not survive."""
    if (
        value.isascii()
        and value.isprintable()
        and value == value.strip()
        and not value.startswith("=?base64?")
    ):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def _error(request_id: object, code: int, text: str) -> bytes:
    answer = {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": text}}
    return json.dumps(answer).encode()
