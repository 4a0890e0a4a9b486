"""A simulated day of ten thousand live sessions, in a process of its own: ``python -m benchmarks.day``.

A server's process, its tools and doors loaded, with a clock that runs as fast as the machine can. One call
carries the heartbeats of fifty sessions, which a fleet would send in a call each.
"""

import asyncio
import json
import math
import sys
import time
import uuid
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from oneiric.entries import Moment
from oneiric.testing import start_event
from session_buddy.access.callers import local_caller
from session_buddy.access.keyring import Keyring
from session_buddy.intake.exits import Exits
from session_buddy.intake.liveness import Watch
from session_buddy.intake.presence import CALLS_PER_SECOND, Presence
from session_buddy.intake.writer import FLUSH_SECONDS, Writer
from session_buddy.server.app import mcp_app
from session_buddy.server.gate import Authenticator
from session_buddy.server.register import Register
from session_buddy.store import Store, open_store

SESSIONS = 10_000
HOUR = 3600


class Day(NamedTuple):
    """What it came to; sizes and memory in bytes, times in seconds.

    Attributes:
        pace: the heartbeat pace that the server promised.
        beats: how many heartbeats were taken.
        took: how long it took in real time.
        written: of that, how long the writes of heartbeat state took.
        size: the database file and its log, at the end.
        largest: the same, at its largest.
        started: resident memory after all sessions had started.
        hourly: resident memory at each full hour.
        live: sessions that the file holds as active at the end.
        behind: how long before the end the oldest sign of life in the file was.
    """

    pace: float
    beats: int
    took: float
    written: float
    size: int
    largest: int
    started: int
    hourly: list[int]
    live: int
    behind: float


@dataclass
class Clock:
    """Simulated time."""

    seconds: int = 0

    def __call__(self) -> float:
        """Seconds since the beginning."""
        return float(self.seconds)

    def now(self) -> datetime:
        """The time of day."""
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) + timedelta(seconds=self.seconds)


class Fleet:
    """Ten thousand shells on other machines, and the server that they report to.

    Those that started in the same second keep together: each heartbeat is due when the last answer said.
    """

    def __init__(self, store: Store, clock: Clock, writer: Writer, presence: Presence) -> None:
        self._clock = clock
        self._writer = writer
        self._register = Register(store, writer, presence, clock=clock, now=clock.now)
        # Calls go past it, but a server's memory is not a server's without it.
        self._app, _ = mcp_app(self._register, Authenticator(Keyring(["s" * 40])))
        self._watch = Watch(
            presence,
            writer.ingest,
            lambda _: None,
            lambda: None,
            Exits(SESSIONS),
            clock=clock,
            now=lambda: Moment(clock.now(), clock.seconds),
        )
        self._due: defaultdict[int, list[tuple[int, list[str]]]] = defaultdict(list)
        self.pace = 0.0
        self.beats = 0
        self.written = 0.0

    async def start(self) -> None:
        """Start all sessions, as many a second as there may be calls."""
        for _ in range(SESSIONS // CALLS_PER_SECOND):
            now = self._clock.now().isoformat()
            starts = [start_event(event_id=str(uuid.uuid4()), timestamp=now) for _ in range(CALLS_PER_SECOND)]
            await self._track(starts, self._clock.seconds)
            await self.second()

    async def second(self) -> None:
        """One second of heartbeats; the state is written, and the live looked after, every half minute."""
        now = self._clock.now().isoformat()
        activity = {"commands": self._clock.seconds, "errors": 0, "last_activity": now}
        for began, group in self._due.pop(self._clock.seconds, []):
            beat = {
                "event_type": "session_heartbeat",
                "timestamp": now,
                "elapsed_seconds": float(self._clock.seconds - began),
                "activity": activity,
            }
            await self._track([{**beat, "session_id": session_id} for session_id in group], began)
            self.beats += len(group)
        self._clock.seconds += 1
        if self._clock.seconds % FLUSH_SECONDS == 0:
            begun = time.perf_counter()
            self._writer.flush().result()
            self.written += time.perf_counter() - begun
            self._watch.look()

    async def _track(self, events: list[dict[str, Any]], began: int) -> None:
        answer = await self._register.track(events, local_caller())
        refused = [result for result in answer["results"] if result["status"] != "stored"]
        if refused:
            raise RuntimeError(f"{len(refused)} of {len(events)} events were not stored: {refused[0]}")
        self.pace = answer["next_heartbeat_seconds"]
        group = [str(result["session_id"]) for result in answer["results"]]
        self._due[self._clock.seconds + math.ceil(self.pace)].append((began, group))


async def live_through(folder: Path, hours: int) -> Day:
    """Live through so many hours on a new database in ``folder``."""
    clock, presence, process = Clock(), Presence(), psutil.Process()
    with (
        closing(open_store(f"duckdb:///{folder}/day.duckdb")) as store,
        Writer(store, presence, clock=clock) as writer,
    ):
        fleet = Fleet(store, clock, writer, presence)
        await fleet.start()
        started, hourly, largest = process.memory_info().rss, [], 0
        begun, began = time.perf_counter(), clock.seconds
        while clock.seconds < began + hours * HOUR:
            await fleet.second()
            largest = max(largest, size(folder))
            if (clock.seconds - began) % HOUR == 0:
                hourly.append(process.memory_info().rss)
        took = time.perf_counter() - begun
        last = min(row.last_seen for row in store.live() if row.last_seen is not None)
        return Day(
            pace=fleet.pace,
            beats=fleet.beats,
            took=took,
            written=fleet.written,
            size=size(folder),
            largest=largest,
            started=started,
            hourly=hourly,
            live=store.count_live(),
            behind=(clock.now() - last).total_seconds(),
        )


def size(folder: Path) -> int:
    """Bytes of the files in a folder; the log may vanish while it is looked at."""
    sizes = []
    for path in folder.iterdir():
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:
            continue
    return sum(sizes)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(live_through(Path(sys.argv[1]), int(sys.argv[2])))._asdict()))
