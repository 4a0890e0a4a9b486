"""How the command line asks: the server that the environment names, else this user's server, else the file.

Only what a running server needs is imported here; :mod:`session_buddy.client.offline` brings the database.
"""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeVar

from oneiric import settings_file
from oneiric.config import InvalidEndpoint, named_endpoint
from oneiric.paths import user_paths
from oneiric.transport import (
    CallRefused,
    Endpoint,
    TransportError,
    Unauthorized,
    Unreachable,
    call_tool,
    post_unix,
)
from session_buddy.errors import (
    ConfigurationError,
    ServerFailed,
    SessionBuddyError,
    StoreLocked,
    UnknownSession,
)
from session_buddy.history.query import MAX_LIMIT
from session_buddy.host import process
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.histories import same
from session_buddy.host.places import APP
from session_buddy.host.server_file import ServerInfo
from session_buddy.host.turn import turn
from session_buddy.host.variables import DATABASE
from session_buddy.intake import outbox

IF_REFUSED: Final = "put one that `session-buddy token create` made there into SESSION_BUDDY_TOKEN"
_CALL_SECONDS: Final = 30.0
_POST_SECONDS: Final = 600.0


T = TypeVar("T")
Ask = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


class _HungUp(ServerFailed):
    """The server was no longer listening, or closed the connection before it answered."""


def list_sessions(limit: int, **filters: str | None) -> tuple[list[dict[str, Any]], bool]:
    """The sessions that fit, newest first, and whether there are more than ``limit``.

    Args:
        limit: at most so many, over as many answers as that takes.
        filters: those of the ``list_sessions`` tool.

    Raises:
        CallRefused: the server did not accept a filter.
        SessionBuddyError: nobody could answer, and why.
    """
    given = {name: _typed(value) for name, value in filters.items() if value is not None}

    def collect(ask: Ask) -> tuple[list[dict[str, Any]], bool]:
        records: list[dict[str, Any]] = []
        place: dict[str, Any] = {}
        while len(records) < limit:
            answer = ask("list_sessions", {**given, **place, "limit": min(limit - len(records), MAX_LIMIT)})
            records += (found := _part(answer, "sessions", list))
            place = {"cursor": answer.get("next_cursor")}  # which an older server does not give
            if not found or not place["cursor"]:
                return records, False
        return records, True

    return _answered(collect)


def get_session(ref: str) -> dict[str, Any]:
    """The one session that a full id, an 8-hex suffix or a unique prefix means.

    Raises:
        UnknownSession: there is none, and none near.
        CallRefused: the server knows none, but some near, or several.
        SessionBuddyError: the file likewise, or nobody could answer.
    """
    typed = _typed(ref)
    try:
        record: dict[str, Any] = _answered(
            lambda ask: _part(ask("get_session", {"session_id": typed}), "session", dict)
        )
    except CallRefused as refused:
        nothing_near = UnknownSession(typed)
        raise (nothing_near if str(refused) == str(nothing_near) else refused) from None
    return record


def recent_ids(prefix: str) -> list[str]:
    """Ids for a shell's completion: quick, so only what a running server gives, and never an error."""
    try:
        server = named_server()
        if server is None and (info := local_server()):
            process.require_answer(info)
            server = info.endpoint
        sessions = _part(call(server, "list_sessions", {}), "sessions", list) if server else []
    except (SessionBuddyError, TransportError):
        return []
    return [record["session_id"] for record in sessions if record["session_id"].startswith(prefix)]


def _answered(work: Callable[[Ask], T]) -> T:
    """What somebody makes of the answers of a server, where there is one, else of the file."""
    named = named_server()
    if named is not None:
        return work(partial(call, named))

    def open_file() -> T:
        from session_buddy.client import offline
        from session_buddy.host.settings import load_settings

        with offline.answering(load_settings().database_url()) as answer:
            return work(answer)

    return ask_or_open(lambda server: work(_asking(server)), open_file)


def ask_or_open(
    ask_server: Callable[[ServerInfo], T], open_file: Callable[[], T], database: DatabaseUrl | None = None
) -> T:
    """Ask this user's server; where none keeps the database, do it at the file, when it is our turn.

    Args:
        ask_server: given the server.
        open_file: opens the file.
        database: as of :func:`local_server`.
    """
    with suppress(_HungUp):  # it is about to leave, and lets go of the file
        if server := local_server(database):
            return ask_server(server)
    # Not at the top: 0.6 s of libraries that a running server saves. Nor while others wait.
    import session_buddy.client.offline  # noqa: F401

    with turn(user_paths()):
        if server := local_server(database):
            return ask_server(server)
        try:
            return open_file()
        except StoreLocked:
            # Whose socket or server.json somebody removed makes them again within a second.
            if server := local_server(database):
                return ask_server(server)
            raise


