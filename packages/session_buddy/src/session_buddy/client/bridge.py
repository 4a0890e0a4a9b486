"""MCP over stdio: each message of an agent's client goes on to the running server over its Unix socket.

The bridge understands no tool and opens no database, so any number of them serve side by side. Messages of
the current protocol carry their version with them; for handshake-era clients the version that ``initialize``
agreed on is remembered. Nothing but MCP is written to standard output, and every request is answered: what
brings no answer of its own is answered with an error.
"""

import base64
import http.client
import json
import math
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from oneiric.transport import Endpoint, connection_to, require_own

_PARSE_ERROR: Final = -32700
_INVALID_REQUEST: Final = -32600
_INTERNAL_ERROR: Final = -32603
_PROTOCOL_KEY: Final = "io.modelcontextprotocol/protocolVersion"
_AT_ONCE: Final = 16
_CALL_SECONDS: Final = 60.0
_LAST_ANSWERS_SECONDS: Final = _CALL_SECONDS + 10
_LOOK_MILLISECONDS: Final = 1000
_CHUNK_BYTES: Final = 65536


class NotAMessage(Exception):  # noqa: N818 - reads as the fact it states
    """A line is JSON, and no JSON-RPC message."""


@dataclass(frozen=True)
class Message:
    """What HTTP headers must repeat of one JSON-RPC message.

    Attributes:
        body: the message as it came.
        request_id: what its answer carries.
        waits: whether it is answered; a notification is not.
        method: e.g. ``tools/call``.
        name: the tool or resource that is meant, if one is.
        version: the protocol version that the message itself carries, as those of the current protocol do.
    """

    body: bytes
    request_id: object
    waits: bool
    method: str
    name: str | None
    version: str | None

    @classmethod
    def parse(cls, line: bytes) -> "Message":
        """Read one line.

        Raises:
            NotAMessage: it is some other JSON.
            ValueError: the line is not JSON.
        """
        # What is no text is the server's to refuse; whose request it is can be read all the same.
        message = json.loads(line.decode(errors="replace"))
        if not isinstance(message, dict):
            raise NotAMessage("a message is an object; batches are not taken")
        params = _object(message.get("params"))
        return cls(
            body=line.strip(),
            request_id=_identifier(message.get("id")),
            waits="id" in message,
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


def lines(source: int, sink: int) -> Iterator[bytes]:
    """The lines of a client, until it closes its end, reads no more, or its process is gone.

    A client that dies closes its end of the pipe, but whoever inherited that keeps it open: so the
    process that started this one is looked at too.
    """
    client = os.getppid()
    waiting = select.poll()
    waiting.register(source, select.POLLIN)
    waiting.register(sink, 0)  # no events asked for: poll still reports a closed reader
    begun: list[bytes] = []
    closed = False
    while True:
        ready = {descriptor for descriptor, _ in waiting.poll(_LOOK_MILLISECONDS)}
        if source in ready:  # also what a client said last, before it left
            chunk = os.read(source, _CHUNK_BYTES)
            *whole, rest = chunk.split(b"\n")
            for line in whole:
                yield b"".join([*begun, line])
                begun = []
            begun.append(rest)
            if not chunk:
                yield b"".join(begun)
                return
        elif closed or os.getppid() != client:
            return
        elif sink in ready:
            closed = True  # it may still have something to say
            waiting.unregister(sink)


class Bridge:
    """Forwards JSON-RPC lines to a server and writes its answers, one a line.

    ``find_server`` says where the server is, starting one if need be; the text of an exception that it
    raises is told to the client.
    """

    def __init__(self, find_server: Callable[[], Endpoint], output: BinaryIO) -> None:
        self._find_server = find_server
        self._output = output
        self._unwritable: OSError | None = None
        self._writing = threading.Lock()
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self._agreed_version: str | None = None

    def run(self, messages: Iterable[bytes]) -> None:
        """Serve until the messages end, then wait for the last answers.

        Raises:
            OSError: they cannot be written.
        """
        threads: list[threading.Thread] = []
        for line in messages:
            if self._unwritable is not None:
                break
            if line.strip():
                self._places.acquire()
                threads = [old for old in threads if old.is_alive()]
                threads.append(threading.Thread(target=self._serve, args=(line,), daemon=True))
                threads[-1].start()
        deadline = time.monotonic() + _LAST_ANSWERS_SECONDS
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0))
        if self._unwritable is not None:
            raise self._unwritable

    def _serve(self, line: bytes) -> None:
        try:
            for answer in self._answers(line):
                self._write(answer)
        except OSError as error:
            self._unwritable = error
        finally:
            self._places.release()

    def _answers(self, line: bytes) -> Iterator[bytes]:
        try:
            message = Message.parse(line)
        except NotAMessage as error:
            yield _error(None, _INVALID_REQUEST, str(error))
            return
        except (ValueError, RecursionError) as error:
            yield _error(None, _PARSE_ERROR, f"the line is not JSON: {error}")
            return
        waits = message.waits
        code, problem = _INTERNAL_ERROR, "Session-Buddy gave no answer"
        try:
            with self._post(message) as response:
                for part in _messages(response):
                    answer = _object(json.loads(part))
                    if "method" in answer or (waits and answer.get("id") == message.request_id):
                        waits = waits and "method" in answer
                        self._remember_version(message, answer)
                        yield part
                    elif "error" in answer:  # of a request that the server could not read whole
                        said = _object(answer["error"])
                        code, problem = said.get("code", code), str(said.get("message", problem))
                if response.status >= http.client.BAD_REQUEST and code == _INTERNAL_ERROR:
                    problem = f"Session-Buddy answered HTTP {response.status} {response.reason}"
        except Exception as error:  # noqa: BLE001 - the edge: any failure becomes this request's answer
            problem = f"Session-Buddy cannot be asked: {error}"
        if waits:
            yield _error(message.request_id, code, problem)

    def _remember_version(self, message: Message, answer: dict[str, Any]) -> None:
        if message.method == "initialize":
            self._agreed_version = _text(_object(answer.get("result")).get("protocolVersion"))

    def _post(self, message: Message) -> http.client.HTTPResponse:
        """Ask; once more after finding or starting a server when the one known has gone.

        Every tool can be called twice: events are recognised by their ids.
        """
        headers = message.headers(self._agreed_version)
        try:
            return _request(self._find_server(), headers, message.body)
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            return _request(self._find_server(), headers, message.body)

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


