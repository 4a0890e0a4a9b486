"""``doctor``: broken installations, each told as what it is, and well once the advice was followed."""

import gzip
import json
import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from oneiric.paths import Paths
from session_buddy.access.secret import own_secret
from session_buddy.access.tokens import issue
from session_buddy.client.doctor import CHECKS, machine
from session_buddy.client.doctor.finding import Case
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.layers import user_file
from session_buddy.host.process import running
from session_buddy.host.server_file import ServerInfo
from session_buddy.store import open_store
from tests.samples import arrival, start_event
from tests.terminal import printed

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
GREETS = """
import socket, sys
other = socket.socket(socket.AF_UNIX)
other.bind(sys.argv[1])
other.listen()
while True:
    caller, _ = other.accept()
    try:
        caller.sendall(b"220 mail.example")
    except OSError:
        pass
    caller.close()
"""
# Root may write everywhere, unless it gives that up.
FIRST_RELEASE = Path(__file__).parent / "first_release" / "sessions.duckdb.gz"
UNPRIVILEGED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


class Installation:
    """A user's installation, which a test breaks."""

    def __init__(self, request: pytest.FixtureRequest, stack: ExitStack) -> None:
        self.get, self.stack = request.getfixturevalue, stack
        self.paths: Paths = self.get("paths")
        self.environ: pytest.MonkeyPatch = self.get("monkeypatch")
        self.database = self.paths.data / "session-buddy" / "sessions.duckdb"

    def settings(self, text: str) -> None:
        user_file().parent.mkdir(parents=True, exist_ok=True)
        user_file().write_text(text)
        self.environ.setenv("EDITOR", "truncate -s 0")

    def session(self) -> None:
        """One in the history, without a server."""
        self.get("shell")()
        assert self.get("cli")("list-sessions").returncode == 0

    def server(self) -> ServerInfo:
        info: ServerInfo = self.get("server")
        return info

    def look(self) -> dict[str, dict[str, str]]:
        """What the doctor finds, by check."""
        done = self.get("cli")("doctor", "--format", "json")
        assert done.stderr == ""
        found = {one["check"]: one for one in json.loads(done.stdout)}
        assert list(found) == list(CHECKS)
        assert done.returncode == any(one["state"] == "broken" for one in found.values())
        return found

    def follow(self, advice: str) -> None:
        """Do as it says, in a shell; what that exports and unsets holds from then on."""
        if advice.startswith("session-buddy "):
            done = self.get("cli")(*shlex.split(advice)[1:])
            assert done.returncode == 0, done.stderr
            return
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        script = f"set -e; {{ {advice}\n}} >/dev/null; env -0"
        said = subprocess.run(
            ["sh", "-c", script], env={**os.environ, "PATH": path}, stdout=subprocess.PIPE, check=True
        ).stdout
        after = dict(line.split("=", 1) for line in said.decode().split("\0") if line)
        for name in {
            name for name in {*os.environ, *after} if name.startswith(("SESSION_BUDDY_", "ONEIRIC_"))
        }:
            if name in after:
                self.environ.setenv(name, after[name])
            else:
                self.environ.delenv(name)


@pytest.fixture
def broken(request: pytest.FixtureRequest, home: Path, port: int) -> Iterator[Installation]:
    with ExitStack() as stack:
        # Whatever server an advice starts ends with it.
        request.getfixturevalue("start")
        yield Installation(request, stack)


def no_yaml(one: Installation) -> None:
    one.settings("port: [")


def unknown_key(one: Installation) -> None:
    one.settings("qery_seconds: 5\n")


def out_of_range(one: Installation) -> None:
    one.settings("query_seconds: 99\n")


def taken_port(one: Installation) -> None:
    other = one.stack.enter_context(socket.socket())
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    other.bind(("127.0.0.1", int(os.environ["SESSION_BUDDY_PORT"])))
    other.listen()


def other_database(one: Installation) -> None:
    one.server()
    one.environ.setenv("SESSION_BUDDY_DB_PATH", str(one.paths.home / "other.duckdb"))


def corrupt(one: Installation) -> None:
    one.session()
    one.database.write_bytes(os.urandom(10_000))


def corrupt_with_a_backup(one: Installation) -> None:
    one.session()
    assert one.get("cli")("backup", "create").returncode == 0
    one.database.write_bytes(os.urandom(10_000))


