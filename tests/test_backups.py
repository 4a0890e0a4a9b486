"""A history that is copied, and goes back to a copy, with what came since."""

import json
import os
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from threading import Timer
from typing import Any

import duckdb
import pexpect
import pytest

from oneiric.paths import user_paths
from oneiric.transport import call_tool
from session_buddy.host.process import only_one
from session_buddy.host.server_file import read_server_file
from session_buddy.store import open_store
from session_buddy.store.duckdb.exchange import exchange
from session_buddy.store.duckdb.wal import log_of
from tests.faults import kill_server
from tests.samples import arrival, end_event, session_id_of, start_event
from tests.world import World, eventually

SHELL = "import oneiric\nwith oneiric.track_session('shop') as session: print(session.id)"


def track(world: World, count: int = 1) -> list[str]:
    """Sessions that came and left and are in the history, by id."""
    new = [world.run(sys.executable, "-c", SHELL).stdout.strip() for _ in range(count)]
    eventually(lambda: set(new) <= set(ids(world, "--status", "ended")))
    eventually(lambda: all(journal(world, session).exists() for session in new))
    return new


def ids(world: World, *options: str) -> list[str]:
    return [session["session_id"] for session in world.sessions(*options)]


def journal(world: World, session: str) -> Path:
    return user_paths(world.environ).outbox / "done" / f"{session}.jsonl"


def backups(world: World) -> list[dict[str, Any]]:
    done = world.run("session-buddy", "backup", "list", "--format", "json")
    listed: list[dict[str, Any]] = json.loads(done.stdout)
    return listed


def create(world: World) -> Path:
    line = world.run("session-buddy", "backup", "create").stdout
    return Path(line.removeprefix("Backup ").strip())


def status(world: World) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(world.run("session-buddy", "mcp", "status", "--format", "json").stdout)
    return told


def instance(world: World) -> str:
    info = read_server_file(user_paths(world.environ))
    assert info is not None
    return str(call_tool(info.endpoint, "health_check", {})["server_instance"])


def files(world: World) -> dict[str, bytes]:
    folder = world.database.parent
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def old(world: World, days: int) -> Path:
    """A file with the name of a backup that was made some days ago."""
    path = world.database.parent / "backups" / f"sessions-202501{days:02}-030405Z.duckdb"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_server_makes_one_when_the_last_is_old_and_keeps_so_many(world: World) -> None:
    world.environ["SESSION_BUDDY_BACKUP__KEEP"] = "2"
    world.run(sys.executable, "-c", SHELL)
    (session,) = ids(world)
    stale = [old(world, day) for day in (1, 2, 3)]
    draft = world.database.parent / "backups" / ".sessions-20250104-030405Z.duckdb.new"
    draft.touch()
    foreign = world.database.parent / "backups" / "other-20250101-030405Z.duckdb"
    foreign.touch()
    ahead = old(world, 9)
    ahead = ahead.rename(ahead.with_name("sessions-29990101-000000Z.duckdb"))
    world.start_server()
    eventually(lambda: not stale[0].exists() and not ahead.exists())
    (new, kept) = backups(world)
    assert kept["path"] == str(stale[2])
    assert status(world)["last_backup"] == new["made_at"]
    assert "Last backup:" in world.said("session-buddy mcp status")
    assert stat.S_IMODE(Path(new["path"]).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(new["path"]).parent.stat().st_mode) == 0o700
    assert {path.name for path in foreign.parent.iterdir()} == {new["name"], kept["name"], foreign.name}
    with duckdb.connect(new["path"], read_only=True) as copy:
        assert copy.execute("SELECT session_id FROM sessions").fetchall() == [(session,)]
    # The server still has its database to itself.
    with pytest.raises(duckdb.IOException, match="lock"):
        duckdb.connect(str(world.database))
    world.stop_server()
    world.start_server()
    assert [backup["name"] for backup in backups(world)] == [new["name"], kept["name"]], "it is young enough"


def test_none_is_made_where_the_settings_say_so(world: World) -> None:
    world.environ["SESSION_BUDDY_BACKUP__EVERY_HOURS"] = "0"
    world.start_server()
    assert "none so far" in world.said("session-buddy mcp status")
    assert create(world).exists()
    assert len(backups(world)) == 1


