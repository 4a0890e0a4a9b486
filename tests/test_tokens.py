"""Tokens of other hosts, revoked and rotated under servers that run and shells that are open."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from oneiric.transport import Endpoint, page
from tests import forkserver
from tests.engines import new_database
from tests.world import World, eventually

# Servers look every 0.4 s; what is more is for a machine that is busy.
SOON = 15.0
SHELL = """
import sys, oneiric
with oneiric.track_session("shop") as session:
    print(session.id, session.emitter.wait_connected(30), flush=True)
    for line in sys.stdin:
        if line == "work\\n":
            session.record(1)
        print(session.emitter.turned_away, session.emitter.problem, flush=True)
"""
NEW = "session-buddy token create --subject web1 --scope track --scope read"


@pytest.fixture
def other(world: World, tmp_path: Path) -> Iterator[World]:
    """Another user, with a server of their own."""
    other = World(tmp_path / "other", forks=True)
    yield other
    other.stop_server()


@pytest.fixture
def shared(world: World, other: World, request: pytest.FixtureRequest) -> Iterator[list[Endpoint]]:
    """Where the servers of two users are whose history lies in one database."""
    with closing(new_database(request.config)) as database:
        for one in (world, other):
            one.move_to(database)
        yield [Endpoint(url=one.start_server()["url"]) for one in (world, other)]
        for one in (world, other):
            one.stop_server()


def status(server: Endpoint, token: str, target: str = "/api/v1/changes") -> int:
    """What a server answers to a call with a token."""
    return page(server._replace(token=token), target)[0]


@contextmanager
def far_shell(world: World, url: str, token_file: Path) -> Iterator[Any]:
    """A shell on another host, whose session is delivered over TCP; its ``session`` and ``say``."""
    far = {"SESSION_BUDDY_MCP_ENDPOINT": url, "SESSION_BUDDY_TOKEN_FILE": str(token_file)}
    child = forkserver.popen(
        [sys.executable, "-P", "-c", SHELL],
        env=world.environ | far,
        cwd=world.checkout,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin
    assert child.stdout
    session, connected = child.stdout.readline().split()
    assert connected == "True"

    def say(line: str) -> str:
        assert child.stdin
        assert child.stdout
        child.stdin.write(line + "\n")
        child.stdin.flush()
        return str(child.stdout.readline()).strip()

    try:
        yield session, say
    finally:
        with suppress(BrokenPipeError):
            child.stdin.close()
        child.wait(60)
        child.stdout.close()


def shown(world: World, session: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(world.said(f"session-buddy show-session {session} -f json"))
    return record


def new_token(world: World, file: Path) -> str:
    token = world.said(NEW).strip()
    file.touch(mode=0o600)
    file.write_text(token)
    return token


def test_a_rotation_ends_no_live_session(world: World) -> None:
    world.environ["SESSION_BUDDY_HEARTBEAT_SECONDS"] = "1"
    url, file = world.start_server()["url"], world.home / "web1.token"
    before = new_token(world, file)
    with far_shell(world, url, file) as (session, say):
        done = world.run("session-buddy", "token", "rotate")
        assert "servers take it up within a second" in done.stdout
        after = world.said(NEW).strip()
        eventually(lambda: status(Endpoint(url=url), after) == 200, SOON)
        say("work")
        # It came with a heartbeat, after the rotation.
        eventually(lambda: shown(world, session)["commands"] == 1)
        assert say("") == "False None"
    # Its end was delivered by itself: what this user's outbox holds for that server, no other takes in.
    eventually(lambda: shown(world, session)["status"] == "ended")
    assert (shown(world, session)["exit_reason"], shown(world, session)["reported_by"]) == ("exit", "web1")
    states = [one["state"] for one in json.loads(world.said("session-buddy token list -f json"))]
    assert states == ["valid", "made by an earlier secret"]
    world.run("session-buddy", "token", "rotate", "--at-once", "--yes")
    eventually(lambda: status(Endpoint(url=url), before) == status(Endpoint(url=url), after) == 401, SOON)


def test_a_revoked_token_loses_nothing_that_a_shell_recorded(world: World) -> None:
    world.environ["SESSION_BUDDY_HEARTBEAT_SECONDS"] = "1"
    url, file = world.start_server()["url"], world.home / "web1.token"
    token = new_token(world, file)
    with far_shell(world, url, file) as (session, say):
        with file.open() as stream:
            revoked = world.run("session-buddy", "token", "revoke", "-", stdin=stream)
        assert revoked.stdout.startswith("Revoked ")
        far = {"SESSION_BUDDY_MCP_ENDPOINT": url, "SESSION_BUDDY_TOKEN": token}
        said = eventually(lambda: refused(world, far), SOON)
        assert said.count("\n") == 1
        assert "of web1 was revoked at" in said
        assert token not in said
        problem = eventually(lambda: (text := say("work")).startswith("True") and text)
        assert "of web1 was revoked at" in problem
    assert shown(world, session)["status"] != "ended"
    # Another token of the same subject, in the same place: the next shell delivers what waits.
    new_token(world, file)
    with far_shell(world, url, file):
        eventually(lambda: shown(world, session)["status"] == "ended")
    assert shown(world, session)["exit_reason"] == "exit"
    log = "".join(one.read_text() for one in world.checkout.parent.rglob("*.log"))
    assert "server started" in log
    assert token not in log + world.said("session-buddy token list -f json")


def refused(world: World, far: dict[str, str]) -> str:
    done = world.run("session-buddy", "mcp", "health", env=world.environ | far, code=None)
    return done.stderr if done.returncode else ""


def test_servers_of_one_database_refuse_and_take_up_alike(
    world: World, other: World, shared: list[Endpoint]
) -> None:
    def all_answer(token: str, wanted: int) -> Callable[[], bool]:
        return lambda: {status(server, token) for server in shared} == {wanted}

    token, second = world.said(NEW).strip(), world.said(NEW + " --name laptop").strip()
    assert all_answer(token, 200)()
    listed = json.loads(other.said("session-buddy token list -f json"))
    assert [one["name"] for one in listed] in ([None, "laptop"], ["laptop", None])
    (first,) = [one["id"] for one in listed if one["name"] is None]
    other.run("session-buddy", "token", "revoke", first[:6])
    eventually(all_answer(token, 401), SOON)
    assert all_answer(second, 200)()
    world.run("session-buddy", "token", "rotate")
    new = other.said(NEW).strip()
    eventually(all_answer(new, 200), SOON)
    assert all_answer(second, 200)()
    # Without a server it is the same; each then starts with it.
    world.stop_server()
    world.run("session-buddy", "token", "revoke", "--subject", "web1", "--yes")
    eventually(lambda: status(shared[1], new) == status(shared[1], second) == 401, SOON)
    shared[0] = Endpoint(url=world.start_server()["url"])
    assert all_answer(new, 401)()
