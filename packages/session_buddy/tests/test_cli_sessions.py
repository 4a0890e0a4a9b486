import csv
import io
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pexpect
import pytest

from oneiric.paths import Paths
from session_buddy.host import process
from session_buddy.host.server_file import ServerInfo
from session_buddy.store import open_store
from tests import forkserver
from tests.samples import arrival, session_id_of, start_event
from tests.serverprocess import ServerProcess
from tests.terminal import Terminal

Cli = Callable[..., Any]
Shell = Callable[..., str]
COMMAND = [sys.executable, "-P", "-m", "session_buddy"]
_WITH = "from session_buddy.cli import main; from session_buddy.client import ask; ask.{}; main()"
UNPAID = ("fastmcp", "mcp", "duckdb", "structlog", "pydantic_settings", "rich", "psutil", "http.client")


def _pipe(line: str) -> "subprocess.CompletedProcess[str]":
    """A shell's pipeline, in which ``session-buddy`` is the command under test."""
    program = line.replace("session-buddy", shlex.join(COMMAND))
    return subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=60, check=False)


def _terminal(*arguments: str, columns: int = 200) -> tuple[str, int]:
    # readline, which pytest imports, adds COLUMNS=80 to the environment, which hides the terminal's width.
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    child = Terminal(
        COMMAND[0],
        [*COMMAND[1:], *arguments],
        dimensions=(24, columns),
        encoding="utf-8",
        timeout=60,
        env=env,
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus is not None
    return str(child.before), child.exitstatus


@pytest.fixture(params=["server", "file"])
def asked(request: pytest.FixtureRequest, home: Path) -> str:
    """Who answers: a running server, or the database file."""
    if request.param == "server":
        request.getfixturevalue("server")
    return str(request.param)


def test_sessions_are_found_without_a_server(cli: Cli, shell: Shell) -> None:
    first, second = (
        shell("shop"),
        shell("mahavishnu", shell_type="MahavishnuShell", metadata={"version": "1"}),
    )
    listed = cli("list-sessions")
    assert listed.stderr == ""
    assert [row.split("\t")[0] for row in listed.stdout.splitlines()] == [second, first]
    assert cli("list-sessions").stdout == listed.stdout
    shown = json.loads(cli("show-session", second, "--format", "json").stdout)
    assert shown["session_id"] == second
    assert shown["component"] == "mahavishnu"
    assert shown["status"] == "ended"
    assert shown["metadata"] == {"version": "1"}


def test_a_later_server_lists_the_same_sessions_once(
    cli: Cli, shell: Shell, port: int, request: pytest.FixtureRequest
) -> None:
    session_id = shell()
    before = cli("list-sessions").stdout
    request.getfixturevalue("server")
    assert cli("list-sessions").stdout == before
    assert before.count(session_id) == 1


def test_a_session_reported_to_the_server_is_listed_and_shown(
    cli: Cli, shell: Shell, server: ServerInfo
) -> None:
    session_id = shell()
    [row] = cli("list-sessions", "--type", "admin_shell").stdout.splitlines()
    assert row.split("\t")[0] == session_id
    for ref in (session_id, session_id[-8:], session_id[:-3]):
        fields = dict(line.split("\t") for line in cli("show-session", ref).stdout.splitlines())
        assert fields["session_id"] == session_id
        assert fields["session_type"] == "admin_shell"


def test_a_live_session_is_active(cli: Cli, asked: str) -> None:
    code = (
        "import oneiric, sys\n"
        "with oneiric.track_session('shop') as s: print(s.id, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as live:
        assert live.stdout is not None
        session_id = live.stdout.readline().strip()
        assert session_id in cli("list-sessions", "--status", "active").stdout
        assert _pipe("session-buddy list-sessions | head -1 | awk '{print $1}'").stdout.strip() == session_id
        live.communicate()
    assert cli("list-sessions", "--status", "active").stdout == ""
    assert session_id in cli("list-sessions", "--status", "ended").stdout


def test_any_number_is_listed_each_once_and_more_is_said(
    cli: Cli, paths: Paths, port: int, size: Callable[[int, int], int]
) -> None:
    raws = [start_event(number / 10, pid=4_000_000) for number in range(size(1_500, 10_500))]
    database = paths.data / "session-buddy" / "sessions.duckdb"
    with closing(open_store(f"duckdb:///{database}")) as store:
        store.ingest([arrival(raw) for raw in raws])

    def listed(*options: str) -> list[str]:
        return [row.split("\t")[0] for row in cli("list-sessions", *options).stdout.splitlines()]

    shown, _ = _terminal("list-sessions", "--limit", "3")
    assert f"3 of {len(raws):,} sessions, {len(raws):,} active" in shown
    with ServerProcess() as server:
        server.until_up()
        assert sorted(listed("--limit", "0")) == sorted(map(session_id_of, raws))
        assert len(listed()) == 50
        assert len(listed("--limit", "700")) == 700


def test_a_component_may_begin_as_an_option_does(cli: Cli, shell: Shell) -> None:
    dotted, shop = shell("-my.app"), shell("shop")

    def listed(*arguments: str) -> list[str]:
        return [row.split("\t")[0] for row in cli("list-sessions", *arguments).stdout.splitlines()]

    assert listed("--component=-my.app") == [dotted]
    shown = json.loads(cli("show-session", dotted, "--format", "json").stdout)
    assert (shown["session_id"], shown["component"]) == (dotted, "-my_app")
    assert listed("--limit", "1000000") == [shop, dotted]
    assert listed("--since", "2999-01-01") == []


def test_every_format_holds_every_session(cli: Cli, shell: Shell) -> None:
    ids = {shell(), shell()}
    assert {
        record["session_id"] for record in json.loads(cli("list-sessions", "--format", "json").stdout)
    } == ids
    lines = cli("list-sessions", "--format", "ndjson").stdout.splitlines()
    assert {json.loads(line)["session_id"] for line in lines} == ids
    rows = csv.DictReader(io.StringIO(cli("list-sessions", "--format", "csv").stdout))
    assert {row["session_id"] for row in rows} == ids
    table = cli("list-sessions", "--format", "table").stdout
    assert table.startswith("who ")
    assert all(session_id in table for session_id in ids)


def test_nothing_to_list_says_so_on_a_terminal_and_nothing_in_a_pipe(cli: Cli) -> None:
    assert _terminal("list-sessions") == ("No sessions found.\r\n", 0)
    piped = cli("list-sessions")
    assert (piped.stdout, piped.stderr, piped.returncode) == ("", "", 0)


def test_a_wide_terminal_gets_a_table_with_whole_ids_a_narrow_one_their_digits(shell: Shell) -> None:
    session_id = shell("c" * 40)
    wide, _ = _terminal("list-sessions")
    assert session_id in wide
    assert "ended (exit)" in wide
    narrow, _ = _terminal("list-sessions", columns=50)
    assert session_id[-8:] in narrow
    one, code = _terminal("show-session", session_id[-8:], columns=50)
    assert session_id in one
    assert code == 0


def test_a_reader_that_has_had_enough_is_no_error(cli: Cli, shell: Shell) -> None:
    newest = [shell() for _ in range(2)][-1]
    first = _pipe("set -o pipefail; session-buddy list-sessions | head -1")
    assert first.stdout.split("\t")[0] == newest
    assert (first.stderr, first.returncode) == ("", 0)
    closed = _pipe("set -o pipefail; session-buddy list-sessions --format json | true")
    assert (closed.stderr, closed.returncode) == ("", 0)


def test_an_unknown_session_is_one_line_with_the_nearest_ids(cli: Cli, shell: Shell, asked: str) -> None:
    session_id = shell()
    typo = session_id[:-1] + ("0" if session_id[-1] != "0" else "1")
    failed = cli("show-session", typo)
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr == f"Error: no session {typo!r}; the nearest: {session_id}\n"


def test_an_unknown_session_with_nothing_near_says_where_to_look(cli: Cli, asked: str) -> None:
    failed = cli("show-session", "zzz")
    assert failed.returncode == 1
    hint = "`session-buddy list-sessions` shows those that there are"
    assert failed.stderr == f"Error: no session 'zzz'; {hint}\n"


@pytest.mark.sampled
@pytest.mark.parametrize("arguments", ["list-sessions", "list-sessions --format json", "token show"])
@pytest.mark.parametrize(
    ("target", "complaint"), [("/dev/full", "No space left on device"), ("&-", "standard output is closed")]
)
def test_an_output_that_takes_nothing_is_one_line(
    shell: Shell, arguments: str, target: str, complaint: str
) -> None:
    shell()
    failed = _pipe(f"session-buddy {arguments} >{target}")
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: standard output ")
    assert complaint in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_a_list_has_the_same_columns_with_and_without_rows(cli: Cli, shell: Shell) -> None:
    nothing = cli("list-sessions", "--format", "csv").stdout
    shell()
    assert cli("list-sessions", "--format", "csv").stdout.startswith(nothing)
    assert nothing.count("\n") == 1


def test_bytes_that_are_no_text_are_an_unknown_session(cli: Cli, shell: Shell, asked: str) -> None:
    shell()
    failed = cli("show-session", os.fsdecode(b"\xff\x1b[31m"))
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: no session '?\\x1b[31m'; ")
    assert failed.stderr.count("\n") == 1
    assert cli("list-sessions", "--user", os.fsdecode(b"\xff")).returncode == 0


def test_while_a_server_comes_up_listing_works(cli: Cli, shell: Shell, paths: Paths, port: int) -> None:
    session_id = shell()
    with subprocess.Popen([*COMMAND, "mcp", "start"], stdout=subprocess.DEVNULL) as coming_up:
        try:
            while process.running(paths) is None:
                listed = cli("list-sessions")
                assert session_id in listed.stdout, listed.stderr
            assert session_id in cli("list-sessions").stdout
        finally:
            coming_up.terminate()


def test_sixteen_commands_at_once_share_the_file(shell: Shell) -> None:
    session_id = shell()
    piped: dict[str, Any] = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    listing = [forkserver.popen([*COMMAND, "list-sessions"], **piped) for _ in range(16)]
    said = [child.communicate(timeout=60) for child in listing]
    assert [complaint for _, complaint in said] == [""] * 16
    assert all(session_id in printed for printed, _ in said)


def test_an_ambiguous_beginning_lists_the_candidates(cli: Cli, shell: Shell, asked: str) -> None:
    ids = {shell(), shell()}
    failed = cli("show-session", "shop-")
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert all(session_id in failed.stderr for session_id in ids)


def test_a_time_that_is_typed_is_local_time_wherever_the_server_is(
    cli: Cli, shell: Shell, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = shell()
    near = {"TZ": "UTC+14"}  # 14 hours behind Greenwich
    started = datetime.strptime(session_id.split("-", 1)[1][:15], "%Y%m%d-%H%M%S")  # noqa: DTZ007 - local below
    for shift, found in ((-1, True), (1, False)):
        since = (started - timedelta(hours=14) + timedelta(minutes=shift)).isoformat()
        listed = cli("list-sessions", "--since", since, env={**os.environ, **near})
        assert (session_id in listed.stdout) == found, listed.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["list-sessions", "--status", "activ"], "status: 'activ' is not valid: one of active, "),
        (["list-sessions", "--limit", "-1"], "'--limit': '-1' is not a whole number from 0 up"),
        (["list-sessions", "--limit", "few"], "'few' is not a whole number from 0 up"),
        (["mcp", "start", "--port", "http"], "'--port': 'http' is not a whole number from 0 to 65535"),
        (["mcp", "start", "--port", "99999"], "'99999' is not a whole number from 0 to 65535"),
        (["mcp", "start", "--log-level", "loud"], "'loud' is not one of 'debug', 'info'"),
        (["list-sessions", "--since", "soon"], "since: 'soon' is not valid: a time such as 17:28"),
        (["list-sessions", "--since", ""], "since: '' is not valid: a value is missing"),
        (["list-sessions", "--component", ""], "component: '' is not valid: a value is missing"),
        (["list-sessions", "usr:ada"], "query at 1: 'usr:' is not valid: no such key; the nearest is user;"),
        (["list-sessions", "-status:actve"], "status: 'actve' is not valid: one of active, "),
        (["list-sessions", "-usr:ada"], "no option is -usr:ada"),
        (
            ["list-sessions", "select * from sessions"],
            "query at 1: 'select * from sessions' is not valid: this is no SQL",
        ),
        (["who", "-rollback"], "no option is -rollback; sessions without that word: -- -rollback"),
        (["list-sessions", 'reason:"x'], "query at 8: '\"x' is not valid: no other \" closes it"),
        (["list-sessions", "--active", "--at", "9:00"], "--active is who is in now, --at who was in then"),
        (["list-sessions", "--since", "today", "--until", "yesterday"], "it is not before until"),
        (["list-sessions", "--sort", "durtion"], "sort: 'durtion' is not valid: one of duration, "),
        (["list-sessions", "--columns", "hostnme"], "columns: 'hostnme' is not valid: one of hostname, "),
        (["show-session", ""], "'SESSION': give an id, its last eight digits"),
        (["show-session", " "], "'SESSION': give an id, its last eight digits"),
        (["list-sessions", "--stats", "x"], "--status"),
        (["list-session"], "Did you mean 'list-sessions'"),
        (["show-session"], "SESSION"),
        (["list-sessions", "--format", "xml"], "'table', 'json', 'csv', 'ndjson'"),
        (["list-sessions", "--limit=1", "--user", "ada", "--limit=2"], "'--limit': it is given twice"),
        (["mcp", "start", "--db", "a", "--db", "b"], "'--db': it is given twice"),
        (["backup", "list", "-f", "csv", "--format", "json"], "'--format' / '-f': it is given twice"),
        (
            ["token", "create", "--scope", "read", "--scope", "track", "--ttl", "1d", "--ttl", "2d"],
            "'--ttl': it",
        ),
    ],
)
def test_typing_errors_say_what_is_allowed(cli: Cli, arguments: list[str], complaint: str) -> None:
    failed = cli(*arguments)
    assert failed.returncode == 2
    last = failed.stderr.splitlines()[-1]
    assert complaint in last
    assert "Value error" not in last
    assert "Input should" not in last