def test_back_to_a_backup_with_what_came_since(world: World) -> None:
    world.environ["SESSION_BUDDY_BACKUP__EVERY_HOURS"] = "0"
    world.start_server()
    (before,) = track(world)
    made = create(world)
    since, lost = track(world, 2)
    former = instance(world)
    running = world.run("session-buddy", "backup", "restore", made.name, code=1)
    assert running.stderr.startswith("Error: the server runs (pid ")
    assert running.stderr.endswith("stop it first: session-buddy mcp stop\n")
    world.stop_server()
    journal(world, lost).unlink()
    # As a shell leaves it that names this server by its address.
    journal(world, since).rename(journal(world, f"{since}.to-ca6afae1"))
    restored = world.run("session-buddy", "backup", "restore", "latest")
    assert restored.stderr == ""
    lines = restored.stdout.splitlines()
    assert lines[0] == f"Restored {made.name} into {world.database}: 1 session."
    assert lines[1] == "From the journals, 1 session came back on top of that."
    assert f"1 session of 3 could not come back, no journal has them: {lost}; listed in " in lines[2]
    (listed,) = world.database.parent.glob("*.missing.txt")
    assert listed.read_text() == f"{lost}\n"
    aside = Path(lines[3].removeprefix("It is set aside as "))
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    with duckdb.connect(str(aside), read_only=True) as kept:
        assert len(kept.execute("FROM sessions").fetchall()) == 3
    assert ids(world) == [since, before]
    world.start_server()
    assert ids(world) == [since, before]
    assert instance(world) != former
    world.stop_server()
    left = {path.name for path in world.database.parent.iterdir()}
    assert left == {"sessions.duckdb", "backups", aside.name, listed.name}


def test_a_live_shell_reports_itself_to_the_history_that_went_back(world: World) -> None:
    world.start_server()
    made = create(world)
    shell = world.shell()
    eventually(lambda: len(ids(world, "--status", "active")) == 1)
    (session,) = ids(world)
    world.stop_server()
    world.run("session-buddy", "backup", "restore", made.name)
    world.start_server()
    assert ids(world, "--status", "active") == [session]
    shell.sendline("exit")
    shell.expect(pexpect.EOF)
    eventually(lambda: ids(world, "--status", "ended") == [session])


def test_a_database_that_cannot_be_opened_is_gone_back_from(world: World) -> None:
    world.start_server()
    (first,) = track(world)
    made = create(world)
    (second,) = track(world)
    kill_server(world)
    content = bytearray(world.database.read_bytes())
    content[: 3 * 4096] = b"\xff" * 3 * 4096
    world.database.write_bytes(content)
    failed = world.run("session-buddy", "list-sessions", code=1)
    assert failed.stderr.startswith("Error: ")
    restored = world.run("session-buddy", "backup", "restore", made.name)
    assert "What the database before held on top cannot be told: " in restored.stdout
    assert "1 session came back" in restored.stdout
    assert ids(world) == [second, first]


def test_a_database_that_is_gone_comes_back_from_a_backup(world: World) -> None:
    world.run(sys.executable, "-c", SHELL)
    (session,) = ids(world)
    create(world)
    journal(world, session).unlink()
    world.database.unlink()
    assert world.run("session-buddy", "backup", "restore", "latest").stdout == (
        f"Restored {backups(world)[0]['name']} into {world.database}: 1 session.\n"
        "From the journals, 0 sessions came back on top of that.\n"
    )
    assert ids(world) == [session]


def test_a_log_that_was_left_without_its_database_is_set_aside(world: World) -> None:
    world.environ["SESSION_BUDDY_BACKUP__EVERY_HOURS"] = "0"
    world.start_server()
    (first,) = track(world)
    create(world)
    (second,) = track(world)
    kill_server(world)
    log = world.database.with_name("sessions.duckdb.wal")
    content = log.read_bytes()
    world.database.unlink()
    world.run("session-buddy", "backup", "restore", "latest")
    assert ids(world) == [second, first]
    (aside,) = world.database.parent.glob("sessions.duckdb.*.wal")
    assert aside.read_bytes() == content


def test_a_restore_that_is_killed_before_the_exchange_leaves_the_database_its_log(world: World) -> None:
    world.environ["SESSION_BUDDY_BACKUP__EVERY_HOURS"] = "0"
    world.start_server()
    track(world)
    create(world)
    track(world)
    kill_server(world)
    content = bytearray(world.database.read_bytes())
    content[: 3 * 4096] = b"\xff" * 3 * 4096
    world.database.write_bytes(content)
    log = world.database.with_name("sessions.duckdb.wal")
    left = log.read_bytes()
    assert left
    exchange_and_leave(world, "from pathlib import Path; Path.replace")
    assert (world.database.read_bytes(), log.read_bytes()) == (bytes(content), left)
    world.run("session-buddy", "backup", "restore", "latest")
    assert not log.exists()
    assert len(ids(world)) == 2


