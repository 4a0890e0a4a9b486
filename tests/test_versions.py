"""Emitters and servers of different versions: the first that there was, from its commit, and these."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

from session_buddy.store.duckdb.schema import LATEST
from tests.world import ROOT, World

FIRST = "69a982f"
OLD = ROOT / "packages" / "session_buddy" / "tests" / "first_release" / "sessions.duckdb.gz"
START = """
from oneiric.paths import user_paths
from session_buddy.host import process
process.START_SECONDS = {}
process.start_background(user_paths(), {{}}, tell=print)
"""
MORE = """
    INSERT INTO sessions
    SELECT one.* REPLACE (left(session_id, -8) || printf('%08x', number) AS session_id)
    FROM sessions AS one, range(1, ?) AS numbers(number)
"""
RECORD = """
import os, oneiric
emitter = oneiric.SessionEventEmitter("shop", environ={**os.environ, "SUDO_USER": "ada", "CLAUDECODE": "1"})
print(emitter.start_session("ShopShell", reason="OPS-7"))
assert emitter.wait_connected(60)
emitter.record(commands=2)
emitter.end_session()
emitter.shutdown()
"""


@pytest.fixture
def first(tmp_path: Path) -> dict[str, str]:
    """What in the environment makes Python take the first version."""
    packed = subprocess.run(["git", "archive", FIRST, "packages"], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        pytest.skip(f"the history of this checkout is without its beginning: {packed.stderr.decode()}")
    subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=packed.stdout, check=True)
    sources = [str(tmp_path / "packages" / name / "src") for name in ("oneiric_emitter", "session_buddy")]
    return {"PYTHONPATH": ":".join(sources)}


def ask(world: World, version: Mapping[str, str], *words: str) -> str:
    command = [sys.executable, "-m", "session_buddy", *words]
    return world.run(*command, env={**world.environ, **version}).stdout


def record(world: World, version: Mapping[str, str]) -> str:
    return world.run(sys.executable, "-c", RECORD, env={**world.environ, **version}).stdout.strip()


def listed(world: World, version: Mapping[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ask(world, version, "list-sessions", "--format", "json"))
    return found


def test_who_starts_a_server_waits_as_long_as_it_changes_an_old_database(
    world: World, size: Callable[[int, int], int]
) -> None:
    copies, seconds = size(1, 20_000), size(60, 15)
    world.database.parent.mkdir(parents=True)
    world.database.write_bytes(gzip.decompress(OLD.read_bytes()))
    with duckdb.connect(str(world.database)) as old:
        old.execute(MORE, [copies])
    try:
        changed, *far = world.run(sys.executable, "-c", START.format(seconds)).stdout.splitlines()
        assert len(world.sessions("--limit", "100")) == size(18, 100)
    finally:
        world.stop_server()
    assert changed == f"database {world.database}: its tables are brought from version 1 to {LATEST}"
    assert [line.partition(" of ")[0] for line in far[:2]] == ["50,000", "100,000"][: size(0, 2)]


def test_the_first_server_takes_what_this_emitter_says(world: World, first: Mapping[str, str]) -> None:
    ask(world, first, "mcp", "start", "--background")
    try:
        session_id = record(world, {})
        (session,) = listed(world, first)
        assert session["session_id"] == session_id
        assert (session["status"], session["exit_reason"], session["commands"]) == ("ended", "exit", 2)
        assert (session["reason"], session["actor"]) == ("OPS-7", "agent")
    finally:
        ask(world, first, "mcp", "stop")
    # What it kept without understanding it is there for who does.
    (session,) = listed(world, {})
    assert (session["uid"], session["agent"]) == (os.geteuid(), "claude_code")
    if os.geteuid() == 0:
        assert (session["person"], session["person_evidence"]) == ("ada", "claimed")


def test_this_server_takes_what_the_first_emitter_says(world: World, first: Mapping[str, str]) -> None:
    world.start_server()
    session_id = record(world, first)
    (session,) = listed(world, {})
    assert session["session_id"] == session_id
    assert (session["status"], session["exit_reason"], session["commands"]) == ("ended", "exit", 2)
    # Its name of an account is what a variable says.
    assert (session["username"], session["uid"], session["person"]) == ("ada", None, None)
    assert world.sessions("--user", "ada") == [session]
