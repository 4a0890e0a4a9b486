"""Histories as files: the same from both engines, whoever asks, whole or not at all."""

import csv
import io
import json
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from threading import Thread
from typing import Any, get_args

import duckdb
import psutil
import pytest

from oneiric.paths import Paths
from oneiric.transport import Endpoint, page
from session_buddy.access.callers import Scope
from session_buddy.access.secret import own_secret
from session_buddy.access.tokens import issue
from session_buddy.cli import edge
from session_buddy.history.export import Form
from session_buddy.history.record import to_record
from session_buddy.host.server_file import ServerInfo
from session_buddy.store import Store, open_store
from session_buddy.store.export import COLUMNS
from tests import forkserver
from tests.engines import DuckDBFile, PostgresDatabase
from tests.samples import arrival, asked, end_event, heartbeat_event, session_id_of, start_event
from tests.terminal import printed

Cli = Callable[..., Any]
HOSTILE = (
    "=1+1",
    "+x",
    "-",
    "@SUM(A1)",
    "\tx",
    "\rx",
    "\nx",
    "＝1",  # noqa: RUF001 - full width
    'a "quoted", text',
    "two\r\nlines\n",
    "#12 first",
    "\\.",
    "\\u001b is no escape, \x1b\x0b\x7f is",
    "\u202eright to left\u200b",
    "😀é",
    "NULL",
    "' quoted",
    " ",
    "",
)


@cache
def events() -> list[dict[str, Any]]:
    """A history with all that a row can hold."""
    starts = [start_event(number, reason=text) for number, text in enumerate(HOSTILE)]
    starts[0] |= {"metadata": {"=x": 1, "n": None, "deep": {"ü\x1b": [1.5, True, '"\\']}, "b": 1}}
    starts[1] |= {"origin": {"tty": "/dev/pts/3", "ssh_client": "10.0.0.5"}, "metadata": {}}
    starts[2] |= {"actor": "agent", "agent": "cline", "user": {"username": "@bob", "home": "", "uid": 1000}}
    ids = [session_id_of(raw) for raw in starts]
    ends = [
        end_event(ids[0], 3.5, metadata={"b": {"x": 2}, "z": "late"}, exit_code=3, elapsed_seconds=7.25),
        end_event(ids[1], 7200, commands=4, errors=1, metadata={"only": "late"}),
        end_event(ids[2], 1e9, exit_reason="eof"),
    ]
    return [*starts, *ends, heartbeat_event(ids[3], commands=7, errors=2)]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(DuckDBFile(tmp_path / "history" / "sessions.duckdb").url)) as store:
        store.ingest([arrival(raw) for raw in events()])
        yield store


def exported(store: Store, form: Form, query: str = "") -> tuple[int, bytes]:
    with TemporaryFile() as file:
        number = store.export(asked(query), form, file)
        file.seek(0)
        return number, file.read()


def typed(path: Path) -> tuple[list[tuple[str, str]], list[dict[str, Any]]]:
    """The columns of a Parquet file with their types, and its rows."""
    with duckdb.connect() as database:
        columns = database.execute("DESCRIBE FROM read_parquet(?)", [str(path)]).fetchall()
        # Without this the library needs another one to hand times over.
        text = "REPLACE (epoch_us(start_time) AS start_time, epoch_us(end_time) AS end_time)"
        found = database.execute(f"SELECT * {text} FROM read_parquet(?)", [str(path)])  # noqa: S608 - ours
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in found.fetchall()]
    return [(name, kind) for name, kind, *_ in columns], rows


def known(store: Store) -> list[dict[str, Any]]:
    """What lists say of the same, with all digits of a second."""
    now = asked().now
    assert now is not None
    found: list[dict[str, Any]] = []
    for row in sorted(store.select(asked(limit=1000)), key=lambda row: row.listed_at):
        record: dict[str, Any] = {**to_record(row, now)}
        for name in ("start_time", "end_time"):
            time: Any = getattr(row, name)
            record[name] = time and time.isoformat(timespec="microseconds")
        found.append({name: record[name] for name in COLUMNS})
    return found


def test_json_has_the_values_of_lists(file: Store) -> None:
    count, text = exported(file, "json")
    assert json.loads(text) == known(file)
    assert count == len(HOSTILE)
    assert [json.loads(line) for line in exported(file, "ndjson")[1].splitlines()] == known(file)


