"""Homes side by side and homes shared: two users of one machine, and one user on two machines."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from oneiric.testing import journals
from tests.world import World, eventually

EMIT = "import oneiric; e = oneiric.install({component!r}); e.record(commands=1); print(e.session_id)"
# Reads and connects to all that it is given, as whom it is told to be; says what it could.
INTRUDER = """
import os, socket, stat, sys
uid, *paths = sys.argv[1:]
os.setgroups([])
os.setgid(int(uid))
os.setuid(int(uid))
for path in paths:
    for act in (os.listdir, open, lambda path: open(path, "r+"), lambda path: open(path + "/mine", "x"),
                lambda path: socket.socket(socket.AF_UNIX).connect(path)):
        try:
            act(path)
        except OSError:
            continue
        print(path)
"""


class Account(World):
    """Another user of this machine.

    Args:
        folder: where everything of this user lies.
        uid: of the user.
        become: the command that becomes this user.
    """

    def __init__(self, folder: Path, uid: int, become: list[str]) -> None:
        super().__init__(folder)
        self.uid = uid
        self._become = become
        self.environ["USER"] = f"user{uid}"
        folder.chmod(0o755)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, uid, uid, follow_symlinks=False)

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command as this user."""
        return super().run(*self._become, *command, **options)

    @property
    def belongings(self) -> list[str]:
        """All that tracking has made in this user's folders."""
        return [str(path) for path in self.home.parent.rglob("*") if "checkout" not in path.parts]


