"""Runs around every route: identifies the caller, checks scopes, parses parameters, makes the response."""

import json
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from oneiric.visible import visible
from session_buddy.access.callers import NOBODY, Caller, asking
from session_buddy.errors import Forbidden, InvalidQuery
from session_buddy.server.register import Outcome
from session_buddy.server.web.problems import TOLD, problem, told
from session_buddy.server.web.routes import Asked, Given, Refusal, Route, Services

Endpoint = Callable[[Request], Awaitable[Response]]

# A browser may keep an answer, and asks each time whether it still holds.
_KEPT: Final = "private, no-cache"
_MOST_FIELDS: Final = 100
_ELSEWHERE: Final = ("cross-site", "same-site")


def application(routes: Iterable[Route[Any]], services: Services, to_people: Refusal) -> Starlette:
    """All routes, each behind the same checks.

    A browser is told by ``to_people`` that there is no such route; programs are told a problem.
    """
    return Starlette(
        routes=[StarletteRoute(one.path, _endpoint(one, services), methods=[one.method]) for one in routes],
        # A timeline of a thousand bars is 119 KB without. Its size tells no secret: an answer has none.
        middleware=[Middleware(GZipMiddleware)],
        exception_handlers={HTTPException: partial(_not_there, to_people)},
    )


def _endpoint(route: Route[Any], services: Services) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        calls = services.register.calls
        try:
            answer = await answered(request)
        except Exception:
            calls[str(route), "failed"] += 1
            raise
        calls[str(route), _outcome_of(answer.status_code)] += 1
        return answer

    async def answered(request: Request) -> Response:
        try:
            caller = _caller(route, request, services)
            if route.needs is not None and caller is None:
                return route.refusal(HTTPStatus.UNAUTHORIZED, "a token is needed", _once_more(route, request))
            caller = caller or NOBODY
            asking.set(caller.subject)
            caller.require(str(route), route.needs or ())
            given = await _given(route, request)
            found = await route.answer(Asked(request, caller, given, services))
        except TOLD as error:
            return route.refusal(*told(error))
        return found if isinstance(found, Response) else _document(request, found, route.done)

    return endpoint


def _outcome_of(status: int) -> Outcome:
    if status < HTTPStatus.BAD_REQUEST:
        return "answered"
    return "refused" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "failed"


def _caller(route: Route[Any], request: Request, services: Services) -> Caller | None:
    try:
        return services.caller_of(request)
    except Forbidden:
        if route.needs is None or _once_more(route, request):
            return None
        raise


def _once_more(route: Route[Any], request: Request) -> dict[str, str]:
    """Headers with which a browser asks for a page once more, now from here; empty where it came from here.

    A link of another site, such as one in a chat, leads to a page without the cookie, which is Strict.
    """
    said = [request.headers.get(f"sec-fetch-{name}") for name in ("site", "mode", "dest")]
    is_shown = route.refusal is not problem and request.method == "GET"
    if not is_shown or said[0] not in _ELSEWHERE or said[1:] != ["navigate", "document"]:
        return {}
    query = request.scope["query_string"].decode("latin-1")
    return {"refresh": f"0; url={request.scope['raw_path'].decode('latin-1')}{query and '?'}{query}"}


async def _given(route: Route[Any], request: Request) -> Given:
    if route.method == "POST" and not route.form:
        given: Given = route.takes.model_validate_json(await request.body() or b"{}", strict=True)
        return given
    if route.form:
        pairs = _fields((await request.body()).decode(errors="replace"))
    else:
        pairs = request.query_params.multi_items()
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    for name, several in values.items():
        if len(several) > 1:
            raise InvalidQuery(name, several, "one value")
    known: Given = route.takes.model_validate(dict(pairs))
    return known


def _fields(form: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(form, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise InvalidQuery("form", f"{len(form)} characters", f"at most {_MOST_FIELDS} fields") from None


def _document(request: Request, found: object, status: HTTPStatus) -> Response:
    body = json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    headers = {"cache-control": _KEPT}
    if request.method != "POST":
        headers["etag"] = f'W/"{sha256(body).hexdigest()[:32]}"'
        if headers["etag"] in request.headers.get("if-none-match", "").split(", "):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, status, headers, "application/json")


async def _not_there(to_people: Refusal, request: Request, error: Exception) -> Response:
    # Starlette calls it for nothing else.
    assert isinstance(error, HTTPException)  # noqa: S101
    status, path, headers = error.status_code, visible(request.url.path), error.headers or {}
    # A browser that opens an address asks for HTML before all else.
    in_browser = request.headers.get("accept", "").partition(",")[0].strip() == "text/html"
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{path} takes {headers.get('Allow', '')}, not {request.method}"
    else:
        detail = f"there is no {path} here" + "; /api/openapi.json says what there is" * (not in_browser)
    return (to_people if in_browser else problem)(status, detail, headers)
