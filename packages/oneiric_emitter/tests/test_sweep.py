import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from oneiric import outbox
from oneiric.compose import session_id_of
from oneiric.entries import complete, end_for_orphan, read
from oneiric.journal import Journal
from oneiric.outbox import move
from oneiric.sweep import sweep
from oneiric.testing import journals, start_event

NOW = datetime.now(UTC)


class Receiver:
    """Takes events; answers ``status``."""

    def __init__(self, status: str = "stored") -> None:
        self.events: list[dict[str, Any]] = []
        self.calls = 0
        self.status = status

    def __call__(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self.events += events
        self.calls += 1
        return [{"status": self.status, "error": "no" if self.status == "invalid" else None} for _ in events]


def leave_orphan(folder: Path, number: int = 0, **changes: Any) -> Path:
    start = start_event(event_id=f"1b9d{number:04x}-bbfd-4b2d-9b5d-ab8dfbbd4bed", **changes)
    journal = Journal(outbox.path_for(folder, session_id_of(start)), start, 0.0)
    journal.close()
    return journal.path


def count(folder: Path, kind: str = "") -> int:
    """How many journals lie in the outbox, or in one of the folders beside them."""
    return len(outbox.journals(folder / kind))


def test_an_orphan_is_recovered_and_delivered(folder: Path) -> None:
    leave_orphan(folder)
    receiver = Receiver()
    assert sweep(folder, receiver, now=NOW)
    assert (count(folder), count(folder, "done")) == (0, 1)
    assert [event["event_type"] for event in receiver.events] == ["session_start", "session_end"]
    assert journals(folder, "done")[0].end == receiver.events[1]


def test_a_live_journal_is_left_alone(folder: Path) -> None:
    start = start_event(pid=os.getpid())
    journal = Journal(outbox.path_for(folder, session_id_of(start)), start, 0.0)
    assert sweep(folder, Receiver(), now=NOW)
    assert (count(folder), count(folder, "done")) == (1, 0)
    journal.close()


def test_a_server_that_fails_leaves_all_waiting(folder: Path) -> None:
    leave_orphan(folder)

    def fail(_events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        sweep(folder, fail, now=NOW)
    assert count(folder) == 1
    receiver = Receiver("duplicate")
    assert sweep(folder, receiver, now=NOW)
    assert count(folder, "done") == 1
    assert receiver.calls == 1


def test_a_refused_journal_is_kept_and_counted(folder: Path) -> None:
    leave_orphan(folder)
    assert sweep(folder, Receiver("invalid"), now=NOW)
    assert count(folder, "rejected") == 1


def test_a_corrupt_journal_is_set_aside_and_stops_nobody(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave_orphan(folder)
    (folder / "a-broken.jsonl").write_bytes(b"\0\0\0\n")
    assert sweep(folder, Receiver(), now=NOW)
    assert (count(folder, "corrupt"), count(folder, "done")) == (1, 1)
    assert "a-broken.jsonl" in caplog.text


START = json.dumps(start_event(event_id="1b9dffff-bbfd-4b2d-9b5d-ab8dfbbd4bed"))
END_OF_ANOTHER = {
    "event_type": "session_end",
    "session_id": "other-20260102-030405-1b9d6bcd",
    "timestamp": "2026-01-02T04:00:00+00:00",
}


@pytest.mark.parametrize(
    "content",
    [
        '{"event_type":"session_start"}',
        '{"event_type":["session_start"]}',
        "[" * 200_000,
        START.replace('"2026-01-02T03:04:05.500000+00:00"', "5"),
        START.replace('"2026-01-02T03:04:05.500000+00:00"', '"0001-01-01T00:00:00+14:00"'),
        START.replace('"event_id"', '"nothing"'),
        START.replace('"pid": 4242', '"pid": "x"'),
        START.replace('"metadata": {}', '"metadata": {"n": NaN}'),
        START.replace('"metadata": {}', '"metadata": {"n": 1e999}'),
        START.replace('"metadata": {}', '"metadata": {"s": "\\ud800"}'),
        START.replace('"metadata": {}', '"process": "x"'),
        START.replace('"metadata": {}', '"process": {"boot_id": "x"}'),
        START + "\n" + json.dumps(END_OF_ANOTHER),
        START + "\n" + "x" * 1_100_000,
    ],
    ids=range(14),
)
def test_a_journal_of_any_nonsense_is_set_aside_and_stops_nobody(folder: Path, content: str) -> None:
    leave_orphan(folder)
    (folder / "a-broken.jsonl").write_text(content + "\n")
    assert sweep(folder, Receiver(), now=NOW)
    assert (count(folder, "corrupt"), count(folder, "done")) == (1, 1)


def test_a_pulse_of_nonsense_is_no_pulse(folder: Path) -> None:
    path = leave_orphan(folder)
    with path.open("r+b") as file:
        pulse = b'{"event_type":"session_heartbeat","timestamp":7,"commands":-1}'
        file.write(pulse.ljust(255) + b"\n")
    receiver = Receiver()
    assert sweep(folder, receiver, now=NOW)
    assert count(folder, "done") == 1
    assert receiver.events[1]["timestamp"] == receiver.events[0]["timestamp"]


def test_what_is_no_file_is_passed_over(folder: Path) -> None:
    leave_orphan(folder)
    os.mkfifo(folder / "a-pipe.jsonl")
    (folder / "a-folder.jsonl").mkdir()
    (folder / "a-folder.new").mkdir()
    (folder / "a-link.new").symlink_to("/etc/passwd")
    os.mkfifo(folder / "a-pipe.new")
    for path in folder.glob("*.new"):
        os.utime(path, (0, 0), follow_symlinks=False)
    assert sweep(folder, Receiver(), now=NOW)
    assert count(folder, "done") == 1
    opened = [str(link.resolve()) for link in Path("/proc/self/fd").iterdir()]
    assert not [name for name in opened if name.startswith(str(folder))]


def test_many_journals_go_in_few_calls(folder: Path) -> None:
    for number in range(300):
        leave_orphan(folder, number)
    receiver = Receiver()
    assert sweep(folder, receiver, now=NOW)
    assert count(folder, "done") == 300
    assert len(receiver.events) == 600
    assert receiver.calls == 2


def test_large_journals_are_cut_into_calls_by_size(folder: Path) -> None:
    for number in range(40):
        leave_orphan(folder, number, metadata={"text": "x" * 16_000})
    receiver = Receiver()
    assert sweep(folder, receiver, now=NOW)
    assert count(folder, "done") == 40
    assert receiver.calls == 3


def test_only_one_process_sweeps_at_a_time(folder: Path) -> None:
    leave_orphan(folder)
    # The lock's age counts: a run of all tests may be here many minutes after this module was imported.
    now = datetime.now(UTC)
    inner: list[bool] = []

    def deliver(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        inner.append(sweep(folder, Receiver(), now=now))
        return Receiver()(events)

    assert sweep(folder, deliver, now=now)
    assert count(folder, "done") == 1
    assert inner == [False]


# A process that sweeps; what it does while it delivers comes as an argument.
SWEEPER = """
import os, signal, sys
from datetime import UTC, datetime
from oneiric.paths import user_paths
from oneiric.sweep import sweep

def deliver(events):
    exec(sys.argv[1])
    return [{"status": "stored", "error": None} for _ in events]

sweep(user_paths().outbox, deliver, now=datetime.now(UTC))
os.write(1, b"swept")
"""


def test_a_child_forked_during_a_sweep_does_not_hold_up_the_next(folder: Path) -> None:
    leave_orphan(folder)
    fork = "if os.fork() == 0: sys.stdin.read(); os._exit(0)"
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SWEEPER, fork], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as sweeper:
        assert sweeper.stdout is not None
        assert sweeper.stdout.read(5) == b"swept"
        sweeper.wait()
        leave_orphan(folder, 1)
        assert sweep(folder, Receiver(), now=datetime.now(UTC))
        assert (count(folder), count(folder, "done")) == (0, 2)
        # The child lived until here: it holds the other end.
        os.set_blocking(sweeper.stdout.fileno(), False)
        assert sweeper.stdout.read() is None


def test_a_suspended_sweep_does_not_hold_up_the_others_for_long(folder: Path) -> None:
    leave_orphan(folder)
    suspend = "os.kill(os.getpid(), signal.SIGSTOP)"
    sweeper = subprocess.Popen([sys.executable, "-c", SWEEPER, suspend])
    _, status = os.waitpid(sweeper.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    now = datetime.now(UTC)
    assert not sweep(folder, Receiver(), now=now)
    assert count(folder) == 1
    assert sweep(folder, Receiver(), now=now + timedelta(minutes=6))
    assert (count(folder), count(folder, "done")) == (0, 1)
    sweeper.send_signal(signal.SIGCONT)
    assert sweeper.wait() == 0
    assert (count(folder), count(folder, "done")) == (0, 1)


def test_another_machines_orphan_is_not_judged_before_a_week(folder: Path) -> None:
    path = leave_orphan(folder.parent / "othermachine")
    folder.mkdir()
    assert sweep(folder, Receiver(), now=NOW)
    assert path.exists()
    os.utime(path, ((NOW - timedelta(days=8)).timestamp(),) * 2)
    assert sweep(folder, Receiver(), now=NOW)
    assert (path.parent / "done" / path.name).exists()


def test_another_machines_ended_journal_is_delivered(folder: Path) -> None:
    path = leave_orphan(folder.parent / "othermachine")
    entry = read(path)
    complete(path, entry, end_for_orphan(entry))
    folder.mkdir()
    receiver = Receiver()
    assert sweep(folder, receiver, now=NOW)
    assert len(receiver.events) == 2


@pytest.mark.parametrize("machine", ["", "othermachine"], ids=["this machine", "another machine"])
def test_done_journals_are_kept_a_week(folder: Path, machine: str) -> None:
    folder.mkdir(parents=True)
    theirs = folder.parent / machine if machine else folder
    move(leave_orphan(theirs), "done")
    sweep(folder, Receiver(), now=NOW)
    sweep(folder, Receiver(), now=NOW + timedelta(days=6))
    assert count(theirs, "done") == 1
    sweep(folder, Receiver(), now=NOW + timedelta(days=8))
    assert count(theirs, "done") == 0


def test_half_made_journals_are_not_touched_while_young(folder: Path) -> None:
    path = leave_orphan(folder)
    new = path.with_suffix(".new")
    shutil.move(path, new)
    sweep(folder, Receiver(), now=NOW)
    assert new.exists()
    sweep(folder, Receiver(), now=NOW + timedelta(hours=2))
    assert not new.exists()


def test_an_outbox_that_is_not_there_is_empty(folder: Path) -> None:
    assert sweep(folder, Receiver(), now=NOW)
    assert not folder.exists()


def test_a_forked_child_that_keeps_the_lock_does_not_keep_the_dead_alive(folder: Path) -> None:
    from oneiric import facts

    start = start_event(
        pid=os.getpid(),
        process={
            "boot_id": facts.boot_id(),
            "pid_namespace": facts.pid_namespace(),
            "started_at": 1,
        },
    )
    journal = Journal(outbox.path_for(folder, session_id_of(start)), start, 0.0)
    assert sweep(folder, Receiver(), now=NOW)
    assert count(folder, "done") == 1
    journal.close()


def test_what_is_dated_ahead_holds_up_nothing(folder: Path) -> None:
    leave_orphan(folder)
    ahead = NOW.timestamp() + timedelta(days=30).total_seconds()
    for name in ("sweep.lock", "pruned", "half.new"):
        (folder / name).touch(mode=0o600)
        os.utime(folder / name, (ahead, ahead))
    with (folder / "sweep.lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        receiver = Receiver()
        assert sweep(folder, receiver, now=NOW)
    assert receiver.calls == 1
    assert (folder / "pruned").stat().st_mtime < ahead


def test_a_sweep_closes_no_file_of_the_hosts(python: Any, folder: Path) -> None:
    leave_orphan(folder)
    code = f"""
import fcntl, os
from datetime import UTC, datetime
from pathlib import Path
from oneiric.sweep import sweep
theirs = []
def deliver(events):
    # The host daemonizes meanwhile, and opens files of its own under the numbers that are free now.
    os.closerange(200, 1024)
    theirs.extend(fcntl.fcntl(0, fcntl.F_DUPFD, number) for number in (200, 700, 701))
    return [{{"status": "stored", "error": None}} for _ in events]
print(sweep(Path({str(folder)!r}), deliver, now=datetime.now(UTC)))
print([os.path.sameopenfile(0, number) for number in theirs])
"""
    assert python(code).stdout.splitlines() == ["True", "[True, True, True]"]
