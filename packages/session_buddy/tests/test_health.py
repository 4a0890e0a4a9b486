"""The health page, asked without a server around it."""

import json
from pathlib import Path

import anyio
from starlette.requests import Request

from session_buddy.access.tokens import issue
from session_buddy.intake.presence import Presence
from session_buddy.intake.writer import Writer
from session_buddy.server.gate import Doorkeeper
from session_buddy.server.register import Register
from session_buddy.server.web.health import Health
from session_buddy.store import open_store


def request(authorization: str = "") -> Request:
    return Request({"type": "http", "headers": [(b"authorization", authorization.encode())]})


def test_details_are_for_those_whose_token_is_known_and_down_is_said_to_all(tmp_path: Path) -> None:
    store = open_store(f"duckdb:///{tmp_path}/x.duckdb")
    presence = Presence()
    with Writer(store, presence) as writer:
        register = Register(store, writer, presence)
        secret = "s" * 32
        page = Health(register, Doorkeeper([secret]).caller_of)
        token = issue(secret, "ann", ["read"], 60)
        assert anyio.run(page, request()).body == b'{"status":"ok"}'
        assert anyio.run(page, request(f"Basic {token}")).body == b'{"status":"ok"}'
        details = json.loads(bytes(anyio.run(page, request(f"bearer {token}")).body))
        assert set(details) == {"status", "version", "database", "uptime_seconds", "live_sessions"}
        assert "x.duckdb" in repr(register)
        store.close()
        down = anyio.run(page, request(f"Bearer {token}"))
        assert (down.status_code, down.body) == (503, b'{"status":"down"}')
