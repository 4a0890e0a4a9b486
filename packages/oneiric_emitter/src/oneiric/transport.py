"""One MCP tool call in one self-contained POST (protocol 2026-07-28); standard library only.

The local path speaks HTTP over the server's Unix socket by hand: ``http.client`` would cost its host 60 ms,
and a module that our thread imports while the host forks can deadlock the child. ``http.client`` serves
only endpoints that were named explicitly, and is imported by whoever names them (:func:`prepare`).
"""

import _socket  # gevent patches `socket`, whose import also takes 3 ms
import json
import os
import stat
import time
from binascii import a2b_base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from oneiric import threads
from oneiric.descriptors import held, moved_up, opened, standard_streams_taken
from oneiric.digests import sha256
from oneiric.paths import Paths

if TYPE_CHECKING:
    import http.client

PROTOCOL_VERSION = "2026-07-28"
_UNAUTHORIZED = frozenset({401, 403})
_MISDIRECTED = 421
_LONGEST_REASON = 300
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
# Missing on macOS, where the mask of our thread does the same.
_NO_SIGPIPE: int = getattr(_socket, "MSG_NOSIGNAL", 0)
_FROM_URL_SAFE = str.maketrans("-_", "+/")
# By this name a server knows its own command line, and emitters.
CLIENT = "oneiric"
_META = {
    "io.modelcontextprotocol/protocolVersion": PROTOCOL_VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": CLIENT, "version": "0.1.0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class TransportError(Exception):
    """A call brought no result."""


class Unreachable(TransportError):  # noqa: N818 - reads as the fact it states
    """Nobody answered, too late, or not in MCP."""


class Unauthorized(TransportError):  # noqa: N818
    """The server wants a token, or another one."""


class CallRefused(TransportError):  # noqa: N818
    """The tool answered with an error; its message is this exception's text."""


class Misdirected(CallRefused):
    """The server does not go by the name that it was called by (HTTP 421)."""


class Endpoint(NamedTuple):
    """Where a server listens: its Unix socket, or a URL with a token."""

    socket: Path | None = None
    url: str | None = None
    token: str | None = None

    @property
    def destination(self) -> str:
        """What marks the journals for this server and by this caller: nothing for this user's own server.

        Else 8 hex digits of the URL, and, where the token says for whom it is, ``-`` and 8 of that.
        """
        parts = [self.url, _subject(self.token)] if self.url else []
        return "-".join(sha256(part.encode("utf-8", "replace")).hexdigest()[:8] for part in parts if part)

    def __repr__(self) -> str:
        """The address alone: a token belongs in no log."""
        return f"<Endpoint {self.socket or self.url}>"


def announced(paths: Paths) -> dict[str, Any]:
    """What this user's server says in ``server.json``; nothing where that is missing, torn, or another's."""
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        with opened(paths.server_file, os.O_RDONLY | os.O_NONBLOCK) as file:
            own, raw = os.fstat(file).st_uid == os.geteuid(), os.read(file, 65536)
        said: dict[str, Any] = json.loads(raw)
        # A path that the file system cannot write is none.
        os.fsencode(said["socket"])
        return said if own else {}
    return {}


def local_endpoint(paths: Paths) -> Endpoint | None:
    """Where this user's server listens, if it says that it runs."""
    socket = announced(paths).get("socket")
    return Endpoint(socket=Path(socket)) if socket else None


def call_tool(
    endpoint: Endpoint, name: str, arguments: Mapping[str, Any], timeout: float = 5.0
) -> dict[str, Any]:
    """Call one tool, with plain JSON, within ``timeout`` seconds; returns its structured content.

    Raises:
        Unreachable: no connection, time-out, or an answer that is not MCP.
        Unauthorized: the token is missing or not accepted.
        Misdirected: the server does not go by this name.
        CallRefused: the tool or the protocol answered with an error.
    """
    message = {"name": name, "arguments": arguments, "_meta": _META}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": message}
    body = json.dumps(request, separators=(",", ":")).encode()
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": PROTOCOL_VERSION,
        "Mcp-Method": "tools/call",
        "Mcp-Name": name,
    }
    where = endpoint.socket or endpoint.url
    try:
        if endpoint.socket is not None:
            status, answer = post_unix(endpoint.socket, "/mcp", headers, body, timeout)
        else:
            status, answer = _post_url(endpoint, headers, body, timeout)
    except (OSError, ValueError, RuntimeError) as error:  # the last: no thread can be started
        raise Unreachable(f"{where}: {error}") from error
    if status in _UNAUTHORIZED:
        raise Unauthorized(f"{where}: {_refusal(answer)} ({status})")
    if status == _MISDIRECTED:
        raise Misdirected(f"{where}: the server there must list this name in SESSION_BUDDY_ALLOWED_HOSTS")
    return _content(status, answer)


def page(
    endpoint: Endpoint, target: str, body: bytes | None = None, timeout: float = 5.0
) -> tuple[int, bytes]:
    """One GET, with a body one POST, beside the tools, of e.g. ``/api/v1/changes``; its status and body.

    Raises:
        Unreachable: no connection, time-out, or an answer that is not HTTP.
    """
    where = endpoint.socket or endpoint.url
    try:
        if endpoint.socket is not None:
            return post_unix(endpoint.socket, target, {}, body, timeout)
        return _post_url(endpoint, {}, body, timeout, target)
    except (OSError, ValueError, RuntimeError) as error:
        raise Unreachable(f"{where}: {error}") from error


def prepare(url: str | None) -> None:
    """Import on the caller's thread what calls to ``url`` need."""
    if url is not None:
        import encodings.idna  # noqa: F401 - each would otherwise be imported by our thread
        import http.client  # noqa: F401
        import urllib.parse  # noqa: F401


