"""The page that puts others' listings beside ours is true: what it says is asked, on one history."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import typer

from oneiric.paths import Paths
from session_buddy.cli import app
from session_buddy.cli.filters import query_of
from session_buddy.history.query import MAX_LIMIT, Clock, Query
from session_buddy.history.reference import parse_ref
from session_buddy.store import Store, open_store
from tests.comparison import TABLES, page
from tests.samples import arrival, end_event, heartbeat_event, session_id_of, start_event
from tests.world import ROOT

Cli = Callable[..., subprocess.CompletedProcess[str]]
CLOCK: Final = Clock(datetime(2026, 1, 9, 15, 30, tzinfo=UTC), UTC)  # a Friday
ROWS: Final = [row for rows in TABLES.values() for row in rows]
COMMANDS: Final[Any] = typer.main.get_command(app)


class Session(NamedTuple):
    """One of the history.

    Attributes:
        digits: the last of its id.
        at: when it started, UTC.
        minutes: how long it lasted; ``None``: it has not ended.
        start: of its start event what is not as in all.
        end: likewise of its end.
        did: what a heartbeat, or its end, counted.
    """

    digits: str
    at: str
    minutes: float | None
    start: dict[str, Any]
    end: dict[str, Any] = {}  # noqa: RUF012 - never changed
    did: dict[str, Any] = {}  # noqa: RUF012 - never changed


def account(username: str, uid: int, **person: str) -> dict[str, Any]:
    """Who it was."""
    user = {"username": username, "uid": uid, "home": ""}
    return {"user": user} | ({"person": person} if person else {})


def place(host: str, folder: str, tty: str = "", client: str = "") -> dict[str, Any]:
    """Where it was."""
    origin = {"tty": tty and f"/dev/{tty}", "ssh_client": client}
    known = {name: value for name, value in origin.items() if value}
    told: dict[str, Any] = {"hostname": host, "environment": {"cwd": folder}}
    return told | ({"origin": known} if known else {})


ADA, BOB, CAROL = account("ada", 1000), account("bob", 1001), account("carol", 1002)
MAHAVISHNU: Final[dict[str, Any]] = {"component_name": "mahavishnu", "shell_type": "MahavishnuShell"}
GONE: Final = {"status": "crashed", "exit_reason": "process_gone", "detected_by": "liveness", "signal": 9}
FOUND: Final = {"status": "crashed", "exit_reason": "outbox_recovered", "detected_by": "outbox"}
EXPIRED: Final = {"status": "crashed", "exit_reason": "lease_expired", "detected_by": "lease"}
# The newest first; each way to end, and each state, once at least.
HISTORY: Final = {
    "root": Session(
        "1b9d6bcd",
        "2026-01-09T15:10",
        10,
        account("root", 0, name="ada", evidence="sudo")
        | place("web1", "/root", "pts/0", "10.0.0.5")
        | {"parent_session_id": "shop-20260109-150000-9f2c1a77"},
        {"exit_reason": "exit", "exit_code": 0},
    ),
    "live": Session(
        "9f2c1a77",
        "2026-01-09T15:00",
        None,
        ADA | place("web1", "/srv/shop", "pts/0", "10.0.0.5") | {"pid": 4321, "reason": "OPS-7 rollback"},
        did={"commands": 4, "errors": 1, "last_activity": "2026-01-09T15:29:40+00:00"},
    ),
    "gone": Session(
        "77c1d20e",
        "2026-01-08T22:00",
        240,
        ADA | MAHAVISHNU | place("web1", "/home/ada", "pts/2", "10.0.0.5"),
        GONE,
    ),
    "silent": Session(
        "0c55e1f0",
        "2026-01-08T20:00",
        None,
        BOB | place("web2", "/srv/shop", "pts/1", "10.0.0.6"),
        did={"commands": 2, "errors": 0, "last_activity": "2026-01-08T20:30:00+00:00"},
    ),
    "reboot": Session(
        "a67193c3", "2026-01-07T23:00", 240, CAROL | MAHAVISHNU | place("db1", "/srv/bank", "tty1"), FOUND
    ),
    "lost": Session(
        "47515b52",
        "2026-01-07T10:00",
        30,
        CAROL | MAHAVISHNU | place("db1", "/srv/bank", "pts/0", "10.0.1.9"),
        EXPIRED,
    ),
    "agent": Session(
        "5e2b8d14",
        "2026-01-06T14:00",
        70,
        account("deploy", 998)
        | place("web2", "/srv")
        | {"actor": "agent", "agent": "claude-code", "reason": "OPS-77 restart"},
        {"exit_reason": "sigterm", "exit_code": 143, "signal": 15},
        {"commands": 12, "errors": 0},
    ),
    "hangup": Session(
        "d3f0a9b6",
        "2026-01-06T09:00",
        45,
        BOB | place("web1", "/home/bob", "pts/1", "10.0.0.6"),
        {"exit_reason": "sighup", "exit_code": 129, "signal": 1},
    ),
    "failed": Session(
        "e81c4f27",
        "2026-01-05T14:00",
        20,
        ADA | place("web1", "/srv/shop", "pts/0", "10.0.0.5") | {"reason": "OPS-7: deploy"},
        {"status": "crashed", "exit_reason": "exception", "exit_code": 1},
        {"commands": 9, "errors": 3},
    ),
    "became": Session(
        "62d7b03a", "2026-01-05T08:00", 5, BOB | place("web2", "/home/bob"), {"exit_reason": "exec"}
    ),
    "left": Session(
        "f4a6c19d",
        "2025-12-30T11:00",
        30,
        CAROL | MAHAVISHNU | place("db1", "/home/carol") | {"session_type": "repl", "shell_type": "REPL"},
        {"exit_reason": "eof", "elapsed_seconds": 2400.0},  # its clock was set
    ),
    "stopped": Session(
        "3b90e5d8",
        "2025-12-29T10:00",
        480,
        ADA | place("web2", "/home/ada"),
        {"exit_reason": "operator", "detected_by": "operator"},
    ),
}


def events(session: Session) -> Iterator[dict[str, Any]]:
    """What was reported of a session."""
    began = datetime.fromisoformat(f"{session.at}:00+00:00")
    told: dict[str, Any] = {"pid": 100, "actor": "human"}
    start = start_event(
        event_id=f"{session.digits}-0000-4000-8000-000000000000",
        timestamp=began.isoformat(),
        **told | session.start,
    )
    yield start
    session_id = session_id_of(start)
    if session.minutes is None:
        yield heartbeat_event(session_id, **session.did) | {"timestamp": session.did["last_activity"]}
        return
    ended = (began + timedelta(minutes=session.minutes)).isoformat()
    did: dict[str, Any] = {"activity": session.did} if session.did else {}
    yield end_event(session_id, timestamp=ended, **session.end, **did)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The file with all of it, and the sessions' names by their ids."""
    file, ids = tmp_path_factory.mktemp("comparison") / "sessions.duckdb", {}
    with closing(open_store(f"duckdb:///{file}")) as store:
        for name, session in HISTORY.items():
            for raw in events(session):
                came = datetime.fromisoformat(raw["timestamp"]) + timedelta(seconds=1)
                (taken,) = store.ingest([arrival(raw, by_admin=True, at=came)])
                assert taken.verdict == "stored" or raw["event_type"] == "session_heartbeat"
                ids[taken.session_id] = name
    return file, ids