def exchange_and_leave(world: World, last: str) -> None:
    """Begin to restore the latest backup, in a process that ends where it would do something."""
    code = (
        "import os, sys\n"
        "from datetime import UTC, datetime\n"
        "from oneiric.paths import user_paths\n"
        "from pathlib import Path\n"
        "from session_buddy.host.database_url import DatabaseUrl\n"
        "from session_buddy.keep import restore\n"
        f"{last} = lambda *_: os._exit(9)\n"
        "restore.restore(DatabaseUrl.of(Path(sys.argv[1])), 'latest', user_paths(), datetime.now(UTC))\n"
    )
    world.run(sys.executable, "-c", code, str(world.database), code=9)


def test_a_restore_that_was_killed_is_completed_by_whoever_comes_next(world: World) -> None:
    world.run(sys.executable, "-c", SHELL)
    (first,) = ids(world)
    create(world)
    world.run(sys.executable, "-c", SHELL)
    (second, _) = ids(world)
    exchange_and_leave(world, "restore.open_known")
    with duckdb.connect(str(world.database), read_only=True) as database:
        assert database.execute("SELECT session_id FROM sessions").fetchall() == [(first,)]
        ((gap,),) = database.execute("SELECT value FROM meta WHERE key = 'gap'").fetchall()
        assert "restored from the backup of " in gap
    assert ids(world) == [second, first]
    with duckdb.connect(str(world.database), read_only=True) as database:
        assert database.execute("FROM meta WHERE key = 'gap'").fetchall() == []


def test_whoever_takes_the_database_after_a_restore_does_not_make_it_a_failure(world: World) -> None:
    world.run(sys.executable, "-c", SHELL)
    assert len(ids(world)) == 1
    create(world)
    world.run(sys.executable, "-c", SHELL)
    assert len(ids(world)) == 2
    # A command that waited comes in at the moment when the restore lets go.
    code = (
        "import subprocess, sys\n"
        "from datetime import UTC, datetime\n"
        "from oneiric.paths import user_paths\n"
        "from pathlib import Path\n"
        "from session_buddy.host.database_url import DatabaseUrl\n"
        "from session_buddy.keep import restore\n"
        "hold = 'import duckdb, sys; d = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()'\n"
        "real = restore.open_known\n"
        "def opened(url, paths):\n"
        "    store = real(url, paths)\n"
        "    close = store.close\n"
        "    def taken():\n"
        "        close()\n"
        "        command = [sys.executable, '-c', hold, sys.argv[1]]\n"
        "        subprocess.Popen(command, stdin=0, stdout=subprocess.PIPE).stdout.readline()\n"
        "    store.close = taken\n"
        "    return store\n"
        "restore.open_known = opened\n"
        "url = DatabaseUrl.of(Path(sys.argv[1]))\n"
        "done = restore.restore(url, 'latest', user_paths(), datetime.now(UTC))\n"
        "print(done.sessions, done.back, done.losses)\n"
    )
    done = world.run(sys.executable, "-W", "ignore", "-c", code, str(world.database), stdin=None, input="")
    assert done.stdout == "1 1 none is missing of 2 sessions that it held\n"


