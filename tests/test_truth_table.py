"""How a session ended, row by row: each a real process, with a server running and without one."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pexpect
import pytest

from oneiric.transport import call_tool
from session_buddy.intake.liveness import SWEEP_SECONDS
from tests.world import PATIENCE, World, eventually

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.sampled]

REPL = ["-q", "-i", "-c", "import oneiric; e = oneiric.install('shop')"]
START = "import os, signal, sys, oneiric; e = oneiric.install('shop'); e.wait_connected(5); "


@dataclass(frozen=True)
class Row:
    """What happens to a shell, and what is told of it."""

    what: str
    end: Callable[[World], None]
    status: str
    exit_reason: str
    detected_by: str
    exit_code: int | None = None
    signal: int | None = None


def code(text: str) -> Callable[[World], None]:
    """A process that runs ``text`` in a session and ends by it."""

    def end(world: World) -> None:
        world.run(sys.executable, "-c", START + text, code=None)

    return end


def prompt(act: Callable[["pexpect.spawn[str]"], object]) -> Callable[[World], None]:
    """A Python prompt at which somebody does something."""

    def end(world: World) -> None:
        child = pexpect.spawn(
            sys.executable,
            REPL,
            env={**world.environ, "PYTHON_BASIC_REPL": "1"},
            encoding="utf-8",
            timeout=60,
        )
        child.expect(">>> ")
        act(child)
        child.expect([pexpect.EOF, pexpect.TIMEOUT])
        child.close()

    return end


def dies_of(number: int) -> Callable[["pexpect.spawn[str]"], None]:
    """Somebody signals a process until it is gone.

    A Python prompt that is signalled in the moment before it waits for its terminal notices at the next one.
    """

    def act(child: "pexpect.spawn[str]") -> None:
        for _ in range(30):
            child.kill(number)
            if child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=1) == 0:
                break

    return act


def interrupted(child: "pexpect.spawn[str]") -> None:
    """Somebody presses Ctrl-C at a Python prompt until it notices, then leaves.

    Each press may be noticed, also while somebody types.
    """
    child.sendintr()
    for _ in range(30):
        if child.expect(["KeyboardInterrupt", pexpect.TIMEOUT], timeout=1) == 0:
            break
        child.sendintr()
    for _ in range(10):
        child.sendline("exit()")
        if child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=5) == 0:
            break


def shell(act: Callable[["pexpect.spawn[str]"], object]) -> Callable[[World], None]:
    """A Mahavishnu shell in which somebody does something."""

    def end(world: World) -> None:
        child = world.shell()
        act(child)
        child.expect([pexpect.EOF, pexpect.TIMEOUT])
        child.close()

    return end


def piped(world: World) -> None:
    """A shell that reads its lines from a pipe."""
    world.run(sys.executable, "-m", "mahavishnu", "shell", stdin=None, input="print(1)\n")


def block(text: str) -> Callable[[World], None]:
    """A process whose ``with`` block is left by ``text``."""

    def end(world: World) -> None:
        world.run(
            sys.executable, "-c", f"import oneiric\nwith oneiric.track_session('shop'): {text}", code=None
        )

    return end


ROWS = (
    Row("exit() in a shell", shell(lambda s: s.sendline("exit()")), "ended", "exit", "emitter", 0),
    Row("Ctrl-D in a shell", shell(lambda s: s.sendeof()), "ended", "eof", "emitter", 0),
    Row("exit() at a prompt", prompt(lambda p: p.sendline("exit()")), "ended", "exit", "emitter"),
    Row("sys.exit(3)", code("sys.exit(3)"), "ended", "exit", "emitter"),
    Row("sys.exit(3) in a block", block("raise SystemExit(3)"), "ended", "exit", "emitter", 3),
    Row("end of a piped script", piped, "ended", "eof", "emitter", 0),
    Row("uncaught exception", code("1/0"), "crashed", "exception", "emitter"),
    Row(
        "exception at the prompt, then exit",
        prompt(lambda p: (p.sendline("1/0"), p.expect(">>> "), p.sendline("exit()"))),
        "ended",
        "exit",
        "emitter",
    ),
    Row(
        "Ctrl-C at the prompt, then exit",
        prompt(interrupted),
        "ended",
        "exit",
        "emitter",
    ),
    Row("SIGTERM in a shell", shell(dies_of(signal.SIGTERM)), "ended", "sigterm", "emitter", None, 15),
    Row(
        "SIGTERM at a prompt",
        prompt(dies_of(signal.SIGTERM)),
        "ended",
        "sigterm",
        "emitter",
        None,
        15,
    ),
    Row("terminal closed", prompt(dies_of(signal.SIGHUP)), "ended", "sighup", "emitter", None, 1),
    Row("SIGTERM in a script", code("os.kill(os.getpid(), 15)"), "crashed", "process_gone", "liveness"),
    Row("SIGKILL", code("os.kill(os.getpid(), 9)"), "crashed", "process_gone", "liveness"),
    Row("SIGSEGV", code("os.kill(os.getpid(), signal.SIGSEGV)"), "crashed", "process_gone", "liveness"),
    Row("os._exit(4)", code("os._exit(4)"), "crashed", "process_gone", "liveness"),
)


@pytest.fixture(params=["server", "no server"])
def place(request: pytest.FixtureRequest, world: World, engine: None) -> World:
    if request.param == "server":
        world.start_server()
    return world


@pytest.mark.parametrize("row", ROWS, ids=[row.what for row in ROWS])
def test_an_end_is_told_as_it_was(place: World, row: Row) -> None:
    row.end(place)
    (session,) = eventually(lambda: [one for one in place.sessions() if one["status"] != "active"])
    told = {name: session[name] for name in ("status", "exit_reason", "detected_by", "exit_code", "signal")}
    # By a server that had heard of it, else by who looked next.
    found = session["detected_by"] if row.detected_by == "liveness" else row.detected_by
    assert found in {row.detected_by, "outbox"}
    assert told == {
        "status": row.status,
        "exit_reason": row.exit_reason,
        "detected_by": found,
        "exit_code": row.exit_code,
        "signal": row.signal,
    }


def test_a_program_that_takes_the_process_over_is_an_exec(place: World) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", START + "os.execv('/bin/cat', ['cat'])"],
        env=place.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    (session,) = eventually(lambda: place.sessions("--status", "ended"))
    assert (session["exit_reason"], session["detected_by"]) == ("exec", "outbox")
    child.communicate()
    (again,) = place.sessions()
    assert again["exit_reason"] == "exec"


def test_a_shell_that_was_stopped_is_active_when_it_goes_on(place: World) -> None:
    child = place.shell()
    (before,) = eventually(place.sessions)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGSTOP)
    (stopped,) = place.sessions()
    os.kill(child.pid, signal.SIGCONT)
    child.sendline("print('going ' + 'on')")
    child.expect("going on")
    (after,) = place.sessions()
    assert [one["status"] for one in (before, stopped, after)] == ["active"] * 3
    child.sendline("exit()")
    child.expect(pexpect.EOF)
    assert [one["status"] for one in place.sessions()] == ["ended"]


class Stopped:
    """A shell that lives until its input ends, stopped as soon as a server with short leases knows it.

    Args:
        world: where it runs.
        lease: seconds.
        before: what its program does first.
    """

    def __init__(self, world: World, lease: int, before: str = "") -> None:
        self._world = world
        self._lease = timedelta(seconds=lease)
        world.environ |= {"SESSION_BUDDY_HEARTBEAT_SECONDS": "1", "SESSION_BUDDY_LEASE_SECONDS": str(lease)}
        world.start_server()
        self._process = subprocess.Popen(
            [sys.executable, "-c", before + START + "sys.stdin.read()"],
            env=world.environ,
            stdin=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        eventually(lambda: self.status == "active")
        self._process.send_signal(signal.SIGSTOP)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def session(self) -> dict[str, Any]:
        """The one session, as it is listed; nothing while there is none.

        The server itself is asked: what a command takes to start is much of a lease.
        """
        listed = call_tool(self._world.endpoint, "list_sessions", {"fields": ["*"]}, PATIENCE)["sessions"]
        return next(iter(listed), {})

    @property
    def status(self) -> str | None:
        """How it is listed to people."""
        session = self.session
        return "unreachable" if session.get("unreachable") else session.get("status")

    @property
    def outlived_its_lease(self) -> bool:
        """Whether it was silent for a lease, and for a look of the server's at all leases more."""
        silent = datetime.now(UTC) - datetime.fromisoformat(self.session["last_seen"])
        return silent > self._lease + timedelta(seconds=SWEEP_SECONDS + 1)

    def goes_on_and_ends(self) -> None:
        """Woken, it is active; left, it has ended."""
        self._process.send_signal(signal.SIGCONT)
        eventually(lambda: self.status == "active")
        self._process.communicate()
        eventually(lambda: self.status == "ended")
        assert self.session["exit_reason"] == "exit"


