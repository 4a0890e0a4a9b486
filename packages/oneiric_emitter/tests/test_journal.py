import fcntl
import itertools
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from oneiric import descriptors, facts, outbox
from oneiric.compose import session_id_of
from oneiric.entries import CorruptJournal, Moment, complete, end_for_orphan, read
from oneiric.events import parse_event
from oneiric.journal import Journal
from oneiric.testing import start_event

SESSION_ID = "shop-20260102-030405-1b9d6bcd"
START = start_event()
END = {"event_type": "session_end", "session_id": SESSION_ID, "timestamp": "2026-01-02T04:00:00+00:00"}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "outbox" / f"{SESSION_ID}.jsonl", START, 0.0)
    yield journal
    journal.close()


def open_files() -> list[str]:
    """What this process has open."""
    return [str(link.resolve()) for link in Path("/proc/self/fd").iterdir()]


def test_a_journal_holds_start_and_end(journal: Journal) -> None:
    assert read(journal.path).events == [START]
    journal.append_end(END)
    assert read(journal.path).events == [START, END]


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_a_journal_is_for_its_user_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        folder = tmp_path / "outbox"
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)
        journal = Journal(folder / f"{SESSION_ID}.jsonl", START, 0.0)
    finally:
        os.umask(before)
    assert journal.path.stat().st_mode & 0o777 == 0o600
    journal.close()


def test_heartbeats_do_not_grow_a_journal(journal: Journal) -> None:
    size = journal.path.stat().st_size
    for minute in range(10, 20):
        journal.pulse(f"2026-01-02T03:{minute}:00+00:00", lambda: {"commands": minute, "errors": 1})  # noqa: B023 - called here
    assert journal.path.stat().st_size == size
    assert commands(journal) == 19


