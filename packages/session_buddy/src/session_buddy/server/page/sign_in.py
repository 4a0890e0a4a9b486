"""``/sign-in/{link}``: a browser that comes by a link is signed in; ``/sign-out``: and out again."""

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar, Final

from anyio import to_thread
from starlette.responses import Response

from session_buddy.server.page import html
from session_buddy.server.page.html import SIGN_IN_COMMAND, Context, Message, page
from session_buddy.server.page.user_agent import name_of
from session_buddy.server.web.routes import Asked, Nothing

FIRST_PAGE: Final = "/"


@dataclass(frozen=True, slots=True)
class SignedIn(Context):
    """What is shown for the moment until the browser goes on."""

    template: ClassVar[str] = "signed_in.html"
    subject: str
    goes_on: str


async def _sign_in(asked: Asked[Nothing]) -> Response:
    if asked.request.method == "HEAD":
        # Whoever only looks, such as a checker of links, uses none up.
        return Response(status_code=HTTPStatus.METHOD_NOT_ALLOWED, headers={"allow": "GET"})
    services, now = asked.services, time.time()
    link = services.links.take(asked.request.path_params["link"], now)
    caller = link.judge() if link else None
    if link is None or caller is None:
        heading = "This link is not good any more"
        detail = "Each signs one browser in, once, within a minute."
        return page(Message(heading, heading, detail, SIGN_IN_COMMAND), HTTPStatus.GONE)
    name = name_of(asked.request.headers.get("user-agent", ""))
    cookie, seconds = await to_thread.run_sync(services.browsers.sign_in, caller, name, now)
    # No redirect: after one, the browser still comes from where the link stood, and keeps a Strict cookie to
    # itself. From this page it comes from here.
    shown = SignedIn("Signed in", caller.subject, FIRST_PAGE)
    response = page(shown, headers={"refresh": f"0; url={FIRST_PAGE}"})
    response.set_cookie(
        services.browsers.cookie, cookie, seconds, secure=link.over_tls, httponly=True, samesite="strict"
    )
    return response


async def _sign_out(asked: Asked[Nothing]) -> Response:
    browsers, caller = asked.services.browsers, asked.caller
    if caller.browser:
        await to_thread.run_sync(browsers.sign_out, caller.browser, caller.subject, time.time())
    said = Message("Signed out", "You are signed out", "Another link signs you in again.", SIGN_IN_COMMAND)
    response = page(said, headers={"clear-site-data": '"cache"'})
    response.delete_cookie(browsers.cookie, httponly=True, samesite="strict")
    return response


SIGN_IN: Final = html.route(
    "/sign-in/{link}", "signs the browser in that comes by a link", _sign_in, Nothing, needs=None
)
SIGN_OUTS: Final = html.route("/sign-out", "signs this browser out", _sign_out, Nothing, form=True)
