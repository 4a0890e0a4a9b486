"""``/health``: up or down for anybody; the rest for those who may know."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse

from session_buddy.access.callers import Caller
from session_buddy.errors import StoreError
from session_buddy.server.register import Register

SHOWN = ("status", "version", "database", "uptime_seconds", "live_sessions")


class HealthEndpoint:
    """The endpoint.

    Args:
        register: is asked how it is.
        caller_of: who asks, ``None`` if that is not known.
    """

    def __init__(self, register: Register, caller_of: Callable[[Request], Caller | None]) -> None:
        self._register = register
        self._caller_of = caller_of

    async def __call__(self, request: Request) -> JSONResponse:
        """``200 {"status": "ok"}`` or ``503 {"status": "down"}``, with details for a valid token."""
        try:
            health = await self._register.health()
        except StoreError:
            return JSONResponse({"status": "down"}, status_code=503)
        if self._caller_of(request) is None:
            return JSONResponse({"status": health["status"]})
        return JSONResponse({name: value for name, value in health.items() if name in SHOWN})