def test_a_database_held_by_another_process_names_it(cli: Cli, paths: Paths) -> None:
    database = paths.data / "session-buddy" / "sessions.duckdb"
    cli("list-sessions")
    code = (
        f"import duckdb, sys\nheld = duckdb.connect({str(database)!r})\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        failed = cli("list-sessions")
        holder.communicate()
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert f"pid {holder.pid}" in failed.stderr
    assert "python" in failed.stderr


def test_a_file_that_is_no_database_is_left_as_it_is(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = home / "letter.txt"
    letter.write_text("Dear Ada, " * 1000)
    monkeypatch.setenv("SESSION_BUDDY_DB_PATH", str(letter))
    failed = cli("list-sessions")
    assert failed.returncode == 1
    assert str(letter) in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert letter.read_text() == "Dear Ada, " * 1000


@contextmanager
def _posing(paths: Paths, behave: Callable[[socket.socket], object]) -> Iterator[None]:
    """A socket that this user's ``server.json`` names, behind which ``behave`` deals with who connects."""
    paths.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths.server_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = dict.fromkeys(("url", "version", "database", "started_at", "log"), "")
    said = {**facts, "socket": str(paths.socket), "pid": os.getpid()}
    paths.server_file.write_text(json.dumps(said))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(paths.socket))
        listener.listen()
        thread = threading.Thread(target=behave, args=(listener,), daemon=True)
        thread.start()
        yield
        with suppress(OSError):  # it may have been closed
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _hang_up(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            listener.accept()[0].close()


def _leave(listener: socket.socket) -> None:
    with listener:
        listener.accept()[0].close()


def test_a_server_that_leaves_while_it_is_asked_is_followed_by_the_file(
    cli: Cli, shell: Shell, paths: Paths
) -> None:
    session_id = shell()
    with _posing(paths, _leave):
        listed = cli("list-sessions")
    assert session_id in listed.stdout, listed.stderr


def test_a_server_that_hangs_up_again_and_again_is_one_line(home: Path, paths: Paths) -> None:
    code = _WITH.format("LOCK_SECONDS = 0.5")
    with _posing(paths, _hang_up):
        failed = forkserver.run([sys.executable, "-P", "-c", code, "list-sessions"])
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: Session-Buddy does not answer: ")
    assert failed.stderr.count("\n") == 1


def test_the_named_server_is_asked_with_its_token(
    cli: Cli, shell: Shell, server: ServerInfo, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = shell()
    assert session_id in cli("list-sessions").stdout
    token = cli("token", "create", "--subject", "web1", "--scope", "read").stdout.strip()
    monkeypatch.setenv("SESSION_BUDDY_MCP_ENDPOINT", server.url)
    refused = cli("list-sessions")
    assert refused.returncode == 1
    assert "SESSION_BUDDY_TOKEN" in refused.stderr
    (home / "token").write_text(token)
    monkeypatch.setenv("SESSION_BUDDY_TOKEN_FILE", str(home / "token"))
    assert session_id in cli("list-sessions").stdout
    monkeypatch.setenv("SESSION_BUDDY_TOKEN_FILE", str(home / "nothing"))
    assert "SESSION_BUDDY_TOKEN_FILE" in cli("list-sessions").stderr


def test_asking_a_server_needs_none_of_the_servers_libraries(cli: Cli, server: ServerInfo) -> None:
    traced = subprocess.run(
        [sys.executable, "-X", "importtime", *COMMAND[1:], "list-sessions"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in traced.stderr.splitlines()}
    assert "session_buddy.client.ask" in imported
    assert imported.isdisjoint(UNPAID)
