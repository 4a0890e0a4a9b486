"""How the command line asks: the server that the environment names, else this user's server, else the file.

Only what a running server needs is imported here; :mod:`session_buddy.client.offline` brings the database.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, Final, NamedTuple, TypeVar

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
    local_endpoint,
)
from session_buddy.errors import (
    ConfigurationError,
    ServerFailed,
    SessionBuddyError,
    StoreLocked,
    UnknownSession,
)
from session_buddy.history.completion import RECENT, names_in
from session_buddy.history.query import MAX_LIMIT
from session_buddy.host import process
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.histories import same
from session_buddy.host.places import APP
from session_buddy.host.server_file import ServerInfo
from session_buddy.host.turn import turn
from session_buddy.host.variables import DATABASE, STORAGE_URL
from session_buddy.intake import outbox

IF_REFUSED: Final = "put one that `session-buddy token create` made there into SESSION_BUDDY_TOKEN"
_CALL_SECONDS: Final = 30.0
_RECENT_SECONDS: Final = 0.8
# More of a list than this is kept on disk until it is printed.
_KEPT_BYTES: Final = 8_000_000


T = TypeVar("T")
Ask = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


class _HungUp(ServerFailed):
    """The server was no longer listening, or closed the connection before it answered."""


class Listing(NamedTuple):
    """Sessions in groups, as they come; ``total`` and ``active`` are ``None`` where no count was asked for.

    ``truncated``: more fit, and in this order there is no next page.
    """

    pages: Iterator[Sequence[dict[str, Any]]]
    total: int | None
    active: int | None
    truncated: bool


def list_sessions(query: str, fields: Sequence[str], limit: int, **options: str | bool) -> Listing:
    """The sessions that a query finds, at most ``limit`` over as many answers as that takes; 0: all.

    ``options`` are further arguments of the ``list_sessions`` tool.

    Raises:
        CallRefused: the server did not accept something.
        SessionBuddyError: nobody could answer, and why.
    """
    asked = {"query": typed(query), "fields": list(fields), **options}
    most = limit or sys.maxsize

    def collect(ask: Ask) -> Listing:
        first = ask("list_sessions", {**asked, "limit": min(most, MAX_LIMIT)})
        pages = _pages(partial(ask, "list_sessions"), first, {**asked, "count": False}, most)
        cut = bool(first.get("truncated")) and not first.get("next_cursor")
        shown = len(_part(first, "sessions", list))
        return Listing(pages, first.get("total"), first.get("total_active"), cut and shown < most)

    def kept(listing: Listing) -> Listing:
        return listing._replace(pages=_kept(listing.pages))

    return _answered(collect, kept)


def statistics(query: str, **options: str | int) -> dict[str, Any]:
    """Count the sessions that a query finds, see :class:`session_buddy.history.counted.StatisticsAnswer`.

    ``options`` are further arguments of the ``session_statistics`` tool.

    Raises:
        CallRefused: the server did not accept something, or is too old to count.
        SessionBuddyError: nobody could answer, and why.
    """
    answer = _answered(lambda ask: dict(ask("session_statistics", {"query": typed(query), **options})))
    _part(answer, "rows", list)
    return answer


def _pages(
    ask: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    answer: Mapping[str, Any],
    asked: Mapping[str, Any],
    most: int,
) -> Iterator[list[dict[str, Any]]]:
    """The sessions of an answer, and of those that follow, up to so many."""
    while True:
        found: list[dict[str, Any]] = _part(answer, "sessions", list)
        yield found
        most -= len(found)
        if not found or not answer.get("next_cursor") or not most:
            return
        answer = ask({**asked, "cursor": answer["next_cursor"], "limit": min(most, MAX_LIMIT)})


def _kept(pages: Iterator[Sequence[dict[str, Any]]]) -> Iterator[Sequence[dict[str, Any]]]:
    """All pages, read now: the database is let go of before anything of them is printed."""
    file = SpooledTemporaryFile(_KEPT_BYTES, "w+", encoding="utf-8")  # noqa: SIM115 - closed when it was read
    for page in pages:
        file.write(json.dumps(page) + "\n")
    file.seek(0)

    def again() -> Iterator[Sequence[dict[str, Any]]]:
        with file:
            for line in file:
                yield json.loads(line)

    return again()


def get_session(ref: str, *, details: bool) -> dict[str, Any]:
    """The one session that a full id, an 8-hex suffix or a unique prefix means, or the latest.

    With ``details``, also its events, and the sessions around it.

    Raises:
        UnknownSession: there is none, and none near.
        CallRefused: the server knows none, but some near, or several.
        SessionBuddyError: the file likewise, or nobody could answer.
    """
    name = typed(ref)
    try:
        answer = _answered(lambda ask: dict(ask("get_session", {"session_id": name, "details": details})))
        _part(answer, "session", dict)
    except CallRefused as refused:
        nothing_near = UnknownSession(name)
        raise (nothing_near if str(refused) == str(nothing_near) else refused) from None
    return answer


def recent(fields: Sequence[str], query: str = "") -> list[str]:
    """What recent sessions have in some fields, for completion.

    Quick, so only what a running server gives, whichever database it keeps; never an error.
    """
    asked = {"fields": list(fields), "limit": RECENT, "query": query}
    try:
        server = named_server() or local_endpoint(user_paths())
        answer = call_tool(server, "list_sessions", asked, _RECENT_SECONDS) if server else {}
    except (SessionBuddyError, TransportError):
        return []
    return names_in(answer.get("sessions", ()), fields)


def _answered(work: Callable[[Ask], T], kept: Callable[[T], T] = lambda found: found) -> T:
    """Ask the server, where there is one, else the file, and return what ``work`` makes of the answers.

    ``kept`` makes of that what needs the file no more.
    """

    def open_file() -> T:
        from session_buddy.client import offline

        with offline.answering() as answer:
            return kept(work(answer))

    return done(lambda server: work(partial(call, server)), open_file)


def done(by: Callable[[Endpoint], T], open_file: Callable[[], T]) -> T:
    """Have the server do it that the environment names, else this user's, else do it at the database file.

    This user's server is given first what waits in the outbox.
    """
    named = named_server()
    return by(named) if named else ask_or_open(lambda server: by(_up_to_date(server)), open_file)


def ask_or_open(
    ask_server: Callable[[ServerInfo], T], open_file: Callable[[], T], database: DatabaseUrl | None = None
) -> T:
    """Ask this user's server; where none keeps the database, open the file once no other command has it."""
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
            # A server whose socket or server.json was removed makes them again within a second.
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

        return offline.replayed(datetime.now(UTC))

    def at_server(server: ServerInfo) -> list[dict[str, Any]]:
        process.require_answer(server)
        return outbox.replay(user_paths().outbox, partial(deliver, server.endpoint))

    return [result["status"] for result in ask_or_open(at_server, open_file)]