def test_a_process_stopped_for_longer_than_its_lease_is_unreachable_and_never_ended(world: World) -> None:
    with Stopped(world, lease=4) as stopped:
        eventually(lambda: stopped.status == "unreachable")
        seen = [stopped.status]
        eventually(lambda: stopped.outlived_its_lease or seen.append(stopped.status))  # type: ignore[func-returns-value]
        assert {*seen, stopped.status} == {"unreachable"}
        stopped.goes_on_and_ends()


def test_a_stopped_process_elsewhere_is_lost_and_woken_by_its_next_heartbeat(world: World) -> None:
    elsewhere = "import oneiric.facts as f; f.boot_id = lambda: 'elsewhere'; "
    with Stopped(world, lease=10, before=elsewhere) as stopped:
        eventually(lambda: stopped.status == "unreachable")
        eventually(lambda: stopped.status == "lost")
        lost = stopped.session
        assert (lost["exit_reason"], lost["detected_by"]) == ("lease_expired", "lease")
        assert lost["end_time"] == lost["last_seen"]
        stopped.goes_on_and_ends()


def test_an_interrupt_in_the_shell_ends_nothing(place: World) -> None:
    child = place.shell()
    child.sendintr()
    child.sendline("print('still ' + 'here')")
    child.expect("still here")
    assert [one["status"] for one in eventually(place.sessions)] == ["active"]
    child.sendline("exit()")
    child.expect(pexpect.EOF)