def test_a_csv_has_them_too_and_no_formula(file: Store) -> None:
    _, text = exported(file, "csv")
    found = list(csv.DictReader(io.StringIO(text.decode(), newline="")))
    assert len(found) == len(HOSTILE)
    changed = set()
    for row, record in zip(found, known(file), strict=True):
        for name, value in record.items():
            cell = row[name]
            if isinstance(value, dict):
                assert json.loads(cell) == value
            elif isinstance(value, (int, float)):
                assert float(cell) == value
            elif cell != (value or ""):
                assert cell == f"'{value}"
                changed.add(value)
            else:
                assert cell[:1] not in set("=+-@\t\r\n")
    assert changed == {"@bob", *HOSTILE[:8]}


def test_parquet_has_types(file: Store, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(exported(file, "parquet")[1])
    columns, rows = typed(tmp_path / "x.parquet")
    kinds = {"uid": "BIGINT", "start_time": "TIMESTAMP WITH TIME ZONE", "duration_seconds": "DOUBLE"}
    assert kinds.items() <= dict(columns).items()
    assert [row["reason"] for row in rows] == list(HOSTILE)
    for row, record in zip(rows, known(file), strict=True):
        assert json.loads(row["metadata"]) == record["metadata"]
        assert row["duration_seconds"] == record["duration_seconds"]


def test_both_engines_write_the_same(file: Store, database: PostgresDatabase, tmp_path: Path) -> None:
    with closing(open_store(database.url)) as other:
        other.ingest([arrival(raw) for raw in events()])
        in_all = [("", form) for form in get_args(Form)] + [("host:nowhere", form) for form in get_args(Form)]
        asked_for = (
            "-status:active user:ann,@bob",
            "status:unreachable",
            "metadata.b:1 duration:>1s",
            "idle:>1m",
        )
        for query, form in [*in_all, *((query, "csv") for query in asked_for)]:
            ours, theirs = exported(file, form, query), exported(other, form, query)
            if form == "parquet":
                for name, (_, written) in {"ours": ours, "theirs": theirs}.items():
                    (tmp_path / name).write_bytes(written)
                assert typed(tmp_path / "ours") == typed(tmp_path / "theirs")
                assert ours[0] == theirs[0]
            else:
                assert ours == theirs


def test_a_file_has_no_name_before_it_is_whole(tmp_path: Path) -> None:
    for text in (b"old", b"new"):
        there = list(tmp_path.iterdir())
        with edge.written(tmp_path / "x") as stream:
            stream.write(text)
            assert list(tmp_path.iterdir()) == there
        assert (tmp_path / "x").read_bytes() == text

    def interrupted() -> None:
        with edge.written(tmp_path / "x") as stream:
            stream.write(b"more")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"new")]


@pytest.fixture
def history(home: Path, paths: Paths) -> int:
    """Your own history; how many sessions it has."""
    with closing(open_store(f"duckdb:///{paths.data / 'session-buddy' / 'sessions.duckdb'}")) as store:
        store.ingest([arrival(raw) for raw in events()])
    return len(HOSTILE)


@pytest.fixture(params=["server", "file"])
def answering(request: pytest.FixtureRequest, history: int) -> None:
    """Who does it."""
    if request.param == "server":
        request.getfixturevalue("server")


@pytest.mark.usefixtures("answering")
def test_the_command_writes_whole_files(cli: Cli, home: Path, history: int) -> None:
    out = home / "out"
    out.mkdir()
    for form in get_args(Form):
        done = cli("export", f"out/all.{form}")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert (out / f"all.{form}").stat().st_mode & 0o777 == 0o600
    lines = (out / "all.ndjson").read_text().splitlines()
    records = json.loads((out / "all.json").read_text())
    assert [json.loads(line)["reason"] for line in lines] == [one["reason"] for one in records]
    assert len(typed(out / "all.parquet")[1]) == len(records) == history
    assert cli("export", "-", "--format", "ndjson", "user:@bob").stdout.count("\n") == 1
    assert cli("export", "-", "host:nowhere").stdout == (out / "all.csv").read_text().split("\n")[0] + "\n"
    refused = cli("export", "out/all.csv", "host:nowhere")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.endswith("'out/all.csv' is not valid: it is there already; --force replaces it\n")
    assert (out / "all.csv").read_text().count("shop-") > 1
    assert cli("export", "out/all.csv", "host:nowhere", "--force").returncode == 0
    assert (out / "all.csv").read_text().count("\n") == 1
    assert f"{history} sessions written to out/x as json" in printed("export", "out/x", "-f", "json")
    assert {path.name for path in out.iterdir()} == {"x", *(f"all.{form}" for form in get_args(Form))}


