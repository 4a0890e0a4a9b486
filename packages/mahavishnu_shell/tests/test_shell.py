"""The Mahavishnu shell as a person uses it."""

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pexpect
import pytest

from oneiric.shell.commands import Commands, discover

Shell = Callable[..., "pexpect.spawn[str]"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
Sessions = Callable[[], list[list[dict[str, Any]]]]

COMMAND = [sys.executable, "-m", "mahavishnu"]
PROMPT = r"In \S*\[\S*{}\S*\]: "
RULE = "━" * 50


def counted() -> int:
    return len(Commands(filter(None, map(discover, ("mahavishnu", "session-buddy")))))


def leave(child: "pexpect.spawn[str]", typed: str = "exit()\r") -> str:
    child.send(typed)
    child.expect(pexpect.EOF)
    child.wait()
    return child.before or ""


def test_the_banner_stands_on_facts(mahavishnu: Run) -> None:
    done = mahavishnu("shell")
    assert done.stdout.startswith(
        f"Mahavishnu v0.1.0 - Admin Shell\n{RULE}\n"
        "Adapters: prefect, llamaindex, agno\n"
        f"CLI Commands: Enabled ({counted()} commands)\n"
        "Tab Completion: Enabled\n"
        "Session Tracking: ✓ Enabled (offline, kept in the outbox)\n"
        f"{RULE}\n"
    )
    assert counted() > 5


def test_every_line_of_the_banner_follows_the_settings(
    mahavishnu: Run, work: Path, sessions: Sessions
) -> None:
    (work / "settings" / "mahavishnu.yaml").write_text(
        "session: {enabled: false}\nadapters: {llamaindex: false}\n"
        "shell: {cli_commands: false, tab_completion: false}\n"
    )
    done = mahavishnu("shell", typed="list-sessions\n")
    for line in (
        "Adapters: prefect, agno\n",
        "CLI Commands: Disabled\n",
        "Tab Completion: Disabled\n",
        "Session Tracking: ✗ Disabled (by settings/mahavishnu.yaml, line 1)\n",
    ):
        assert line in done.stdout
    assert "NameError" in done.stdout
    assert not sessions()


def test_without_commands_there_is_nothing_that_tab_completes(mahavishnu: Run, work: Path) -> None:
    (work / "settings" / "mahavishnu.yaml").write_text("shell: {cli_commands: false}\n")
    done = mahavishnu("shell", typed="'matchers', get_ipython().Completer.custom_matchers\n")
    assert "CLI Commands: Disabled\nTab Completion: Disabled\n" in done.stdout
    assert "('matchers', [])" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "more", "why"),
    [
        (["--no-tracking"], {}, "by --no-tracking"),
        ([], {"MAHAVISHNU_SESSION__ENABLED": "false"}, "by MAHAVISHNU_SESSION__ENABLED"),
        ([], {"ONEIRIC_TRACKING": "off"}, "ONEIRIC_TRACKING=off"),
        ([], {"HOME": "/dev/null"}, "the outbox /dev/null/"),
    ],
)
def test_tracking_that_is_off_is_said_with_its_reason(
    mahavishnu: Run, sessions: Sessions, arguments: list[str], more: Mapping[str, str], why: str
) -> None:
    done = mahavishnu("shell", *arguments, typed="%session\nprint(6 * 7)\n", **more)
    assert done.returncode == 0
    assert f"Session Tracking: ✗ Disabled ({why}" in done.stdout
    assert "This shell has no session. ✗ Disabled" in done.stdout
    assert "42" in done.stdout
    assert not sessions()


def test_a_session_is_whole(shell: Shell, sessions: Sessions) -> None:
    """Start before the first prompt, facts in its metadata, an end when it is left."""
    child = shell("--reason", "TICKET-7: look at the queue")
    child.expect(PROMPT.format(1))
    [[began]] = sessions()
    assert (began["component_name"], began["shell_type"]) == ("mahavishnu", "MahavishnuShell")
    assert began.get("session_type", "admin_shell") == "admin_shell"
    assert began["reason"] == "TICKET-7: look at the queue"
    assert began["metadata"] == {
        "version": "0.1.0",
        "adapters": ["prefect", "llamaindex", "agno"],
        "cli_preprocessing_enabled": True,
        "tab_completion_enabled": True,
        "command_tree_size": counted(),
    }
    leave(child)
    assert child.exitstatus == 0
    [[_, ended]] = sessions()
    assert (ended["status"], ended["exit_reason"], ended["exit_code"]) == ("ended", "exit", 0)


@pytest.mark.parametrize(
    ("typed", "reason"),
    [("quit\r", "exit"), ("\x04", "eof"), ("get_ipython().run_cell = 1\r1\r", "exception")],
)
def test_how_it_was_left_is_known(shell: Shell, sessions: Sessions, typed: str, reason: str) -> None:
    child = shell()
    child.expect(PROMPT.format(1))
    leave(child, typed)
    assert sessions()[0][1]["exit_reason"] == reason


