"""Ten thousand live sessions for a simulated day: what the file and the memory come to."""

import json
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.day import SESSIONS, Day
from benchmarks.measure import MEGABYTE, Effort, Row, number
from session_buddy.intake.writer import FLUSH_SECONDS
from tests.world import ROOT, World

LARGEST = 100 * MEGABYTE
GROWTH = 0.05


def rows(world: World, effort: Effort) -> Iterator[Row]:
    """File, memory, and whether everybody still lives."""
    folder = world.database.parent
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "benchmarks.day", str(folder), str(effort.hours)]
    done = subprocess.run(command, cwd=ROOT, env=world.environ, stdout=subprocess.PIPE, text=True, check=True)
    day = Day(**json.loads(done.stdout))
    span = f"{SESSIONS:,} live sessions, {effort.hours} simulated h"
    yield Row(f"{span}: heartbeats, one a session every {day.pace:g} s", f"{day.beats:,} in {_speed(day)}")
    yield megabytes(f"{span}: file and log at the end", day.size)
    yield megabytes(f"{span}: file and log at their largest", day.largest)
    yield grown(f"{span}: memory growth since all had started", day.started, day.hourly)
    yield number(f"{span}: active at the end", day.live, SESSIONS)
    late = day.pace + FLUSH_SECONDS
    shown = f"{day.behind:g} s"
    yield Row(f"{span}: oldest sign of life in the file", shown, f"≤ {late:g} s", day.behind <= late)


def _speed(day: Day) -> str:
    return f"{day.took:.0f} s, of which writing state every {FLUSH_SECONDS:g} s took {day.written:.0f} s"


def megabytes(what: str, size: int) -> Row:
    """A row for the size of the database."""
    return Row(what, f"{size / MEGABYTE:.1f} MB", f"≤ {LARGEST / MEGABYTE:g} MB", size <= LARGEST)


def grown(what: str, started: int, hourly: list[int]) -> Row:
    """A row for how much memory grew."""
    growth = hourly[-1] / started - 1
    sizes = [f"{size / MEGABYTE:.0f}" for size in (started, hourly[0], max(hourly), hourly[-1])]
    figure = (
        f"{growth:+.1%} ({sizes[0]} MB; after 1 h {sizes[1]}, at most {sizes[2]} on the hour, end {sizes[3]})"
    )
    return Row(what, figure, f"≤ {GROWTH:.0%}", growth <= GROWTH)
