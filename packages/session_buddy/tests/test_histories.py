"""Whose history a database is: what shells report goes into one, any other is looked at and left as it is."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from oneiric.paths import Paths
from session_buddy.host import process, stopping
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.histories import own
from session_buddy.host.server_file import ServerInfo
from tests import forkserver
from tests.samples import session_id_of, start_event
from tests.world import wait_for_end

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
Shell = Callable[..., str]
# Writes an event, and leaves the log as a kill does.
KILLED = """
import json, os, signal, sys
from session_buddy.store import open_store
from tests.samples import arrival
open_store(sys.argv[1]).ingest([arrival(json.loads(sys.stdin.read()))])
os.kill(os.getpid(), signal.SIGKILL)
"""
BRIDGE = ["mcp", "start", "--transport", "stdio"]


def state_of(folder: Path) -> dict[str, str]:
    """Every file of a folder, with what is in it."""
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def waiting(paths: Paths) -> set[str]:
    """The sessions whose journals wait in the outbox."""
    return {path.stem for path in paths.outbox.glob("*.jsonl")}


def ids(listed: "subprocess.CompletedProcess[str]") -> set[str]:
    """What was listed."""
    assert listed.returncode == 0, listed.stderr
    return {line.split("\t")[0] for line in listed.stdout.splitlines()}


@pytest.fixture
def archive(cli: Cli, shell: Shell, paths: Paths, home: Path) -> tuple[Path, str]:
    """A copy of the history that lies elsewhere, alone in its folder; and the session in it."""
    session = shell("archived")
    assert ids(cli("list-sessions")) == {session}
    copy = home / "elsewhere" / "archive.duckdb"
    copy.parent.mkdir()
    shutil.copyfile(own(paths).name, copy)
    return copy, session


def test_another_database_is_listed_and_nothing_is_taken_in(
    cli: Cli, shell: Shell, paths: Paths, archive: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, archived = archive
    before, late = state_of(copy.parent), shell("late")
    monkeypatch.setenv("SESSION_BUDDY_DB_PATH", str(copy))
    listed, shown = cli("list-sessions"), cli("show-session", archived)
    assert ids(listed) == {archived}
    assert shown.returncode == 0
    for said in (listed.stderr, shown.stderr):
        assert said.count("\n") == 1
        assert said.startswith(f"{copy} is only looked at: your own history is ")
    assert state_of(copy.parent) == before
    assert waiting(paths) == {late}
    monkeypatch.delenv("SESSION_BUDDY_DB_PATH")
    listed = cli("list-sessions")
    assert (ids(listed), listed.stderr) == ({archived, late}, "")


def test_while_there_is_no_history_yet_a_database_that_somebody_names_is_anothers(
    cli: Cli, shell: Shell, paths: Paths, archive: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, archived = archive
    shutil.rmtree(paths.state)
    before, late = state_of(copy.parent), shell("late")
    monkeypatch.setenv("SESSION_BUDDY_STORAGE_URL", f"duckdb:///{copy}")
    assert ids(cli("list-sessions")) == {archived}
    assert state_of(copy.parent) == before
    assert waiting(paths) == {late}


def test_while_the_default_history_is_there_no_other_is_made(
    cli: Cli, shell: Shell, paths: Paths, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shell()
    assert ids(cli("list-sessions")) == {first}
    shutil.rmtree(paths.state / "session-buddy")
    late = shell()
    monkeypatch.setenv("SESSION_BUDDY_DB_PATH", str(home / "typo.duckdb"))
    assert cli("list-sessions").returncode == 1
    assert waiting(paths) == {late}
    assert not (home / "typo.duckdb").exists()


@pytest.mark.parametrize("option", ["", "a\nb.duckdb"])
def test_what_is_no_name_of_a_database_is_refused(cli: Cli, home: Path, option: str) -> None:
    for command in (["mcp", "start"], ["backup", "create"]):
        failed = cli(*command, "--db", option)
        assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
        assert failed.stderr.startswith("Error: ")
    assert list(home.glob("*.duckdb")) == []


def test_an_empty_variable_names_nothing(cli: Cli, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    session = shell()
    monkeypatch.setenv("SESSION_BUDDY_DB_PATH", "")
    assert ids(cli("list-sessions")) == {session}


def test_the_backups_of_a_database_that_is_not_there(cli: Cli, home: Path) -> None:
    failed = cli("backup", "list", "--db", "typo.duckdb")
    assert failed.returncode == 1
    assert failed.stderr == f"Error: database {home}/typo.duckdb is not there, nor a backup of it\n"


def test_a_log_that_was_left_beside_another_database_is_read_and_left(
    cli: Cli, archive: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, archived = archive
    late = start_event(7)
    command = [sys.executable, "-c", KILLED, f"duckdb:///{copy}"]
    done = forkserver.run(command, json.dumps(late), cwd=Path(__file__).parents[3])
    assert done.returncode == -signal.SIGKILL
    before = state_of(copy.parent)
    assert set(before) == {"archive.duckdb", "archive.duckdb.wal"}
    monkeypatch.setenv("SESSION_BUDDY_DB_PATH", str(copy))
    assert ids(cli("list-sessions")) == {archived, session_id_of(late)}
    assert state_of(copy.parent) == before


def test_another_database_that_somebody_writes_is_held_by_them(
    cli: Cli, archive: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, _ = archive
    code = "import sys, duckdb; d = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(copy)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        monkeypatch.setenv("SESSION_BUDDY_DB_PATH", str(copy))
        failed = cli("list-sessions")
        holder.communicate("\n")
    assert failed.returncode == 1
    assert f"database {copy} is held by pid {holder.pid} (" in failed.stderr


def test_a_backup_of_another_database_takes_nothing_in(
    cli: Cli, shell: Shell, paths: Paths, archive: tuple[Path, str]
) -> None:
    copy, archived = archive
    before, late = state_of(copy.parent), shell("late")
    made = cli("backup", "create", "--db", str(copy))
    assert made.returncode == 0, made.stderr
    assert waiting(paths) == {late}
    backup = Path(made.stdout.removeprefix("Backup ").strip())
    assert backup.parent == copy.parent / "backups"
    shutil.rmtree(copy.parent / "backups")
    assert state_of(copy.parent) == before
    assert ids(cli("list-sessions")) == {archived, late}


def test_another_database_that_goes_back_to_a_backup_takes_nothing_in(
    cli: Cli, shell: Shell, paths: Paths, archive: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, archived = archive
    backup = cli("backup", "create", "--db", str(copy)).stdout.removeprefix("Backup ").strip()
    late = shell("late")
    restored = cli("backup", "restore", backup, "--db", str(copy))
    assert restored.returncode == 0, restored.stderr
    assert waiting(paths) == {late}
    monkeypatch.setenv("SESSION_BUDDY_DB_PATH", str(copy))
    assert ids(cli("list-sessions")) == {archived}


def test_where_the_server_keeps_another_history_a_line_says_so(
    cli: Cli, server: ServerInfo, shell: Shell, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = home / "mine.duckdb"
    session = shell()
    assert session in ids(cli("list-sessions"))
    shutil.copyfile(_checkpointed(cli), mine)
    later = shell("later")
    monkeypatch.setenv("SESSION_BUDDY_DB_PATH", str(mine))
    listed = cli("list-sessions")
    assert session in ids(listed)
    assert later not in ids(listed)
    assert listed.stderr.count("\n") == 1
    assert DatabaseUrl.parse(server.database).name in listed.stderr
    assert "session-buddy mcp restart" in listed.stderr


@pytest.mark.parametrize("command", [["list-sessions"], ["mcp", "status"], ["mcp", "stop"], BRIDGE])
def test_a_mistyped_variable_is_told_where_a_server_runs(
    cli: Cli, server: ServerInfo, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("SESSION_BUDDY_DB_PTH", "/srv/other.duckdb")
    failed = cli(*command)
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: SESSION_BUDDY_DB_PTH: unknown setting (did you mean ")


def _checkpointed(cli: Cli) -> Path:
    return Path(cli("backup", "create").stdout.removeprefix("Backup ").strip())


def test_a_database_that_is_not_there_is_made_only_where_somebody_is_told(
    cli: Cli, shell: Shell, paths: Paths, home: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = shell()
    assert ids(cli("list-sessions")) == {session}
    first, typo = Path(own(paths).name), home / "typo.duckdb"
    failed = cli("backup", "create", "--db", str(typo))
    assert failed.returncode == 1
    assert failed.stderr == f"Error: database {typo} is not there; your own history is {first}\n"
    monkeypatch.setenv("SESSION_BUDDY_DB_PATH", str(typo))
    for command in (["list-sessions"], ["show-session", session], ["backup", "create"]):
        failed = cli(*command)
        assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
        assert f"database {typo} is not there" in failed.stderr
    assert not typo.exists()
    monkeypatch.delenv("SESSION_BUDDY_DB_PATH")
    started = cli("mcp", "start", "--background", "--db", str(typo))
    assert started.returncode == 0
    made, moved = started.stderr.splitlines()
    assert made == f"There was no database {typo}: it is made."
    assert moved == f"Your own history is {typo} from now on; before, it was {first}."
    cli("mcp", "stop")


def test_who_names_no_database_means_the_own_history(
    cli: Cli, shell: Shell, paths: Paths, home: Path, start: Callable[..., ServerInfo]
) -> None:
    mine = home / "mine.duckdb"
    start("--db", str(mine))
    assert cli("mcp", "stop").returncode == 0
    session = shell()
    listed = cli("list-sessions")
    assert (ids(listed), listed.stderr) == ({session}, "")
    assert cli("backup", "create").stdout.startswith(f"Backup {home}/backups/mine-")
    # A reboot later an agent opens its bridge.
    stopping.clear_stop_marker(paths)
    with bridged() as call:
        (found,) = call("list_sessions")["sessions"]
        assert found["session_id"] == session
    assert cli("mcp", "restart").stderr == ""
    info = process.running(paths)
    assert info is not None
    assert DatabaseUrl.parse(info.database).file == mine
    stopping.stop(paths)
    assert not (paths.data / "session-buddy" / "sessions.duckdb").exists()


def test_the_own_history_is_known_by_any_of_its_names(
    cli: Cli, shell: Shell, paths: Paths, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shell()
    assert ids(cli("list-sessions")) == {first}
    (home / "link").symlink_to(Path(own(paths).name).parent)
    second = shell()
    other_name = home / "link" / ".." / "session-buddy" / "sessions.duckdb"
    monkeypatch.setenv("SESSION_BUDDY_DB_PATH", str(other_name))
    listed = cli("list-sessions")
    assert (ids(listed), listed.stderr) == ({first, second}, "")


def test_a_start_that_fails_moves_no_history(
    cli: Cli, shell: Shell, paths: Paths, home: Path, port: int
) -> None:
    session = shell()
    assert ids(cli("list-sessions")) == {session}
    before = own(paths)
    with socket.create_server(("127.0.0.1", port)):
        failed = cli("mcp", "start", "--background", "--db", str(home / "other.duckdb"))
        restarted = cli("mcp", "restart", "--db", str(home / "other.duckdb"))
    for said in (failed, restarted):
        assert said.returncode == 1
        assert f"port {port} is taken by" in said.stderr
        assert said.stderr.count("\n") == 1
    assert own(paths) == before
    assert stopping.read_stop_marker(paths) is None, "a bridge may start it again"


def test_of_sixteen_first_commands_none_is_refused(
    shell: Shell, paths: Paths, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = shell()
    monkeypatch.setenv("SESSION_BUDDY_DB_PATH", str(home / "mine.duckdb"))
    piped: dict[str, Any] = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    listing = [forkserver.popen([*forkserver.COMMAND, "list-sessions"], **piped) for _ in range(16)]
    said = [child.communicate(timeout=60) for child in listing]
    assert all(session in printed for printed, _ in said)
    assert sorted(complaint for _, complaint in said) == [
        *[""] * 15,
        f"There is no database {home}/mine.duckdb: it is made.\n",
    ]


def test_of_a_user_without_a_history_the_one_that_is_named_is_made_with_a_word(
    cli: Cli, shell: Shell, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, mine = shell(), home / "mine.duckdb"
    monkeypatch.setenv("SESSION_BUDDY_DB_PATH", str(mine))
    first, second = cli("list-sessions"), cli("list-sessions")
    assert ids(first) == ids(second) == {session}
    assert first.stderr == f"There is no database {mine}: it is made.\n"
    assert second.stderr == ""


# --- an agent's bridge


@contextmanager
def bridged(**environ: str) -> Iterator[Callable[..., dict[str, Any]]]:
    """A bridge; calls one of its tools."""
    child = forkserver.popen(
        [*forkserver.COMMAND, *BRIDGE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **forkserver.MEASURED, **environ},
    )

    def call(name: str, **arguments: object) -> dict[str, Any]:
        assert child.stdin is not None
        assert child.stdout is not None
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        params = {"name": name, "arguments": arguments, "_meta": meta}
        child.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}))
        child.stdin.write("\n")
        child.stdin.flush()
        answer: dict[str, Any] = json.loads(child.stdout.readline())
        content: dict[str, Any] = answer["result"]["structuredContent"] if "result" in answer else answer
        return content

    with child:
        try:
            yield call
        finally:
            assert child.stdin is not None
            child.stdin.close()
            child.wait(60)


def test_a_killed_server_is_brought_back_as_it_was(
    paths: Paths, home: Path, port: int, start: Callable[..., ServerInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = home / "other.duckdb"
    monkeypatch.setenv("SESSION_BUDDY_PORT", "0")
    monkeypatch.setenv("SESSION_BUDDY_ALLOWED_HOSTS", "buddy.example,b.example")
    first = start("--db", str(other), "--port", str(port), "--log-level", "debug")
    monkeypatch.delenv("SESSION_BUDDY_ALLOWED_HOSTS")
    os.kill(first.pid, signal.SIGKILL)
    wait_for_end(first.pid)
    with bridged() as call:
        assert call("health_check")["database"] == f"duckdb:///{other}"
    second = process.running(paths)
    assert second is not None
    assert (second.url, second.database) == (first.url, first.database)
    assert second.pid != first.pid
    said = process.last_settings(paths)
    assert said["SESSION_BUDDY_LOG_LEVEL"] == "debug"
    assert said["SESSION_BUDDY_ALLOWED_HOSTS"] == "buddy.example,b.example"
    stopping.stop(paths)


def test_a_bridge_that_names_no_database_makes_no_second_history(
    cli: Cli, shell: Shell, paths: Paths, home: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = home / "mine.duckdb"
    monkeypatch.setenv("SESSION_BUDDY_DB_PATH", str(mine))
    session = shell()
    assert ids(cli("list-sessions")) == {session}
    monkeypatch.delenv("SESSION_BUDDY_DB_PATH")
    with bridged() as call:
        (found,) = call("list_sessions")["sessions"]
        assert found["session_id"] == session
    stopping.stop(paths)


def test_a_bridge_that_names_another_database_than_the_servers_says_so(
    cli: Cli, server: ServerInfo, home: Path
) -> None:
    other = str(home / "other.duckdb")
    for arguments, environ in ((["--db", other], {}), ([], {"SESSION_BUDDY_DB_PATH": other})):
        done = cli(*BRIDGE, *arguments, env={**os.environ, **environ}, typed="")
        assert done.returncode == 0
        assert done.stderr == f"it keeps {DatabaseUrl.parse(server.database).name}, not {other}\n"


def test_a_bridge_asks_the_server_that_the_environment_names(
    cli: Cli, server: ServerInfo, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, token = shell(), cli("token", "show").stdout.strip()
    assert ids(cli("list-sessions")) == {session}
    home = tmp_path / "on another machine"
    home.mkdir()
    named = {"SESSION_BUDDY_MCP_ENDPOINT": server.url, "SESSION_BUDDY_TOKEN": token}
    with bridged(HOME=str(home), **named) as call:
        (found,) = call("list_sessions")["sessions"]
        assert found["session_id"] == session
    with bridged(HOME=str(home), **{**named, "SESSION_BUDDY_TOKEN": "nonsense"}) as call:
        assert "HTTP 401" in call("list_sessions")["error"]["message"]
    assert not (home / ".local").exists()
