"""A history that lost something gets it back from the journals that its user's shells left."""

import re
import sys
from pathlib import Path

import pytest

from oneiric.paths import user_paths
from oneiric.testing import journals
from tests.faults import kill_server
from tests.world import World, eventually

SHELL = "import oneiric; e = oneiric.install('shop'); e.record(commands=1)"


@pytest.fixture(autouse=True)
def unsaved(world: World) -> None:
    """No backup, which comes some time after the start, empties the write-ahead log."""
    world.environ["SESSION_BUDDY_BACKUP__EVERY_HOURS"] = "0"


def track(world: World, count: int) -> list[str]:
    """Sessions that came, were delivered and left, by id."""
    for _ in range(count):
        world.run(sys.executable, "-c", SHELL)
    eventually(lambda: len(world.sessions("--status", "ended")) == count)
    eventually(lambda: len(journals(user_paths(world.environ).outbox, "done")) == count)
    return ids(world)


def damaged(content: bytes) -> bytes:
    """A log in which an event cannot be read; one that ends in the middle counts as whole."""
    starts = [found.end() for found in re.finditer(rb'"environment":', content)]
    middle = starts[len(starts) // 2]
    return content[:middle] + b"\xff" * 50 + content[middle + 50 :]


def log_text(world: World) -> str:
    return (world.checkout / "logs" / "session-buddy.log").read_text()


def log_of(world: World) -> Path:
    return world.database.with_name("sessions.duckdb.wal")


def test_a_killed_server_loses_nothing(world: World) -> None:
    world.start_server()
    tracked = track(world, 3)
    kill_server(world)
    world.start_server()
    assert sorted(session["session_id"] for session in world.sessions()) == tracked


def test_a_log_that_cannot_be_replayed_is_set_aside_and_what_it_held_comes_back(world: World) -> None:
    world.start_server()
    tracked = track(world, 3)
    kill_server(world)
    log_of(world).write_bytes(damaged(log_of(world).read_bytes()))
    world.start_server()
    assert eventually(lambda: ids(world) == tracked)
    (aside,) = world.database.parent.glob("sessions.duckdb.wal.*")
    assert aside.name in log_text(world)
    assert eventually(lambda: "are back" in log_text(world))
    assert eventually(lambda: "none is missing of 3 sessions that it held" in log_text(world))


def test_what_was_in_such_a_log_and_is_in_no_journal_is_told(world: World) -> None:
    world.start_server()
    tracked = track(world, 3)
    kill_server(world)
    log_of(world).write_bytes(damaged(log_of(world).read_bytes()))
    (user_paths(world.environ).outbox / "done" / f"{tracked[1]}.jsonl").unlink()
    world.start_server()
    told = f"1 session of 3 could not come back, no journal has them: {tracked[1]}; listed in "
    assert eventually(lambda: told in log_text(world))
    assert ids(world) == [tracked[0], tracked[2]]
    (listed,) = world.database.parent.glob("sessions.duckdb.wal.*.missing.txt")
    assert listed.read_text() == f"{tracked[1]}\n"
    assert listed.with_name(listed.name.removesuffix(".missing.txt")).exists()


def test_what_was_found_lacking_and_not_made_up_for_at_once_is_made_up_for_later(world: World) -> None:
    world.start_server()
    tracked = track(world, 3)
    kill_server(world)
    log_of(world).write_bytes(damaged(log_of(world).read_bytes()))
    (user_paths(world.environ).outbox / "done" / f"{tracked[1]}.jsonl").unlink()
    # Whoever finds it leaves before anything is back, in good order and not.
    opening = "import sys; from session_buddy.store import open_store; store = open_store(sys.argv[1])"
    for leave in ("store.close()", "import os; os._exit(0)"):
        world.run(sys.executable, "-c", f"{opening}; {leave}", f"duckdb:///{world.database}")
    assert ids(world) == [tracked[0], tracked[2]]
    (listed,) = world.database.parent.glob("sessions.duckdb.wal.*.missing.txt")
    assert listed.read_text() == f"{tracked[1]}\n"


def test_a_log_that_vanished_is_made_up_for_without_a_server_too(world: World) -> None:
    world.start_server()
    tracked = track(world, 3)
    kill_server(world)
    # DuckDB takes such a log for an empty one, and says nothing.
    log_of(world).write_bytes(b"\0" * len(log_of(world).read_bytes()))
    assert ids(world) == tracked


def ids(world: World) -> list[str]:
    return sorted(session["session_id"] for session in world.sessions())
