"""Calls of a server's HTTP routes beside its tools: JSON, or a file."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from oneiric.transport import Endpoint, Unreachable, page
from session_buddy.client.ask import IF_REFUSED
from session_buddy.errors import ExportFailed, ServerFailed

if TYPE_CHECKING:
    from email.message import Message
    from http.client import HTTPResponse

_BACKUP_SECONDS: Final = 600.0
_PART_BYTES: Final = 1 << 20
# More than a server waits for who does not read.
_PART_SECONDS: Final = 30.0


class Away(ServerFailed):
    """No server answers just now, or it cannot."""


def asked(
    server: Endpoint, target: str, document: Mapping[str, Any] | None = None, timeout: float = 30.0
) -> dict[str, Any]:
    """What a server answers to ``target``, e.g. ``/api/v1/changes?wait=20``: a GET, with ``document`` a POST.

    Raises:
        Away: nobody answers within ``timeout`` seconds, or it cannot answer now.
        ServerFailed: it refuses, or has no such route.
    """
    body = None if document is None else json.dumps(document).encode()
    try:
        status, answered = page(server, target, body, timeout)
    except Unreachable as error:
        raise Away(f"Session-Buddy does not answer: {error}") from None
    return _accepted(status, answered, target)


def back_up(server: Endpoint, *, replace: bool = False) -> str:
    """Have a server make a backup, with ``replace`` in the place of all others; returns its path.

    Raises:
        ServerFailed: it cannot be made.
    """
    return str(
        asked(server, "/api/v1/backups", {"replace": True} if replace else {}, _BACKUP_SECONDS)["path"]
    )


def _accepted(status: int, answered: bytes, target: str) -> dict[str, Any]:
    """The document of an answer that is one.

    Raises:
        Away: it cannot answer now.
        ServerFailed: it refuses, or knows no such thing.
    """
    if status == HTTPStatus.NOT_FOUND:
        asked_for = target.partition("?")[0]
        raise ServerFailed(f"the server is of another version, and has no {asked_for}: restart it")
    try:
        answer: Any = json.loads(answered)
    except ValueError as error:
        raise Away(f"Session-Buddy does not answer: {error}") from None
    if not isinstance(answer, dict):
        raise Away("what answers is no Session-Buddy")
    if status < HTTPStatus.BAD_REQUEST:
        return answer
    said = str(answer.get("detail", f"Session-Buddy answered HTTP {status}"))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Away(said)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise ServerFailed(f"{answer.get('reason') or said}; {IF_REFUSED}")
    raise ServerFailed(said)


def fetched(
    server: Endpoint, target: str, file: BinaryIO, expect: Callable[[int], None], timeout: float
) -> "Message":
    """Write what a server answers to a GET of ``target`` into a file; returns the headers of the answer.

    ``expect`` is called with the number of bytes; the answer has to begin within ``timeout`` seconds.

    Raises:
        Away: nobody answers, or the connection broke before all had come.
        ServerFailed: it refuses, or has no such route.
        ExportFailed: the file cannot be written.
    """
    with _answering(server, target, timeout) as answer:
        if answer.status != HTTPStatus.OK:
            _accepted(answer.status, _part(answer), target)
        whole, came = answer.length or 0, 0
        expect(whole)
        while part := _part(answer):
            try:
                file.write(part)
            except OSError as error:
                raise ExportFailed(error.strerror or str(error)) from None
            came += len(part)
        if came != whole:
            raise Away("Session-Buddy went away in the middle of an answer; nothing is left of it: try again")
        return answer.headers


def _part(answer: "HTTPResponse") -> bytes:
    from http.client import HTTPException

    try:
        return answer.read(_PART_BYTES)
    except (OSError, HTTPException) as error:
        raise Away(f"Session-Buddy went away in the middle of an answer: {error}") from None


@contextmanager
def _answering(server: Endpoint, target: str, timeout: float) -> Iterator["HTTPResponse"]:
    """What a server has begun to answer to one GET."""
    from http.client import HTTPException

    from session_buddy.client.bridge import connection_with  # 60 ms that other commands do without

    connection, at = connection_with(server, timeout)
    with closing(connection):
        try:
            # A proxy may have it all below a path of its own.
            before = at.partition("?")[0].rstrip("/").removesuffix("/mcp")
            headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}
            connection.request("GET", before + target, headers=headers)
            answer = connection.getresponse()
            if connection.sock is not None:
                connection.sock.settimeout(_PART_SECONDS)
        except (OSError, HTTPException, ValueError) as error:
            where = server.socket or server.url
            raise Away(f"Session-Buddy does not answer: {where}: {error}") from None
        yield answer
