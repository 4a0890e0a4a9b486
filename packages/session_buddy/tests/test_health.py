"""The health page and the backup page, asked without a server around them."""

import json
import threading
from pathlib import Path
from typing import Any

import anyio
from starlette.requests import Request

from session_buddy.access.callers import local_caller
from session_buddy.access.keyring import Keyring
from session_buddy.access.tokens import issue
from session_buddy.errors import StoreUnavailable
from session_buddy.intake.presence import Presence
from session_buddy.intake.writer import Writer
from session_buddy.keep.backups import Backup
from session_buddy.server.gate import Authenticator
from session_buddy.server.register import Register
from session_buddy.server.web.backup import backup_page
from session_buddy.server.web.health import health_page
from session_buddy.store import open_store


def request(authorization: str = "") -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    return Request({"type": "http", "headers": [(b"authorization", authorization.encode())]}, receive)


def test_details_are_for_those_whose_token_is_known_and_down_is_said_to_all(tmp_path: Path) -> None:
    store = open_store(f"duckdb:///{tmp_path}/x.duckdb")
    presence = Presence()
    with Writer(store, presence) as writer:
        register = Register(store, writer, presence)
        secret = "s" * 32
        page = health_page(register, Authenticator(Keyring([secret])).caller_of)
        token = issue(secret, "ann", ["read"], 60)
        assert anyio.run(page, request()).body == b'{"status":"ok"}'
        assert anyio.run(page, request(f"Basic {token}")).body == b'{"status":"ok"}'
        details = json.loads(bytes(anyio.run(page, request(f"bearer {token}")).body))
        assert set(details) == {"status", "version", "database", "uptime_seconds", "live_sessions"}
        assert "x.duckdb" in repr(register)
        store.close()
        down = anyio.run(page, request())
        assert (down.status_code, down.body) == (503, b'{"status":"down"}')
        known = anyio.run(page, request(f"Bearer {token}"))
        assert known.status_code == 503
        assert "x.duckdb was closed" in json.loads(bytes(known.body))["error"]


def test_health_waits_neither_for_backups_nor_for_lists(tmp_path: Path) -> None:
    store = open_store(f"duckdb:///{tmp_path}/x.duckdb")
    presence, go = Presence(), threading.Event()

    def make(_replace: bool) -> Backup:  # noqa: FBT001 - as the page asks
        assert go.wait(60)
        raise StoreUnavailable("the disk is full")

    async def at_once(register: Register) -> bytes:
        backup = backup_page(make, lambda _: local_caller())
        answers: list[int] = []

        async def ask() -> None:
            answers.append((await backup(request())).status_code)

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(ask)
            for limiter in (register.answers.reads, register.answers.lists):
                for _ in range(int(limiter.total_tokens)):
                    limiter.acquire_on_behalf_of_nowait(object())
            await anyio.wait_all_tasks_blocked()
            health = await health_page(register, lambda _: None)(request())
            go.set()
        assert answers == [503] * 50
        return bytes(health.body)

    with Writer(store, presence) as writer:
        assert anyio.run(at_once, Register(store, writer, presence)) == b'{"status":"ok"}'
    store.close()
