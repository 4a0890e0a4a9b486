"""The command line of Mahavishnu."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from subprocess import PIPE

import mahavishnu as package

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# Root reads what it likes, except without its capabilities.
UNPRIVILEGED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


def test_the_version_is_the_distributions() -> None:
    assert package.__version__ == version("mahavishnu")


def test_version_and_help(mahavishnu: Run) -> None:
    assert mahavishnu("--version").stdout == f"mahavishnu {package.__version__}\n"
    for arguments in (["--help"], ["-h"]):
        assert "shell" in mahavishnu(*arguments).stdout
    assert "--no-tracking" in mahavishnu("shell", "-h").stdout


def test_the_version_needs_neither_ipython_nor_a_settings_file(environ: Mapping[str, str]) -> None:
    heavy = {"IPython", "pydantic", "yaml", "rich"}
    code = f"import sys, mahavishnu.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=True
    )
    assert done.stdout == "[]\n"


def test_a_mistyped_command_names_the_nearest(mahavishnu: Run) -> None:
    done = mahavishnu("shel")
    assert done.returncode == 2
    assert "No such command 'shel'. Did you mean 'shell'?" in done.stderr


def test_a_wrong_setting_is_one_line(mahavishnu: Run, work: Path) -> None:
    (work / "settings" / "mahavishnu.yaml").write_text("session:\n  enabled: perhaps\n")
    done = mahavishnu("shell")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "mahavishnu: settings/mahavishnu.yaml, line 2: session.enabled is 'perhaps'; allowed: true, false\n"
    )


def test_a_config_folder_that_cannot_be_read_is_one_line(environ: Mapping[str, str], work: Path) -> None:
    """It might say that nothing is to be reported."""
    config = Path(environ["HOME"]) / ".config"
    config.mkdir()
    config.chmod(0)
    done = subprocess.run(
        [*UNPRIVILEGED, sys.executable, "-m", "mahavishnu", "shell"],
        env=environ,
        cwd=work,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    config.chmod(0o700)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"mahavishnu: {config}/mahavishnu/mahavishnu.yaml cannot be read: Permission denied\n"
    )


def test_a_reason_that_is_too_long_is_refused(mahavishnu: Run) -> None:
    done = mahavishnu("shell", "--reason", "x" * 201)
    assert done.returncode == 2
    assert "201 characters; 200 are allowed" in done.stderr


def test_of_two_reasons_none_is_taken_silently(mahavishnu: Run) -> None:
    done = mahavishnu("shell", "--reason", "one", "--reason", "two")
    assert done.returncode == 2
    assert "'--reason': it is given twice" in done.stderr


def test_a_reader_that_has_had_enough_gets_no_traceback(environ: Mapping[str, str], work: Path) -> None:
    """`mahavishnu shell | head -1`."""
    command = [sys.executable, "-m", "mahavishnu", "shell"]
    with subprocess.Popen(
        command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environ, cwd=work, text=True
    ) as child:
        assert child.stdout
        assert child.stderr
        assert child.stdin
        assert child.stdout.readline().startswith("Mahavishnu v")
        child.stdout.close()
        child.stdin.write("print('x' * 100_000)\n" * 3)
        child.stdin.close()
        assert "mahavishnu/" not in child.stderr.read()
