"""A guest in a process that makes others: a child is not the session and waits for no lock of its parent."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from oneiric.sweep import sweep
from oneiric.testing import journals

# A worker is a module of its own: spawn and forkserver import it anew.
WORKERS = """
import multiprocessing, sys, oneiric

def work(queue):
    emitter = oneiric.install("worker")
    queue.put((inherited.session_id if "inherited" in globals() else None, emitter.session_id))

if __name__ == "__main__":
    inherited = oneiric.install("shop")
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.SimpleQueue()
    worker = context.Process(target=work, args=(queue,))
    worker.start()
    mine, own = queue.get()
    worker.join()
    print(worker.exitcode, mine, own != inherited.session_id, inherited.end_session(exit_reason="eof"))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_of_multiprocessing_has_a_session_of_its_own_alone(
    unmeasured: Mapping[str, str], folder: Path, tmp_path: Path, method: str
) -> None:
    (tmp_path / "workers.py").write_text(WORKERS)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "workers.py"), method],
        env=unmeasured,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, _without_fork_warning(done.stderr)) == ("0 None True True\n", "")
    entries = {entry.start["component_name"]: entry for entry in journals(folder)}
    assert {name: entry.end and entry.end["exit_reason"] for name, entry in entries.items()} == {
        "shop": "eof",
        "worker": "exit",
    }
    assert entries["worker"].start["parent_session_id"].startswith("shop-")


def _without_fork_warning(text: str) -> str:
    """What was printed, without CPython's own warning about a fork beside a thread (3.12 and later)."""
    lines = text.splitlines()
    kept = [
        line
        for number, line in enumerate(lines)
        if "multi-threaded" not in line and "multi-threaded" not in lines[number - 1]
    ]
    return "\n".join(kept)


def test_a_program_that_was_started_has_no_descriptor_of_ours(python: Any, folder: Path) -> None:
    code = """
import subprocess, oneiric
emitter = oneiric.install("shop")
look = "for f in /proc/self/fd/*; do readlink $f; done; echo $ONEIRIC_SESSION_ID"
shown = subprocess.run(["sh", "-c", look], close_fds=False, capture_output=True, text=True).stdout
print("oneiric/outbox" in shown, emitter.session_id in shown)
"""
    assert python(code).stdout == "False True\n"
    assert [entry.end is not None for entry in journals(folder)] == [True]


def test_forks_while_locks_are_held(
    unmeasured: Mapping[str, str], folder: Path, size: Callable[[int, int], int]
) -> None:
    """Threads of the parent begin, count and end sessions all the while; a child waits for none of it."""
    forks = size(200, 1000)
    code = """
import os, signal, sys, threading, oneiric

shared = oneiric.SessionEventEmitter("shop")
shared.start_session("x")
done = threading.Event()
sys.setswitchinterval(0.0002)

def emit(number):
    emitter = oneiric.SessionEventEmitter(f"thread{number}")
    while not done.wait(0.001):
        emitter.start_session("x")
        for _ in range(100):
            shared.record(commands=1)
        emitter.end_session(exit_reason="eof")

def child(number):
    signal.alarm(60)
    shared.record(commands=1)
    assert shared.session_id is None and not shared.end_session()
    assert shared.available and not shared.connected
    if number % 20 == 0:
        with oneiric.track_session("child"):
            pass
    shared.shutdown()
    if number % 10:
        os._exit(0)
    sys.exit(0)

threads = [threading.Thread(target=emit, args=(number,)) for number in range(2)]
for thread in threads: thread.start()
codes = set()
for number in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        child(number)
    codes.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
done.set()
for thread in threads: thread.join()
print(os.getpid(), codes, shared.end_session(exit_reason="eof"))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(forks)],
        env=unmeasured,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    pid, rest = done.stdout.split(maxsplit=1)
    assert (rest, done.stderr) == ("{0} True\n", "")
    entries = journals(folder)
    assert all(entry.end for entry in entries)
    of_children = [entry for entry in entries if entry.start["pid"] != int(pid)]
    assert [entry.start["component_name"] for entry in of_children] == ["child"] * (forks // 20)
    assert {entry.end["exit_reason"] for entry in of_children if entry.end} == {"exit"}
    own = [entry for entry in entries if entry.start["pid"] == int(pid)]
    assert {entry.end["exit_reason"] for entry in own if entry.end} == {"eof"}
    assert sum(entry.start["component_name"] == "shop" for entry in own) == 1


FORK = "os.fork()"
# As code in C forks: none of Python's hooks runs, and the child keeps the lock of the journal.
FORK_BEHIND_PYTHONS_BACK = "ctypes.PyDLL(None).fork()"
# A child of such a fork stops for good if another thread asked for the interpreter meanwhile: it yields, and
# nobody is there to take over. So nobody asks.
NEVER_YIELD = "sys.setswitchinterval(600)"


def test_a_session_that_ended_beside_a_child_forked_in_c_is_delivered(
    environ: Mapping[str, str], folder: Path
) -> None:
    code = f"""
import ctypes, os, sys, oneiric
{NEVER_YIELD}
emitter = oneiric.install("shop")
if {FORK_BEHIND_PYTHONS_BACK} == 0:
    sys.stdin.read()
    os._exit(0)
emitter.end_session()
emitter.wait_connected(60)
os.write(1, b"ended")
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as both:
        assert both.stdout is not None
        assert both.stdout.read(5) == b"ended"
        assert sweep(folder, _store, now=datetime.now(UTC))
    assert [entry.end and entry.end["exit_reason"] for entry in journals(folder, "done")] == ["exit"]


def _store(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"status": "stored", "error": None} for _ in events]


@pytest.mark.parametrize("fork", [FORK, FORK_BEHIND_PYTHONS_BACK], ids=["fork", "fork in C"])
def test_a_parent_killed_while_its_child_lives_is_seen_as_dead(
    environ: Mapping[str, str], folder: Path, fork: str
) -> None:
    code = f"""
import ctypes, os, sys, oneiric
{NEVER_YIELD}
oneiric.install("shop")
if {fork} == 0:
    os.write(1, b"ready")
    sys.stdin.read()
    os._exit(0)
sys.stdin.read()
"""
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert parent.stdout.read(5) == b"ready"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    taken: list[dict[str, Any]] = []

    def deliver(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        taken.extend(events)
        return [{"status": "stored", "error": None} for _ in events]

    sweep(folder, deliver, now=datetime.now(UTC))
    assert [(event["event_type"], event.get("exit_reason")) for event in taken] == [
        ("session_start", None),
        ("session_end", "process_gone"),
    ]
    # The child lived until here: it waits for the end of what its parent, and this test, hold open.
    os.set_blocking(parent.stdout.fileno(), False)
    assert parent.stdout.read() is None
    parent.communicate()
