"""A server whose history lies on PostgreSQL, while that comes and goes."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from signal import SIGCONT, SIGKILL, SIGSTOP
from time import monotonic

import psycopg
import pytest

from tests.postgres import Postgres, new_folder
from tests.world import World, eventually

Size = Callable[[int, int], int]

SHELLS = """
import os, sys, time, oneiric
while not os.path.exists(sys.argv[1]):
    with oneiric.track_session("shop") as session:
        session.record(1)
        print(session.id, session.emitter.dropped, flush=True)
        time.sleep(0.1)
"""


@pytest.fixture
def postgres(world: World) -> Iterator[Postgres]:
    """A PostgreSQL server of the test's own; the world's history lies there."""
    folder = new_folder()
    # As somebody may have set it for speed.
    server = Postgres(folder, synchronous_commit="off")
    server.make()
    server.start()
    server.run("CREATE ROLE buddy LOGIN PASSWORD 'geheim'", "CREATE DATABASE history OWNER buddy")
    world.environ["SESSION_BUDDY_STORAGE_URL"] = f"postgresql://buddy:geheim@127.0.0.1:{server.port}/history"
    yield server
    world.stop_server()
    server.stop("immediate")
    shutil.rmtree(folder)


def killed(server: Postgres) -> Callable[[], None]:
    server.send(SIGKILL)
    return server.start


def stopped(server: Postgres) -> Callable[[], None]:
    server.send(SIGSTOP)
    return lambda: server.send(SIGCONT)


def shut_down(server: Postgres) -> Callable[[], None]:
    server.stop()
    return server.start


def read_only(server: Postgres) -> Callable[[], None]:
    server.run("ALTER DATABASE history SET default_transaction_read_only = on", _OTHERS)
    return lambda: server.run("ALTER DATABASE history RESET default_transaction_read_only", _OTHERS)


def out_of_connections(server: Postgres) -> Callable[[], None]:
    server.run("ALTER ROLE buddy CONNECTION LIMIT 0", _OTHERS)
    return lambda: server.run("ALTER ROLE buddy CONNECTION LIMIT -1")


def locked_out(server: Postgres) -> Callable[[], None]:
    server.run("ALTER ROLE buddy NOLOGIN", _OTHERS)
    return lambda: server.run("ALTER ROLE buddy LOGIN")


_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'buddy'"


@pytest.mark.parametrize(
    "troubles",
    [(killed, read_only), (stopped, locked_out), (shut_down, out_of_connections)],
    ids=lambda troubles: " and ".join(trouble.__name__ for trouble in troubles),
)
def test_whatever_becomes_of_the_database_no_session_is_lost(
    world: World, postgres: Postgres, size: Size, troubles: Sequence[Callable[[Postgres], Callable[[], None]]]
) -> None:
    world.start_server()
    enough = world.home / "enough"
    shells = [
        subprocess.Popen(
            [sys.executable, "-c", SHELLS, str(enough)],
            env=world.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(size(4, 20))
    ]
    for trouble in troubles:
        mend = trouble(postgres)
        begun = monotonic()
        eventually(lambda: not healthy(world))
        eventually(lambda: monotonic() > begun + size(1, 30))  # noqa: B023 - called here
        said = world.run("session-buddy", "mcp", "status", code=3).stderr
        assert (said.count("\n"), "geheim" in said) == (1, False)
        assert said.startswith(f"Error: database postgresql://buddy@127.0.0.1:{postgres.port}/history ")
        mend()
        eventually(lambda: healthy(world))
    enough.touch()
    told = [line.split() for shell in shells for line in shell.communicate()[0].splitlines()]
    assert {dropped for _, dropped in told} == {"0"}
    expected = {session for session, _ in told}
    assert len(expected) == len(told)
    assert eventually(lambda: ended(world) == expected)
    with psycopg.connect(postgres.url("history")) as connection:
        events = connection.execute("SELECT count(*), count(DISTINCT event_id) FROM events").fetchall()
    assert events == [(2 * len(expected), 2 * len(expected))]


def healthy(world: World) -> bool:
    """Whether the server says that it is."""
    return world.run("session-buddy", "mcp", "status", code=None).returncode == 0


def ended(world: World) -> set[str]:
    """The sessions that the history has, with their ends."""
    return {one["session_id"] for one in world.sessions("--status", "ended", "--limit", "10000")}
