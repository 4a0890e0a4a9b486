"""``POST /api/v1/ends``: end sessions that are stuck, in the history."""

from typing import Annotated, Final

from pydantic import StringConstraints
from typing_extensions import TypedDict

from session_buddy.intake.by_hand import EndedByHand
from session_buddy.server.web.routes import Asked, Given, Route


class EndsWanted(Given):
    """Which, and why.

    Attributes:
        sessions: how each is named.
        reason: why, in words.
        force: whether also such as are seen alive.
    """

    sessions: list[Annotated[str, StringConstraints(max_length=200)]]
    reason: str | None = None
    force: bool = False


class Ended(TypedDict):
    """What became of each, in order."""

    results: list[EndedByHand]


async def _answer(asked: Asked[EndsWanted]) -> Ended:
    wanted, register = asked.given, asked.services.register
    ended = register.end_by_hand(wanted.sessions, wanted.reason, force=wanted.force, caller=asked.caller)
    return Ended(results=await ended)


ENDS: Final = Route(
    "POST", "/api/v1/ends", ("track", "read"), "end sessions that are stuck", _answer, EndsWanted, Ended
)