def becoming(uid: int) -> list[str]:
    """A command that runs another one as ``uid``."""
    plain = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    # Where Python lies in root's home, another user must be let in there; the intruder below is not.
    let_in = [*plain, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    runs_itself = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    for command in (plain, let_in):
        tried = subprocess.run(
            [*command, sys.executable, "-c", runs_itself], capture_output=True, check=False
        )
        if tried.returncode == 0:
            return command
    pytest.skip("another user cannot run this Python")


@pytest.fixture
def accounts() -> Iterator[list[Account]]:
    """Two users, neither of them root, whose homes lie open."""
    if os.geteuid() != 0:
        pytest.skip("only root can become two other users")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is missing")
    # Not below tmp_path, which pytest keeps from other users.
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        found = [Account(Path(folder, str(uid)), uid, becoming(uid)) for uid in (54321, 65534)]
        yield found
        for account in found:
            account.stop_server()


def test_two_users_of_one_machine_know_nothing_of_each_other(accounts: list[Account]) -> None:
    ids = [start_and_emit(account) for account in accounts]
    listed = [[session["session_id"] for session in account.sessions()] for account in accounts]
    assert listed == [[ids[0]], [ids[1]]]
    for account, other in zip(accounts, reversed(accounts), strict=True):
        # Seen as root: database, socket, secret and outbox are all there.
        names = {Path(path).name for path in other.belongings}
        assert {"sessions.duckdb", "session-buddy.sock", "server.json", "outbox"} <= names
        inside = [path for path in other.belongings if Path(path).parent not in _open_folders(other)]
        assert intrude(account.uid, inside) == ""
        assert str(other.server_file) in intrude(other.uid, inside)
    assert [len(account.sessions()) for account in accounts] == [1, 1]


def intrude(uid: int, paths: list[str]) -> str:
    """The paths that ``uid`` can read, write or connect to."""
    command = [sys.executable, "-c", INTRUDER, str(uid), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def start_and_emit(account: Account) -> str:
    """Start this user's server and a shell that ends; returns the id of its session."""
    account.start_server()
    said = account.run(sys.executable, "-c", EMIT.format(component="shop")).stdout
    eventually(lambda: account.sessions("--status", "ended"))
    return said.strip()


def _open_folders(account: Account) -> list[Path]:
    """What this user's home shows to anybody: that there are such folders."""
    return [account.home.parent, account.home]


def test_a_shell_in_another_users_home_tracks_nothing_and_disturbs_nobody(accounts: list[Account]) -> None:
    first, second = accounts
    first.run(sys.executable, "-c", EMIT.format(component="shop"))
    code = EMIT.format(component="stranger") + "; print(e.unavailable_reason)"
    before = sorted(first.belongings)
    done = second.run(sys.executable, "-c", code, env={**second.environ, "HOME": str(first.home)})
    none, reason = done.stdout.splitlines()
    assert (none, done.stderr) == ("None", "")
    assert "cannot be written" in reason
    assert sorted(first.belongings) == before
    assert [session["component"] for session in first.sessions()] == ["shop"]


# A second machine on the same home: an id and a boot of its own, and no way to the first one's Unix socket.
ON_B = """
import sys, oneiric.deliveries, oneiric.facts, oneiric.paths
oneiric.paths.machine_id = lambda: "b" * 12
oneiric.facts.boot_id = lambda: "boot-of-b"
if sys.argv[1] == "far":
    oneiric.deliveries.transport.local_endpoint = lambda paths: None
"""
LIVE = "; print('ready', flush=True); sys.stdin.read()"


def start_on_b(world: World, component: str, way: str) -> "subprocess.Popen[str]":
    """A shell on the second machine that lives until its input is closed."""
    shell = subprocess.Popen(
        [sys.executable, "-c", ON_B + EMIT.format(component=component) + LIVE, way],
        env=world.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert shell.stdout is not None
    assert "ready" in [shell.stdout.readline().strip() for _ in range(2)]
    return shell


def components(folder: Path, kind: str = "") -> list[str]:
    """Whose journals lie in an outbox."""
    return sorted(entry.start["component_name"] for entry in journals(folder, kind))


def told(world: World) -> dict[str, tuple[str, str | None]]:
    """Status and exit reason of each session by its component; every session must be listed once."""
    sessions = world.sessions()
    found = {session["component"]: (session["status"], session["exit_reason"]) for session in sessions}
    assert len(found) == len(sessions)
    return found


@pytest.mark.parametrize("place", ["server", "no server"])
def test_one_user_on_two_machines_with_one_home(world: World, place: str) -> None:
    for name in ("b-ended", "b-ended-too"):
        world.run(sys.executable, "-c", ON_B + EMIT.format(component=name), "far")
    killed = start_on_b(world, "b-killed", "far")
    killed.kill()
    killed.communicate()
    live = start_on_b(world, "b-live", "far")
    world.run(sys.executable, "-c", EMIT.format(component="a-ended"))
    world.run(sys.executable, "-c", EMIT.format(component="a-killed") + "; import os; os._exit(0)")
    if place == "server":
        world.start_server()
    expected = {
        "a-ended": ("ended", "exit"),
        "a-killed": ("crashed", "process_gone"),
        "b-ended": ("ended", "exit"),
        "b-ended-too": ("ended", "exit"),
    }
    assert eventually(lambda: len(told(world)) == len(expected) and told(world)) == expected
    # On this machine nobody can know whether a process of the other one lives.
    (folder,) = world.state.glob("oneiric/outbox/bbbbbbbbbbbb")
    assert eventually(lambda: components(folder) == ["b-killed", "b-live"])
    assert [entry.end for entry in journals(folder)] == [None, None]
    live.communicate()
    with_it = expected | {"b-live": ("ended", "exit")}
    world.run(sys.executable, "-c", EMIT.format(component="a-next"))
    if place == "server":
        # Delivered by the next sweep of whoever comes: here, the command line of a machine without a server.
        world.stop_server()
    assert eventually(lambda: told(world) == with_it | {"a-next": ("ended", "exit")})
    assert eventually(lambda: components(folder) == ["b-killed"])
    assert components(folder, "done") == ["b-ended", "b-ended-too", "b-live"]


def test_a_server_does_not_judge_processes_of_another_machine(world: World) -> None:
    """A session of the other machine that does reach the server lives, though no such process is here."""
    world.start_server()
    live = start_on_b(world, "b-live", "near")
    assert eventually(lambda: told(world)) == {"b-live": ("active", None)}
    # A killed process of this machine shows that the server has looked.
    world.run(
        sys.executable,
        "-c",
        "import oneiric, os; e = oneiric.install('a-killed');e.wait_connected(30); os.kill(os.getpid(), 9)",
        code=None,
    )
    seen = eventually(lambda: told(world).get("a-killed", ("active",))[0] == "crashed" and told(world))
    assert seen["b-live"] == ("active", None)
    live.communicate()
    assert eventually(lambda: told(world)["b-live"] == ("ended", "exit"))
