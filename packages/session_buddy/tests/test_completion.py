"""TAB in bash, zsh and fish: what each asks, what it is answered, and what then stands in the line."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from oneiric.paths import Paths
from session_buddy.cli import completion
from session_buddy.client import ask
from session_buddy.history.fields import FIELDS
from session_buddy.history.keys import NAMES, STATUS_FILTERS
from session_buddy.history.query import SORTS
from session_buddy.host.server_file import ServerInfo
from tests.forkserver import COMMAND
from tests.world import eventually

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
Shell = Callable[..., str]
HEAVY = {"pydantic", "fastmcp", "mcp", "duckdb", "psutil", "rich", "structlog", "http.client"}
_DONE = "END"


def bash(line: str) -> dict[str, str]:
    """What Typer's script for bash asks: pieces as bash cuts them, the last of which is being typed."""
    pieces = re.findall(r"""[:=]+|(?:"[^"]*"?|[^\s:="])+|\s$""", line)
    pieces = [piece.strip() for piece in pieces]
    return {
        "_SESSION_BUDDY_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(pieces),
        "COMP_CWORD": str(len(pieces) - 1),
    }


def zsh(line: str) -> dict[str, str]:
    return {"_SESSION_BUDDY_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}


def fish(line: str, action: str = "get-args") -> dict[str, str]:
    told = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": action}
    return {"_SESSION_BUDDY_COMPLETE": "complete_fish", **told}


def answer(cli: Cli, asked: dict[str, str]) -> list[str]:
    done = cli(env={**os.environ, **asked})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def found(cli: Cli, line: str) -> list[str]:
    """What may stand in the place of the last word."""
    return [text.partition("\t")[0] for text in answer(cli, fish(f"session-buddy {line}"))]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("l", ["list-sessions"]),
        ("mcp st", ["start", "stop", "status"]),
        ("mcp stop --", ["--force", "--help"]),
        ("mcp start --log-level ", ["debug", "info", "warning", "error"]),
        ("mcp start --log-level=d", ["--log-level=debug"]),
        ("backup restore l", ["latest"]),
        ("list-sessions --st", ["--status"]),
        ("list-sessions --status active --st", ["--status"]),
        ("list-sessions --sort user --so", []),
        ("list-sessions us", ["user:"]),
        ("list-sessions status:active me", ["metadata."]),
        ("list-sessions -st", ["-status:", "-started:"]),
        ("list-sessions -- -u", ["-user:", "-uid:"]),
        ("list-sessions status:cr", ["status:crashed"]),
        ("list-sessions -actor:agent,", ["-actor:agent,human", "-actor:agent,automation"]),
        ('list-sessions "status:cr', ["status:crashed"]),
        ("list-sessions --status cr", ["crashed"]),
        ("list-sessions --status=active,cr", ["--status=active,crashed"]),
        ("list-sessions --sort ", list(SORTS)),
        ("list-sessions --columns pid,ho", ["pid,hostname"]),
        ("list-sessions --format ", ["table", "json", "csv", "ndjson"]),
        ("list-sessions --limit ", []),
        ("list-sessions nothing:", []),
        # No shell takes `>` or a blank for text.
        ("list-sessions started:", ["started:today", "started:yesterday", "started:monday"]),
        ("who actor:h", ["actor:human"]),
        ("show-session l", ["latest"]),
        ("show-session shop", []),
        ("show-session one t", []),
    ],
)  # fmt: skip
def test_a_word_goes_on(cli: Cli, line: str, expected: list[str]) -> None:
    assert found(cli, line) == expected


def test_all_keys_and_options_are_offered_where_nothing_is_typed(cli: Cli) -> None:
    assert found(cli, "list-sessions ") == [f"{key}{'.' if key == 'metadata' else ':'}" for key in NAMES]
    assert set(found(cli, "mcp stop ")) == {"--force", "--help", "-h"}
    assert {"--help", "--utc", "-status:", "-f"} < set(found(cli, "list-sessions -"))
    assert set(found(cli, "list-sessions --columns ")) == set(FIELDS)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("list-sessions st", ["status:", "started:"]),
        # Of one alone bash would put a blank behind it.
        ("list-sessions us", ["user:", "user:..."]),
        ("list-sessions status:", list(STATUS_FILTERS)),
        ("list-sessions status:cr", ["crashed"]),
        ("list-sessions -status:active,cr", ["active,crashed"]),
        ("list-sessions user:root status:cr", ["crashed"]),
        ('list-sessions at:"monday 14:00" status:cr', ["crashed"]),
        ('list-sessions "status:cr', ["status:crashed"]),
        ("list-sessions --status=cr", ["crashed"]),
        ("list-sessions --status cr", ["crashed"]),
        ("list-sessions --status ", list(STATUS_FILTERS)),
        ("mcp sto", ["stop"]),
    ],
)
def test_bash_is_told_only_what_it_replaces(cli: Cli, line: str, expected: list[str]) -> None:
    assert answer(cli, bash(f"session-buddy {line}")) == expected


def test_a_bash_that_parts_no_words_at_colons_is_told_whole_words(cli: Cli) -> None:
    asked = bash("session-buddy list-sessions x") | {"COMP_WORDS": "session-buddy\nlist-sessions\nstatus:cr"}
    assert answer(cli, asked) == ["status:crashed"]


@pytest.mark.parametrize("words", ["", "session-buddy", "session-buddy list-sessions", "session-buddy 'a\nb"])
def test_a_line_that_bash_tells_in_part_is_no_error(cli: Cli, words: str) -> None:
    answer(cli, bash("session-buddy list-sessions x y z") | {"COMP_WORDS": words})


