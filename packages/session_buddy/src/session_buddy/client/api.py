"""What a server tells and does beside its tools, asked as programs do: JSON over HTTP."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from oneiric.transport import Endpoint, Unreachable, page
from session_buddy.client.ask import IF_REFUSED
from session_buddy.errors import ServerFailed


class Away(ServerFailed):
    """No server answers just now, or it cannot."""


def asked(
    server: Endpoint, target: str, document: Mapping[str, Any] | None = None, timeout: float = 30.0
) -> dict[str, Any]:
    """What a server answers.

    Args:
        server: which one.
        target: what is asked for, e.g. ``/api/changes?wait=20``.
        document: with it, something is to be done.
        timeout: seconds for the whole call.

    Raises:
        Away: nobody answers, or it cannot answer now.
        ServerFailed: it refuses, or knows no such thing.
    """
    body = None if document is None else json.dumps(document).encode()
    try:
        status, answered = page(server, target, body, timeout)
        if status == HTTPStatus.NOT_FOUND:
            asked_for = target.partition("?")[0]
            raise ServerFailed(f"the server is of another version, and has no {asked_for}: restart it")
        answer: Any = json.loads(answered)
    except (Unreachable, ValueError) as error:
        raise Away(f"Session-Buddy does not answer: {error}") from None
    if not isinstance(answer, dict):
        raise Away("what answers is no Session-Buddy")
    if status < HTTPStatus.BAD_REQUEST:
        return answer
    said = str(answer.get("error", f"Session-Buddy answered HTTP {status}"))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Away(said)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise ServerFailed(f"{said}; {IF_REFUSED}")
    raise ServerFailed(said)