def connection_with(server: Endpoint, timeout: float) -> tuple[http.client.HTTPConnection, str]:
    """A connection to a server, not opened yet, and where MCP is there."""
    if server.socket is None:
        return connection_to(server.url or "", timeout)
    return UnixConnection(server.socket, timeout), "/mcp"


def _request(server: Endpoint, headers: dict[str, str], body: bytes) -> http.client.HTTPResponse:
    connection, target = connection_with(server, _CALL_SECONDS)
    if server.token:
        headers = {**headers, "Authorization": f"Bearer {server.token}"}
    try:
        # A body that is too long is refused before it is read whole: the answer is there all the same.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", target, body, {**headers, "Connection": "close"})
        return connection.getresponse()
    except BaseException:
        connection.close()
        raise


def _messages(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The JSON-RPC messages in an answer, each on one line, as they come."""
    kind = response.getheader("Content-Type", "")
    if kind.startswith("text/event-stream"):
        # Other lines are comments, and the events' names.
        data = (line.removeprefix(b"data:").strip() for line in response if line.startswith(b"data:"))
        yield from filter(None, data)
    elif kind.startswith("application/json") and (body := response.read()):
        yield body.replace(b"\r", b"").replace(b"\n", b"")


def _object(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    return value if isinstance(value, dict) else {}


def _identifier(value: object) -> object:
    """An id that JSON can carry back."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