def test_zsh_is_told_code_in_which_keys_take_no_blank_and_help_is_quoted(cli: Cli) -> None:
    (code,) = answer(cli, zsh("session-buddy list-sessions -st"))
    assert r"parts=('-status\:" in code
    assert code.endswith("_describe '' parts -S ''")
    (code,) = answer(cli, zsh("session-buddy list-sessions --ut"))
    assert code == (
        """local -a wholes; wholes=('--utc:Times are UTC, not this machine'"'"'s.'); _describe '' wholes"""
    )


def test_files_are_completed_where_a_file_is_named(cli: Cli) -> None:
    for line, are in (("--output ", True), ("folder:/sr", True), ("--limit ", False), ("user:", False)):
        typed = f"session-buddy list-sessions {line}"
        assert cli(env={**os.environ, **fish(typed, "is-args")}).returncode == are
        assert ("_files" in "".join(answer(cli, zsh(typed)))) is are


def test_values_come_from_a_running_server_without_a_heavy_library(
    cli: Cli, shell: Shell, server: ServerInfo
) -> None:
    ids = {component: shell(component) for component in ("mahavishnu", "shop")}
    cli("list-sessions")
    assert answer(cli, bash("session-buddy list-sessions component:ma")) == ["mahavishnu"]
    assert answer(cli, bash("session-buddy list-sessions -component:shop,")) == ["shop,mahavishnu"]
    assert found(cli, "list-sessions component:ma") == ["component:mahavishnu"]
    assert found(cli, "list-sessions --component sh") == ["shop"]
    assert found(cli, f"show-session {ids['shop'][-8:-1]}") == [ids["shop"][-8:]]
    assert answer(cli, bash("session-buddy show-session ")) == [ids["shop"], ids["mahavishnu"], "latest"]
    asked = bash("session-buddy list-sessions component:ma")
    traced = subprocess.run(
        [sys.executable, "-X", "importtime", *COMMAND[1:]],
        env={**os.environ, **asked}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in traced.stderr.splitlines()}
    assert traced.stdout.strip() == "mahavishnu"
    assert imported.isdisjoint(HEAVY)


def test_a_name_that_a_shell_would_run_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    named = ["$(reboot)", "`reboot`", "a b", "a;b", "a'b", 'a"b', "a\\b", "a\nb", "*", "a:b", "ada"]
    monkeypatch.setattr(ask, "recent", lambda _fields, _query: named)
    assert completion.term("user:") == ["user:ada"]
    assert set(completion.session("a")) == {"ada"}


def test_a_server_that_hangs_is_waited_for_a_moment(cli: Cli, paths: Paths) -> None:
    path = Path(os.environ["XDG_RUNTIME_DIR"]) / "hangs.sock"
    paths.server_file.parent.mkdir(parents=True)
    paths.server_file.write_text(json.dumps({"socket": str(path)}))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert found(cli, "show-session ") == ["latest"]


def test_an_error_is_for_who_looks_for_it_alone(cli: Cli) -> None:
    asked = bash("session-buddy list-sessions us") | {"COMP_CWORD": "two"}
    assert answer(cli, asked) == []
    told = cli(env={**os.environ, **asked, "SESSION_BUDDY_DEBUG": "1"})
    assert "ValueError" in told.stderr


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every shell with ``--all``, else the one that is everywhere."""
    if "kind" in metafunc.fixturenames:
        kinds = ["bash", "zsh", "fish"] if metafunc.config.getoption("--all") else ["bash"]
        metafunc.parametrize("kind", kinds)


@pytest.fixture
def typed(kind: str, home: Path) -> Callable[[str], str]:
    """Type a line into a real shell, with TAB at its end; returns what stands there, and where an X goes."""
    folder = Path(sys.executable).parent
    environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    install = f"session-buddy --install-completion {kind}; true"
    installed = subprocess.run([kind, "-c", install], env=environ, capture_output=True, text=True, check=True)
    assert f"{kind} completion installed" in installed.stdout
    options: dict[str, Any] = {"env": environ, "encoding": "utf-8", "timeout": 60, "dimensions": (50, 200)}
    terminal = pexpect.spawn(kind, ["-i"], **options)
    terminal.sendline("printf 'rea%s\\n' dy")
    terminal.expect("ready")

    def typed(line: str) -> str:
        terminal.send(f"session-buddy {line}\tX {_DONE}")
        terminal.sendcontrol("a")
        terminal.send("printf '<%s>' \r")
        terminal.expect(rf"<session-buddy>(<[^<>]*>)+<{_DONE}>")
        return " ".join(re.findall("<(.*?)>", str(terminal.after))[1:-1])

    return typed


def test_a_real_shell_types_it(typed: Callable[[str], str], shell: Shell, server: ServerInfo) -> None:
    ids = {component: shell(component) for component in ("mahavishnu", "shop")}
    lines = {
        "list-sessions us": "list-sessions user:X",
        "list-sessions component:ma": "list-sessions component:mahavishnu X",
        "list-sessions -status:active,cr": "list-sessions -status:active,crashed X",
        "list-sessions user:root --status=cr": "list-sessions user:root --status=crashed X",
        "list-sessions --inc": "list-sessions --incomplete X",
        "show-session ma": f"show-session {ids['mahavishnu']} X",
    }
    # A server that is busy is not waited for.
    eventually(lambda: {line: typed(line) for line in lines} == lines)
