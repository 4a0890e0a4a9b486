"""The routes for health and backups, asked without a server around them."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import anyio
import httpx2 as httpx
import pytest

from session_buddy.access.keyring import Keyring
from session_buddy.access.tokens import issue
from session_buddy.errors import StoreUnavailable
from session_buddy.intake.presence import Presence
from session_buddy.intake.writer import Writer
from session_buddy.keep.backups import Backup
from session_buddy.server.gate import Authenticator
from session_buddy.server.page.html import refusal
from session_buddy.server.register import Register
from session_buddy.server.table import ROUTES
from session_buddy.server.web.export import MOST_AT_ONCE
from session_buddy.server.web.guard import application
from session_buddy.server.web.routes import Services
from session_buddy.store import open_store

SECRET = "s" * 32


def served(register: Register, back_up: Callable[[bool], Backup] | None = None) -> httpx.AsyncClient:
    """A client of the routes, without a server; nothing is deleted."""
    keeper, nothing = Authenticator(Keyring([SECRET])), cast("Any", None)
    services = Services(register, back_up or nothing, nothing, keeper.caller_of, nothing, nothing, nothing)
    transport = httpx.ASGITransport(application(ROUTES, services, refusal))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


def test_details_are_for_those_whose_token_is_known_and_down_is_said_to_all(tmp_path: Path) -> None:
    store = open_store(f"duckdb:///{tmp_path}/x.duckdb")
    presence = Presence()
    token = issue(SECRET, "ann", ["read"], 60)

    async def ask(register: Register) -> None:
        async with served(register) as client:

            async def health(authorization: str = "") -> httpx.Response:
                return await client.get("/health", headers={"Authorization": authorization})

            assert (await health()).content == b'{"status":"ok"}'
            assert (await health(f"Basic {token}")).content == b'{"status":"ok"}'
            details = (await health(f"bearer {token}")).json()
            assert set(details) == {"status", "version", "database", "uptime_seconds", "live_sessions"}
            assert "x.duckdb" in repr(register)
            store.close()
            down = await health()
            assert (down.status_code, down.content) == (503, b'{"status":"down"}')
            known = await health(f"Bearer {token}")
            assert known.status_code == 503
            assert "x.duckdb was closed" in known.json()["error"]

    with Writer(store, presence) as writer:
        anyio.run(ask, Register(store, writer, presence))


def test_health_waits_neither_for_backups_nor_for_lists(tmp_path: Path) -> None:
    store = open_store(f"duckdb:///{tmp_path}/x.duckdb")
    presence, go = Presence(), threading.Event()
    admin = {"Authorization": f"Bearer {issue(SECRET, 'ann', ['admin'], 60)}"}

    def make(_replace: bool) -> Backup:  # noqa: FBT001 - as the route asks
        assert go.wait(60)
        raise StoreUnavailable("the disk is full")

    async def at_once(register: Register) -> bytes:
        answers: list[int] = []

        async with served(register, make) as client, anyio.create_task_group() as tasks:

            async def ask() -> None:
                answers.append((await client.post("/api/v1/backups", headers=admin)).status_code)

            for _ in range(50):
                tasks.start_soon(ask)
            for limiter in (register.answers.reads, register.answers.lists):
                for _ in range(int(limiter.total_tokens)):
                    limiter.acquire_on_behalf_of_nowait(object())
            await anyio.wait_all_tasks_blocked()
            health = await client.get("/health")
            go.set()
        assert answers == [503] * 50
        return health.content

    with Writer(store, presence) as writer:
        assert anyio.run(at_once, Register(store, writer, presence)) == b'{"status":"ok"}'
    store.close()


def test_who_asks_much_at_once_neither_keeps_others_waiting_nor_fills_the_disk(tmp_path: Path) -> None:
    store, presence = open_store(f"duckdb:///{tmp_path}/x.duckdb"), Presence()

    async def at_once(register: Register) -> None:
        answered: list[tuple[str, int]] = []
        place = register.answers.lists
        place.total_tokens = 1

        async with served(register) as client:

            async def ask(subject: str, path: str) -> None:
                headers = {"Authorization": f"Bearer {issue(SECRET, subject, ['read'], 60)}"}
                answered.append((subject, (await client.get(path, headers=headers)).status_code))

            async with anyio.create_task_group() as tasks:
                place.acquire_on_behalf_of_nowait(place)
                for subject in ("eve", "eve", "eve", "ann"):
                    tasks.start_soon(ask, subject, "/api/v1/sessions")
                    await anyio.wait_all_tasks_blocked()
                place.release_on_behalf_of(place)
            assert answered[:2] == [("eve", 200), ("ann", 200)]
            async with anyio.create_task_group() as tasks:
                for _ in range(MOST_AT_ONCE + 1):
                    tasks.start_soon(ask, "eve", "/api/v1/export")
            assert [answered.pop()[1] for _ in range(MOST_AT_ONCE)] == [200] * MOST_AT_ONCE
            assert answered.pop() == ("eve", 429)
            await ask("eve", "/api/v1/export")
            assert answered.pop() == ("eve", 200)
            # What was waited for in vain is not asked any more.
            place.acquire_on_behalf_of_nowait(place)
            with pytest.raises(StoreUnavailable, match=r"has not answered for 0\.01 s"):
                await register.answers._read(lambda: answered.append(("late", 0)), place, 0.01)
            await anyio.wait_all_tasks_blocked()
            assert place.statistics().tasks_waiting == 0
            place.release_on_behalf_of(place)
            await ask("eve", "/api/v1/sessions")
            assert ("late", 0) not in answered

    with Writer(store, presence) as writer:
        anyio.run(at_once, Register(store, writer, presence))
    store.close()
