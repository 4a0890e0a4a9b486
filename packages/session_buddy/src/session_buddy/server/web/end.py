"""``POST /api/end-session``: end sessions that are stuck, in the history."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, StringConstraints
from starlette.requests import Request

from session_buddy.access.callers import Caller
from session_buddy.server.register import Register
from session_buddy.server.web.pages import CallerOf, Endpoint, page

END_PATH: Final = "/api/end-session"


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    sessions: list[Annotated[str, StringConstraints(max_length=200)]]
    reason: str | None = None
    force: bool = False


def end_page(register: Register, caller_of: CallerOf) -> Endpoint:
    """The endpoint: ``results``, each a :class:`session_buddy.intake.by_hand.EndedByHand`.

    It takes an object with ``sessions`` (how each is named), ``reason`` and ``force``.

    Args:
        register: does it.
        caller_of: who asks, ``None`` if that is not known.
    """

    async def answer(request: Request, caller: Caller) -> dict[str, Any]:
        asked = _Asked.model_validate_json(await request.body())
        ended = register.end_by_hand(asked.sessions, asked.reason, force=asked.force, caller=caller)
        return {"results": await ended}

    return page(END_PATH, caller_of, answer)