def _up_to_date(server: ServerInfo) -> Endpoint:
    """A server that answers, and has what waited in the outbox."""
    process.require_answer(server)
    outbox.hand_over(user_paths().outbox, partial(deliver, server.endpoint), datetime.now(UTC))
    return server.endpoint


def call(
    server: Endpoint,
    tool: str,
    arguments: Mapping[str, Any],
    *,
    if_refused: str = IF_REFUSED,
    timeout: float = _CALL_SECONDS,
) -> dict[str, Any]:
    """One tool call; ``if_refused`` tells what to do where the token is not accepted.

    Raises:
        ServerFailed: no answer within ``timeout`` seconds, or the token is refused.
        CallRefused: the tool refused the arguments.
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


def local_server(database: DatabaseUrl | None = None) -> ServerInfo | None:
    """This user's running server; ``None`` where the file is to be opened instead.

    It has to keep ``database``, if that is given, else the one that settings name, if they name one.
    """
    info = process.running(user_paths())
    if info is None:
        return None
    if database is None and names_database():
        if _is_named(DatabaseUrl.parse(info.database)):
            return info
        from session_buddy.host.layers import load_settings  # 0.3 s, and rarely needed

        database = load_settings().database_url()
    return info if database is None or same(database, DatabaseUrl.parse(info.database)) else None


def _is_named(kept: DatabaseUrl) -> bool:
    """Whether the one variable that names a database names this one: what settings would say, 50 ms later."""
    given = [(name, os.environ[name]) for name in DATABASE if os.environ.get(name)]
    with suppress(ConfigurationError):
        for name, text in given if len(given) == 1 else ():
            return (DatabaseUrl.parse(text) if name == STORAGE_URL else DatabaseUrl.of(Path(text))) == kept
    return False


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


def typed(text: str) -> str:
    """What was typed, without bytes that are no text in the terminal's encoding: JSON cannot carry them."""
    return text.encode(errors="replace").decode()


def deliver(server: Endpoint, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hand events to a server; what became of each."""
    results: list[dict[str, Any]] = _part(call(server, "track_events", {"events": events}), "results", list)
    return results
