import errno
import os
import subprocess
import sys
from pathlib import Path

from oneiric import descriptors


def test_a_number_that_the_host_closed_and_gave_to_another_file_is_left_open(tmp_path: Path) -> None:
    file = tmp_path / "of-the-host"
    file.write_text("kept")
    theirs = os.open(file, os.O_RDONLY)
    with descriptors.opened(tmp_path, os.O_RDONLY) as ours:
        os.dup2(theirs, ours)
    assert os.read(ours, 4) == b"kept"
    os.close(ours)
    os.close(theirs)


def test_what_was_opened_for_a_while_is_closed_out_of_the_way_of_low_numbers(tmp_path: Path) -> None:
    with descriptors.opened(tmp_path, os.O_RDONLY) as ours:
        assert ours >= 200
        assert descriptors.identity(ours) == descriptors.identity(tmp_path)
    assert descriptors.identity(ours) is None


def test_a_folder_made_under_a_loose_umask_is_for_its_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        descriptors.make_folder(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_number_is_never_a_standard_streams(tmp_path: Path) -> None:
    # Neither 700 nor 200 can be had, and standard output is closed.
    code = f"""
import os, resource, sys
from pathlib import Path
from oneiric import descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (150, 150))
os.close(1)
with descriptors.opened(Path({str(tmp_path)!r}), os.O_RDONLY) as ours:
    print(ours > 2, file=sys.stderr)
    try: os.write(1, b"x")
    except OSError as error: print(error.errno, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.split() == ["True", str(errno.EBADF)]


def test_where_no_number_is_left_none_is_lost(tmp_path: Path) -> None:
    code = f"""
import os, resource
from pathlib import Path
from oneiric import descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
taken = []
try:
    while True: taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError: pass
os.close(0)
for _ in range(10):
    try: descriptors.open_high({str(tmp_path)!r}, os.O_RDONLY)
    except OSError as error: print(error.errno)
print(os.open("/dev/null", os.O_RDONLY))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == [str(errno.EMFILE)] * 10 + ["0"], done.stderr


def test_what_the_host_opens_in_place_of_a_standard_stream_stays(tmp_path: Path) -> None:
    code = f"""
import os
from oneiric import descriptors
os.close(1)
with descriptors.standard_streams_taken():
    theirs = os.open({str(tmp_path / "log")!r}, os.O_WRONLY | os.O_CREAT)
    os.dup2(theirs, 1)
    os.close(theirs)
os.write(1, b"written")
"""
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
    assert (tmp_path / "log").read_text() == "written"


def test_reading_waits_for_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"0123456789")
    assert descriptors.read(tmp_path / "pipe", 4) == b""
    assert descriptors.read(tmp_path / "file", 4) == b"0123"
