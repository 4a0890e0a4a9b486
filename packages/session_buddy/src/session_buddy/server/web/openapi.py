"""``GET /api/openapi.json``: what programs can ask for, as OpenAPI 3.1, made from the table of routes."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from session_buddy import __version__
from session_buddy.access.browsers import COOKIE, MOST_SCOPES
from session_buddy.server.web.problems import MEDIA_TYPE, problem
from session_buddy.server.web.routes import Asked, Nothing, Route, route

_REFERENCES: Final = "#/components/schemas/{model}"
_TEXT: Final = {"type": "string"}
_BY_TOKEN: Final[list[dict[str, list[str]]]] = [{"token": []}]
_BY_EITHER: Final[list[dict[str, list[str]]]] = [*_BY_TOKEN, {"browser": []}]
_COOKIE: Final = {
    "type": "apiKey",
    "in": "cookie",
    "name": COOKIE.format(instance="INSTANCE"),
    "description": (
        "A browser's, from `GET /sign-in/{link}`. For INSTANCE stand the first eight digits of the history's"
        " `instance`, which `hello` of `GET /api/v1/stream` tells. It is for pages of this server: what"
        " changes something needs their `Origin`, too."
    ),
}


class Problem(TypedDict):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


def document(routes: Iterable[Route[Any]]) -> dict[str, Any]:
    """The OpenAPI document of what programs can ask for; pages for people are no part of it."""
    told = [one for one in routes if is_for_programs(one)]
    answers = [one.gives for one in told if not isinstance(one.gives, tuple)]
    # No type of ours is read in another way than it is written.
    types = {repr(one): TypeAdapter(one) for one in (*(one.takes for one in told), *answers, Problem)}
    schemas, shared = TypeAdapter.json_schemas(
        [(name, "validation", one) for name, one in types.items()], ref_template=_REFERENCES
    )
    known = {name: schema for (name, _), schema in schemas.items()}
    paths: dict[str, dict[str, Any]] = {}
    for one in told:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, known, shared["$defs"])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Session-Buddy",
            "version": __version__,
            "description": "Who is, or was, in which admin shell: beside MCP, at the same port and socket.",
        },
        "paths": paths,
        "components": {
            "schemas": shared["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}, "browser": _COOKIE},
        },
        "security": _BY_TOKEN,
    }


def is_for_programs(route: Route[Any]) -> bool:
    """Whether it answers programs: with problems, where it refuses."""
    return route.refusal is problem and not route.path.startswith("/assets/")


def _operation(route: Route[Any], known: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    takes = _resolved(known[repr(route.takes)], shared)
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", str(route).lower()).strip("_"),
        "summary": route.tells,
        "responses": _responses(route, known),
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    if route.method == "GET":
        parameters += [_parameter(name, schema) for name, schema in takes.get("properties", {}).items()]
    else:
        operation["requestBody"] = {
            "required": bool(takes.get("required")),
            "content": {"application/json": {"schema": known[repr(route.takes)]}},
        }
    if parameters:
        operation["parameters"] = parameters
    if route.needs is None:
        # With one it may be told more.
        operation["security"] = [{}, *_BY_EITHER]
    else:
        if MOST_SCOPES.issuperset(route.needs):
            operation["security"] = _BY_EITHER
        operation["description"] = f"Scope: {' and '.join(route.needs)}."
    return operation


def _parameter(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    told = {key: value for key, value in schema.items() if key not in ("description", "title")}
    said = {"description": schema["description"]} if "description" in schema else {}
    return {"name": name, "in": "query", **said, "schema": told}


def _responses(route: Route[Any], known: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(route.gives, tuple):
        content = {kind: {"schema": {**_TEXT, "format": "binary"}} for kind in route.gives}
    else:
        content = {"application/json": {"schema": known[repr(route.gives)]}}
    refused = {MEDIA_TYPE: {"schema": known[repr(Problem)]}}
    found = {str(int(route.done)): {"description": "as it was asked for", "content": content}}
    if route.method == "GET" and not isinstance(route.gives, tuple):
        found["304"] = {"description": "it is still what `If-None-Match` names"}
    if route.needs is None:
        # Whether it is up is told to all alike.
        found["503"] = {"description": "it is down", "content": content}
    return {**found, "default": {"description": "what went wrong", "content": refused}}


def _resolved(schema: Mapping[str, Any], shared: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Mapping[str, Any] = shared[name] if name else schema
    return found


def openapi_route(routes: Iterable[Route[Any]]) -> Route[Nothing]:
    """The route that answers with the document of ``routes`` and of itself."""

    # It takes a while to make, on the event loop.
    @cache
    def made() -> dict[str, Any]:
        return document([*routes, this])

    async def answer(_asked: Asked[Nothing]) -> dict[str, Any]:
        return made()

    this = route("GET", "/api/openapi.json", "all of this as OpenAPI 3.1", answer)
    return this
