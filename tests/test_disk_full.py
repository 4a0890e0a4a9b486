"""A server whose disk is full: callers are told, journals keep what it cannot take, and it goes on later.

The disk of the server alone is full: no file that it writes may grow, nor be written at all.
"""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from oneiric.testing import start_event
from oneiric.transport import CallRefused, Endpoint, call_tool
from tests.faults import kill_server, waiting
from tests.world import PATIENCE, World, eventually

SHELL = "import oneiric\nwith oneiric.track_session('shop') as session: print(session.id)"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process from outside")


@contextmanager
def full_disk(pid: int, limit: int = 0) -> Iterator[None]:
    """No file of this process may be longer than ``limit``; writing behind that fails."""
    before, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (before, hard))


def call(door: Endpoint, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return call_tool(door, tool, arguments, PATIENCE)


def ids(world: World) -> list[str]:
    return sorted(session["session_id"] for session in world.sessions())


def test_a_server_outlives_a_full_disk_and_loses_nothing(world: World) -> None:
    # A backup, which comes some time after the start, would empty the log whose size is measured here.
    world.environ["SESSION_BUDDY_BACKUP__EVERY_HOURS"] = "0"
    info = world.start_server()
    door = Endpoint(socket=Path(info["socket"]))
    before = world.run(sys.executable, "-c", SHELL).stdout.strip()
    eventually(lambda: ids(world) == [before] and waiting(world) == 0)
    event = start_event()
    log = world.database.with_name("sessions.duckdb.wal")
    with full_disk(info["pid"], log.stat().st_size + 100):
        for _ in range(3):
            with pytest.raises(CallRefused, match="cannot be written"):
                call(door, "track_events", {"events": [event]})
        assert len(call(door, "list_sessions", {})["sessions"]) == 1
    with full_disk(info["pid"]):
        with pytest.raises(CallRefused, match=r"cannot be written.*sessions\.duckdb"):
            call(door, "track_session_start", event)
        kept = world.run(sys.executable, "-c", SHELL).stdout.strip()
        eventually(lambda: waiting(world) == 1)
        assert [session["session_id"] for session in call(door, "list_sessions", {})["sessions"]] == [before]
        with pytest.raises(CallRefused, match="cannot be written"):
            call(door, "health_check", {})
        health = world.run("session-buddy", "mcp", "status", code=3)
        assert "cannot be written" in health.stdout + health.stderr
        listed = world.run("session-buddy", "list-sessions")
        assert listed.stdout.startswith(before)
        assert listed.stderr.startswith("the sessions that wait in ")
    assert call(door, "track_session_start", event)["status"] == "tracked"
    assert call(door, "health_check", {})["status"] == "ok"
    eventually(lambda: waiting(world) == 0)
    everything = ids(world)
    assert {before, kept} < set(everything)
    assert len(everything) == 3
    kill_server(world)
    assert ids(world) == everything


def test_no_backup_is_left_of_a_full_disk(world: World) -> None:
    world.environ["SESSION_BUDDY_BACKUP__EVERY_HOURS"] = "0"
    info = world.start_server()
    world.run(sys.executable, "-c", SHELL)
    eventually(lambda: len(ids(world)) == 1 and waiting(world) == 0)
    folder = world.database.parent / "backups"
    world.run("session-buddy", "backup", "create")
    (made,) = folder.iterdir()
    with full_disk(info["pid"], made.stat().st_size - 1):
        failed = world.run("session-buddy", "backup", "create", code=1)
    assert failed.stderr.startswith("Error: backup ")
    assert failed.stderr.endswith("cannot be written: File too large\n")
    assert list(folder.iterdir()) == [made]
    assert len(ids(world)) == 1
