"""Pages as HTML: templates, and what a browser is told beside them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from http import HTTPStatus
from typing import ClassVar, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.responses import Response

from session_buddy.server.page.assets import addresses

_TEMPLATES: Final = Environment(
    loader=PackageLoader("session_buddy.server.page"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# What is ours alone, no inline script or style; nobody may frame it, and no other site is told of it. With
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
    """What a template shows; each page has its own, and says which template that is.

    Attributes:
        title: of the page, as tabs show it.
    """

    template: ClassVar[str]
    title: str


def page(context: Context, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """A page as it is sent."""
    shown = {field.name: getattr(context, field.name) for field in fields(context)}
    text = _TEMPLATES.get_template(context.template).render(shown, assets=addresses())
    return Response(text, status, {**HEADERS, **(headers or {})}, "text/html; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Message(Context):
    """A page that says one thing: refused, not found, gone, down.

    Attributes:
        heading: what.
        detail: what to do next.
        command: what to type for that, if anything.
    """

    template: ClassVar[str] = "message.html"
    heading: str
    detail: str
    command: str | None = None


SIGN_IN_COMMAND: Final = "session-buddy dashboard"
SIGN_IN: Final = "A browser is signed in by a link that is good once, and stays so for 12 hours."
_HEADINGS: Final = {
    HTTPStatus.UNAUTHORIZED: "You are not signed in",
    HTTPStatus.FORBIDDEN: "That is not yours to do",
    HTTPStatus.NOT_FOUND: "There is no such page",
    HTTPStatus.GONE: "It was deleted",
    HTTPStatus.SERVICE_UNAVAILABLE: "The history cannot be read just now",
}


def refusal(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """What went wrong, as people are told it; :func:`session_buddy.server.web.problems.problem` as a page."""
    heading = _HEADINGS.get(HTTPStatus(status), HTTPStatus(status).phrase)
    command = None
    if status == HTTPStatus.UNAUTHORIZED:
        detail, command = SIGN_IN, SIGN_IN_COMMAND
    return page(Message(heading, heading, detail, command), status, headers)
