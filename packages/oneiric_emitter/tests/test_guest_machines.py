"""A guest where something is missing: a home, room, a user's name, a terminal, a folder, a steady clock."""

import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from oneiric.events import SessionEnd, parse_event
from oneiric.sweep import sweep
from oneiric.testing import FakeServer, journals

# Says what a host sees that goes on working, whatever becomes of its session.
HOST = """
import oneiric
emitter = oneiric.SessionEventEmitter("shop")
session_id = emitter.start_session("ShopShell")
emitter.record(commands=1)
print(session_id, emitter.end_session(), emitter.dropped, emitter.unavailable_reason, sep="|")
emitter.shutdown()
"""
# Root writes where it likes, except without its capabilities.
UNPRIVILEGED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


def read_only(home: Path) -> list[str]:
    home.chmod(0o500)
    return [*UNPRIVILEGED, sys.executable, "-c", HOST]


def missing(home: Path) -> list[str]:
    home.rmdir()
    return [sys.executable, "-c", HOST]


def full(home: Path) -> list[str]:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"
    return [sys.executable, "-c", limit + HOST]


def a_file(home: Path) -> list[str]:
    home.rmdir()
    home.touch()
    return [sys.executable, "-c", HOST]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (read_only, "Permission denied"),
        (missing, "the home folder is missing"),
        (full, "the disk is full"),
        (a_file, "Not a directory"),
    ],
)
def test_a_home_without_room_is_counted_and_explained_and_hurts_nobody(
    unmeasured: Mapping[str, str], tmp_path: Path, spoil: Callable[[Path], list[str]], why: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        spoil(home), env={**unmeasured, "HOME": str(home)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    session_id, ended, dropped, reason = done.stdout.strip().split("|")
    assert (session_id, ended, dropped) == ("None", "False", "1")
    assert reason.startswith("the outbox")
    assert why in reason
    assert not home.is_dir() or not list(home.glob("**/*.jsonl"))


def test_a_home_that_has_room_again_takes_the_next_session(
    python: Any, unmeasured: Mapping[str, str], folder: Path
) -> None:
    code = """
import resource, oneiric
emitter = oneiric.SessionEventEmitter("shop")
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
print(emitter.start_session("x"), emitter.unavailable_reason is None)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(emitter.available, emitter.start_session("x") is not None, emitter.end_session())
print(emitter.unavailable_reason)
"""
    assert python(code, env=unmeasured).stdout == "None False\nTrue True True\nNone\n"
    assert [entry.end is not None for entry in journals(folder)] == [True]


def test_an_end_that_met_a_full_disk_is_written_once_there_is_room(
    unmeasured: Mapping[str, str], folder: Path
) -> None:
    code = """
import os, resource, sys, oneiric
emitter = oneiric.SessionEventEmitter("shop")
emitter.start_session("x")
(journal,) = os.scandir(sys.argv[1])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (journal.stat().st_size + 10, hard))
print(emitter.end_session(exit_reason="eof"), emitter.wait_connected(60))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
other = oneiric.SessionEventEmitter("other")
print(other.start_session("x") is not None, other.wait_connected(60), flush=True)
os._exit(0)
"""
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, env=unmeasured, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("False False\nTrue False\n", "")
    ends = {entry.start["component_name"]: entry.end for entry in journals(folder)}
    assert ends["other"] is None
    assert ends["shop"] is not None
    assert ends["shop"]["exit_reason"] == "eof"


def test_under_any_umask_everything_is_for_its_user_alone(
    environ: Mapping[str, str], folder: Path, tmp_path: Path
) -> None:
    code = "import os; os.umask(0); import oneiric; e = oneiric.install('shop');"
    code += "e.end_session(); e.wait_connected(30)"
    with FakeServer(environ) as server:
        state = tmp_path / ".local" / "state" / "oneiric"
        subprocess.run([sys.executable, "-c", code], check=True)
    assert [event["event_type"] for event in server.events][-1] == "session_end"
    made = [state, *state.rglob("*")]
    assert folder in made
    assert [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_whatever_the_environment_says_the_account_counts(environ: Mapping[str, str], folder: Path) -> None:
    code = "import oneiric; oneiric.install('shop')"
    subprocess.run([sys.executable, "-c", code], env={**environ, "USER": "alice"}, check=True)
    (entry,) = journals(folder)
    assert entry.start["user"]["username"] == pwd.getpwuid(os.geteuid()).pw_name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an account that nobody knows")
def test_without_an_account_the_number_counts(python: Any, unmeasured: Mapping[str, str]) -> None:
    code = """
import os, sys, oneiric
os.setgroups([])
os.setgid(54321)
os.setuid(54321)
emitter = oneiric.SessionEventEmitter("shop", environ={"XDG_STATE_HOME": os.getcwd()})
emitter.start_session("x")
user = emitter._recorder.session.start["user"]
print(user, emitter.end_session(), emitter.unavailable_reason)
"""
    # Not below tmp_path, which pytest keeps from other users.
    with TemporaryDirectory() as home:
        os.chown(home, 54321, 54321)
        done = python(code, cwd=home, env=unmeasured)
    assert (done.stdout, done.stderr) == ("{'username': '54321', 'uid': 54321, 'home': '/'} True None\n", "")


def test_without_a_terminal_the_origin_names_none(environ: Mapping[str, str], folder: Path) -> None:
    code = "import oneiric; oneiric.install('shop')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    (entry,) = journals(folder)
    assert "tty" not in entry.start.get("origin", {})
    assert entry.end is not None


def test_without_a_current_folder_the_session_is_whole(python: Any, folder: Path) -> None:
    # Imported first: Python 3.13.0 itself cannot import socket where the folder is gone.
    code = """
import os, tempfile, oneiric
gone = tempfile.mkdtemp()
os.chdir(gone)
os.rmdir(gone)
oneiric.install("shop")
"""
    assert python(code).stderr == ""
    (entry,) = journals(folder)
    assert entry.start["environment"]["cwd"] == "unknown"
    assert entry.end is not None


# The host's clock, set before anything of ours is imported: what `now` says is shifted by `jump`.
CLOCK = """
import datetime, time
jump = 0.0
class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time() + jump, tz)
datetime.datetime = Clock
import os, sys, oneiric
emitter = oneiric.install("shop")
jump = float(sys.argv[1])
emitter.record(commands=1)
"""
DAY = 86_400.0


@pytest.mark.parametrize("jump", [-400 * DAY, -3600.0, 3600.0, 400 * DAY])
@pytest.mark.parametrize("death", ["", "os._exit(0)"])
def test_a_clock_that_jumps_breaks_no_session(
    environ: Mapping[str, str], folder: Path, jump: float, death: str
) -> None:
    before = datetime.now(UTC)
    code = CLOCK + death
    subprocess.run([sys.executable, "-c", code, str(jump)], check=True)
    taken: list[dict[str, Any]] = []

    def deliver(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        taken.extend(events)
        return [{"status": "stored", "error": None} for _ in events]

    for _ in range(2):
        sweep(folder, deliver, now=before + timedelta(seconds=jump))
    start, end = (parse_event(event) for event in taken)
    assert start.session_id == end.session_id
    shift = (end.timestamp - start.timestamp).total_seconds()
    # The time that its host's clock showed; how long it lasted no such clock tells.
    assert round((shift - jump) / 600) == 0
    assert isinstance(end, SessionEnd)
    assert end.elapsed_seconds is not None
    assert 0 < end.elapsed_seconds < 600
    assert end.activity is not None
    assert end.activity.commands == 1


def test_a_clock_that_jumps_stops_no_delivery(environ: Mapping[str, str], folder: Path) -> None:
    code = CLOCK + "emitter.wait_connected(30); emitter.end_session(); emitter.wait_connected(30)"
    with FakeServer(environ) as server:
        subprocess.run([sys.executable, "-c", code, str(-400 * DAY)], check=True)
        kinds = [event["event_type"] for event in server.events]
    assert kinds.count("session_end") == 1
    assert journals(folder) == []