def replay() -> list[str]:
    """Have your own history take in again what your shells' journals still hold; what each event became.

    Raises:
        SessionBuddyError: it cannot be done, and why.
    """

    def open_file() -> list[dict[str, Any]]:
        from session_buddy.client import offline
        from session_buddy.host.settings import load_settings

        return offline.replayed(load_settings().database_url(), datetime.now(UTC))

    def at_server(server: ServerInfo) -> list[dict[str, Any]]:
        process.require_answer(server)
        return outbox.replay(user_paths().outbox, partial(_deliver, server.endpoint))

    return [result["status"] for result in ask_or_open(at_server, open_file)]


def _asking(server: ServerInfo) -> Ask:
    process.require_answer(server)
    outbox.hand_over(user_paths().outbox, partial(_deliver, server.endpoint), datetime.now(UTC))
    return partial(call, server.endpoint)


def call(
    server: Endpoint,
    tool: str,
    arguments: Mapping[str, Any],
    *,
    if_refused: str = IF_REFUSED,
    timeout: float = _CALL_SECONDS,
) -> dict[str, Any]:
    """One tool call to a server that was found.

    Args:
        server: which one.
        tool: the tool's name.
        arguments: its arguments.
        if_refused: what to do when the token is not accepted.
        timeout: seconds for the whole call.

    Raises:
        ServerFailed: it went away, or wants another token.
        CallRefused: the tool's own complaint.
    """
    try:
        return call_tool(server, tool, arguments, timeout)
    except Unauthorized as error:
        raise ServerFailed(f"{error}; {if_refused}") from None
    except Unreachable as error:
        hung_up = isinstance(error.__cause__, (ConnectionError, FileNotFoundError))
        hangs = server.socket is not None and isinstance(error.__cause__, TimeoutError)
        hint = f"; {process.END_IT}" if hangs else ""
        raise (_HungUp if hung_up else ServerFailed)(
            f"Session-Buddy does not answer: {error}{hint}"
        ) from None


def _part(answer: Mapping[str, Any], name: str, kind: type) -> Any:  # noqa: ANN401 - of that kind
    """One part of an answer.

    Raises:
        ServerFailed: it is not there; whatever answered is no Session-Buddy.
    """
    part = answer.get(name)
    if not isinstance(part, kind):
        raise ServerFailed(f"what answers is no Session-Buddy: its answer has no {name}")
    return part


def post(server: ServerInfo, path: str) -> dict[str, Any]:
    """Ask this user's server, through its socket, for something that is no tool, and wait for it.

    Args:
        server: which one.
        path: what is asked for, e.g. ``/api/backup``.

    Raises:
        ServerFailed: it went away, knows no such thing, or its own complaint.
    """
    process.require_answer(server)
    try:
        status, body = post_unix(server.socket, path, {}, b"", _POST_SECONDS)
        if status == HTTPStatus.NOT_FOUND:
            raise ServerFailed(
                f"the running server knows no {path} (version {server.version}): session-buddy mcp restart"
            )
        answer: dict[str, Any] = json.loads(body)
    except (OSError, ValueError) as error:
        raise ServerFailed(f"Session-Buddy does not answer: {error}") from None
    if status != HTTPStatus.CREATED:
        raise ServerFailed(str(answer.get("error", f"Session-Buddy answered HTTP {status}")))
    return answer


def local_server(database: DatabaseUrl | None = None) -> ServerInfo | None:
    """This user's running server, ``None`` where the file is to be opened instead.

    Args:
        database: the one that it has to keep, by its URL; if not given, the one that somebody named.
    """
    info = process.running(user_paths())
    if info is None:
        return None
    if database is None and names_database():
        from session_buddy.host.settings import load_settings  # 0.3 s, and rarely needed

        database = load_settings().database_url()
    return info if database is None or same(database, DatabaseUrl.parse(info.database)) else None


def names_database() -> bool:
    """Whether the environment names a database, or this user's own settings may."""
    if any(os.environ.get(name) for name in DATABASE):
        return True
    try:
        raw = settings_file.read(user_paths().config / APP / f"{APP}.yaml") or b""
    except settings_file.InvalidFile:
        return False
    return b"db_path" in raw or b"storage_url" in raw


def named_server() -> Endpoint | None:
    """The server that ``SESSION_BUDDY_MCP_ENDPOINT`` names, with its token.

    Raises:
        ConfigurationError: the address or the token's file cannot be used.
    """
    try:
        return named_endpoint(os.environ)
    except InvalidEndpoint as error:
        raise ConfigurationError(str(error)) from None


def _typed(text: str) -> str:
    """What was typed, without bytes that are no text in the terminal's encoding: JSON cannot carry them."""
    return text.encode(errors="replace").decode()


def _deliver(server: Endpoint, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = _part(call(server, "track_events", {"events": events}), "results", list)
    return results
