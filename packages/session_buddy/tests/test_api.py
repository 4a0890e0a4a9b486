"""The HTTP API on a real server: the tools' answers, ends, and what its OpenAPI document promises."""

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import schemathesis
from hypothesis import given, settings
from openapi_spec_validator import validate
from schemathesis.checks import CHECKS
from schemathesis.core.result import Ok

from oneiric.transport import call_tool
from session_buddy.access.tokens import issue
from session_buddy.host.server_file import ServerInfo
from session_buddy.server.table import ROUTES
from session_buddy.server.web.openapi import document, is_for_programs
from session_buddy.server.web.stream import STREAM
from tests.samples import end_event, session_id_of, start_event
from tests.serverprocess import ServerProcess, environ_in

SECRET = "tests-only-" + uuid.uuid4().hex
PAGE = Path(__file__).parents[3] / "docs" / "api.md"
DOCUMENT = document(ROUTES)
# A stream never ends.
LABELS = [str(one) for one in ROUTES if is_for_programs(one) and one is not STREAM]
# Who may is seen in test_routes.py; and texts have a grammar of their own, which no schema tells.
_NOT_ASKED = {"ignored_auth", "positive_data_acceptance"}
Tool = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return environ_in(tmp_path_factory.mktemp("home"), SESSION_BUDDY_SECRET=SECRET)


@pytest.fixture(scope="module")
def info(environ: dict[str, str]) -> Iterator[ServerInfo]:
    with ServerProcess(environ) as server:
        info = server.until_up()
        events = [event for _ in range(5) for event in _session()]
        call_tool(info.endpoint, "track_events", {"events": events}, 60)
        yield info


@pytest.fixture(scope="module")
def client(info: ServerInfo) -> Iterator[httpx.Client]:
    token = issue(SECRET, "ann", ["admin"], 600)
    base = info.url.removesuffix("/mcp")
    with httpx.Client(base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        yield client


@pytest.fixture
def tool(info: ServerInfo) -> Tool:
    return lambda name, **arguments: call_tool(info.endpoint, name, arguments, 60)


def _session() -> list[dict[str, Any]]:
    start = start_event(reason="OPS-7")
    return [start, end_event(session_id_of(start))]


def _opened(tool: Tool, after: float = 0.0) -> str:
    start = start_event(after, component_name="open")
    tool("track_events", events=[start])
    return session_id_of(start)


def test_answers_are_those_of_the_tools(client: httpx.Client, tool: Tool) -> None:
    asked: dict[str, Any] = {"query": "reason:OPS-7", "limit": 2, "count": True}
    found = client.get("/api/v1/sessions", params={**asked, "fields": "session_id,status"}).json()
    assert found == tool("list_sessions", **asked, fields=["session_id", "status"])
    assert (len(found["sessions"]), found["total"], found["truncated"]) == (2, 5, True)
    behind = client.get("/api/v1/sessions", params={"query": "reason:OPS-7", "cursor": found["next_cursor"]})
    known = {one["session_id"] for one in (*found["sessions"], *behind.json()["sessions"])}
    assert len(known) == 5
    session_id = found["sessions"][0]["session_id"]
    one = client.get(f"/api/v1/sessions/{session_id[-8:]}", params={"details": True}).json()
    assert one == tool("get_session", session_id=session_id, details=True)
    events = client.get(f"/api/v1/sessions/{session_id}/events").json()
    assert events == {"session_id": session_id, "events": one["events"]}
    counted = {"metric": "endings", "period": "all", "query": "reason:OPS-7"}
    assert client.get("/api/v1/statistics", params=counted).json() == tool("session_statistics", **counted)
    when = {"at": "2026-01-01..2026-12-31", "query": "reason:OPS-7"}
    told = client.get("/api/v1/timeline", params=when).json()
    asked_again = tool("session_timeline", **when)
    # It ends now.
    assert {**told, "end": ""} == {**asked_again, "end": ""}
    assert told["events"]


def test_a_query_as_long_as_one_may_be_fits_an_address(client: httpx.Client) -> None:
    # As long as this client writes an address; with its headers the library would not read it by itself.
    longest = client.get("/api/v1/sessions", params={"query": "💥" * 5450})
    assert (longest.status_code, longest.json()["sessions"]) == (200, [])
    too_long = client.get("/api/v1/sessions", params={"query": "x" * 8001})
    assert (too_long.status_code, too_long.json()["detail"][:7]) == (400, "query: ")


def test_one_session_is_named_as_everywhere(client: httpx.Client) -> None:
    unknown = client.get("/api/v1/sessions/00000000")
    assert (unknown.status_code, "00000000" in unknown.json()["detail"]) == (404, True)
    several = client.get("/api/v1/sessions/shop-")
    assert several.status_code in {404, 409}


def test_a_session_is_ended_once_and_one_that_lives_by_force(client: httpx.Client, tool: Tool) -> None:
    session_id = _opened(tool)
    end = f"/api/v1/sessions/{session_id}/end"
    alive = client.post(end, json={"reason": "stuck"})
    assert (alive.status_code, "force: true" in alive.json()["detail"]) == (409, True)
    ended = client.post(end, json={"reason": "stuck", "force": True})
    assert ended.json() == {"session_id": session_id, "status": "ended", "error": None}
    assert tool("get_session", session_id=session_id)["session"]["exit_reason"] == "operator"
    assert client.post(end, json={"reason": "stuck", "force": True}).status_code == 409
    assert client.post("/api/v1/sessions/00000000/end", json={}).status_code == 404


def test_the_document_is_valid_and_has_every_route_for_programs(client: httpx.Client) -> None:
    served = client.get("/api/openapi.json").json()
    validate(served)
    assert served == DOCUMENT
    told = {f"{way.upper()} {path}" for path, ways in served["paths"].items() for way in ways}
    assert told == {str(route) for route in ROUTES if is_for_programs(route)}


def test_what_the_page_says_can_be_typed(info: ServerInfo, environ: dict[str, str], tool: Tool) -> None:
    session_id = _opened(tool, 1e6)
    shown = re.search(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    set_up, *lines = re.findall(r"^\$ (.*)$", shown[1], re.MULTILINE)
    set_up = set_up.replace("http://127.0.0.1:8678", info.url.removesuffix("/mcp"))
    known = {**os.environ, **environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for line in lines:
        command = ["bash", "-euc", f"{set_up}\n{line.replace('curl -s', 'curl -fsS')}"]
        done = subprocess.run(command, check=False, env=known, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr, bool(done.stdout)) == (0, "", True), line
    assert tool("get_session", session_id=session_id)["session"]["status"] == "ended"


@cache
def operations() -> dict[str, Any]:
    # Not at the top: the library takes two seconds, in each process that only looks which tests there are.
    found = schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
    return {one.ok().label: one.ok() for one in found if isinstance(one, Ok)}


@pytest.mark.parametrize("label", LABELS)
def test_every_answer_is_as_the_document_says(
    client: httpx.Client, label: str, size: Callable[[int, int], int]
) -> None:
    checks: list[Any] = [one for one in CHECKS.get_all() if one.__name__ not in _NOT_ASKED]

    @settings(max_examples=size(3, 100))
    @given(case=operations()[label].as_strategy())
    def holds(case: schemathesis.Case[Any]) -> None:
        if case.query and "wait" in case.query:
            case.query["wait"] = 0
        case.call_and_validate(
            base_url=str(client.base_url),
            headers={"Authorization": client.headers["Authorization"]},
            checks=checks,
            timeout=60,
        )

    holds()