@pytest.fixture(scope="module")
def names(history: tuple[Path, dict[str, str]]) -> Iterator[Callable[[str], str]]:
    """Which sessions a command lists, by name; parsed as the command line does, asked here."""
    file, ids = history
    silent = frozenset(one for one, name in ids.items() if name == "silent")
    with closing(open_store(f"duckdb:///{file}")) as store:

        def names(command: str) -> str:
            return " ".join(ids[one] for one in listed(store, command, silent))

        yield names


def listed(store: Store, command: str, silent: frozenset[str]) -> list[str]:
    """The ids of the sessions that a command lists at :data:`CLOCK`."""
    name, *arguments = words_of(command)
    given = COMMANDS.commands[name].make_context(name, arguments).params
    if name == "show-session":
        return [store.find(parse_ref(given["session_id"])).session_id]
    how = {"sort": given.pop("sort", None), "reverse": given.pop("reverse", False)}
    limit = given.pop("limit", 0) or MAX_LIMIT
    for one in ("columns", "form", "output", "force", "utc"):
        given.pop(one, None)
    words, given["username"] = given.pop("words") or (), given.pop("user")
    query = query_of(words, clock=CLOCK, **{"active": True} | given if name == "who" else given)
    asked = Query.parse(str(query), clock=CLOCK, limit=limit, **how)
    return [row.session_id for row in store.select(replace(asked, silent=silent))]


def words_of(command: str) -> list[str]:
    """The words of a command; what is special to a shell, and would never reach us, is within quotes."""
    bare = re.sub(r"""\"[^"]*"|'[^']*'""", "", command)
    assert not re.search(r"[<>*?&;()$]", bare), command
    return shlex.split(command)


def test_the_page_is_made_of_the_table() -> None:
    assert (ROOT / "docs" / "comparison.md").read_text() == page(), "./dev report makes it anew"


def test_each_row_says_what_it_finds_or_why_there_is_none() -> None:
    assert [row for row in ROWS if not (row.finds or row.prints if row.ours else row.reason)] == []
    assert {name for row in ROWS for name in row.finds.split()} == set(HISTORY)


def test_what_others_are_asked_for_is_found(names: Callable[[str], str]) -> None:
    rows = [(row.ours, row.finds) for row in ROWS if row.ours and row.finds]
    assert [(command, found) for command, wanted in rows if (found := names(command)) != wanted] == []


def test_what_is_printed_and_written(
    cli: Cli, paths: Paths, home: Path, history: tuple[Path, dict[str, str]]
) -> None:
    own = paths.data / "session-buddy" / "sessions.duckdb"
    own.parent.mkdir(parents=True)
    for file in (own, home / "old.duckdb"):
        shutil.copy(history[0], file)
    wanted = {(row.ours, row.prints) for row in ROWS if row.ours and row.prints}
    said = {command: printed(cli, command) for command, _ in wanted}
    assert [(command, text) for command, text in wanted if text not in said[command]] == []


def printed(cli: Cli, command: str) -> str:
    """What a command prints, or writes into the file that it names; programs behind it have their say."""
    ours, _, behind = command.partition(" | ")
    words = words_of(ours)
    environ = dict(word.split("=", 1) for word in words if word.partition("=")[0].isupper())
    arguments = words[len(environ) :]
    done = cli(*arguments, env=os.environ | environ)
    done.check_returncode()
    if "--output" in arguments:
        return Path(arguments[-1]).read_text()
    if not behind:
        return done.stdout
    return subprocess.run(
        ["sh", "-c", behind], input=done.stdout, capture_output=True, text=True, check=True
    ).stdout
