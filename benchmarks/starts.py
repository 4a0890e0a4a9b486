"""How long commands and shells take to start, as whole processes."""

import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus

import pexpect

from benchmarks.measure import Effort, Row, duration, median, pairs, ratio
from tests.world import World, eventually

EMIT = "import oneiric; oneiric.install('bench')"


def command(world: World, *words: str) -> Callable[[], object]:
    """A whole command as a process."""
    return lambda: subprocess.run(
        words,
        env=world.environ,
        cwd=world.checkout,
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        check=True,
    )


def prompt(world: World, *words: str) -> float:
    """Seconds from the start of a shell under a pseudo-terminal to its first prompt."""
    begun = time.perf_counter()
    child = pexpect.spawn(
        words[0],
        list(words[1:]),
        env=world.environ,
        cwd=str(world.checkout),
        encoding="utf-8",
        timeout=60,
    )
    child.expect("In ")
    taken = time.perf_counter() - begun
    child.sendline("exit()")
    child.expect(pexpect.EOF)
    child.close()
    return taken


def prompts(world: World, one: Sequence[str], other: Sequence[str], rounds: int) -> tuple[float, float]:
    """Median seconds to the first prompt of both, in turns; the first round warms up."""
    taken = [(prompt(world, *one), prompt(world, *other)) for _ in range(rounds + 1)][1:]
    return statistics.median(first for first, _ in taken), statistics.median(second for _, second in taken)


def rows(world: World, effort: Effort) -> Iterator[Row]:
    """Commands, the server, prompts."""
    python, rounds = sys.executable, effort.rounds
    emitting, bare = pairs(command(world, python, "-c", EMIT), command(world, python, "-c", ""), rounds)
    yield duration("import oneiric, start a session, exit: added to bare Python", emitting - bare, 0.060)

    yield duration("session-buddy --help", median(command(world, "session-buddy", "--help"), rounds), 0.3)
    yield duration("server start to /health", statistics.median(server_start(world) for _ in range(3)), 2.5)

    world.start_server()
    listing = median(command(world, "session-buddy", "list-sessions"), rounds)
    yield duration("session-buddy list-sessions, server running", listing, 0.6)

    shell = (python, "-m", "mahavishnu", "shell")
    on, off = prompts(world, shell, (*shell, "--no-tracking"), max(rounds, 30))
    yield ratio("first prompt of the Mahavishnu shell, tracking on / off", on, off, 1.05, "off")
    plain = (python, "-m", "IPython", "--no-banner", "--no-confirm-exit")
    ours, ipython = prompts(world, shell, plain, rounds)
    yield ratio("first prompt, Mahavishnu / bare IPython", ours, ipython, 2.0, "IPython")
    world.stop_server()


def server_start(world: World) -> float:
    """Seconds from the command to the first answer of /health."""
    begun = time.perf_counter()
    server = subprocess.Popen(
        ["session-buddy", "mcp", "start"],
        env=world.environ,
        cwd=world.checkout,
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    eventually(lambda: healthy(world))
    taken = time.perf_counter() - begun
    world.stop_server()
    server.wait()
    return taken


def healthy(world: World) -> bool:
    """Whether /health answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{world.port}/health", timeout=1) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False
