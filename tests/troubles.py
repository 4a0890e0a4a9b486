"""The plan's troubleshooting section: each problem provoked, and what the user reads then."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.plan import Step
from tests.world import World


@contextmanager
def nothing(_world: World) -> Iterator[None]:
    """The problem is there from the start."""
    yield


@contextmanager
def taken_port(world: World) -> Iterator[None]:
    """Another program listens on the port."""
    with socket.create_server(("127.0.0.1", world.port)):
        yield


@contextmanager
def disabled_tracking(world: World) -> Iterator[None]:
    """The shell's settings switch tracking off."""
    settings = world.checkout / "settings" / "mahavishnu.yaml"
    text = settings.read_text().replace("enabled: true", "enabled: false", 1)
    settings.write_text(text)
    yield


@contextmanager
def broken_settings(world: World) -> Iterator[None]:
    """A settings file with a key that is none."""
    settings = world.checkout / "settings" / "session-buddy.yaml"
    settings.write_text("prot: 8678\n")
    yield


@contextmanager
def unwritable_database(world: World) -> Iterator[None]:
    """A file stands where the database's folder should be."""
    world.database.parent.parent.mkdir(parents=True)
    world.database.parent.write_text("in the way\n")
    yield


@contextmanager
def foreign_database(world: World) -> Iterator[None]:
    """The database is some other file."""
    world.database.parent.mkdir(parents=True)
    world.database.write_text("this is no database, it is a text of some length\n" * 100)
    yield


@contextmanager
def wrong_endpoint(world: World) -> Iterator[None]:
    """The shell is told to deliver to nowhere."""
    world.environ["SESSION_BUDDY_MCP_ENDPOINT"] = "nowhere"
    yield


@contextmanager
def short_secret(world: World) -> Iterator[None]:
    """A secret of a few letters."""
    world.environ["SESSION_BUDDY_SECRET"] = "hunter2"
    yield


@dataclass(frozen=True)
class Trouble:
    """A problem, how to bring it about, and what must be read then."""

    problem: str
    symptom: str
    cause: str
    solution: str
    command: str
    expected: tuple[str, ...]
    code: int
    bring_about: Callable[[World], AbstractContextManager[None]] = nothing


SHELL = "echo 'print(1)' | python -m mahavishnu shell"

TROUBLES = (
    Trouble(
        "Session-Buddy MCP server fails to start: port already in use",
        "`session-buddy mcp start` ends at once, exit code 1",
        "another program listens on the port",
        "`lsof -i :8678` shows it too; stop it, or choose a port with `SESSION_BUDDY_PORT` or `--port`",
        "session-buddy mcp start",
        (f"{os.getpid()}", "SESSION_BUDDY_PORT"),
        1,
        taken_port,
    ),
    Trouble(
        "Session-Buddy MCP server fails to start: configuration error",
        "one line that names file and key, exit code 1",
        "a key that does not exist, a wrong type, broken YAML",
        "`cat settings/session-buddy.yaml`, correct the key",
        "session-buddy mcp start",
        ("session-buddy.yaml", "prot"),
        1,
        broken_settings,
    ),
    Trouble(
        "Session-Buddy MCP server fails to start: secret too short",
        "one line that says how to make one, exit code 1",
        "`SESSION_BUDDY_SECRET` has fewer than 32 characters",
        "`python -c 'import secrets; print(secrets.token_urlsafe(32))'`",
        "session-buddy mcp start",
        ("SESSION_BUDDY_SECRET", "32"),
        1,
        short_secret,
    ),
    Trouble(
        "Mahavishnu shell doesn't show session tracking: server not running",
        "the banner says offline; sessions are kept and listed all the same",
        "no server was started",
        "`session-buddy mcp status`, then `session-buddy mcp start`",
        f"session-buddy mcp status; {SHELL}",
        ("not running", "✓ Enabled (offline, kept in the outbox)"),
        0,
    ),
    Trouble(
        "Mahavishnu shell doesn't show session tracking: disabled in the settings",
        "the banner says ✗ Disabled",
        "`session: enabled: false` in settings/mahavishnu.yaml",
        "`cat settings/mahavishnu.yaml | grep session`; set it to true",
        f"cat settings/mahavishnu.yaml | grep -A3 session; {SHELL}",
        ("enabled: false", "Session Tracking: ✗ Disabled"),
        0,
        disabled_tracking,
    ),
    Trouble(
        "Session not recorded: MCP client not configured",
        "the shell works, sessions wait in the outbox",
        "`SESSION_BUDDY_MCP_ENDPOINT` names no address",
        "unset it (the local server is found by itself) or correct it; what waits is delivered then",
        f"{SHELL}; session-buddy mcp health",
        ("kept in the outbox", "SESSION_BUDDY_MCP_ENDPOINT"),
        1,
        wrong_endpoint,
    ),
    Trouble(
        "Session not recorded: database cannot be written",
        "one line that names the file, exit code 1",
        "the folder cannot be made, the disk is full, the file belongs to another user",
        "`session-buddy mcp health`, the log; correct the folder or start it with another, `--db`",
        "session-buddy mcp start",
        ("session-buddy",),
        1,
        unwritable_database,
    ),
    Trouble(
        "Session not recorded: the file is no database",
        "one line that names the file, which is left as it is, exit code 1",
        "`SESSION_BUDDY_DB_PATH` names another file",
        "correct it",
        "session-buddy list-sessions",
        ("sessions.duckdb",),
        1,
        foreign_database,
    ),
)


def provoke(trouble: Trouble, world: World) -> Step:
    """Bring a problem about and read what the user reads."""
    begun = time.monotonic()
    with trouble.bring_about(world):
        done = world.run("bash", "-c", trouble.command, code=None)
        world.environ.pop("SESSION_BUDDY_MCP_ENDPOINT", None)
        world.stop_server()
    seen = done.stdout + done.stderr
    passed = (
        done.returncode == trouble.code
        and all(part in seen for part in trouble.expected)
        and "Traceback" not in seen
    )
    return Step(
        "Troubleshooting",
        trouble.problem,
        trouble.command,
        trouble.symptom,
        seen,
        time.monotonic() - begun,
        passed,
    )
