"""``/health``: up or down for anybody; the rest for those who may know."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from session_buddy.errors import StoreError
from session_buddy.server.register import Register
from session_buddy.server.web.pages import CallerOf, Endpoint

SHOWN = ("status", "version", "database", "uptime_seconds", "live_sessions")


def health_page(register: Register, caller_of: CallerOf) -> Endpoint:
    """The endpoint: ``200 {"status": "ok"}`` or ``503 {"status": "down"}``, with details for a valid token.

    Args:
        register: is asked how it is.
        caller_of: who asks, ``None`` if that is not known.
    """

    async def health(request: Request) -> Response:
        known = caller_of(request) is not None
        try:
            found = await register.health()
        except StoreError as error:
            why = {"error": str(error)} if known else {}
            return JSONResponse({"status": "down", **why}, status_code=503)
        shown = SHOWN if known else SHOWN[:1]
        return JSONResponse({name: value for name, value in found.items() if name in shown})

    return health