def test_a_killed_process_lets_go_of_its_journal(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal; from pathlib import Path; from oneiric.journal import Journal;"
        "from oneiric.testing import start_event;"
        f"Journal(Path(sys.argv[1], '{SESSION_ID}.jsonl'), start_event(), 0.0);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    path = tmp_path / f"{SESSION_ID}.jsonl"
    with outbox.claim(path) as claimed:
        assert claimed
    end = end_for_orphan(read(path))
    assert (end["status"], end["exit_reason"], end["detected_by"]) == (
        "crashed",
        "outbox_recovered",
        "outbox",
    )


def test_the_end_of_an_orphan_is_its_last_sign_of_life(journal: Journal) -> None:
    journal.pulse("2026-01-02T03:30:00+00:00", lambda: {"commands": 7, "errors": 1})
    end = end_for_orphan(read(journal.path))
    assert end["timestamp"] == "2026-01-02T03:30:00+00:00"
    assert end["activity"] == {"commands": 7, "errors": 1}


def test_an_end_that_an_earlier_emitter_made_beforehand_tells_what_the_last_pulse_knew(
    journal: Journal,
) -> None:
    counts = {"commands": 7, "errors": 1, "last_activity": "2026-01-02T03:29:00+00:00"}
    journal.pulse("2026-01-02T03:30:00+00:00", lambda: counts)
    journal.append_end(END)
    assert read(journal.path).end == {**END, "activity": counts}


def test_an_end_that_knows_better_than_the_pulse_is_left_as_it_is(journal: Journal) -> None:
    journal.pulse("2026-01-02T03:30:00+00:00", lambda: {"commands": 7, "errors": 1})
    end = {**END, "activity": {"commands": 8, "errors": 1}}
    journal.append_end(end)
    assert read(journal.path).end == end


def test_a_torn_end_is_no_end_and_does_not_spoil_the_next(journal: Journal) -> None:
    journal.close()
    with journal.path.open("ab") as file:
        file.write(b'{"event_type":"session_end","sess')
    entry = read(journal.path)
    assert entry.end is None
    with outbox.claim(journal.path) as claimed:
        assert claimed
        complete(journal.path, entry, END)
    assert read(journal.path).end == END


def test_a_torn_pulse_is_ignored(journal: Journal) -> None:
    with journal.path.open("r+b") as file:
        file.write(b"\0" * 40)
    entry = read(journal.path)
    assert entry.pulse is None
    assert entry.start == START


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"{}\n", b'{"event_type":"session_start"', b"\xff\xfe\n[]\n"]
)
def test_a_journal_without_a_start_is_corrupt(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(CorruptJournal):
        read(path)


def test_a_host_that_closes_every_descriptor_loses_no_end(journal: Journal, tmp_path: Path) -> None:
    os.close(journal._descriptor)
    victim = os.open(tmp_path / "host-file", os.O_CREAT | os.O_RDWR)
    os.dup2(victim, journal._descriptor)
    journal.append_end(END)
    assert (tmp_path / "host-file").read_bytes() == b""
    assert read(journal.path).end == END
    with outbox.claim(journal.path) as claimed:
        assert not claimed


def test_a_host_that_closes_every_descriptor_is_not_taken_for_dead(journal: Journal) -> None:
    os.close(journal._descriptor)
    journal.pulse("2026-01-02T03:04:06+00:00", lambda: {"commands": 1})
    with outbox.claim(journal.path) as claimed:
        assert not claimed
    assert read(journal.path).pulse is not None


def test_a_pulse_after_the_end_takes_nothing_up_again(journal: Journal) -> None:
    journal.append_end({"event_type": "session_end"})
    journal.close()
    journal.pulse("2026-01-02T03:04:06+00:00", dict)
    with outbox.claim(journal.path) as claimed:
        assert claimed


def test_a_home_that_was_removed_is_not_made_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    folder = home / "outbox"
    start = start_event()
    home.mkdir()
    journal = Journal(outbox.path_for(folder, session_id_of(start)), start, 0.0, home)
    shutil.rmtree(home)
    with pytest.raises(FileNotFoundError, match="the home folder is missing"):
        journal.append_end({"event_type": "session_end"})
    assert not home.exists()


def test_an_end_finds_its_way_after_a_finder_took_the_journal(journal: Journal, tmp_path: Path) -> None:
    os.close(journal._descriptor)
    (tmp_path / "done").mkdir()
    journal.path.rename(tmp_path / "done" / journal.path.name)
    journal.append_end(END)
    assert read(journal.path).events == [START, END]


def test_an_end_is_on_disk_though_the_outbox_was_removed(journal: Journal) -> None:
    shutil.rmtree(journal.path.parent)
    journal.append_end(END)
    assert read(journal.path).events == [START, END]
    with outbox.claim(journal.path) as claimed:
        assert not claimed
    journal.close()
    assert not [name for name in open_files() if name.startswith(str(journal.path.parent))]


def test_an_end_that_met_a_full_disk_is_written_later_and_once(
    python: Any, tmp_path: Path, unmeasured: Mapping[str, str]
) -> None:
    code = f"""
import resource, signal
from pathlib import Path
from oneiric.journal import Journal
from oneiric.testing import start_event
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
journal = Journal(Path({str(tmp_path)!r}, "{SESSION_ID}.jsonl"), start_event(), 0.0)
resource.setrlimit(resource.RLIMIT_FSIZE, (journal.path.stat().st_size + 10, most))
try: journal.append_end({END})
except OSError: print("refused")
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
journal.append_end({END})
journal.append_end({END})
"""
    done = python(code, env=unmeasured)
    assert done.stdout.strip() == "refused", done.stderr
    path = tmp_path / f"{SESSION_ID}.jsonl"
    assert read(path).events == [START, END]
    assert path.read_bytes().count(b"session_end") == 1


def test_a_full_disk_leaves_the_journal_as_it_was(
    python: Any, tmp_path: Path, unmeasured: Mapping[str, str]
) -> None:
    code = (
        "import resource, signal; from pathlib import Path; from oneiric.journal import Journal;"
        "from oneiric.testing import start_event; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        f"try: Journal(Path({str(tmp_path)!r}, '{SESSION_ID}.jsonl'), start_event(), 0.0)\n"
        "except OSError as error: print('refused')"
    )
    done = python(code, env=unmeasured)
    assert done.stdout.strip() == "refused", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_descriptors_stay_out_of_the_low_numbers(journal: Journal) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert journal._descriptor >= min(200, soft // 2)
    assert fcntl.fcntl(journal._descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_a_program_that_took_the_process_over_is_an_exec(environ: Mapping[str, str], folder: Path) -> None:
    code = "import os, sys, oneiric; oneiric.install('shop');os.execv('/bin/cat', ['cat'])"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(environ)
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"ready\n")
    child.stdin.flush()
    child.stdout.readline()
    (path,) = folder.glob("*.jsonl")
    with outbox.claim(path) as claimed:
        assert claimed
    end = end_for_orphan(read(path))
    child.communicate()
    assert (end["status"], end["exit_reason"]) == ("ended", "exec")


# --- how long it lasted, and when it died

DIED = datetime(2026, 1, 2, 5, tzinfo=UTC)
SEEN = Moment(DIED, 1100.25)


@pytest.fixture
def boottime(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds since the boot, which the test counts."""
    seconds = [1000.0]
    monkeypatch.setattr(facts, "boottime", lambda: seconds[0])
    return seconds


def test_a_found_end_lasted_as_long_as_the_last_pulse_says(boottime: list[float], tmp_path: Path) -> None:
    journal = Journal(tmp_path / f"{SESSION_ID}.jsonl", START, boottime[0])
    assert end_for_orphan(read(journal.path))["elapsed_seconds"] == 0.0
    boottime[0] += 90.5
    # Whatever the time of day was set to.
    journal.pulse("1970-01-01T00:00:07+00:00", dict)
    journal.close()
    boottime[0] += 1000
    end = end_for_orphan(read(journal.path))
    assert (end["timestamp"], end["elapsed_seconds"]) == ("1970-01-01T00:00:07+00:00", 90.5)
    assert "activity" not in end


def test_a_seen_death_lasted_until_then(boottime: list[float], tmp_path: Path) -> None:
    journal = Journal(tmp_path / f"{SESSION_ID}.jsonl", START, boottime[0])
    journal.pulse("1970-01-01T00:00:07+00:00", lambda: {"commands": 3})
    journal.close()
    # Delivered much later.
    boottime[0] += 5000
    end = end_for_orphan(read(journal.path), SEEN)
    told = {
        name: end[name] for name in ("timestamp", "elapsed_seconds", "exit_reason", "detected_by", "activity")
    }
    assert told == {
        "timestamp": DIED.isoformat(),
        "elapsed_seconds": 100.25,
        "exit_reason": "process_gone",
        "detected_by": "liveness",
        "activity": {"commands": 3},
    }
    parse_event(end)


@pytest.mark.parametrize("elapsed", ['"x"', "-1", "1e300", "NaN", "null", "[]"])
def test_a_pulse_that_somebody_else_wrote_is_believed_as_far_as_it_is_one(
    journal: Journal, elapsed: str
) -> None:
    known = '{"event_type":"session_heartbeat","timestamp":"2026-01-02T03:30:00+00:00","elapsed_seconds":'
    line = f'{known}{elapsed},"boottime_at_start":"x"}}'
    os.pwrite(journal._descriptor, line.ljust(319).encode() + b"\n", 0)
    for died_at in (None, SEEN):
        parse_event(end_for_orphan(read(journal.path), died_at))


def test_a_pulse_of_an_older_emitter_says_nothing_of_it(journal: Journal) -> None:
    line = (
        '{"event_type":"session_heartbeat","timestamp":"2026-01-02T03:30:00+00:00","commands":2,"errors":0}'
    )
    os.pwrite(journal._descriptor, line.ljust(319).encode() + b"\n", 0)
    assert "elapsed_seconds" not in end_for_orphan(read(journal.path))
    assert end_for_orphan(read(journal.path), SEEN)["timestamp"] == DIED.isoformat()


def test_a_pulse_does_not_wait_for_the_disk(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    syncing, go_on = threading.Event(), threading.Event()

    def slow(_descriptor: int) -> None:
        syncing.set()
        assert go_on.wait(60)

    monkeypatch.setattr(os, "fsync", slow)
    thread = threading.Thread(target=descriptors.sync, args=(journal.path,))
    thread.start()
    assert syncing.wait(60)
    journal.pulse("2026-01-02T03:30:00+00:00", lambda: {"commands": 7})
    assert commands(journal) == 7
    go_on.set()
    thread.join(60)


def commands(journal: Journal) -> int:
    pulse = read(journal.path).pulse
    assert pulse is not None
    return int(pulse["commands"])


def test_who_counts_while_another_writes_is_on_disk_when_both_are_done(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, counted = os.pwrite, [1]

    def interrupted(descriptor: int, line: bytes, offset: int) -> int:
        # As a signal handler does, or another thread.
        if counted[0] == 1:
            counted[0] = 2
            journal.pulse("2026-01-02T03:30:01+00:00", lambda: {"commands": counted[0]})
        return pwrite(descriptor, line, offset)

    monkeypatch.setattr(os, "pwrite", interrupted)
    journal.pulse("2026-01-02T03:30:00+00:00", lambda: {"commands": counted[0]})
    assert commands(journal) == 2


def test_of_many_threads_that_count_the_last_is_on_disk(journal: Journal) -> None:
    counted = itertools.count(1)
    latest = [0]

    def count() -> None:
        for _ in range(200):
            latest[0] = max(latest[0], next(counted))
            journal.pulse("2026-01-02T03:30:00+00:00", lambda: {"commands": latest[0]})

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert commands(journal) == latest[0]


def test_the_longest_pulse_has_room(journal: Journal, boottime: list[float]) -> None:
    journal._began = 4_294_967_295.123456
    boottime[0] = 2 * journal._began
    activity = {"commands": 2**53, "errors": 2**53, "last_activity": "2026-01-02T03:30:00.123456+00:00"}
    journal.pulse("2026-01-02T03:30:00.123456+00:00", lambda: activity)
    assert commands(journal) == 2**53