def test_what_is_mistyped(cli: Cli, home: Path) -> None:
    for arguments, said in (
        (["all.xlsx"], "FILE: 'all.xlsx' is not valid: a name that ends in .csv, .json, .ndjson, .parquet"),
        (["all", "-f", "jsn"], "'jsn' is not one of 'csv', 'json', 'ndjson', 'parquet'"),
        (["all.csv", "usr:x"], "the nearest is user"),
        ([], "Missing argument 'FILE'"),
    ):
        refused = cli("export", *arguments)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
        assert said in refused.stderr
    assert "Parquet is not for terminals" in printed("export", "-", "-f", "parquet")


@pytest.mark.usefixtures("history")
def test_on_a_terminal_nothing_acts(home: Path) -> None:
    shown = printed("export", "-", "-f", "csv")
    assert "\\x1b" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_who_may_and_what_a_server_says(server: ServerInfo, paths: Paths) -> None:
    def asked(scopes: list[Scope], query: str) -> tuple[int, bytes]:
        token = issue(own_secret(paths), "bob", scopes, 60)
        return page(Endpoint(url=server.url, token=token), f"/api/v1/export{query}")

    status, text = asked(["read"], "?format=json")
    assert (status, json.loads(text)) == (200, [])
    assert asked(["read"], "")[1].startswith(b'"session_id",')
    assert asked(["track"], "")[0] == 403
    for query, said in (("?format=jsn", "json, ndjson"), ("?query=usr:x", "the nearest is user")):
        status, text = asked(["read"], query)
        assert (status, said in json.loads(text)["detail"]) == (400, True)


def test_another_host_s_server_is_asked(
    history: int, server: ServerInfo, paths: Paths, cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_BUDDY_MCP_ENDPOINT", server.url)
    monkeypatch.setenv("SESSION_BUDDY_TOKEN", issue(own_secret(paths), "bob", ["read"], 60))
    assert cli("export", "all.json").returncode == 0
    assert len(json.loads((home / "all.json").read_text())) == history
    monkeypatch.setenv("SESSION_BUDDY_TOKEN", issue(own_secret(paths), "bob", ["track"], 60))
    refused = cli("export", "more.json")
    assert (refused.returncode, "needs a token with scope read" in refused.stderr) == (1, True)
    assert not (home / "more.json").exists()


@pytest.mark.parametrize("full", ["server", "command", "file"])
def test_nothing_is_left_of_a_full_disk(
    full: str, history: int, cli: Cli, home: Path, request: pytest.FixtureRequest
) -> None:
    """No file may be longer than a kilobyte, which is how a disk that is full looks to a process."""
    if full != "file":
        info = request.getfixturevalue("server")
    if full == "server":
        resource.prlimit(info.pid, resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
        failed = cli("export", "all.json")
    else:
        command = " ".join(forkserver.COMMAND)
        limited = ["bash", "-c", f"ulimit -f 1; exec {command} export all.json"]
        failed = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == "Error: the export cannot be written: File too large; nothing is left of it\n"
    assert not [path for path in home.iterdir() if "all" in path.name]


def test_a_server_that_is_killed_leaves_nothing(
    server: ServerInfo, paths: Paths, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_BUDDY_MCP_ENDPOINT", server.url)
    monkeypatch.setenv("SESSION_BUDDY_TOKEN", issue(own_secret(paths), "bob", ["read"], 60))
    os.kill(server.pid, signal.SIGSTOP)
    with forkserver.popen(
        [*forkserver.COMMAND, "export", "all.csv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        while not psutil.Process(child.pid).net_connections("tcp"):
            assert child.poll() is None
        os.kill(server.pid, signal.SIGKILL)
        out, said = child.communicate()
    assert (child.returncode, out, said.count("\n")) == (1, "", 1)
    assert said.startswith(f"Error: Session-Buddy does not answer: {server.url}")
    assert not [path for path in home.iterdir() if "all" in path.name]


def test_an_answer_that_breaks_off_is_none(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with listener.accept()[0] as peer:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 200 OK\r\nX-Sessions: 9\r\nContent-Length: 100\r\n\r\n[")

        Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        monkeypatch.setenv("SESSION_BUDDY_MCP_ENDPOINT", url)
        failed = cli("export", "all.json")
    said = "Error: Session-Buddy went away in the middle of an answer; nothing is left of it: try again\n"
    assert (failed.returncode, failed.stdout, failed.stderr) == (1, "", said)
    assert not [path for path in home.iterdir() if "all" in path.name]


@pytest.mark.usefixtures("history")
def test_a_reader_that_has_had_enough_is_no_error(home: Path) -> None:
    command = " ".join(forkserver.COMMAND)
    line = f"{command} export - | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, '"', "")
