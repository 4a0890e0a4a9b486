"""Every route beside MCP: who is answered, from which pages, under which names, and how they are refused."""

import json
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import httpx2 as httpx
import pytest

from session_buddy.access.callers import SCOPES
from session_buddy.access.tokens import issue
from session_buddy.host.server_file import ServerInfo
from session_buddy.server.front import is_same
from session_buddy.server.page import html
from session_buddy.server.table import ROUTES
from session_buddy.server.web.routes import Route
from tests.serverprocess import ServerProcess, environ_in

SECRET = "tests-only-" + uuid.uuid4().hex
CALLERS = ("nobody", *SCOPES, "cookie")
REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.MISDIRECTED_REQUEST}


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerInfo]:
    home = tmp_path_factory.mktemp("home")
    with ServerProcess(environ_in(home, SESSION_BUDDY_SECRET=SECRET)) as server:
        yield server.until_up()


@pytest.fixture(scope="module")
def client(info: ServerInfo) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=info.url.removesuffix("/mcp"), timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def cookie(client: httpx.Client) -> dict[str, str]:
    """That of a browser which was signed in just now."""
    headers = {"Authorization": f"Bearer {issue(SECRET, 'ann', ['track', 'read'], 600)}"}
    client.get(client.post("/api/v1/links", headers=headers).json()["url"])
    ((name, value),) = client.cookies.items()
    client.cookies.clear()
    return {"Cookie": f"{name}={value}"}


def bearer(caller: str, cookie: dict[str, str] | None = None) -> dict[str, str]:
    scopes: list[Any] = [caller]
    if caller == "cookie":
        return cookie or {}
    return {} if caller == "nobody" else {"Authorization": f"Bearer {issue(SECRET, 'ann', scopes, 600)}"}


def ask(client: httpx.Client, route: Route[Any], headers: dict[str, str]) -> httpx.Response:
    # What is given is wrong on purpose: it is looked at behind who may, and nothing is deleted.
    given: dict[str, Any] = (
        {"params": {"nothing": "x"}} if route.method == "GET" else {"json": {"nothing": 1}}
    )
    return client.request(route.method, route.path, headers=headers, **given)


def may(route: Route[Any], caller: str) -> bool:
    scopes = {"track", "read"} if caller == "cookie" else {caller}
    return route.needs is None or caller == "admin" or set(route.needs) <= scopes


def kind(route: Route[Any]) -> str:
    """As what a route says what went wrong."""
    return "text/html; charset=utf-8" if route.refusal is html.refusal else "application/problem+json"


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_who_may_is_answered_and_nobody_else(
    client: httpx.Client, route: Route[Any], caller: str, cookie: dict[str, str]
) -> None:
    own = {"Origin": str(client.base_url).rstrip("/")} if caller == "cookie" else {}
    answer = ask(client, route, bearer(caller, cookie) | own)
    if may(route, caller):
        assert answer.status_code not in REFUSED
    else:
        assert answer.status_code == (401 if caller == "nobody" else 403)
        assert answer.headers["content-type"] == kind(route)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_pages_of_others_are_refused_whoever_asks(
    client: httpx.Client, route: Route[Any], caller: str, cookie: dict[str, str]
) -> None:
    own, shown = str(client.base_url).rstrip("/"), bearer(caller, cookie)
    right, without = ask(client, route, {**shown, "Origin": own}), ask(client, route, shown)
    if caller == "cookie" and route.method == "POST" and route.needs is not None:
        # Nothing tells that a page of ours asks.
        assert (without.status_code, right.status_code in REFUSED) == (403, not may(route, caller))
    else:
        assert right.status_code == without.status_code
    for wrong in ("http://127.0.0.1:9999", "https://evil.example", "null", own.replace("http", "file"), ""):
        answer = ask(client, route, {**shown, "Origin": wrong})
        assert (answer.status_code, "may not ask" in answer.json()["detail"]) == (403, True), wrong
    rebound = ask(client, route, {**shown, "Host": "evil.example"})
    assert (rebound.status_code, "allowed_hosts" in rebound.json()["detail"]) == (421, True)


def test_every_path_that_is_served_stands_in_the_table(client: httpx.Client) -> None:
    admin = bearer("admin")
    for path in (
        "/nothing",
        "/api",
        "/api/v1",
        "/api/v1/nothing",
        "/docs",
        "/mcp/x",
        "/sse",
        "/.well-known/x",
    ):
        answer = client.get(path, headers=admin)
        assert (answer.status_code, answer.json()["title"]) == (404, "Not Found"), path
    for route in ROUTES:
        other = "POST" if route.method == "GET" else "DELETE"
        answer = client.request(other, route.path, headers=admin)
        assert (answer.status_code, answer.json()["status"]) == (405, 405), route
        assert route.method in answer.headers["Allow"]


def test_what_was_seen_before_is_not_sent_again(client: httpx.Client) -> None:
    first = client.get("/api/v1/changes", headers=bearer("read"))
    assert first.headers["cache-control"] == "private, no-cache"
    again = client.get("/api/v1/changes", headers=bearer("read") | {"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_problems_say_what_is_wrong_with_which_value(client: httpx.Client) -> None:
    answer = client.post("/api/v1/ends", headers=bearer("admin"), content=b"{")
    assert (answer.status_code, answer.headers["cache-control"]) == (400, "no-store")
    assert set(answer.json()) == {"type", "title", "status", "detail"}
    assert "Traceback" not in json.dumps(answer.json())


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://127.0.0.1:8678", "127.0.0.1:8678", True),
        ("https://buddy.example", "Buddy.example", True),
        ("https://buddy.example", "buddy.example:443", True),
        ("http://buddy.example", "buddy.example:80", True),
        ("http://[::1]:8678", "[::1]:8678", True),
        ("http://127.0.0.1:9999", "127.0.0.1:8678", False),
        ("http://localhost:8678", "127.0.0.1:8678", False),
        ("http://buddy.example", "buddy.example:443", False),
        ("http://buddy.example.evil.example", "buddy.example", False),
        ("null", "null", False),
        ("http://", "", False),
        ("file://", "", False),
    ],
)
def test_an_origin_is_the_same_by_scheme_name_and_port(
    origin: str,
    host: str,
    same: bool,  # noqa: FBT001 - a row of the table
) -> None:
    assert is_same(origin, host) is same
