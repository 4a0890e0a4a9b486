"""``/health``: up or down for anybody; the rest for those who may know."""

from http import HTTPStatus
from typing import Any, Final, NotRequired

from starlette.responses import JSONResponse
from typing_extensions import TypedDict

from session_buddy.access.callers import NOBODY
from session_buddy.errors import StoreError
from session_buddy.server.web.routes import Asked, Nothing, Route


class Health(TypedDict):
    """How it is; all but ``status`` for a valid token."""

    status: str
    version: NotRequired[str]
    database: NotRequired[str]
    uptime_seconds: NotRequired[float]
    live_sessions: NotRequired[int]
    error: NotRequired[str]


async def _answer(asked: Asked[Nothing]) -> Any:  # noqa: ANN401 - JSON
    known = asked.caller is not NOBODY
    try:
        found = await asked.services.register.health()
    except StoreError as error:
        down = {"status": "down", **({"error": str(error)} if known else {})}
        return JSONResponse(down, HTTPStatus.SERVICE_UNAVAILABLE)
    shown = Health.__annotations__ if known else ("status",)
    return {name: value for name, value in found.items() if name in shown}


HEALTH: Final = Route(
    "GET",
    "/health",
    None,
    "whether it is up, `503` where it is not; details for a valid token",
    _answer,
    Nothing,
    Health,
)
