import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from oneiric import outbox
from oneiric.journal import CorruptJournal, Journal, append_end, end_for_orphan, read
from oneiric.testing import start_event

SESSION_ID = "shop-20260102-030405-1b9d6bcd"
START = start_event()
END = {"event_type": "session_end", "session_id": SESSION_ID, "timestamp": "2026-01-02T04:00:00+00:00"}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.create(tmp_path / "outbox" / f"{SESSION_ID}.jsonl", START)
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
        journal = Journal.create(folder / f"{SESSION_ID}.jsonl", START)
    finally:
        os.umask(before)
    assert journal.path.stat().st_mode & 0o777 == 0o600
    journal.close()


def test_heartbeats_do_not_grow_a_journal(journal: Journal) -> None:
    size = journal.path.stat().st_size
    for minute in range(10, 20):
        journal.pulse(f"2026-01-02T03:{minute}:00+00:00", {"commands": minute, "errors": 1})
    assert journal.path.stat().st_size == size
    pulse = read(journal.path).pulse
    assert pulse is not None
    assert pulse["commands"] == 19


def test_a_killed_process_lets_go_of_its_journal(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal; from pathlib import Path; from oneiric.journal import Journal;"
        "from oneiric.testing import start_event;"
        f"Journal.create(Path(sys.argv[1], '{SESSION_ID}.jsonl'), start_event());"
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
    journal.pulse("2026-01-02T03:30:00+00:00", {"commands": 7, "errors": 1})
    end = end_for_orphan(read(journal.path))
    assert end["timestamp"] == "2026-01-02T03:30:00+00:00"
    assert end["activity"] == {"commands": 7, "errors": 1}


def test_an_end_that_was_made_beforehand_tells_what_the_last_pulse_knew(journal: Journal) -> None:
    counts = {"commands": 7, "errors": 1, "last_activity": "2026-01-02T03:29:00+00:00"}
    journal.pulse("2026-01-02T03:30:00+00:00", counts)
    journal.append(json.dumps(END).encode() + b"\n")
    assert read(journal.path).end == {**END, "activity": counts}


def test_an_end_that_knows_better_than_the_pulse_is_left_as_it_is(journal: Journal) -> None:
    journal.pulse("2026-01-02T03:30:00+00:00", {"commands": 7, "errors": 1})
    end = {**END, "activity": {"commands": 8, "errors": 1}}
    journal.append_end(end)
    assert read(journal.path).end == end


def test_a_torn_end_is_no_end_and_does_not_spoil_the_next(journal: Journal) -> None:
    journal.append(b'{"event_type":"session_end","sess')
    journal.close()
    entry = read(journal.path)
    assert entry.end is None
    with outbox.claim(journal.path) as claimed:
        assert claimed
        append_end(journal.path, entry, END)
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
journal = Journal.create(Path({str(tmp_path)!r}, "{SESSION_ID}.jsonl"), start_event())
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
        f"try: Journal.create(Path({str(tmp_path)!r}, '{SESSION_ID}.jsonl'), start_event())\n"
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
