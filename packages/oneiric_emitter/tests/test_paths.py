import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from oneiric.paths import machine_id, user_paths


def test_folders_follow_home(tmp_path: Path) -> None:
    paths = user_paths({"HOME": str(tmp_path)})
    assert paths.state == tmp_path / ".local/state"
    assert paths.outbox == tmp_path / ".local/state/oneiric/outbox" / machine_id()
    assert paths.server_file == tmp_path / ".local/state/session-buddy/server.json"


def test_xdg_variables_win() -> None:
    # Not tmp_path: a socket's path has at most 100 bytes.
    with TemporaryDirectory() as folder:
        paths = user_paths({"HOME": "/", "XDG_STATE_HOME": folder, "XDG_RUNTIME_DIR": folder})
    assert paths.state == Path(folder)
    assert paths.socket == Path(folder, "session-buddy/session-buddy.sock")


def test_a_relative_xdg_variable_is_ignored(tmp_path: Path) -> None:
    paths = user_paths({"HOME": str(tmp_path), "XDG_STATE_HOME": "here"})
    assert paths.state == tmp_path / ".local/state"


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    paths = user_paths({"HOME": str(tmp_path / ("x" * 120))})
    assert len(os.fsencode(paths.socket)) <= 100
    assert str(os.geteuid()) in str(paths.socket)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can stand in another's home")
def test_root_in_another_users_home_uses_its_own(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    paths = user_paths(
        {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    )
    assert not paths.state.is_relative_to(tmp_path)
    assert paths.runtime is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can stand in another's home")
def test_root_makes_no_folder_in_another_users_home(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    missing = tmp_path / "not" / "there"
    paths = user_paths({"HOME": str(missing), "XDG_STATE_HOME": str(missing)})
    assert not paths.home.is_relative_to(tmp_path)
    assert not paths.state.is_relative_to(tmp_path)
    os.chown(tmp_path, 0, 0)
    assert user_paths({"HOME": str(missing)}).home == missing


def test_the_machine_id_is_stable_and_hashed() -> None:
    again = subprocess.run(
        [sys.executable, "-c", "from oneiric.paths import machine_id; print(machine_id())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout.strip() == machine_id()
    assert len(machine_id()) == 12
