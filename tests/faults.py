"""Servers killed under load, shells in a storm: what is provoked here is counted by tests and by scripts."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

from oneiric import facts, outbox
from oneiric.paths import user_paths
from oneiric.testing import start_event
from oneiric.transport import TransportError, call_tool
from session_buddy.host.server_file import read_server_file
from tests.world import World, eventually

SHELL = "import oneiric, time; e = oneiric.install('storm'); e.record(commands=1); time.sleep({seconds})"
_BATCH = 20


class History(NamedTuple):
    """What a database holds."""

    starts: int
    ends: int
    distinct: int
    sessions: int
    ids: frozenset[str]


def history(world: World) -> History:
    """Read the database of a server that is stopped."""
    kinds = dict(world.engine.ask("SELECT event_type, count(*) FROM events GROUP BY 1"))
    ids = [event_id for (event_id,) in world.engine.ask("SELECT event_id FROM events")]
    ((sessions,),) = world.engine.ask("SELECT count(*) FROM sessions WHERE status IS NOT NULL")
    starts, ends = kinds.get("session_start", 0), kinds.get("session_end", 0)
    return History(starts, ends, len(set(ids)), sessions, frozenset(ids))


def kill_server(world: World) -> None:
    """SIGKILL the server, and wait until it is gone."""
    pid = json.loads(world.server_file.read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: _is_gone(pid))


def _is_gone(pid: int) -> bool:
    """Whether a process holds nothing any more; an init that never asks leaves its zombie for good."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):  # the latter: it was waited for while it was listed
        return True
    return len(threads) == 1 and facts.process_start_ticks(pid) is None


def storm(world: World, shells: int, kills: int, seconds: float = 1.0) -> History:
    """Many shells come and go at once while the server is killed and started again."""
    world.start_server()
    children = [
        subprocess.Popen(
            [sys.executable, "-c", SHELL.format(seconds=seconds)], env=world.environ, stdin=subprocess.DEVNULL
        )
        for _ in range(shells)
    ]
    for _ in range(kills):
        kill_server(world)
        world.start_server()
    for child in children:
        child.wait()
    eventually(lambda: len(world.sessions("--limit", "10000", "--status", "ended")) == shells)
    world.stop_server()
    return history(world)


class Load:
    """Calls ``track_events`` over the socket, and remembers what was acknowledged."""

    def __init__(self, world: World) -> None:
        self.acknowledged: set[str] = set()
        self.unanswered = 0
        self._paths = user_paths(world.environ)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def more_than(self, count: int) -> Callable[[], bool]:
        """Whether more events than that are acknowledged."""
        return lambda: len(self.acknowledged) > count

    def _run(self) -> None:
        while not self._stop.is_set():
            server = read_server_file(self._paths)
            if server is None:
                self._stop.wait(0.01)
                continue
            with contextlib.suppress(TransportError):
                self._send(server.endpoint)

    def _send(self, endpoint: object) -> None:
        now = datetime.now(UTC).isoformat()
        batch = [start_event(event_id=str(uuid.uuid4()), timestamp=now) for _ in range(_BATCH)]
        self.unanswered += _BATCH
        answer = call_tool(endpoint, "track_events", {"events": batch})  # type: ignore[arg-type]  # an Endpoint
        for event, result in zip(batch, answer["results"], strict=True):
            assert result["status"] == "stored", result
            self.acknowledged.add(event["event_id"])
        self.unanswered -= _BATCH


def kill_rounds(world: World, rounds: int, seed: int) -> tuple[Load, History]:
    """Kill the server under load, again and again, each time after a moment that ``seed`` decides."""
    chance = random.Random(seed)  # noqa: S311 - to repeat a run
    pause = threading.Event()
    with Load(world) as load:
        for _ in range(rounds):
            world.start_server()
            before = len(load.acknowledged)
            eventually(load.more_than(before))
            pause.wait(chance.uniform(0.0, 0.4))
            kill_server(world)
    world.start_server()
    world.stop_server()
    return load, history(world)


def waiting(world: World) -> int:
    """How many journals lie in the outbox."""
    return len(outbox.journals(user_paths(world.environ).outbox))