def connection_to(url: str, timeout: float) -> "tuple[http.client.HTTPConnection, str]":
    """A connection to the server at an address, not opened yet, and what to ask for there."""
    import http.client
    import urllib.parse

    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    target = (parts.path or "/mcp") + (f"?{parts.query}" if parts.query else "")
    return kind(parts.hostname or "", parts.port, timeout=timeout), target


def post_unix(
    path: Path, target: str, headers: Mapping[str, str], body: bytes | None, timeout: float
) -> tuple[int, bytes]:
    """One POST, without a body one GET, through a Unix socket of this user; its status and body.

    Or :class:`OSError`: nobody answers within ``timeout`` seconds, or not in HTTP.
    """
    deadline = time.monotonic() + timeout
    require_own(path)
    asked, body = ("GET", b"") if body is None else ("POST", body)
    head = [f"{asked} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
    head.append(f"Content-Length: {len(body)}")
    head += [f"{key}: {value}" for key, value in headers.items()]
    received = bytearray()
    with _connected(path, deadline) as connection:
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body, _NO_SIGPIPE)
        while len(received) < _MAX_ANSWER_BYTES and (chunk := connection.recv(65536)):
            received += chunk
            connection.settimeout(_seconds_left(deadline))
    head_bytes, separator, answer = bytes(received).partition(b"\r\n\r\n")
    if not separator:
        raise ConnectionResetError("closed the connection without an answer")
    status = head_bytes[9:12]
    if not (head_bytes.startswith(b"HTTP/1.") and status.isdigit()):
        raise ConnectionResetError("is no web server")
    return int(status), answer


@contextmanager
def _connected(path: Path, deadline: float) -> Iterator[_socket.socket]:
    with standard_streams_taken():
        descriptor = moved_up(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM).detach())
    with held(descriptor):
        connection = _socket.socket(fileno=descriptor)
        try:
            connection.settimeout(_seconds_left(deadline))
            connection.connect(os.fspath(path))
            yield connection
        finally:
            connection.detach()


def require_own(path: Path) -> None:
    """Refuse (:class:`OSError`) what cannot be this user's server: anything but a socket of this user."""
    entry = os.stat(path)
    if not stat.S_ISSOCK(entry.st_mode) or entry.st_uid != os.geteuid():
        raise ConnectionRefusedError("is no socket of this user")


def _subject(token: str | None) -> str | None:
    """Whom a token is for, as it says itself (the ``sub`` of a JWT); the server checks that, not we."""
    with suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
        claims = (token or "").split(".")[1].translate(_FROM_URL_SAFE)
        return str(json.loads(a2b_base64(claims + "=="))["sub"])
    return None


def _content(status: int, answer: bytes) -> dict[str, Any]:
    try:
        message = json.loads(_json_part(answer))
        if "error" in message:
            raise CallRefused(str(message["error"].get("message", message["error"])))
        result = message["result"]
        if result.get("isError"):
            raise CallRefused("; ".join(part.get("text", "") for part in result["content"]))
        content = result["structuredContent"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unreachable(f"the answer (HTTP {status}) is not MCP: {error!r}") from error
    if not isinstance(content, dict):
        raise Unreachable("the answer holds no object")
    return content


def _refusal(answer: bytes) -> str:
    """Why a token is not accepted, as far as the server says."""
    with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        reason: str = json.loads(answer)["reason"]
        if 0 < len(reason) <= _LONGEST_REASON and reason.isprintable():
            return reason
    return "the token is missing or not accepted"


def _json_part(answer: bytes) -> bytes:
    """The JSON of a plain answer, or of the last event of a stream."""
    if answer[:1] in b"{":
        return answer
    data = [line[5:] for line in answer.splitlines() if line.startswith(b"data:")]
    return data[-1] if data else answer


def _seconds_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _connect_high(address: tuple[str, int], timeout: float, source: Any) -> Any:  # noqa: ANN401 - as `socket` has it
    """A connection whose number no host takes for a standard stream's."""
    import socket

    high = socket.socket(fileno=moved_up(socket.create_connection(address, timeout, source).detach()))
    high.settimeout(timeout)
    return high


def _post_url(
    endpoint: Endpoint, headers: dict[str, str], body: bytes | None, timeout: float, beside: str | None = None
) -> tuple[int, bytes]:
    """One POST, or one GET of what is ``beside`` the tools, on a thread of its own.

    Resolving a name has no limit, and others have one for each step.
    """
    import http.client

    connection, target = connection_to(endpoint.url or "", timeout)
    if beside is not None:
        # A proxy may have it all below a path of its own.
        target = target.partition("?")[0].rstrip("/").removesuffix("/mcp") + beside
    if endpoint.token:
        headers = {**headers, "Authorization": f"Bearer {endpoint.token}"}
    connection._create_connection = _connect_high  # type: ignore[attr-defined]  # noqa: SLF001 - also below TLS
    over = threads.locked()
    sockets, outcome = [], list[tuple[int, bytes] | Exception]()

    def post() -> None:
        try:
            connection.connect()
            # The connection forgets its own while an answer is read that ends with it.
            sockets.append(connection.sock)
            connection.request("POST" if body is not None else "GET", target, body, headers)
            with connection.getresponse() as response:
                outcome.append((response.status, response.read(_MAX_ANSWER_BYTES)))
        except http.client.HTTPException as error:
            outcome.append(ConnectionResetError(f"is no web server ({error!r})"))
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            outcome.append(error)
        finally:
            over.release()
            connection.close()

    threads.start(post)
    if not over.acquire(timeout=timeout):
        for one in sockets:
            with suppress(OSError):
                one.shutdown(_socket.SHUT_RDWR)
        raise TimeoutError("timed out")
    (result,) = outcome
    if isinstance(result, Exception):
        raise result
    return result
