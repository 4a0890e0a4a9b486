"""``list-sessions``, ``who`` and ``show-session`` on a history that is known."""

import csv
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from oneiric.paths import Paths
from session_buddy.store import open_store
from tests import forkserver
from tests.samples import arrival, end_event, heartbeat_event, session_id_of, start_event
from tests.serverprocess import ServerProcess
from tests.terminal import printed

Cli = Callable[..., Any]


@pytest.fixture(params=["server", "file"])
def ids(request: pytest.FixtureRequest, home: Path, paths: Paths) -> Any:
    """A history, and who answers; the sessions' ids by what they are."""
    now = datetime.now(UTC)

    def ago(minutes: float) -> str:
        return (now - timedelta(minutes=minutes)).isoformat()

    where: Any = {"hostname": "web1", "timestamp": ago(90), "reason": "OPS-7 rollback", "metadata": {}}
    ada: Any = {"user": {"username": "ada", "home": ""}}
    outer = start_event(**where, **ada, origin={"tty": "/dev/pts/3", "ssh_client": "10.0.0.5"})
    inner = start_event(timestamp=ago(60), **ada, hostname="web1", parent_session_id=session_id_of(outer))
    innermost = start_event(timestamp=ago(50), **ada, parent_session_id=session_id_of(inner))
    bob = start_event(timestamp=ago(40), user={"username": "bob", "home": ""}, hostname="web1")
    dead = start_event(timestamp=ago(3000), hostname="db1", component_name="bank")
    raws = {"outer": outer, "inner": inner, "innermost": innermost, "bob": bob, "dead": dead}
    known = {name: session_id_of(raw) for name, raw in raws.items()}
    counted = {"commands": 4, "errors": 1, "last_activity": ago(30)}
    beat = heartbeat_event(known["outer"]) | {"timestamp": ago(1), "activity": counted}
    end = end_event(known["innermost"], exit_reason="eof") | {"timestamp": ago(45)}
    gone = end_event(known["dead"], status="crashed", exit_reason="process_gone", detected_by="liveness")
    database = paths.data / "session-buddy" / "sessions.duckdb"
    with closing(open_store(f"duckdb:///{database}")) as store:
        events = (*raws.values(), beat, end, gone | {"timestamp": ago(2900)})
        store.ingest([arrival(one, at=now) for one in events])
    if request.param == "file":
        yield known
        return
    request.getfixturevalue("port")
    with ServerProcess() as server:
        server.until_up()
        yield known


def listed(cli: Cli, *arguments: str) -> list[str]:
    found = cli("list-sessions", *arguments)
    assert found.returncode == 0, found.stderr
    return [row.split("\t")[0] for row in found.stdout.splitlines()]


# What a query finds is the store's affair, whoever asks it.
@pytest.mark.parametrize("ids", ["server"], indirect=True)
def test_a_query_and_its_other_spellings_find_the_same(cli: Cli, ids: dict[str, str]) -> None:
    web = [ids[name] for name in ("bob", "innermost", "inner", "outer")]
    assert listed(cli, "host:web1") == listed(cli, "--host", "web1") == listed(cli, "host:web1") == web
    assert listed(cli, "host:web*", "-status:active") == listed(cli, "host:web* -status:active") == web[1:2]
    assert listed(cli, "--active", "--user", "ada", "--user", "bob") == [web[0], *web[2:]]
    assert listed(cli, "--incomplete") == listed(cli, "exit:process_gone") == [ids["dead"]]
    assert (
        listed(cli, "--last", "2h") == listed(cli, "--since", "2h ago") == listed(cli, "started:>2h") == web
    )
    assert listed(cli, "--until", "2h") == [ids["dead"]]
    assert listed(cli, "--at", "42min ago") == [web[2], web[3]]
    assert listed(cli, "at:2h..55m") == web[2:]
    assert listed(cli, "at:2h..") == web
    assert listed(cli, "at:..2h") == [ids["dead"]]
    assert listed(cli, "host:web1 -rollback") == listed(cli, "host:web1", "--", "-rollback") == web[:3]
    assert (
        listed(cli, "reason:OPS-7")
        == listed(cli, "--search", "ROLLBACK")
        == listed(cli, "10.0.0.5")
        == web[3:]
    )
    assert listed(cli, "--status", "crashed", "--component", "bank", "--type", "admin_shell") == [ids["dead"]]
    assert listed(cli, "-reason:*", "--limit", "2") == web[:2]
    assert listed(cli, "parent:" + ids["outer"][-8:]) == [ids["inner"]]


