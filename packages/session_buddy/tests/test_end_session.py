"""Sessions that are stuck, ended in the history by hand."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pexpect
import pytest

from oneiric.paths import Paths
from oneiric.transport import Endpoint, page
from session_buddy.access.callers import Scope
from session_buddy.access.secret import own_secret
from session_buddy.access.tokens import issue
from session_buddy.host.server_file import ServerInfo
from session_buddy.intake.by_hand import MOST
from session_buddy.store import open_store
from tests import forkserver
from tests.samples import arrival, session_id_of, start_event
from tests.terminal import printed

Cli = Callable[..., Any]
NOW = datetime.now(UTC)
OPEN_SHELL = (
    "import oneiric, sys\nwith oneiric.track_session('shop') as s: print(s.id, flush=True); sys.stdin.read()"
)


def stuck(minutes: float, hostname: str) -> dict[str, Any]:
    """The start of a session on another machine, of which nothing was heard since."""
    return start_event(timestamp=(NOW - timedelta(minutes=minutes)).isoformat(), hostname=hostname)


@pytest.fixture
def ids(home: Path, paths: Paths) -> list[str]:
    """Three sessions that are stuck, the newest first."""
    raws = [stuck(60 + number, f"old{number}") for number in range(3)]
    with closing(open_store(f"duckdb:///{paths.data / 'session-buddy' / 'sessions.duckdb'}")) as store:
        store.ingest([arrival(raw, at=NOW) for raw in raws])
    return [session_id_of(raw) for raw in raws]


@pytest.fixture(params=["server", "file"])
def answering(request: pytest.FixtureRequest, ids: list[str]) -> None:
    """Who does it."""
    if request.param == "server":
        request.getfixturevalue("server")


@contextmanager
def open_shell(cli: Cli) -> Iterator[str]:
    """A shell that is open, and has been heard of; its session's id."""
    child = forkserver.popen(
        [sys.executable, "-P", "-c", OPEN_SHELL], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout
    try:
        session = child.stdout.readline().strip()
        # It is on disk; its own thread tells the server.
        while cli("show-session", session).returncode != 0:
            pass
        yield session
    finally:
        child.communicate()


def shown(cli: Cli, session_id: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(cli("show-session", session_id, "-f", "json").stdout)
    return record


@pytest.mark.usefixtures("answering")
def test_a_stuck_session_is_ended_where_it_was_last_heard_of(cli: Cli, ids: list[str]) -> None:
    if shown(cli, ids[0])["unreachable"] is False and cli("mcp", "status").returncode == 0:
        # A server that has just started has not missed it yet.
        force = ["--force"]
    else:
        force = []
    done = cli("end-session", ids[0][-8:], "--reason", "host was rebuilt", *force)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Ended {ids[0]}\n", "")
    record = shown(cli, ids[0])
    assert (record["status"], record["exit_reason"], record["detected_by"]) == (
        "ended",
        "operator",
        "operator",
    )
    if not force:
        assert record["end_time"] == record["start_time"]
    host = os.uname().nodename
    found = f"found   local:{os.geteuid()}@{host} ended it in the history: host was rebuilt"
    assert found in printed("show-session", ids[0])
    again = cli("end-session", ids[0], "nobody", ids[1], *force)
    assert (again.returncode, again.stdout) == (1, f"Ended {ids[1]}\n")
    assert again.stderr == (
        f"Error: session {ids[0]} has ended already (operator)\nError: no session 'nobody'\n"
    )


@pytest.mark.usefixtures("answering")
def test_who_is_alive_is_left_alone_without_force(cli: Cli) -> None:
    with open_shell(cli) as session:
        refused = cli("end-session", session)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == (
            f"Error: session {session} is alive; leave it there, or --force ends it in the history alone\n"
        )
        assert cli("end-session", session, "--force").stdout == f"Ended {session}\n"
        assert shown(cli, session)["exit_reason"] == "operator"
    # The shell knows better, as soon as it says so.
    while shown(cli, session)["exit_reason"] != "exit":
        pass


def test_those_of_standard_input_and_of_a_query(cli: Cli, ids: list[str], home: Path) -> None:
    (home / "ids.txt").write_text(f"{ids[0]}\tmore\n\n{ids[0]}\n")
    with (home / "ids.txt").open() as file:
        done = cli("end-session", "-", stdin=file)
    assert done.stdout == f"Ended {ids[0]}\n"
    refused = cli("end-session", "--query", "host:old*", stdin=subprocess.DEVNULL)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Error: End 2 sessions in the history? Confirm it on a terminal, or with --yes" in refused.stderr
    for answer, said in (("n", "Error: nothing was done"), ("y", f"Ended {ids[1]}")):
        child = pexpect.spawn(
            forkserver.COMMAND[0], [*forkserver.COMMAND[1:], "end-session", "--query", "host:old1"],
            encoding="utf-8", timeout=60, dimensions=(24, 80),
        )  # fmt: skip
        child.expect(ids[1][-8:])
        child.expect(r"End 1 session in the history\? \[y/N\]: ")
        child.sendline(answer)
        child.expect_exact(said)
        child.expect(pexpect.EOF)
        child.close()
    assert cli("end-session", "--query", "", "--yes").stdout == f"Ended {ids[2]}\n"
    assert cli("end-session", "--query", "", "--yes").stderr == "No sessions found that are open.\n"


def test_what_is_mistyped(cli: Cli, ids: list[str]) -> None:
    for arguments, said in (
        ([], "sessions, or --query, one of the two"),
        ([ids[0], "--query", "host:x"], "sessions, or --query, one of the two"),
        ([ids[0], "--reason", "x" * 201], "reason: '201 characters' is not valid: at most 200"),
        (["--query", "usr:x"], "the nearest is user"),
    ):
        refused = cli("end-session", *arguments)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
        assert said in refused.stderr
    assert shown(cli, ids[0])["status"] == "active"


def test_only_who_may_ends_a_session(server: ServerInfo, paths: Paths, cli: Cli) -> None:
    with open_shell(cli) as session:

        def asked(scopes: list[Scope], document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            token = issue(own_secret(paths), "bob", scopes, 60)
            body = json.dumps(document).encode()
            status, answer = page(Endpoint(url=server.url, token=token), "/api/v1/ends", body)
            return status, json.loads(answer)

        wanted = {"sessions": [session], "force": True}
        assert asked(["read"], wanted)[0] == asked(["track"], wanted)[0] == 403
        status, answer = asked(["track", "read"], wanted)
        (result,) = answer["results"]
        assert (status, result["status"], "bob may not speak for it" in result["error"]) == (
            200,
            "refused",
            True,
        )
        for odd, said in (
            ({}, "sessions: "),
            ({"sessions": "x"}, "sessions: 'x' is not valid"),
            ({"sessions": [], "more": 1}, "more: 1 is not valid"),
            ({"sessions": ["x"] * (MOST + 1)}, f"at most {MOST} at once"),
        ):
            status, answer = asked(["track", "read"], odd)
            assert (status, said in answer["detail"]) == (400, True), answer
