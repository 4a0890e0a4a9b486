"""``POST /api/v1/links``: a link that signs a browser in."""

import re
import time
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Final

from typing_extensions import TypedDict

from session_buddy.access.links import LIFE_SECONDS
from session_buddy.errors import Forbidden, InvalidQuery
from session_buddy.server.listeners import is_local
from session_buddy.server.web.routes import Asked, Given, route

_ADDRESS: Final = re.compile(r"https?://[^\s/?#@]{1,300}")


class LinkWanted(Given):
    """How it is opened.

    Attributes:
        address: of this server, as the browser reaches it; without it, as this request did.
    """

    address: str | None = None


class LinkMade(TypedDict):
    """A link, and until when it is good."""

    url: str
    expires_at: str


async def _answer(asked: Asked[LinkWanted]) -> LinkMade:
    caller, services, request = asked.caller, asked.services, asked.request
    if caller.browser:
        # A cookie could otherwise renew itself without end.
        raise Forbidden("a browser gets no link: `session-buddy dashboard` makes one")
    links, now = services.links, time.time()
    here = links.address if is_local(request.scope["server"]) else f"http://{request.headers['host']}"
    address = asked.given.address or here
    if not _ADDRESS.fullmatch(address):
        raise InvalidQuery("address", address, "http(s)://HOST or HOST:PORT; pages stand below no path")
    # Asked once more when it is used: by then the token may have been revoked.
    judge = partial(services.caller_of, request)
    # The server itself speaks plain HTTP, and no header of a request is believed: whether a proxy adds TLS,
    # only the client that comes through it knows.
    given = links.give(caller.subject, judge, now, over_tls=address.startswith("https:"))
    until = datetime.fromtimestamp(now + LIFE_SECONDS, UTC)
    return LinkMade(url=f"{address}/sign-in/{given}", expires_at=until.isoformat(timespec="seconds"))


LINKS: Final = route(
    "POST",
    "/api/v1/links",
    "a link that signs one browser in, once, within a minute",
    _answer,
    done=HTTPStatus.CREATED,
)