def test_what_cannot_be_restored_is_said_in_a_line_and_touches_nothing(world: World) -> None:
    world.run(sys.executable, "-c", SHELL)
    (session,) = ids(world)
    made = create(world)
    broken = made.with_name("sessions-20250102-030405Z.duckdb")
    content = bytearray(made.read_bytes())
    # What is behind the headers.
    content[3 * 4096 :] = b"\xff" * (len(content) - 3 * 4096)
    broken.write_bytes(content)
    other = made.with_name("sessions-20250101-030405Z.duckdb")
    other.write_text("no database\n" * 1000)
    before = files(world)
    for name, said in (
        ("sessions-20240101-030405Z.duckdb", f"there are {made.name}, {broken.name}, {other.name}"),
        ("../none.duckdb", "/none.duckdb cannot be read: No such file"),
        ("", "no backup ''"),
        (broken.name, "cannot be read"),
        (other.name, "is no DuckDB database"),
    ):
        failed = world.run("session-buddy", "backup", "restore", name, code=1)
        assert failed.stdout == ""
        assert failed.stderr.startswith("Error: ")
        assert said in failed.stderr
        assert "SESSION_BUDDY_DB_PATH" not in failed.stderr
        assert failed.stderr.count("\n") == 1
    assert files(world) == before
    assert ids(world) == [session]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("ALTER TABLE sessions DROP origin", "origin"),
        ("DELETE FROM meta WHERE key = 'instance'", "does not say its instance"),
        (
            "UPDATE meta SET value = '999' WHERE key = 'schema_version'",
            "was written by a newer Session-Buddy",
        ),
        ("DROP TABLE meta", "is a DuckDB database of something else"),
    ],
)
def test_a_backup_that_can_be_read_but_not_used_is_refused(world: World, damage: str, said: str) -> None:
    world.run(sys.executable, "-c", SHELL)
    (session,) = ids(world)
    with duckdb.connect(str(create(world))) as copy:
        copy.execute(damage)
    before = files(world)
    failed = world.run("session-buddy", "backup", "restore", "latest", code=1)
    assert said in failed.stderr
    assert "SESSION_BUDDY_DB_PATH" not in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert files(world) == before
    assert ids(world) == [session]


def test_a_database_that_is_a_link_stays_one(world: World) -> None:
    world.run(sys.executable, "-c", SHELL)
    (session,) = ids(world)
    made = create(world)
    elsewhere = world.home / "disk" / "real.duckdb"
    elsewhere.parent.mkdir()
    world.database.rename(elsewhere)
    world.database.symlink_to(elsewhere)
    inode = elsewhere.stat().st_ino
    restored = world.run("session-buddy", "backup", "restore", made.name)
    aside = Path(restored.stdout.splitlines()[-1].removeprefix("It is set aside as "))
    assert (aside.parent, aside.stat().st_ino) == (elsewhere.parent, inode)
    assert world.database.readlink() == elsewhere
    assert elsewhere.stat().st_ino != inode
    assert ids(world) == [session]


def test_a_log_beside_a_link_does_not_stay_with_the_history_that_went_back(world: World) -> None:
    world.start_server()
    track(world)
    made = create(world)
    world.stop_server()
    elsewhere = world.home / "real.duckdb"
    elsewhere.write_bytes(b"\xff" * 4096)
    world.database.unlink()
    world.database.symlink_to(elsewhere)
    log = world.database.with_name("sessions.duckdb.wal")
    log.write_bytes(b"left")
    world.run("session-buddy", "backup", "restore", made.name)
    assert not log.exists()
    (aside,) = world.database.parent.glob("real.duckdb.*.wal")
    assert aside.read_bytes() == b"left"
    assert len(ids(world)) == 1


def test_a_session_that_goes_back_to_an_earlier_state_is_told(world: World) -> None:
    start = start_event()
    session = session_id_of(start)

    def take(event: dict[str, Any]) -> None:
        with closing(open_store(f"duckdb:///{world.database}")) as store:
            store.ingest([arrival(event)])

    take(start)
    made = create(world)
    take(end_event(session))
    restored = world.run("session-buddy", "backup", "restore", made.name)
    told = "none is missing of 1 session that it held; 1 session went back to an earlier state; listed in "
    assert told in restored.stdout
    (listed,) = world.database.parent.glob("*.missing.txt")
    assert listed.read_text() == f"{session} ended, now active again\n"


def test_a_copy_that_lies_elsewhere_is_restored_by_its_path(world: World) -> None:
    world.run(sys.executable, "-c", SHELL)
    (session,) = ids(world)
    made = create(world)
    journal(world, session).unlink()
    copy = world.checkout / "copies" / "any name"
    copy.parent.mkdir()
    made.rename(copy)
    world.database.unlink()
    restored = world.run("session-buddy", "backup", "restore", "copies/any name")
    assert restored.stdout.startswith(f"Restored any name into {world.database}: 1 session.\n")
    assert ids(world) == [session]
    copy.with_name("any name.wal").write_text("x")
    failed = world.run("session-buddy", "backup", "restore", str(copy), code=1)
    assert f"{copy} is no backup: it was not closed, its log is {copy}.wal" in failed.stderr


HOLD = "import duckdb, sys; d = duckdb.connect(sys.argv[1]); print('in', flush=True); sys.stdin.read()"


