import os
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