def gone(one: Installation) -> None:
    one.session()
    one.database.unlink()


def expired_token(one: Installation) -> None:
    one.environ.setenv("SESSION_BUDDY_MCP_ENDPOINT", one.server().url)
    one.environ.setenv("SESSION_BUDDY_TOKEN", issue(own_secret(one.paths), "ann", ["track", "read"], 0.1))


def wrong_endpoint(one: Installation) -> None:
    one.environ.setenv("SESSION_BUDDY_MCP_ENDPOINT", "http://ann:geheim@127.0.0.1:1/mcp")


def undelivered(one: Installation) -> None:
    one.get("shell")()
    (journal,) = one.paths.outbox.glob("*.jsonl")
    kept = shutil.copy(journal, one.paths.home)
    one.server()
    while journal.exists():  # the server takes in what waits when it starts
        time.sleep(0.01)
    os.utime(kept, (0, datetime.now(UTC).timestamp() - 3600))
    shutil.move(kept, journal)


def mistyped_variable(one: Installation) -> None:
    one.environ.setenv("SESSION_BUDDY_QERY_SECONDS", "5")


def full_disk(one: Installation) -> None:
    hard = resource.prlimit(one.server().pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(one.server().pid, resource.RLIMIT_FSIZE, (10_000_000, hard))


def two_histories(one: Installation) -> None:
    one.session()
    copy = one.paths.home / "copy.duckdb"
    shutil.copy(one.database, copy)
    one.environ.setenv("SESSION_BUDDY_DB_PATH", str(copy))


def another_at_the_socket(one: Installation) -> None:
    """A program of this user's that speaks no HTTP, where a server of ours was killed."""
    info = one.server()
    said = one.paths.server_file.read_bytes()
    assert one.get("cli")("mcp", "stop").returncode == 0
    info.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    one.paths.server_file.write_bytes(said)
    # A process of its own: whoever stops the server signals who listens.
    other = one.stack.enter_context(subprocess.Popen([sys.executable, "-c", GREETS, os.fspath(info.socket)]))
    one.stack.callback(other.kill)
    while running(one.paths) is None:
        assert other.poll() is None
        time.sleep(0.01)


def postgres_down(one: Installation) -> None:
    one.environ.setenv("SESSION_BUDDY_STORAGE_URL", "postgresql://ann:geheim@127.0.0.1:1/history")


def emitters_mistyped(one: Installation) -> None:
    one.environ.setenv("ONEIRIC_TRAKING", "on")


def older_tables(one: Installation) -> None:
    one.session()
    one.database.write_bytes(gzip.decompress(FIRST_RELEASE.read_bytes()))


def refused(one: Installation) -> None:
    one.get("shell")()
    (journal,) = one.paths.outbox.glob("*.jsonl")
    (one.paths.outbox / "rejected").mkdir(mode=0o700)
    journal.rename(one.paths.outbox / "rejected" / journal.name)


SLOW = pytest.mark.sampled
CASES: list[Any] = [
    (no_yaml, "settings"),
    (unknown_key, "settings"),
    (out_of_range, "settings"),
    (taken_port, "port"),
    pytest.param(other_database, "server", marks=SLOW),
    pytest.param(corrupt, "database", marks=SLOW),
    (corrupt_with_a_backup, "database"),
    (gone, "database"),
    pytest.param(another_at_the_socket, "server", marks=SLOW),
    pytest.param(expired_token, "token", marks=SLOW),
    (wrong_endpoint, "named server"),
    pytest.param(undelivered, "outbox", marks=SLOW),
    (mistyped_variable, "emitter"),
    pytest.param(full_disk, "disk", marks=SLOW),
    pytest.param(two_histories, "database", marks=SLOW),
]


@pytest.mark.parametrize(("break_it", "check"), CASES)
def test_what_is_broken_is_told_and_its_advice_mends_it(
    broken: Installation, break_it: Callable[[Installation], None], check: str
) -> None:
    break_it(broken)
    found = broken.look()
    told = "\n".join(map(str, found.values()))
    assert {name for name, one in found.items() if one["state"] == "broken"} == {check}, told
    assert "geheim" not in str(found)
    assert check != "token" or "--scope track --scope read" in found[check]["fix"]
    broken.follow(found[check]["fix"])
    after = broken.look()
    assert {name: one for name, one in after.items() if one["state"] != "ok"} == {}


WARNINGS: list[Any] = [
    (emitters_mistyped, "emitter", "ONEIRIC_TRACKING"),
    (refused, "outbox", "1 that a server refused"),
    pytest.param(older_tables, "database", "of an earlier version", marks=SLOW),
]


@pytest.mark.parametrize(("break_it", "check", "words"), WARNINGS)
def test_what_is_no_more_than_odd_is_a_warning_and_its_advice_mends_it(
    broken: Installation, break_it: Callable[[Installation], None], check: str, words: str
) -> None:
    break_it(broken)
    found = broken.look()
    assert {name for name, one in found.items() if one["state"] != "ok"} == {check}
    assert words in found[check]["found"]
    broken.follow(found[check]["fix"])
    assert {one["state"] for one in broken.look().values()} == {"ok"}


@pytest.mark.sampled
def test_a_database_server_that_is_down_is_to_be_started(broken: Installation) -> None:
    postgres_down(broken)
    found = broken.look()
    assert "geheim" not in str(found)
    assert found["database"]["state"] == "broken"
    assert found["database"]["fix"] == "sudo systemctl start postgresql"
    broken.environ.setenv("SESSION_BUDDY_STORAGE_URL", "postgresql://db.invalid/history")
    assert broken.look()["database"]["fix"].startswith("getent hosts db.invalid ")


@pytest.mark.sampled
def test_an_empty_database_on_a_server_is_told(broken: Installation) -> None:
    broken.environ.setenv("SESSION_BUDDY_STORAGE_URL", broken.get("database").url.whole)
    found = broken.look()["database"]
    assert "holds no history yet" in found["found"]
    assert "only looked at" in found["found"]
    assert found["fix"] == "session-buddy mcp restart"


@pytest.mark.sampled
def test_why_the_latest_backup_failed_is_told(broken: Installation) -> None:
    broken.database.parent.mkdir(mode=0o700, parents=True)
    # Where nobody can make a file, root neither.
    (broken.database.parent / "backups").symlink_to("/proc/self/net")
    log = Path(broken.server().log)
    while "no backup could be made" not in log.read_text():
        time.sleep(0.01)
    found = broken.look()["backups"]
    assert found["state"] == "warning"
    assert "the latest attempt failed: " in found["found"]
    assert "/backups/" in found["found"].partition("failed: ")[2]


@pytest.mark.parametrize(
    ("status", "health", "answer"),
    [
        (401, '{"error": "who are you"}', '{"error": "who are you"}'),
        pytest.param(200, '{"status": "ok"}', '{"error": {"message": "unknown tool"}}', marks=SLOW),
        pytest.param(200, '{"status": "ok"}', '{"result": {"structuredContent": {}}}', marks=SLOW),
        pytest.param(404, "not found", "not found", marks=SLOW),
    ],
)
def test_another_programs_server_is_not_taken_for_ours(
    broken: Installation, status: int, health: str, answer: str
) -> None:
    shown: list[str] = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(health)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(answer)

        def _answer(self, text: str) -> None:
            shown.extend(self.headers.get_all("Authorization") or [])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Not to the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{other.server_port}/mcp"
        broken.environ.setenv("SESSION_BUDDY_MCP_ENDPOINT", address)
        broken.environ.setenv("SESSION_BUDDY_TOKEN", issue("s" * 40, "ann", ["track"], 60))
        found = broken.look()
        other.shutdown()
    assert {name for name, one in found.items() if one["state"] == "broken"} == {"named server"}
    assert f"{address} " in found["named server"]["found"].replace(": who", " who")
    assert "does not answer as Session-Buddy does" in found["named server"]["found"]
    assert shown == []


@pytest.mark.sampled
def test_where_everything_hangs_each_check_is_told_all_the_same(broken: Installation) -> None:
    pid = broken.server().pid
    os.kill(pid, signal.SIGSTOP)
    silent = broken.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    broken.environ.setenv("SESSION_BUDDY_MCP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}/mcp")
    try:
        found = broken.look()
        assert f"pid {pid} hangs" in found["server"]["found"]
        assert "nobody answers there in time" in found["named server"]["found"]
        assert {name for name, one in found.items() if one["state"] == "broken"} == {"server", "named server"}
        for check in ("server", "named server"):
            broken.follow(found[check]["fix"])
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    assert {one["state"] for one in broken.look().values()} == {"ok"}


def test_on_a_full_disk_it_says_which_files_of_ours_may_go(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_LITTLE", 10**18)
    file = paths.data / "session-buddy" / "sessions.duckdb"
    (file.parent / "backups").mkdir(parents=True)
    case = Case(paths, datetime.now(UTC), url=DatabaseUrl.of(file))
    assert "space must be made" in machine.disk(case).found
    for day in range(1, 4):
        (file.parent / "backups" / f"sessions-2026010{day}-030405Z.duckdb").write_bytes(bytes(1_000_000))
    found = machine.disk(case)
    assert "2 older backups have 2 MB" in found.found
    assert [Path(one).name[:17] for one in shlex.split(found.fix)] == [
        "rm",
        "sessions-20260102",
        "sessions-20260101",
    ]


def test_a_clock_that_was_wrong_is_told(broken: Installation) -> None:
    later = datetime.now(UTC) + timedelta(hours=5)
    with closing(open_store(f"duckdb:///{broken.database}")) as store:
        store.ingest([arrival(start_event(timestamp=later.isoformat()), at=datetime.now(UTC))])
    for _ in range(2):  # without a server, and with one
        found = broken.look()
        assert found["clock"]["state"] == "warning", found["clock"]
        assert f"{later:%Y-%m-%d %H:%M}" in found["clock"]["found"]
        broken.server()


@pytest.mark.sampled
@pytest.mark.skipif(sys.platform != "linux", reason="only there root can be without its rights over files")
@pytest.mark.parametrize(
    ("place", "check"), [(".local/share/session-buddy", "folders"), (".config/session-buddy", "settings")]
)
def test_a_folder_that_may_not_be_used_is_told(
    broken: Installation, home: Path, place: str, check: str
) -> None:
    (home / place).mkdir(parents=True)
    for mode, expected in ((0o000 if check == "settings" else 0o500, {check}), (None, set())):
        if mode is not None:
            (home / place).chmod(mode)
        command = [*UNPRIVILEGED, sys.executable, "-P", "-m", "session_buddy", "doctor", "-f", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = {one["check"]: one for one in json.loads(done.stdout)}
        assert {name for name, one in found.items() if one["state"] == "broken"} == expected, done.stdout
        if expected:
            broken.follow(found[check]["fix"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a socket away")
def test_a_socket_of_somebody_else_is_told(broken: Installation) -> None:
    broken.paths.socket.parent.mkdir(mode=0o700, parents=True)
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(os.fspath(broken.paths.socket))
        theirs.listen()
        os.chown(broken.paths.socket, 65534, 65534)
        found = broken.look()
    assert {name for name, one in found.items() if one["state"] == "broken"} == {"server"}
    assert "is a socket of uid 65534" in found["server"]["found"]


def state_of(folder: Path) -> dict[Path, str]:
    """Every file and folder, with what is in it."""
    return {
        path: sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in folder.rglob("*")
    }


def test_all_is_well_without_a_server_and_with_one_and_nothing_changes(
    broken: Installation, home: Path
) -> None:
    for step in (lambda: None, broken.get("shell"), broken.session, broken.get("shell")):
        step()
        before = state_of(home)
        assert {one["state"] for one in broken.look().values()} == {"ok"}
        assert state_of(home) == before
    broken.server()
    assert {one["state"] for one in broken.look().values()} == {"ok"}


def test_on_a_terminal_it_is_a_line_each_and_in_a_pipe_a_row(broken: Installation) -> None:
    broken.environ.setenv("SESSION_BUDDY_QERY_SECONDS", "5")
    rows = [line.split("\t") for line in broken.get("cli")("doctor").stdout.splitlines()]
    assert [(len(row), row[1]) for row in rows] == [(4, name) for name in CHECKS]
    screen = printed("doctor")
    assert "✗ broken   emitter" in screen
    assert "type:  export SESSION_BUDDY_QUERY_SECONDS=" in screen


def test_the_page_has_every_check() -> None:
    table = README.partition("## Troubleshooting")[2].partition("\n## ")[0]
    assert [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")] == list(CHECKS)
