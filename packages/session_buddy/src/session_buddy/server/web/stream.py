"""``GET /api/v1/stream``: starts and ends as they happen, as server-sent events."""

from functools import partial
from typing import Final

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from session_buddy.access.callers import Scope as Right
from session_buddy.server.hub import Hub, Stream
from session_buddy.server.web.routes import Asked, Nothing, route

_NEEDS: Final[tuple[Right, ...]] = ("read",)
_TYPE: Final = "text/event-stream"
# nginx would collect messages before it passes them on.
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


class _Events(StreamingResponse):
    """A stream, until it ends or its client leaves.

    Not sse-starlette's response: that one looks twice a second whether a signal came, and then cancels what
    is being sent, which the log of the server has as an error; here the hub says when it is over.
    """

    def __init__(self, hub: Hub, stream: Stream) -> None:
        self._hub = hub
        self._stream = stream
        super().__init__(stream, headers=_HEADERS, media_type=_TYPE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._hub.leave(self._stream)


async def _answer(asked: Asked[Nothing]) -> Response:
    if asked.request.method == "HEAD":
        return Response(headers=_HEADERS, media_type=_TYPE)
    hub = asked.services.register.hub
    may, abort = partial(_still_may, asked), asked.request.state.abort
    return _Events(hub, await hub.open(may, abort, asked.caller.subject))


def _still_may(asked: Asked[Nothing]) -> bool:
    """Whether the token was neither revoked nor has expired, nor lost its rights with its secret."""
    caller = asked.services.caller_of(asked.request)
    return caller is not None and caller.has(_NEEDS)


STREAM: Final = route(
    "GET",
    "/api/v1/stream",
    "starts and ends as they happen, as server-sent events",
    _answer,
    needs=_NEEDS,
    gives=(_TYPE,),
)