@pytest.mark.parametrize("ids", ["file"], indirect=True)
def test_a_list_is_sorted_cut_and_written_as_somebody_wants_it(
    cli: Cli, ids: dict[str, str], home: Path
) -> None:
    assert listed(cli, "--sort", "duration", "--limit", "2") == [ids["dead"], ids["outer"]]
    assert listed(cli, "--reverse", "--limit", "1") == [ids["dead"]]
    assert listed(cli, "--limit", "0") == listed(cli)
    for columns in ("who,hostname,status", "user, host,status"):
        assert cli("list-sessions", "user:bob", "--columns", columns).stdout == "bob\tweb1\tactive\n"
    assert "columns: '' is not valid: one of who" in cli("list-sessions", "--columns", "").stderr
    (told,) = json.loads(cli("list-sessions", "user:bob", "--columns", "who,status", "-f", "json").stdout)
    assert told == {"who": "bob", "status": "active"}
    assert "duration_seconds" in cli("list-sessions", "--columns", "help").stdout.splitlines()
    for name in ("all.csv", "all.json", "all.ndjson", "all.txt"):
        assert cli("list-sessions", "--output", name).stdout == ""
    with (home / "all.csv").open(newline="") as file:
        assert [row["session_id"] for row in csv.DictReader(file)] == listed(cli)
    assert [one["session_id"] for one in json.loads((home / "all.json").read_text())] == listed(cli)
    assert [row[:29] for row in (home / "all.txt").read_text().splitlines()] == listed(cli)
    refused = cli("list-sessions", "host:db1", "--output", "all.csv")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "it is there already; --force replaces it" in refused.stderr
    assert "it is a folder; name a file" in cli("list-sessions", "--output", str(home)).stderr
    assert (home / "all.csv").stat().st_mode & 0o777 == 0o600
    assert cli("list-sessions", "host:db1", "--output", "all.csv", "--force").returncode == 0
    assert len((home / "all.csv").read_text().splitlines()) == 2
    (home / "link.csv").symlink_to("all.csv")
    (home / "all.csv").chmod(0o640)
    assert cli("list-sessions", "--output", "link.csv", "--force").returncode == 0
    assert (home / "link.csv").is_symlink()
    assert len((home / "all.csv").read_text().splitlines()) == 6
    assert (home / "all.csv").stat().st_mode & 0o777 == 0o640
    for device in ("/dev/null", "/dev/stdout"):
        written = cli("list-sessions", "host:db1", "--output", device, "--force")
        assert (written.returncode, written.stderr) == (0, "")
    assert Path("/dev/null").is_char_device()
    for odd in ("", "/", "x" * 300):
        refused = cli("list-sessions", "--output", odd, "--force")
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
        assert "cannot be written" in refused.stderr
    lost = cli("list-sessions", "--output", "no/where.csv")
    assert lost.stderr == "Error: no/where.csv cannot be written: No such file or directory\n"
    assert [path.name for path in home.glob(".all*")] == []


@pytest.mark.parametrize("ids", ["server"], indirect=True)
def test_who_is_in_now(cli: Cli, ids: dict[str, str]) -> None:
    table = printed("who", "--utc")
    assert [row.split()[0] for row in table.splitlines()[:4]] == ["who", "bob", "ada", "ada"]
    outer = table.splitlines()[3]
    assert re.search(r"  3\dm \d\ds  ", outer)
    for text in ("ada", "web1", "10.0.0.5 pts/3", "OPS-7 rollback", ids["outer"]):
        assert text in outer
    assert " unknown " in table.splitlines()[1]
    assert "2 people in 3 sessions; times in UTC" in table
    assert "shop is shared by bob and ada" in table
    assert [row.split("\t")[0] for row in cli("who", "user:bob").stdout.splitlines()] == [ids["bob"]]
    assert "Nobody is in: host:db1 status:active" in printed("who", "host:db1")
    (row,) = (line.split("\t") for line in cli("who", "10.0.0.5").stdout.splitlines())
    assert row[-2] == "false"
    assert 1790 < float(row[-3]) < 2400
    assert json.loads(row[-1])["ssh_client"] == "10.0.0.5"
    assert 'No sessions found: "OPS-7 gone" started:"2026-01-01 00:00:00+00:00..' in printed(
        "list-sessions", "OPS-7 gone", "started:2026-01-01", "--utc"
    )
    assert "3 sessions written to in.csv as csv" in printed("list-sessions", "--active", "--output", "in.csv")
    assert re.search(r"^ada +web1\s", printed("list-sessions", "--columns", "who,hostname"), re.MULTILINE)
    piped = subprocess.run(
        ["bash", "-c", f"{shlex.join(forkserver.COMMAND)} who | head -0"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (piped.stdout, piped.stderr) == ("", "")


def test_one_session_shows_what_is_asked_first_and_what_is_around_it(cli: Cli, ids: dict[str, str]) -> None:
    lines = [line.rstrip() for line in printed("show-session", ids["inner"][-8:], "--utc").splitlines()]
    first = lines[: lines.index("events")]
    assert len(first) <= 24
    shown = dict(line.split(None, 1) for line in first if line and not line.startswith(" "))
    assert shown["who"] == "ada"
    assert shown["in"] == "shop on web1 (ShopShell, admin_shell, pid 4321)"
    assert shown["tree"].startswith(f"{ids['outer'][-8:]}  ada in shop on web1, ")
    assert any(line.strip().startswith(f"└─ {ids['inner'][-8:]}") for line in first)
    assert any(line.strip().startswith(f"└─ {ids['innermost'][-8:]}") for line in first)
    assert shown["before"].startswith(ids["outer"][-8:])
    assert shown["after"].startswith(ids["innermost"][-8:])
    assert any(line.startswith("session_start  ") for line in lines)
    dead = printed("show-session", ids["dead"])
    assert "found   a server saw its process end" in dead
    assert "session_end    " in dead
    assert f"session_id         {ids['dead']}" in dead


def test_the_latest_and_its_surroundings_as_programs_read_them(cli: Cli, ids: dict[str, str]) -> None:
    told = json.loads(cli("show-session", "latest", "--format", "json").stdout)
    assert (told["session_id"], told["after"], told["ancestors"]) == (ids["bob"], None, [])
    assert told["before"]["session_id"] == ids["innermost"]
    assert [event["event_type"] for event in told["events"]] == ["session_start"]
    outer = json.loads(cli("show-session", ids["outer"], "--format", "json").stdout)
    assert [one["session_id"] for one in outer["nested"]] == [ids["inner"], ids["innermost"]]
    rows = dict(line.split("\t") for line in cli("show-session", "latest").stdout.splitlines())
    assert rows["session_id"] == ids["bob"]
    assert not {"events", "nested", "before"} & {name.partition(".")[0] for name in rows}
