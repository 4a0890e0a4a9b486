"""``prune`` and ``forget`` as users have them; and all that could bring a session back."""

import json
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pexpect
import pytest

from oneiric import outbox
from oneiric.paths import Paths
from oneiric.transport import CallRefused, Endpoint, call_tool, page
from session_buddy.access.callers import Scope
from session_buddy.access.secret import own_secret
from session_buddy.access.tokens import issue
from session_buddy.host import process, stopping
from session_buddy.host.server_file import ServerInfo
from session_buddy.store import open_file, open_store
from tests import forkserver
from tests.engines import PostgresDatabase
from tests.samples import arrival, end_event, session_id_of, start_event

Cli = Callable[..., Any]
Event = dict[str, Any]
NOW = datetime.now(UTC)


def file_of(paths: Paths) -> Path:
    return paths.data / "session-buddy" / "sessions.duckdb"


def of(user: str, days: float) -> list[Event]:
    """A session of an hour, so many days ago."""
    began = NOW - timedelta(days=days)
    start = start_event(timestamp=began.isoformat(), user={"username": user, "home": f"/home/{user}"})
    end = end_event(session_id_of(start), timestamp=(began + timedelta(hours=1)).isoformat())
    return [start, end]


@pytest.fixture(autouse=True)
def no_other_backups(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that a test makes alone."""
    monkeypatch.setenv("SESSION_BUDDY_BACKUP__EVERY_HOURS", "0")


@pytest.fixture
def sessions(paths: Paths) -> dict[str, list[Event]]:
    """Sessions of three people."""
    known = {"ada": of("ada", 2), "bob": of("bob", 3), "old": of("old", 500)}
    with closing(open_file(file_of(paths))) as store:
        for raws in known.values():
            store.ingest([arrival(raw, at=datetime.fromisoformat(raw["timestamp"])) for raw in raws])
    return known


@pytest.fixture(params=["server", "file"])
def answering(request: pytest.FixtureRequest, sessions: dict[str, list[Event]]) -> str:
    """Who does it."""
    if request.param == "server":
        request.getfixturevalue("server")
    return str(request.param)


def left(cli: Cli) -> set[str]:
    done = cli("list-sessions", "-f", "ndjson")
    return {json.loads(line)["username"] for line in done.stdout.splitlines()}


def journal(folder: Path, raws: list[Event], kind: str = "") -> Path:
    """A journal as a shell leaves it."""
    path = outbox.path_for(folder / kind, session_id_of(raws[0]))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(raw) + "\n" for raw in raws))
    return path


def test_what_was_deleted_stays_so_whatever_brings_it_again(
    cli: Cli, answering: str, sessions: dict[str, list[Event]], paths: Paths
) -> None:
    before = cli("backup", "create").stdout.split()[1]
    delivered = [journal(paths.outbox, sessions[name], "done") for name in ("ada", "old")]
    assert cli("forget", "--user", "ada", "--dry-run").stdout.startswith(
        "1 session of 'ada' would be deleted,"
    )
    assert cli("prune", "--older-than", "365d", "--dry-run").stdout.startswith("1 session that ended before ")
    assert left(cli) == {"ada", "bob", "old"}
    forgotten = cli("forget", "--user", "ada", "--yes")
    assert (forgotten.returncode, forgotten.stdout) == (0, "Deleted 1 session of 'ada'\n")
    assert "1 backup in " in forgotten.stderr
    assert "what they held they hold until they rotate" in forgotten.stderr
    for name, refusal in (("taken.csv", "it is there already"), ("gone.txt", "a name that ends in .csv")):
        (paths.data / "taken.csv").write_text("x")
        refused = cli("prune", "--older-than", "52w", "--yes", "--export-first", str(paths.data / name))
        assert (refused.returncode, refusal in refused.stderr) == (2, True)
    gone = paths.data / "gone.ndjson"
    pruned = cli("prune", "--older-than", "52w", "--yes", "--export-first", str(gone))
    (kept,) = map(json.loads, gone.read_text().splitlines())
    assert kept["session_id"] == session_id_of(sessions["old"][0])
    assert (pruned.returncode, pruned.stdout.startswith("Deleted 1 session that ended before")) == (0, True)
    assert left(cli) == {"bob"}
    assert not any(path.exists() for path in delivered)
    for name, said in (("ada", "was deleted on "), ("old", "is not known, and those that started before ")):
        shown = cli("show-session", session_id_of(sessions[name][0]))
        assert (shown.returncode, shown.stderr.count("\n"), said in shown.stderr) == (1, 1, True), (
            shown.stderr
        )
    # Journals, delivered or not, of a copy of the home for example.
    waiting = [journal(paths.outbox, sessions[name]) for name in ("ada", "old")]
    journal(paths.outbox, sessions["ada"], "done")
    journal(paths.outbox, sessions["old"], "done")
    assert "2 were refused" in cli("replay").stdout
    assert left(cli) == {"bob"}
    while any(path.exists() for path in waiting):
        left(cli)
    assert outbox.path_for(paths.outbox / "done", session_id_of(sessions["ada"][0])).exists()
    assert outbox.path_for(paths.outbox / "rejected", session_id_of(sessions["old"][0])).exists()
    # A backup of before.
    stopping.stop(paths)
    restored = cli("backup", "restore", before)
    assert restored.returncode == 0, restored.stderr
    assert "2 sessions of the backup had been deleted since; that is done here, too." in restored.stdout
    assert "From the journals, 0 sessions came back" in restored.stdout
    assert left(cli) == {"bob"}
    assert "0 were missing and are back" in cli("replay").stdout
    assert cli("forget", "--user", "ada").stderr == "No sessions of 'ada'.\n"


def test_an_emitter_that_is_late_is_told_and_stops(cli: Cli, server: ServerInfo, paths: Paths) -> None:
    raws = of("eve", 0.05)
    live = start_event(timestamp=NOW.isoformat(), user={"username": "eve", "home": "/"})
    session = session_id_of(live)
    call_tool(server.endpoint, "track_events", {"events": [*raws, live]})
    refused = cli("forget", "--user", "eve", "--yes")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert f"session {session} is active; have it left first, or --force" in refused.stderr
    assert cli("forget", "--user", "eve", "--yes", "--force").stdout == "Deleted 2 sessions of 'eve'\n"
    beat = {
        "event_type": "session_heartbeat",
        "session_id": session,
        "timestamp": NOW.isoformat(),
        "activity": {},
    }
    end = end_event(session, timestamp=NOW.isoformat())
    answer = call_tool(server.endpoint, "track_events", {"events": [beat, live, end, beat]})
    assert [one["status"] for one in answer["results"]] == ["duplicate"] * 4
    assert all("was deleted on" in one["error"] for one in answer["results"])
    for tool, raw in (("track_session_start", live), ("track_session_end", end)):
        with pytest.raises(CallRefused, match="was deleted on"):
            call_tool(server.endpoint, tool, raw)
    assert call_tool(server.endpoint, "health_check", {})["live_sessions"] == 0
    assert left(cli) == set()
    with pytest.raises(CallRefused, match="was deleted on"):
        call_tool(server.endpoint, "get_session", {"session_id": session})


def test_backups_that_hold_it_are_replaced(cli: Cli, answering: str, paths: Paths) -> None:
    before = cli("backup", "create").stdout.split()[1]
    done = cli("forget", "--user", "bob", "--yes", "--backups")
    assert (done.returncode, done.stderr) == (0, "")
    (now,) = (file_of(paths).parent / "backups").iterdir()
    assert done.stdout.splitlines()[1] == f"Backup {now}, in the place of all before it"
    with closing(open_file(now)) as store:
        assert len(store.statuses()) == 2
    assert not Path(before).exists() or Path(before) == now


@pytest.mark.sampled
def test_on_a_database_server_backups_are_others_business(
    cli: Cli, database: PostgresDatabase, start: Callable[..., ServerInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_BUDDY_STORAGE_URL", database.url.whole)
    start()
    with closing(open_store(database.url)) as store:
        store.ingest([arrival(raw, at=NOW) for raw in of("ada", 2)])
    done = cli("forget", "--user", "ada", "--yes", "--backups")
    assert (done.returncode, done.stdout) == (0, "Deleted 1 session of 'ada'\n")
    assert (
        done.stderr
        == f"Backups of {database.url} are its administrators' to remove; they hold what they held.\n"
    )
    assert left(cli) == set()


def test_it_asks_on_a_terminal_and_is_refused_without(cli: Cli, sessions: object) -> None:
    refused = cli("forget", "--user", "bob", stdin=subprocess.DEVNULL)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("Error: Delete 1 session of 'bob', started ")
    assert refused.stderr.endswith(", for good? Confirm it on a terminal, or with --yes\n")
    for answer, said in (("n", "Error: nothing was done"), ("y", "Deleted 1 session of 'bob'")):
        child = pexpect.spawn(
            forkserver.COMMAND[0], [*forkserver.COMMAND[1:], "forget", "--user", "bob"],
            encoding="utf-8", timeout=60, dimensions=(24, 200),
        )  # fmt: skip
        child.expect(r"Delete 1 session of 'bob', started .*, for good\? \[y/N\]: ")
        child.sendline(answer)
        child.expect_exact(said)
        child.expect(pexpect.EOF)
        child.close()
    assert left(cli) == {"ada", "old"}


def test_what_is_mistyped(cli: Cli, sessions: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BUDDY_RETAIN_FOR", "600d")
    for arguments, said in (
        (["prune", "--older-than", "365x"], "older-than: '365x' is not valid: a length such as"),
        (["prune", "--older-than", "9999999w"], "a time that the calendar has"),
        (["prune", "--older-than", "5h"], "older-than: '5h' is not valid: a day is the least"),
        (["prune", "--older-than", "400d", "--yes"], "'400d ago' is not valid: retain_for is 600d"),
        (["prune"], "--older-than"),
        (["forget", "--user", " "], "the name of a person or an account"),
    ):
        refused = cli(*arguments)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1), refused.stderr
        assert said in refused.stderr
    nobody = cli("forget", "--user", "nobody")
    assert (nobody.returncode, nobody.stdout, nobody.stderr) == (0, "", "No sessions of 'nobody'.\n")
    monkeypatch.setenv("SESSION_BUDDY_DELETE_AFTER", "90d")
    wrong = cli("config", "validate")
    assert wrong.returncode == 1
    assert "SESSION_BUDDY_DELETE_AFTER: '90d' is not valid: sessions stay for 600d at least" in wrong.stderr


def test_a_server_deletes_by_itself_what_is_older(
    cli: Cli, sessions: object, start: Callable[..., ServerInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_BUDDY_DELETE_AFTER", "365d")
    start()
    while left(cli) != {"ada", "bob"}:
        pass


def test_only_who_may_deletes(server: ServerInfo, paths: Paths) -> None:
    def asked(scopes: list[Scope], document: Event) -> tuple[int, Event]:
        token = issue(own_secret(paths), "eve", scopes, 60)
        body = json.dumps(document).encode()
        status, answer = page(Endpoint(url=server.url, token=token), "/api/v1/deletions", body)
        return status, json.loads(answer)

    assert asked(["track", "read"], {"user": "ada"})[0] == 403
    assert asked(["admin"], {"user": "ada"}) == (200, {"number": 0, "deleted": 0, "left": False, "held": 0})
    for odd in (
        {},
        {"user": "a", "ended_before": NOW.isoformat()},
        {"user": 3},
        {"ended_before": NOW.isoformat()},
        {"user": "a", "more": 1},
    ):
        status, answer = asked(["admin"], odd)
        assert (status, bool(answer["detail"])) == (400, True), odd
    assert process.running(paths) is not None
