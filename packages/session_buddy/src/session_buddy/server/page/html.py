"""Pages as HTML: templates, and what a browser is told beside them."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from http import HTTPStatus
from typing import Any, ClassVar, Final, NamedTuple, Self

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.responses import Response

from oneiric.visible import visible
from session_buddy.access.callers import Scope
from session_buddy.history.keys import KEYS
from session_buddy.server.page.address import address
from session_buddy.server.page.assets import addresses
from session_buddy.server.web.routes import Asked, G, Method, Route

_TEMPLATES: Final = Environment(
    loader=PackageLoader("session_buddy.server.page"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# Resources of this server alone, no inline script or style; no frame, and no address to other sites. With
# `no-referrer`, forms of a page would be sent with `Origin: null`.
HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Context:
    """What a template shows; each page has its own. ``title`` is what tabs show."""

    template: ClassVar[str]
    title: str


class Tab(NamedTuple):
    """A page that the header leads to."""

    name: str
    href: str
    is_this: bool


class Header(NamedTuple):
    """What stands above a page; the query line leads to ``asks``; ``tz``, ``subject``: empty if unknown."""

    tabs: list[Tab]
    asks: str
    query: str
    tz: str
    subject: str

    @classmethod
    def of(cls, asked: Asked[Any] | None) -> Self:
        """That of a page that was asked for; without, that of one which says what went wrong."""
        if asked is None:
            return cls(_tabs("", "", ""), _SEARCH, "", "", "")
        path, given = asked.request.url.path, asked.request.query_params
        query, tz = given.get("q", ""), given.get("tz", "")
        asks = path if path in _FILTERED else _SEARCH
        return cls(_tabs(path, query, tz), asks, query, tz, visible(asked.caller.subject))


_SEARCH: Final = "/sessions"
# What a query may begin with, and what each looks at.
_KEYS: Final = [(f"{key.name}:".replace("KEY:", ""), key.looks_at) for key in KEYS]
# The query goes from one of these to the other.
_FILTERED: Final = {"/timeline": "Timeline", "/patterns": "Patterns", _SEARCH: "Sessions"}


def _tabs(path: str, query: str, tz: str) -> list[Tab]:
    now = Tab("Now", address("/", tz=tz), path == "/")
    others = [Tab(name, address(to, q=query, tz=tz), path == to) for to, name in _FILTERED.items()]
    return [now, *others]


def page(
    context: Context,
    status: int = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
    *,
    asked: Asked[Any] | None = None,
) -> Response:
    """A page as it is sent; its header tells of what was asked."""
    shown = {field.name: getattr(context, field.name) for field in fields(context)}
    is_in = status != HTTPStatus.UNAUTHORIZED
    template = _TEMPLATES.get_template(context.template)
    text = template.render(shown, assets=addresses(), header=Header.of(asked), is_in=is_in, keys=_KEYS)
    return Response(text, status, {**HEADERS, **(headers or {})}, "text/html; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Message(Context):
    """A page that says one thing: refused, not found, gone, down; and what to type then, if anything."""

    template: ClassVar[str] = "message.html"
    heading: str
    detail: str
    command: str | None = None


SIGN_IN_COMMAND: Final = "session-buddy dashboard"
SIGN_IN: Final = "A browser is signed in by a link that is good once, and stays so for 12 hours."
_HEADINGS: Final = {
    HTTPStatus.BAD_REQUEST: "That cannot be read",
    HTTPStatus.UNAUTHORIZED: "You are not signed in",
    HTTPStatus.FORBIDDEN: "That is not yours to do",
    HTTPStatus.NOT_FOUND: "It is not there",
    HTTPStatus.METHOD_NOT_ALLOWED: "That is no page",
    HTTPStatus.CONFLICT: "That cannot be done",
    HTTPStatus.GONE: "It was deleted",
    HTTPStatus.SERVICE_UNAVAILABLE: "The history cannot be read just now",
}


_PARAMETER: Final = re.compile(r"\w+: ")


def refusal(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """What went wrong, as people are told it; :func:`session_buddy.server.web.problems.problem` as a page."""
    heading = _HEADINGS.get(HTTPStatus(status), HTTPStatus(status).phrase)
    command = None
    if status == HTTPStatus.UNAUTHORIZED:
        detail, command = SIGN_IN, SIGN_IN_COMMAND
    # A message that begins with a parameter's name has that as it is written.
    sentence = detail if _PARAMETER.match(detail) else detail[:1].upper() + detail[1:]
    return page(Message(heading, heading, sentence, command), status, headers)


def route(
    path: str,
    tells: str,
    answer: Callable[[Asked[G]], Awaitable[Response]],
    takes: type[G],
    *,
    needs: tuple[Scope, ...] | None = ("read",),
    form: bool = False,
) -> Route[G]:
    """The route of a page, or of a form of one, which says as a page what went wrong."""
    method: Method = "POST" if form else "GET"
    return Route(method, path, needs, tells, answer, takes, ("text/html",), refusal=refusal, form=form)
