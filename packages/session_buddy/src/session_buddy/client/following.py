"""Follows the changes that a server tells, also across restarts of the server."""

from collections.abc import Callable, Iterator
from time import sleep
from typing import Any, Final
from urllib.parse import urlencode

from oneiric.paths import user_paths
from oneiric.transport import Endpoint
from session_buddy.client.api import Away, asked
from session_buddy.client.ask import local_server, named_server
from session_buddy.errors import SessionBuddyError
from session_buddy.host.stopping import read_stop_marker

_PATH: Final = "/api/v1/changes"
_WAIT_SECONDS: Final = 20
# More than a server waits, and then reads.
_ANSWER_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = 0.2
# So many sessions are remembered as told.
_REMEMBERED: Final = 100_000
LOST: Final = "the history was restored, or is another one: what happened meanwhile is in list-sessions"


def changes(query: str, tell: Callable[[str], None]) -> Iterator[list[dict[str, Any]]]:
    """What happens from now on, each start and each end once; ``tell`` is given lines about the server.

    Yields:
        Groups of what came together: ``change`` (``start`` or ``end``) and ``session``; an empty one first.

    Raises:
        SessionBuddyError: no server answers at the beginning, or it refuses.
    """
    told: dict[tuple[str, str], None] = {}
    answer = _asked(query, None)
    yield []
    while True:
        try:
            answer = _asked(query, answer["place"])
        except Away as error:
            tell(f"{error}; waiting for it")
            answer = _once_back(query, answer["place"])
            tell("The server is back.")
        if answer["another_history"]:
            tell(LOST)
        fresh = [one for one in answer["changes"] if is_new(told, one)]
        if fresh:
            yield fresh


def _once_back(query: str, place: str) -> dict[str, Any]:
    while True:
        sleep(_RETRY_SECONDS)
        try:
            return _asked(query, place, 0)
        except Away:
            pass


def is_new(told: dict[tuple[str, str], None], one: dict[str, Any]) -> bool:
    """Whether it was not told before, and remember it; who was given up and came back may end again."""
    session_id, lost = one["session"]["session_id"], one["session"]["status"] == "lost"
    key = session_id, "lost" if lost and one["change"] == "end" else one["change"]
    if key in told:
        return False
    told[key] = None
    if len(told) > _REMEMBERED:
        del told[next(iter(told))]
    return True


def _asked(query: str, place: str | None, wait: int = _WAIT_SECONDS) -> dict[str, Any]:
    """One answer of the server that runs now, which may wait so many seconds for something to tell.

    Raises:
        Away: none answers.
        SessionBuddyError: it refuses, and why.
    """
    about = {"query": query, "wait": wait} | ({"place": place} if place else {})
    return asked(named_server() or _local(), f"{_PATH}?{urlencode(about)}", timeout=_ANSWER_SECONDS)


def _local() -> Endpoint:
    try:
        server = local_server()
    except SessionBuddyError as error:
        raise Away(str(error)) from None
    if server is None:
        stopped = "it was stopped" if read_stop_marker(user_paths()) else "none runs"
        raise Away(f"follow asks a server, and {stopped}: session-buddy mcp start --background")
    return server.endpoint