def test_input_from_a_pipe_runs(mahavishnu: Run, sessions: Sessions) -> None:
    done = mahavishnu("shell", typed="print(6 * 7)\n1 / 0\n")
    assert done.returncode == 0
    assert "42" in done.stdout
    [[_, ended]] = sessions()
    assert (ended["exit_reason"], ended["activity"]["errors"]) == ("eof", 1)


def test_commands_run_without_a_prefix(mahavishnu: Run) -> None:
    typed = """\
mahavishnu --version
session-buddy list-sessions --help
list-sessions --help
mcp --help
mcp = 'a name of mine'
mcp
"""
    done = mahavishnu("shell", typed=typed)
    assert "mahavishnu 0.1.0" in done.stdout
    assert done.stdout.count("Usage: session-buddy list-sessions") == 2
    assert "Usage: session-buddy mcp" in done.stdout
    assert "'a name of mine'" in done.stdout


def test_tab_completes_a_command(shell: Shell) -> None:
    child = shell()
    child.expect(PROMPT.format(1))
    child.send("list-se\t")
    # What Tab adds, however the prompt colours it in between.
    child.expect(r"\S*?".join("ssions"))
    child.send(" --help\r")
    child.expect("Usage: session-buddy list-sessions")
    child.expect(PROMPT.format(2))
    leave(child)


def test_session_and_status_tell_what_is_known(mahavishnu: Run) -> None:
    typed = "1 / 0\n%session\n%status\n%help_shell\nprint(app.session.enabled, settings is app)\n"
    said = mahavishnu("shell", "--reason", "TICKET-7", typed=typed).stdout
    for pattern in (
        r"Session +mahavishnu-\d{8}-\d{6}-[0-9a-f]{8}\n",
        r"Since +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+ \(0:00:\d\d\)\n",
        r"Tracking +✓ Enabled \(offline, kept in the outbox\)\n",
        r"Commands +1\n",
        r"Errors +1\n",
        r"Reason +TICKET-7\n",
        r"Component +mahavishnu 0\.1\.0\n",
        r"Adapter prefect +enabled, prefect ",
        r"Settings +the defaults\n",
        r"%sessions +Show the newest sessions of all shells",
        r"True True",
    ):
        assert re.search(pattern, said), pattern


def test_sessions_of_a_wrong_number_are_one_line(mahavishnu: Run) -> None:
    said = mahavishnu("shell", typed="%sessions many\n%sessions 0\n").stdout
    assert "%sessions: 'many' is no number of sessions; try %sessions 10" in said
    assert "%sessions: '0' is no number of sessions" in said


def test_sessions_shows_the_history_without_a_server(mahavishnu: Run, sessions: Sessions) -> None:
    done = mahavishnu("shell", typed="%sessions 5\n")
    [[began, _]] = sessions()
    assert began["event_id"][:8] in done.stdout, done.stderr


def test_the_module_runs_as_the_command_does(environ: Mapping[str, str], work: Path) -> None:
    beside = Path(sys.executable).parent / "mahavishnu"
    done = subprocess.run(
        [beside, "shell"],
        input="",
        env=environ,
        cwd=work,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert "Admin Shell" in done.stdout


@pytest.mark.parametrize("typed", ["exit()\r", "\x04"])
def test_an_outbox_that_cannot_be_written_is_said_once_and_told_by_status(
    shell: Shell, tmp_path: Path, typed: str
) -> None:
    (tmp_path / "home" / ".local").write_text("in the way")
    child = shell()
    child.expect(PROMPT.format(1))
    banner = child.before or ""
    why = r"✗ Disabled \(the outbox \S+ cannot be written: Not a directory\)"
    assert len(re.findall(rf"Session Tracking: {why}", banner)) == banner.count("Disabled") == 1
    child.send("print(6 * 7)\r")
    child.expect("42")
    child.expect(PROMPT.format(2))
    child.send("%status\r")
    child.expect(rf"Session +none\r\n +Session tracking +{why}\r\n")
    child.expect(r"Outbox +0 open, 0 rejected, 0 corrupt, 1 dropped\r\n")
    child.expect(PROMPT.format(3))
    assert "Disabled" not in leave(child, typed)
    assert child.exitstatus == 0


def test_a_home_that_became_full_is_said_and_told_as_well(
    mahavishnu: Run, environ: Mapping[str, str]
) -> None:
    # What IPython itself writes into a new home is there already; what measures coverage writes as well.
    mahavishnu("shell")
    unmeasured = {name: value for name, value in environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        ["prlimit", "--fsize=100", *COMMAND, "shell"],
        input="%status\nprint(6 * 7)\n",
        env=unmeasured,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Session Tracking: ✗ Disabled (the outbox cannot be written: the disk is full)\n" in done.stdout
    assert "1 dropped" in done.stdout
    assert "42" in done.stdout
