import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import pytest
import typer.main

from oneiric.paths import Paths
from session_buddy.cli import app
from tests import forkserver

Cli = Callable[..., Any]
BREAK = "import session_buddy.host.process as p\ndef running(paths): raise {error}\np.running = running\n"
RUN = "from session_buddy.cli import main\nmain()"


def _broken(error: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command line in a process where looking for the server fails in a way nobody foresaw."""
    code = f"import sys\nsys.argv[1:] = {list(arguments)!r}\n{BREAK.format(error=error)}{RUN}"
    return forkserver.run([sys.executable, "-c", code])


def _all(command: Any, *path: str) -> Iterator[list[str]]:
    """Every command, by the words that call it."""
    yield [*path]
    for name, one in getattr(command, "commands", {}).items():
        yield from _all(one, *path, name)


@pytest.mark.parametrize("arguments", [*_all(typer.main.get_command(app))], ids=" ".join)
def test_every_command_explains_itself(cli: Cli, arguments: list[str]) -> None:
    helped = cli(*arguments, "--help")
    assert helped.returncode == 0
    assert helped.stdout.startswith("Usage: session-buddy")
    assert cli(*arguments, "-h").stdout == helped.stdout
    words = " ".join(["session-buddy", *arguments])
    assert "COMMAND [ARGS]" in helped.stdout or words in helped.stdout.partition("Examples:")[2]


def test_version(cli: Cli) -> None:
    assert cli("--version").stdout == f"session-buddy {version('session-buddy')}\n"


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_completion_can_be_shown_for_every_shell(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("_SESSION_BUDDY_COMPLETE", f"source_{kind}")
    assert "_SESSION_BUDDY_COMPLETE" in cli().stdout


def test_help_loads_none_of_the_heavy_libraries(home: object) -> None:
    traced = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "session_buddy", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in traced.stderr.splitlines()}
    heavy = {
        "pydantic",
        "pydantic_settings",
        "rich",
        "fastmcp",
        "mcp",
        "duckdb",
        "structlog",
        "psutil",
        "http.client",
    }
    assert imported.isdisjoint(heavy)


def test_an_unforeseen_error_is_one_line_and_its_traceback_is_in_the_log(home: object, paths: Paths) -> None:
    failed = _broken("ZeroDivisionError('oh\\x1b[31m')", "list-sessions")
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert "ZeroDivisionError: oh\\x1b[31m" in failed.stderr
    log = paths.state / "session-buddy" / "session-buddy.log"
    assert str(log) in failed.stderr
    assert "Traceback" in log.read_text()


def test_an_unforeseen_error_without_a_log_is_one_line_too(home: object, paths: Paths) -> None:
    paths.state.parent.mkdir(parents=True)
    paths.state.write_text("a file where the folder should be")
    failed = _broken("ZeroDivisionError", "list-sessions")
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1


def test_debugging_shows_the_traceback(home: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BUDDY_DEBUG", "1")
    failed = _broken("ZeroDivisionError", "list-sessions")
    assert failed.returncode == 1
    assert "Traceback" in failed.stderr


def test_ctrl_c_leaves_quietly(home: object) -> None:
    interrupted = _broken("KeyboardInterrupt", "list-sessions")
    assert (interrupted.returncode, interrupted.stdout, interrupted.stderr) == (130, "", "")


def test_an_output_that_cannot_show_a_character_still_gets_the_rest(
    cli: Cli, home: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    failed = cli("show-session", "straße")
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("arguments", [[], ["mcp"], ["token"]])
def test_no_summary_of_a_command_is_cut(cli: Cli, arguments: list[str]) -> None:
    summaries = cli(*arguments, "--help").stdout.partition("Commands:")[2]
    assert "..." not in summaries
    assert summaries.strip()
