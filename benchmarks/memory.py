"""What an idle server takes, beside an empty one."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.empty import SOCKET, TOOL
from benchmarks.measure import MEGABYTE, Effort, Row
from oneiric.transport import Endpoint, Unreachable, call_tool
from tests.world import ROOT, World, eventually

MOST = 1.3
_LOOKS = 5


class Taken(NamedTuple):
    """Bytes of memory of a process: resident, and its share of them, ``None`` where it cannot be known."""

    resident: int
    share: int | None


def rows(world: World, _effort: Effort) -> Iterator[Row]:
    """Both servers up at once, each after one call, then idle."""
    with empty_server(world) as empty:
        ours = world.start_server()["pid"]
        call_tool(world.endpoint, "list_sessions", {})
        looks = [look(ours, empty) for _ in range(_LOOKS)]
    resident = [statistics.median(both[side].resident for both in looks) for side in (0, 1)]
    yield compared("idle server / empty FastMCP server with an open DuckDB, resident", resident)
    # Shown, not judged: it depends on who else maps the same libraries at this moment.
    shares = [[both[side].share for both in looks] for side in (0, 1)]
    known = [[share for share in side if share is not None] for side in shares]
    if all(known):
        share = [statistics.median(side) for side in known]
        yield compared(
            "idle server / empty FastMCP server with an open DuckDB, shared pages in part",
            share,
            judged=False,
        )


@contextmanager
def empty_server(world: World) -> Iterator[int]:
    """An empty server that has answered one call; yields its pid."""
    folder = Path(world.environ["XDG_RUNTIME_DIR"])
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.empty", str(folder)],
        cwd=ROOT,
        env=world.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: answers(Endpoint(folder / SOCKET)))
        yield server.pid
    finally:
        server.kill()
        server.wait()


def answers(endpoint: Endpoint) -> bool:
    """Whether the empty tool answers."""
    try:
        call_tool(endpoint, TOOL, {})
    except Unreachable:
        return False
    return True


def look(ours: int, empty: int) -> tuple[Taken, Taken]:
    """Both a second later."""
    time.sleep(1.0)
    return taken(ours), taken(empty)


def taken(pid: int) -> Taken:
    """What a process takes now."""
    found = psutil.Process(pid).memory_full_info()
    return Taken(found.rss, getattr(found, "pss", None))


def compared(what: str, sizes: list[float], *, judged: bool = True) -> Row:
    """A row that compares ours with the empty one's."""
    ours, empty = sizes
    figure = f"{ours / empty:.2f} times ({ours / MEGABYTE:.0f} MB, empty {empty / MEGABYTE:.0f} MB)"
    return Row(what, figure, f"≤ {MOST}", ours / empty <= MOST) if judged else Row(what, figure)
