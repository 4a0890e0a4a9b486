"""``/health`` and ``/metrics``: how the server is; whether it is up is told to anybody."""

from http import HTTPStatus
from typing import Any, Final, NotRequired

from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from session_buddy.access.callers import NOBODY
from session_buddy.errors import StoreError
from session_buddy.server.web.routes import Asked, Nothing, route


class Health(TypedDict):
    """How it is; all but ``status`` for a valid token."""

    status: str
    version: NotRequired[str]
    database: NotRequired[str]
    uptime_seconds: NotRequired[float]
    live_sessions: NotRequired[int]
    error: NotRequired[str]


async def _health(asked: Asked[Nothing]) -> Any:  # noqa: ANN401 - JSON
    known = asked.caller is not NOBODY
    try:
        found = await asked.services.register.health()
    except StoreError as error:
        down = {"status": "down", **({"error": str(error)} if known else {})}
        return JSONResponse(down, HTTPStatus.SERVICE_UNAVAILABLE)
    shown = Health.__annotations__ if known else ("status",)
    return {name: value for name, value in found.items() if name in shown}


async def _metrics(asked: Asked[Nothing]) -> Response:
    text, kind = await asked.services.metrics.scrape(asked.request.headers.get("accept", ""))
    return Response(text, headers={"cache-control": "no-store", "content-type": kind})


HEALTH: Final = route(
    "GET",
    "/health",
    "whether it is up, `503` where it is not; details for a valid token",
    _health,
    needs=None,
    gives=Health,
)
METRICS: Final = route(
    "GET",
    "/metrics",
    "what this server counts and measures, for Prometheus",
    _metrics,
    gives=("text/plain", "application/openmetrics-text"),
)
