"""The three wheels, as users get them."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.world import ROOT, World

PACKAGES = {"oneiric_emitter": "oneiric", "session_buddy": "session-buddy", "mahavishnu_shell": "mahavishnu"}


def uv() -> str:
    from shutil import which

    return which("uv") or str(ROOT / ".tools" / "bin" / "uv")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Built once in a run: by whichever process that runs tests needs them first."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "wheels"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            draft = folder.with_suffix(".draft")
            for package in PACKAGES:
                source = str(ROOT / "packages" / package)
                command = [uv(), "build", "--quiet", "--wheel", "--out-dir", str(draft), source]
                subprocess.run(command, check=True, capture_output=True, timeout=300)
            draft.rename(folder)
    return folder


def environment(folder: Path, *packages: str) -> Path:
    """A fresh environment with these packages; returns its python."""
    subprocess.run([uv(), "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    python = folder / "bin" / "python"
    command = [uv(), "pip", "install", "--quiet", "--python", str(python), *packages]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return python


def test_the_wheels_installed_together_resolve_to_ours_and_work(
    wheels: Path, tmp_path: Path, world: World
) -> None:
    built = sorted(wheels.glob("*.whl"))
    assert len(built) == 3
    python = environment(tmp_path / "all", *map(str, built))
    listed = subprocess.run(
        [uv(), "pip", "list", "--python", str(python), "--format", "freeze"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {"oneiric==0.1.0+sessions", "session-buddy==0.1.0", "mahavishnu==0.1.0"} <= set(listed)
    world.environ["PATH"] = f"{python.parent}:/usr/bin:/bin"
    world.run(str(python), "-m", "mahavishnu", "shell", stdin=None, input="print(6 * 7)\n")
    assert [session["component"] for session in world.sessions()] == ["mahavishnu"]


def test_oneiric_alone_needs_nothing_else(wheels: Path, tmp_path: Path, world: World) -> None:
    (wheel,) = wheels.glob("oneiric-*.whl")
    python = environment(tmp_path / "alone", str(wheel))
    listed = subprocess.run(
        [uv(), "pip", "list", "--python", str(python), "--format", "freeze"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert listed == ["oneiric==0.1.0+sessions"]
    code = "import oneiric\nwith oneiric.track_session('alone') as session: print(session.id)"
    session_id = world.run(str(python), "-c", code).stdout.strip()
    assert [session["session_id"] for session in world.sessions()] == [session_id]


@pytest.mark.parametrize(("package", "name"), PACKAGES.items())
def test_a_wheel_says_that_it_is_typed(wheels: Path, package: str, name: str) -> None:
    import zipfile

    (wheel,) = wheels.glob(f"{name.replace('-', '_')}-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert f"{name.replace('-', '_')}/py.typed" in names
    assert any(entry.endswith("LICENSE") for entry in names)


@pytest.mark.parametrize("name", ["session_buddy", "mahavishnu"])
def test_a_wheel_alone_takes_no_package_of_others_for_ours(wheels: Path, tmp_path: Path, name: str) -> None:
    (wheel,) = wheels.glob(f"{name}-*.whl")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        environment(tmp_path / "alone", str(wheel))
    assert "oneiric" in refused.value.stderr.decode()
    assert "0.1.0+sessions" in refused.value.stderr.decode()


def test_without_ipython_a_shell_says_what_it_needs(wheels: Path, tmp_path: Path) -> None:
    (wheel,) = wheels.glob("oneiric-*.whl")
    python = environment(tmp_path / "alone", str(wheel))
    done = subprocess.run(
        [python, "-c", "from oneiric.shell import AdminShell"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: oneiric.shell needs IPython and Rich: in its checkout,"
        " pip install './packages/oneiric_emitter[shell]'"
    )
