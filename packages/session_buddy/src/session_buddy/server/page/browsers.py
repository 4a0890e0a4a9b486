"""``/browsers``: the browsers signed in as the caller, each with a button that signs it out."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, ClassVar, Final, NamedTuple

from anyio import to_thread
from pydantic import StringConstraints
from starlette.responses import RedirectResponse, Response

from session_buddy.server.page import html
from session_buddy.server.page.html import Context, page
from session_buddy.server.web.routes import Asked, Given, Nothing


class Row(NamedTuple):
    """A signed-in browser, by its token's id; times are UTC, ``seen`` empty until it asks this server."""

    id: str
    name: str
    since: str
    until: str
    seen: str
    is_this: bool


@dataclass(frozen=True, slots=True)
class Browsers(Context):
    """The page of the signed-in browsers of one subject, the latest first."""

    template: ClassVar[str] = "browsers.html"
    subject: str
    rows: Sequence[Row]


class Wanted(Given):
    """Which browser, by the id of its token."""

    browser: Annotated[str, StringConstraints(max_length=100)]


async def _list(asked: Asked[Nothing]) -> Response:
    caller = asked.caller
    rows = [
        Row(one.id, one.name, _told(one.since), _told(one.until), _told(one.seen), one.id == caller.browser)
        for one in asked.services.browsers.of(caller.subject, time.time())
    ]
    return page(Browsers("Signed-in browsers", caller.subject, rows), asked=asked)


async def _sign_out(asked: Asked[Wanted]) -> Response:
    browsers, subject = asked.services.browsers, asked.caller.subject
    await to_thread.run_sync(browsers.sign_out, asked.given.browser, subject, time.time())
    return RedirectResponse(BROWSERS.path, HTTPStatus.SEE_OTHER, {"cache-control": "no-store"})


def _told(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


BROWSERS: Final = html.route(
    "/browsers", "the browsers that are signed in as you, and where to sign them out", _list, Nothing
)
BROWSER_SIGN_OUTS: Final = html.route(
    "/browsers/sign-out", "signs another `browser` out", _sign_out, Wanted, form=True
)
