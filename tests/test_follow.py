"""``follow``, beside shells that come and go, a server that is killed, and a database that is restarted."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pexpect
import pytest

from tests.faults import kill_server
from tests.postgres import Postgres, new_folder
from tests.world import PATIENCE, World, eventually

Size = Callable[[int, int], int]
Told = Callable[[], list[list[str]]]

# Some 80 sessions a second, each with its start and its end, until there is a file.
MANY = """
import os, sys, time, oneiric
number = 0
while not os.path.exists(sys.argv[1]) or number < int(sys.argv[2]):
    with oneiric.track_session("shop" if number % 2 else "bank"):
        time.sleep(0.005)
    number += 1
print(number)
"""
ONE = "import oneiric\nwith oneiric.track_session('{}') as session: print(session.id)"


def one_session(world: World, component: str) -> str:
    """Begin and end one; its id."""
    return world.run(sys.executable, "-c", ONE.format(component)).stdout.strip()


def until_more(told: Told, count: int) -> None:
    """Wait until so many rows more are told."""
    seen = len(told())
    eventually(lambda: len(told()) > seen + count)


def until_told(told: Told, session_id: str) -> list[tuple[str, ...]]:
    """Wait until a session's end is told; what was told until then."""
    eventually(lambda: ["end", session_id] in [row[:2] for row in told()])
    return [tuple(row[:2]) for row in told()]


@contextmanager
def following(world: World, *options: str) -> Iterator[Told]:
    """The rows that ``follow`` has printed so far, once it tells what happens."""
    printed = world.home / f"follow{len(options)}.txt"
    with printed.open("w") as file:
        command = ["session-buddy", "follow", *options]
        child = subprocess.Popen(command, env=world.environ, stdout=file, stderr=subprocess.PIPE, text=True)

        def told() -> list[list[str]]:
            return [line.split("\t") for line in printed.read_text().splitlines()]

        try:
            eventually(lambda: one_session(world, "bank") and told())
            yield told
        finally:
            child.send_signal(signal.SIGINT)
            _, complaint = child.communicate(timeout=PATIENCE)
        assert child.returncode == 130, complaint
        assert "Traceback" not in complaint


@pytest.fixture(params=["duckdb", "postgresql"], name="engine")
def restart_of(request: pytest.FixtureRequest, world: World) -> Iterator[Callable[[], Any]]:
    """Where the history lies: restarts the database, if that has a server of its own."""
    if request.param == "duckdb":
        yield lambda: None
        return
    database = Postgres(new_folder())
    database.make()
    database.start()
    world.environ["SESSION_BUDDY_STORAGE_URL"] = database.url("postgres")

    def restart() -> None:
        database.stop("immediate")
        database.start()

    yield restart
    world.stop_server()
    database.end()


@pytest.mark.sampled
def test_each_start_and_each_end_is_told_once_whatever_happens_to_the_server(
    world: World, engine: Callable[[], Any], size: Size
) -> None:
    over = world.home / "over"
    world.start_server()
    with following(world) as told, following(world, "component:bank") as told_of_bank:
        command = [sys.executable, "-c", MANY, str(over), str(size(50, 1500))]
        shells = [
            subprocess.Popen(command, env=world.environ, stdout=subprocess.PIPE, text=True) for _ in range(2)
        ]
        for trouble in (partial(kill_server, world), engine, partial(kill_server, world)):
            until_more(told, 20)
            trouble()
            world.start_server()
        until_more(told, 20)
        over.touch()
        count = sum(int(shell.communicate(timeout=PATIENCE)[0]) for shell in shells)
        ids = [one["session_id"] for one in world.sessions("--limit", "0")]
        last = one_session(world, "bank")
        many, of_bank = until_told(told, last), until_told(told_of_bank, last)
        assert max(Counter(many).values()) == max(Counter(of_bank).values()) == 1
        # Those at whose time it was not known yet that it follows may be missing: they are the oldest.
        expected = {(word, one) for word in ("start", "end") for one in ids[:count]}
        assert expected <= set(many)
        assert {row for row in expected if row[1].startswith("bank-")} <= set(of_bank) <= set(many)


def test_follow_in_a_terminal_and_where_there_is_no_server(world: World) -> None:
    refused = world.run("session-buddy", "follow", code=1)
    assert refused.stderr == (
        "Error: follow asks a server, and none runs: session-buddy mcp start --background\n"
    )
    world.start_server()
    child = pexpect.spawn(
        "session-buddy", ["follow", "--utc"], env=world.environ | {"NO_COLOR": "1"}, encoding="utf-8",
        timeout=PATIENCE, dimensions=(24, 80),
    )  # fmt: skip
    child.expect("Waiting for starts and ends; Ctrl-C leaves.")
    session = one_session(world, "shop")
    child.expect(rf"\r\n\d\d:\d\d:\d\d  start    [^\r]* {session[-8:]}")
    child.expect(rf"\d\d:\d\d:\d\d  ended    [^\r]* {session[-8:]}  0s \(exit\)\r\n")
    world.stop_server()
    child.expect("it was stopped: session-buddy mcp start --background; waiting for it")
    world.start_server()
    child.expect("The server is back.")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert "the nearest is user" in world.run("session-buddy", "follow", "usr:x", code=2).stderr


def test_follow_ends_with_who_reads_it(world: World) -> None:
    world.start_server()
    with subprocess.Popen(
        ["bash", "-c", "session-buddy follow --format ndjson | head -1 | cut -c1-18; echo ${PIPESTATUS[0]}"],
        env=world.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as reader:
        eventually(lambda: one_session(world, "shop") and reader.poll() is not None)
        said, complaint = reader.communicate()
    assert (said, complaint) == ('{"change": "start"\n0\n', "")