def test_a_reboot_leaves_orphans_that_are_found(world: World) -> None:
    code_of_another_boot = (
        "import os, oneiric, oneiric.facts as f; f.boot_id = lambda: 'another-boot';"
        "oneiric.install('shop'); os._exit(0)"
    )
    world.run(sys.executable, "-c", code_of_another_boot)
    (session,) = world.sessions()
    assert (session["status"], session["exit_reason"]) == ("crashed", "outbox_recovered")


COUNTED = (
    START + "e.wait_connected(60); e.record(commands=3, errors=1); print('up', flush=True); sys.stdin.read()"
)


def test_a_killed_shell_ended_when_it_was_killed_with_all_that_it_counted(world: World) -> None:
    world.start_server()
    shell = subprocess.Popen(
        [sys.executable, "-c", COUNTED], env=world.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert shell.stdout is not None
    shell.stdout.readline()
    eventually(lambda: world.sessions()[0]["duration_seconds"] > 1.5)
    killed = datetime.now(UTC)
    shell.kill()
    shell.communicate()
    (session,) = eventually(lambda: [one for one in world.sessions() if one["status"] != "active"])
    told = {
        name: session[name] for name in ("exit_reason", "detected_by", "commands", "errors", "clock_skew")
    }
    assert told == {
        "exit_reason": "process_gone",
        "detected_by": "liveness",
        "commands": 3,
        "errors": 1,
        "clock_skew": False,
    }
    end, start = (datetime.fromisoformat(session[name]) for name in ("end_time", "start_time"))
    assert abs(end - killed) < timedelta(seconds=1)
    assert session["duration_seconds"] == pytest.approx((end - start).total_seconds(), abs=0.5)


def test_with_no_server_a_killed_shell_keeps_what_it_counted(world: World) -> None:
    counted = START + "e.record(commands=3, errors=1); os._exit(4)"
    world.run(sys.executable, "-c", counted, code=4)
    (session,) = world.sessions()
    assert (session["exit_reason"], session["commands"], session["errors"]) == ("process_gone", 3, 1)
