"""What streams cost those who report: calls of emitters beside fifty clients that listen, and beside none.

As a module of its own, ``python -m benchmarks.stream URL TOKEN``, it is those clients.
"""

import asyncio
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from statistics import mean
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil

from benchmarks.measure import MEGABYTE, Effort, Row, number, percentile, ratio, seconds
from oneiric.testing import start_event
from oneiric.transport import Endpoint, call_tool
from tests.world import ROOT, World, eventually

CLIENTS = 50
EVENTS_A_SECOND = 200
EMITTERS = 4
TURNS = 3
MOST = 1.5
# A message is one line.
_LONGEST_LINE = 4_000_000
_CHANGE = re.compile(rb'{"change":"(start|end)","session":{"session_id":"([^"]+)"')


class Taken(NamedTuple):
    """What some calls took.

    Attributes:
        calls: seconds that each took.
        cpu: of a core, the share that the server took meanwhile.
        memory: bytes that it had at the end.
    """

    calls: list[float]
    cpu: float
    memory: int


def rows(world: World, effort: Effort) -> Iterator[Row]:
    """The same load in turns, with streams and without."""
    said = world.start_server()
    token = world.run("session-buddy", "token", "show").stdout.strip()
    alone, beside = list[Taken](), list[Taken]()
    loaded(world.endpoint, said["pid"], effort.calls)
    lacking = 0
    for _ in range(TURNS):
        alone.append(loaded(world.endpoint, said["pid"], effort.calls))
        with listeners(said["url"], token) as least_told:
            beside.append(loaded(world.endpoint, said["pid"], effort.calls))
            lacking += missing(least_told, effort.calls)
    what = f"one of {EVENTS_A_SECOND} calls a second, beside {CLIENTS} streams / beside none"
    calls = [[one for turn in turns for one in turn.calls] for turns in (beside, alone)]
    slow, usual = (percentile(each, 0.99) for each in calls)
    yield ratio(f"{what}, p99", slow, usual, MOST, "none")
    yield number("starts and ends that the client that was told least was not told", lacking, 0)
    cpu = [100 * mean(turn.cpu for turn in turns) for turns in (beside, alone)]
    yield Row(
        f"CPU of the server beside {CLIENTS} streams, beside none",
        f"{cpu[0]:.0f} %, {cpu[1]:.0f} % of a core",
    )
    # Of the first turns: what a process was given it mostly keeps.
    memory = [turns[0].memory / MEGABYTE for turns in (beside, alone)]
    yield Row(
        f"memory of the server beside {CLIENTS} streams, beside none",
        f"{memory[0]:.0f} MB, {memory[1]:.0f} MB",
    )


def loaded(server: Endpoint, pid: int, calls: int) -> Taken:
    """So many calls, so many a second, by several emitters."""
    process = psutil.Process(pid)
    begun, before = time.perf_counter(), sum(process.cpu_times()[:2])
    with ThreadPoolExecutor(EMITTERS) as pool:
        taken = list(pool.map(lambda _: emitter(server, calls // EMITTERS), range(EMITTERS)))
    cpu = (sum(process.cpu_times()[:2]) - before) / (time.perf_counter() - begun)
    return Taken([one for each in taken for one in each], cpu, process.memory_info().rss)


def emitter(server: Endpoint, calls: int) -> list[float]:
    """Sessions that start and end, one after the other; the seconds that each call took."""
    taken, due, session_id = list[float](), time.perf_counter(), ""

    def call() -> None:
        nonlocal session_id
        now = datetime.now(UTC).isoformat()
        event: dict[str, Any] = (
            {"event_type": "session_end", "session_id": session_id, "timestamp": now, "exit_reason": "exit"}
            if session_id
            else start_event(event_id=str(uuid.uuid4()), timestamp=now)
        )
        (result,) = call_tool(server, "track_events", {"events": [event]})["results"]
        if result["status"] != "stored":
            raise RuntimeError(result)
        session_id = "" if session_id else result["session_id"]

    for _ in range(calls):
        taken.append(seconds(call))
        due += EMITTERS / EVENTS_A_SECOND
        time.sleep(max(0.0, due - time.perf_counter()))
    return taken


def missing(least_told: Callable[[], int], expected: int) -> int:
    """How many changes some client is not told, however long it listens; none, once all have come."""
    try:
        eventually(lambda: least_told() >= expected, 10)
    except AssertionError:
        return expected - least_told()
    return 0


@contextmanager
def listeners(url: str, token: str) -> Iterator[Callable[[], int]]:
    """Clients that listen, in a process of their own; says what :func:`listen` does, when it is asked."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.stream", url, token],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def least_told() -> int:
            print(file=process.stdin, flush=True)
            return int(process.stdout.readline()) if process.stdout else 0

        try:
            least_told()
            yield least_told
        finally:
            process.kill()


# --- what listens


class Client:
    """One bare client; ``told`` has what started and ended, each once."""

    def __init__(self) -> None:
        self.told = set[tuple[bytes, bytes]]()
        self.begun = asyncio.Event()

    async def listen(self, url: str, token: str) -> None:
        """Read until the server ends it."""
        address = urlsplit(url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=_LONGEST_LINE)
        head = (
            f"GET /api/v1/stream HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        writer.write(head.encode())
        while line := await reader.readline():
            self.told.update(_CHANGE.findall(line))
            if line.startswith(b"event: hello"):
                self.begun.set()


async def listen(url: str, token: str) -> None:
    """For each line of input, once all have begun: how many changes the one was told that was told least."""
    clients = [Client() for _ in range(CLIENTS)]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.listen(url, token))
        for client in clients:
            await client.begun.wait()
        while await asyncio.to_thread(sys.stdin.readline):
            print(min(len(client.told) for client in clients), flush=True)


if __name__ == "__main__":
    asyncio.run(listen(*sys.argv[1:]))