def test_a_command_that_holds_the_database_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    database, draft = tmp_path / "x.duckdb", tmp_path / "draft"
    draft.write_bytes(b"restored")
    command = [sys.executable, "-c", HOLD, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "in\n"
        Timer(0.3, holder.stdin.close).start()
        aside = exchange(draft, database, log_of(database))
    assert database.read_bytes() == b"restored"
    assert aside is not None
    assert aside.stat().st_size > 0


def test_a_held_database_is_not_exchanged(world: World) -> None:
    world.run(sys.executable, "-c", SHELL)
    assert len(ids(world)) == 1
    create(world)
    with duckdb.connect(str(world.database)):
        failed = world.run("session-buddy", "backup", "restore", "latest", code=1)
    assert f"is held by pid {os.getpid()} " in failed.stderr
    with only_one(user_paths(world.environ), "restore"):
        failed = world.run("session-buddy", "backup", "restore", "latest", code=1)
    assert failed.stderr.startswith("Error: a server or a restore of this user is at work; ")


def test_the_database_of_a_server_that_was_started_with_another_is_named(world: World) -> None:
    world.environ["SESSION_BUDDY_BACKUP__EVERY_HOURS"] = "0"
    assert world.sessions() == []
    other = world.database.with_name("other.duckdb")
    world.environ["SESSION_BUDDY_DB_PATH"] = str(other)
    world.start_server()
    del world.environ["SESSION_BUDDY_DB_PATH"]
    (session,) = track(world)
    made = Path(world.said("session-buddy backup create").removeprefix("Backup ").strip())
    assert made.name.startswith("other-")
    code = (
        "import oneiric, sys\nwith oneiric.track_session('shop'): print('in', flush=True); sys.stdin.read()"
    )
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": world.environ}
    with subprocess.Popen([sys.executable, "-c", code], **options) as live:
        assert live.stdout is not None
        assert live.stdout.readline() == b"in\n"
        copied = (
            world.said(f"session-buddy backup create --db {world.database}").removeprefix("Backup ").strip()
        )
    assert copied.startswith(f"{made.parent}/sessions-")
    refused = world.run("session-buddy", "backup", "restore", copied, "--db", str(world.database), code=1)
    assert f", with the database {other}); stop it first" in refused.stderr
    with duckdb.connect(copied, read_only=True) as copy:
        assert copy.execute("FROM sessions").fetchall() == [], "they are the server's"
    world.stop_server()
    journal(world, session).unlink()
    other.unlink()
    listed = world.said("session-buddy backup list --db ../home/.local/share/session-buddy/other.duckdb")
    assert [line.split("\t")[0] for line in listed.splitlines()] == [made.name]
    restored = world.said(f"session-buddy backup restore {made.name} --db {other}")
    assert restored.startswith(f"Restored {made.name} into {other}: 1 session.\n")
    world.environ["SESSION_BUDDY_DB_PATH"] = str(other)
    assert session in ids(world)


def test_backups_are_listed_for_people_and_for_programs(world: World) -> None:
    assert world.said("session-buddy backup list") == ""
    first, second = old(world, 1), old(world, 2)
    plain = world.said("session-buddy backup list")
    assert plain == (
        f"{second.name}\t2025-01-02T03:04:05+00:00\t0\t{second}\n"
        f"{first.name}\t2025-01-01T03:04:05+00:00\t0\t{first}\n"
    )
    assert world.said("session-buddy backup list --format csv").splitlines()[0] == "name,made_at,bytes,path"
    assert json.loads(world.sh("session-buddy backup list --format ndjson | head -1")) == backups(world)[0]
    table = world.said("session-buddy backup list --format table").splitlines()
    assert table[0].split() == ["name", "made", "at", "bytes", "path"]
    assert table[1].split()[0] == second.name


def test_a_folder_that_cannot_be_made_is_said(world: World) -> None:
    assert ids(world) == []
    (world.database.parent / "backups").write_text("in the way\n")
    failed = world.run("session-buddy", "backup", "create", code=1)
    assert failed.stderr.startswith("Error: backup")
    world.start_server()
    log = world.checkout / "logs" / "session-buddy.log"
    eventually(lambda: "no backup could be made" in log.read_text())
    with_server = world.run("session-buddy", "backup", "create", code=1)
    assert with_server.stderr.startswith("Error: backup")
    told = status(world)
    assert "last_backup" not in told
    assert "cannot be read: Not a directory" in told["backups_error"]
    shown = world.said("session-buddy mcp status")
    assert "Last backup:      backups" in shown
    assert "none so far" not in shown
