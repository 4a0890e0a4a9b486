"""Shells and servers killed: how soon it is seen, and what is lost."""

import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import duckdb

from benchmarks.measure import Effort, Row, duration, number
from oneiric.transport import CallRefused, Endpoint, call_tool
from tests.faults import kill_rounds, storm, waiting
from tests.world import World, eventually

SHELLS = 10
STORM_SHELLS = 100
STORM_KILLS = 5
SEED = 7
# Median, by whether the kernel tells of processes that end.
SEEN_SECONDS = {True: 0.05, False: 1.5}

_SHELL = "import oneiric, time; print(oneiric.install('killed').session_id, flush=True); time.sleep(600)"
# A server whose kernel is old.
_UNTOLD = """
import os, runpy, sys
del os.pidfd_open
sys.argv[1:] = ["mcp", "start"]
runpy.run_module("session_buddy", run_name="__main__")
"""
# A batch is received at one time, and nothing else is received then.
_BATCHES = "SELECT count(*) AS events FROM events GROUP BY received_at"
_HALVES = f"SELECT count(*) FROM ({_BATCHES}) WHERE events <> (SELECT max(events) FROM ({_BATCHES}))"  # noqa: S608


def rows(world: World, effort: Effort) -> Iterator[Row]:
    """Shells killed one by one, a storm of them, the server killed under load."""
    yield from shells(world)
    with another(world, "storm") as fresh:
        yield from stormed(fresh)
    with another(world, "load") as fresh:
        yield from killed(fresh, effort.kills)


@contextmanager
def another(world: World, name: str) -> Iterator[World]:
    """A user whom no server has heard of."""
    fresh = World(world.home.parent / name)
    try:
        yield fresh
    finally:
        fresh.stop_server()


def shells(world: World) -> Iterator[Row]:
    """How long until a killed shell is seen to have crashed, and how wrong the time of its end is."""
    for told, how in ((True, ""), (False, " without a pidfd")):
        if told:
            world.start_server()
        else:
            subprocess.Popen([sys.executable, "-c", _UNTOLD], env=world.environ, stdout=subprocess.DEVNULL)
            eventually(world.server_file.exists)
        kills = [seen_after(world, world.endpoint) for _ in range(SHELLS)]
        world.stop_server()
        taken, late = zip(*kills, strict=True)
        what = f"SIGKILL of a shell seen as crashed{how}, {SHELLS} kills"
        yield duration(f"{what}, median", statistics.median(taken), SEEN_SECONDS[told])
        yield duration(f"{what}, slowest", max(taken))
        yield duration(f"{what}, its end from the kill, median", statistics.median(late))


def seen_after(world: World, server: Endpoint) -> tuple[float, float]:
    """Seconds from a shell's SIGKILL to ``crashed`` in the server's answers, and to the end there."""
    with subprocess.Popen(
        [sys.executable, "-c", _SHELL],
        env=world.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as shell:
        session_id = shell.stdout.readline().strip() if shell.stdout else ""
        eventually(lambda: status(server, session_id) == "active")
        begun, killed_at = time.perf_counter(), datetime.now(UTC)
        shell.send_signal(signal.SIGKILL)
        shell.wait()
    while (found := status(server, session_id)) == "active":
        time.sleep(0.01)
    taken = time.perf_counter() - begun
    if found != "crashed":
        raise RuntimeError(f"session {session_id} is {found}")
    end = call_tool(server, "get_session", {"session_id": session_id})["session"]["end_time"]
    return taken, abs((datetime.fromisoformat(end) - killed_at).total_seconds())


def status(server: Endpoint, session_id: str) -> str | None:
    """The status of a session as the server tells it, ``None`` while it knows none."""
    try:
        found = call_tool(server, "get_session", {"session_id": session_id})
    except CallRefused:
        return None
    return str(found["session"]["status"])


def stormed(world: World) -> Iterator[Row]:
    """A hundred shells come and go while the server is killed."""
    found = storm(world, STORM_SHELLS, STORM_KILLS)
    what = f"{STORM_SHELLS} shells at once, server killed {STORM_KILLS} times"
    yield number(f"{what}: starts", found.starts, STORM_SHELLS)
    yield number(f"{what}: ends", found.ends, STORM_SHELLS)
    yield number(f"{what}: stored twice", found.starts + found.ends - found.distinct, 0)
    yield number(f"{what}: left in the outbox", waiting(world), 0)


def killed(world: World, rounds: int) -> Iterator[Row]:
    """The server is killed under load, again and again; each time it comes up or this breaks off."""
    load, found = kill_rounds(world, rounds, SEED)
    what = f"server killed under load, {rounds} rounds"
    acknowledged = f"{len(load.acknowledged):,} acknowledged, {found.starts:,} stored"
    lost = len(load.acknowledged - found.ids)
    yield Row(f"{what}: acknowledged events lost", f"{lost} ({acknowledged})", "0", lost == 0)
    yield number(f"{what}: stored twice", found.starts - found.distinct, 0)
    with duckdb.connect(str(world.database), read_only=True) as database:
        ((halves,),) = database.execute(_HALVES).fetchall()
    yield number(f"{what}: batches stored by half", halves, 0)
    yield number(f"{what}: events without their session", found.starts - found.sessions, 0)
    aside = list(world.database.parent.glob(f"{world.database.name}.wal.*"))
    # Killed between a checkpoint and the removal of its log, the file has all that the log held.
    yield Row(f"{what}: write-ahead logs set aside", str(len(aside)))
