"""Sessions of shells that live, with a server."""

import signal
import subprocess
import sys
from collections.abc import Callable

import pexpect

from tests.world import PATIENCE, World, eventually

Size = Callable[[int, int], int]


def test_an_open_shell_is_active_and_its_id_is_the_newest(world: World) -> None:
    world.start_server()
    child = world.shell()
    (session,) = eventually(world.sessions)
    assert session["status"] == "active"
    newest = world.sh("session-buddy list-sessions | head -1 | awk '{print $1}'").strip()
    assert newest == session["session_id"]
    child.sendline("exit()")
    child.expect(pexpect.EOF)
    (session,) = world.sessions()
    assert (session["status"], session["exit_reason"]) == ("ended", "exit")


def test_a_shell_in_which_a_command_runs_is_busy_and_then_idle(world: World) -> None:
    world.environ["SESSION_BUDDY_HEARTBEAT_SECONDS"] = "1"
    world.start_server()
    child = world.shell()
    child.sendline("input('name? ')")
    child.expect("name\\? ")
    (session,) = eventually(lambda: [one for one in world.sessions() if one["busy"]])
    assert session["idle_seconds"] is None
    assert world.sessions("idle:>=0s") == []
    child.sendline("ada")
    (session,) = eventually(lambda: [one for one in world.sessions("idle:>=0s") if not one["busy"]])
    assert session["commands"] == 1
    assert session["idle_seconds"] < PATIENCE


def test_twenty_shells_at_once_are_twenty_sessions(world: World) -> None:
    world.start_server()
    code = "import oneiric; e = oneiric.install('burst'); e.record(commands=1)"
    shells = [
        subprocess.Popen([sys.executable, "-c", code], env=world.environ, stdin=subprocess.DEVNULL)
        for _ in range(20)
    ]
    assert [shell.wait() for shell in shells] == [0] * 20
    ended = eventually(lambda: len(found := world.sessions("--status", "ended")) == 20 and found)
    assert len({session["session_id"] for session in ended}) == 20
    assert {session["exit_reason"] for session in ended} == {"exit"}


def test_mahavishnu_shells_fed_by_pipes_at_once_are_as_many_sessions(world: World, size: Size) -> None:
    count = size(6, 20)
    world.start_server()
    shells = [
        subprocess.Popen(
            [sys.executable, "-m", "mahavishnu", "shell"],
            env=world.environ,
            cwd=world.checkout,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(count)
    ]
    for shell in shells:
        shell.communicate(b"1 + 1\n")
    ended = eventually(lambda: len(found := world.sessions("--status", "ended")) == count and found)
    assert len({session["session_id"] for session in ended}) == count


def test_a_killed_shell_is_seen_as_crashed(world: World) -> None:
    world.start_server()
    child = world.shell()
    eventually(world.sessions)
    child.kill(signal.SIGKILL)
    child.wait()
    (session,) = eventually(lambda: world.sessions("--status", "crashed"))
    assert session["end_time"]


def test_a_new_secret_at_each_start_does_not_break_this_users_shells(world: World) -> None:
    for secret in ("a" * 40, "b" * 40):
        world.environ["SESSION_BUDDY_SECRET"] = secret
        world.start_server()
        child = world.shell()
        assert "Session Tracking: ✓ Enabled" in world.banner_of(child)
        assert "offline" not in world.banner_of(child)
        child.sendline("exit()")
        child.expect(pexpect.EOF)
        world.stop_server()
    assert [session["status"] for session in world.sessions()] == ["ended", "ended"]


def test_the_log_of_a_working_day_holds_no_error(world: World) -> None:
    world.start_server()
    child = world.shell()
    child.sendline("exit()")
    child.expect(pexpect.EOF)
    world.run("session-buddy", "list-sessions")
    world.stop_server()
    log = (world.checkout / "logs" / "session-buddy.log").read_text()
    assert log
    assert "error" not in log.lower()
