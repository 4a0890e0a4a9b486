"""``GET /metrics``: what Prometheus asks for."""

from typing import Final

from starlette.responses import Response

from session_buddy.server.web.routes import Asked, Nothing, Route


async def _answer(asked: Asked[Nothing]) -> Response:
    text, kind = await asked.services.metrics.scrape(asked.request.headers.get("accept", ""))
    return Response(text, headers={"cache-control": "no-store", "content-type": kind})


METRICS: Final = Route(
    "GET",
    "/metrics",
    ("read",),
    "what this server counts and measures, for Prometheus",
    _answer,
    Nothing,
    ("text/plain", "application/openmetrics-text"),
)
