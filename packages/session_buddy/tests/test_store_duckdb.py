"""The embedded store, on real files."""

import hashlib
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from oneiric.paths import Paths
from session_buddy.errors import (
    ConfigurationError,
    NewerDatabase,
    NotADatabase,
    StoreClosed,
    StoreError,
    StoreLocked,
    StoreUnavailable,
)
from session_buddy.history.model import Beat
from session_buddy.history.query import Query
from session_buddy.store import Gap, as_file, open_file, open_known, open_store
from session_buddy.store.duckdb import DuckDBStore, opening, statements, wal
from session_buddy.store.duckdb.connection import Connection
from tests import forkserver
from tests.samples import MOMENT, arrival, end_event, session_id_of, start_event


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history" / "sessions.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[DuckDBStore]:
    opened = open_file(path)
    yield opened
    opened.close()


def started(store: DuckDBStore, count: int = 1, **changes: Any) -> list[str]:
    """Sessions a second apart, the first first; returns their ids."""
    raws = [start_event(after, **changes) for after in range(count)]
    store.ingest([arrival(raw) for raw in raws])
    return [session_id_of(raw) for raw in raws]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- opening


def test_a_new_database_is_its_users_alone(store: DuckDBStore, path: Path) -> None:
    started(store)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert str(store.url) == f"duckdb:///{path}"
    assert str(path) in repr(store)


FIRST_OPENING = """
import os, signal, sys
from oneiric.events import parse_event
from oneiric.paths import user_paths
from session_buddy.store.duckdb import opening
from session_buddy.store import open_known
def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
{patch} = kill
open_known(sys.argv[1], user_paths())
"""


@pytest.mark.parametrize(
    "patch", ["opening._migrate", "opening._marked", "os.link", "opening._connect", "opening.gap_of"]
)
def test_a_kill_at_any_moment_of_the_making_leaves_a_database_that_knows_what_is_gone(
    paths: Paths, patch: str
) -> None:
    path = paths.data / "x.duckdb"
    url = f"duckdb:///{path}"
    open_known(url, paths).close()
    path.unlink()
    command = [sys.executable, "-c", FIRST_OPENING.format(patch=patch), url]
    assert forkserver.run(command).returncode == -signal.SIGKILL
    again = as_file(open_known(url, paths))
    assert again.gap == Gap("it was here before and is gone")
    again.close()


FULL_AT_FIRST = """
import resource, sys
from session_buddy.errors import StoreUnavailable
from session_buddy.store import open_store
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    open_store(sys.argv[1])
except StoreUnavailable as error:
    print(error)
"""


@pytest.mark.parametrize("room", [0, 4096, 8192, 12288, 20_000, 300_000])
def test_a_disk_that_is_full_at_the_first_opening_leaves_nothing_behind(path: Path, room: int) -> None:
    command = [sys.executable, "-c", FULL_AT_FIRST, f"duckdb:///{path}", str(room)]
    done = forkserver.run(command)
    assert done.stdout.startswith(f"database {path} cannot be made: "), done.stderr
    assert list(path.parent.iterdir()) == []
    store = open_file(path)
    assert started(store) == list(store.statuses())
    store.close()
    assert list(path.parent.iterdir()) == [path]


def test_several_that_find_no_database_make_one(path: Path) -> None:
    code = (
        "import sys; from session_buddy.store import open_store; s = open_store(sys.argv[1], wait_seconds=60)"
    )
    command = [sys.executable, "-c", f"{code}; print(s.instance); s.close()", f"duckdb:///{path}"]
    makers = [forkserver.popen(command, stdout=subprocess.PIPE) for _ in range(5)]
    assert len({maker.communicate()[0] for maker in makers}) == 1
    assert {maker.returncode for maker in makers} == {0}
    assert list(path.parent.iterdir()) == [path]


def test_a_link_to_where_no_database_is_yet_stays_one(tmp_path: Path) -> None:
    file, link = tmp_path / "disk" / "real.duckdb", tmp_path / "x.duckdb"
    file.parent.mkdir()
    link.symlink_to(file)
    store = open_file(link)
    (session,) = started(store)
    store.close()
    assert link.is_symlink()
    again = open_file(file)
    assert again.find(session).status == "active"
    again.close()


def test_a_database_is_made_where_a_file_can_have_but_one_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refused)
    store = open_file(path)
    assert started(store) == list(store.statuses())
    store.close()
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("url", ["sqlite:///x", "x.duckdb", "duckdb:///", "duckdb://x"])
def test_an_unknown_url_is_refused(url: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"storage_url: .* duckdb:///path or postgresql://host/name is allowed"
    ):
        open_store(url)


def not_duckdb(path: Path) -> None:
    path.write_bytes(b"hello")


def empty(path: Path) -> None:
    path.touch()


def sqlite_file(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()


def somebody_elses(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE accounts (x INT)")


def somebody_elses_meta(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE meta (x INT)")


@pytest.mark.parametrize("make", [not_duckdb, empty, sqlite_file, somebody_elses, somebody_elses_meta])
def test_a_file_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "x.duckdb"
    make(path)
    before = digest(path)
    with pytest.raises(
        NotADatabase,
        match="it was left as it is; put a backup in its place: session-buddy backup restore latest, or",
    ):
        open_file(path)
    assert digest(path) == before
    assert [file.name for file in tmp_path.iterdir()] == ["x.duckdb"]


def test_a_newer_database_is_refused_and_left_as_it_is(path: Path) -> None:
    open_file(path).close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    before = digest(path)
    with pytest.raises(NewerDatabase, match=r"newer Session-Buddy \(schema 99; this knows 6\)"):
        open_file(path)
    assert digest(path) == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM meta WHERE key = 'instance'", "is damaged: it does not say its instance"),
        ("ALTER TABLE sessions DROP start_time", "start_time"),
    ],
)
def test_a_database_that_lacks_what_every_one_has_is_refused(path: Path, damage: str, said: str) -> None:
    open_file(path).close()
    with duckdb.connect(str(path)) as database:
        database.execute(damage)
    with pytest.raises(StoreError, match=said):
        open_file(path)


def test_a_folder_in_the_databases_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotADatabase, match="is no file"):
        open_file(tmp_path)


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(StoreUnavailable, match="folder /proc/nowhere cannot be made"):
        open_store("duckdb:////proc/nowhere/x.duckdb")


def test_a_damaged_file_is_refused(path: Path) -> None:
    open_file(path).close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        open_file(path)


HOLD = """
import sys
from session_buddy.store import open_store
store = open_store(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
store.close()
"""


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, f"duckdb:///{path}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_held_database_names_its_holder(path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(StoreLocked, match=f"held by pid {holder.pid} .*python.* -c"):
        open_file(path, wait_seconds=0.2)


def test_a_holder_that_lets_go_is_waited_for(path: Path, holder: subprocess.Popen[str]) -> None:
    def let_go() -> None:
        assert holder.stdin is not None
        holder.stdin.close()

    timer = threading.Timer(0.3, let_go)
    timer.start()
    open_file(path, wait_seconds=30).close()
    timer.join()


# --- what was here before


def test_a_database_that_was_here_before_and_is_gone_has_a_gap(paths: Paths) -> None:
    path = paths.data / "x.duckdb"
    url = f"duckdb:///{path}"
    for _ in range(2):
        store = as_file(open_known(url, paths))
        assert store.gap is None, "new, then known"
        store.close()
    path.unlink()
    again = as_file(open_known(url, paths))
    assert again.gap == Gap("it was here before and is gone")
    again.close()
    remembered = paths.state / "session-buddy" / "databases"
    assert remembered.read_text() == f"{url}\n"
    assert stat.S_IMODE(remembered.stat().st_mode) == 0o600
    assert [file.name for file in remembered.parent.iterdir()] == ["databases"]


def test_few_databases_are_remembered(paths: Paths) -> None:
    remembered = paths.state / "session-buddy" / "databases"
    remembered.parent.mkdir(parents=True)
    remembered.write_text("".join(f"duckdb:////old/{number}\n" for number in range(100)))
    open_known(f"duckdb:///{paths.data}/x.duckdb", paths).close()
    first, second, *others = remembered.read_text().splitlines()
    assert (first, second) == ("duckdb:////old/0", f"duckdb:///{paths.data}/x.duckdb")
    assert others == [f"duckdb:////old/{number}" for number in range(1, 99)]


def test_a_state_folder_that_cannot_be_used_makes_every_database_new(paths: Paths) -> None:
    path = paths.data / "x.duckdb"
    broken = paths._replace(state=Path("/proc/nowhere"))
    for _ in range(2):
        store = as_file(open_known(f"duckdb:///{path}", broken))
        assert store.gap is None
        store.close()
        path.unlink()


# --- trouble


def test_a_log_that_cannot_be_set_aside_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_log(path)
    aside: Any = wal.set_aside
    monkeypatch.setattr(opening, "set_aside", lambda log: log)
    with pytest.raises(
        StoreUnavailable, match=r"log cannot be replayed, nor be done without: .*; put a backup in its place"
    ):
        open_file(path)

    def refused(log: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(opening, "set_aside", refused)
    with pytest.raises(StoreUnavailable, match="Permission denied"):
        open_file(path)
    monkeypatch.setattr(opening, "set_aside", aside)
    store = open_file(path)
    assert store.gap is not None
    assert store.gap.reason == "its write-ahead log could not be replayed"
    store.close()


def test_what_is_lacking_is_known_until_it_is_made_up_for(path: Path) -> None:
    broken_log(path)
    url = f"duckdb:///{path}"
    store = as_file(open_store(url))
    first = store.gap
    assert first is not None
    assert len(first.sessions) >= 29
    store.ingest([arrival(start_event(500))])
    store.close()
    again = as_file(open_store(url))
    assert again.gap == first, "closed in good order, but nothing came back"
    again.close()
    # Killed, too: what both logs held is to be looked for.
    code = f"""
import os
from session_buddy.store import open_store
from tests.samples import arrival, session_id_of, start_event
start = start_event(501)
store = open_store("{url}")
store.ingest([arrival(start)])
print(session_id_of(start), end="", flush=True)
os._exit(9)
"""
    done = forkserver.run([sys.executable, "-c", code])
    third = as_file(open_store(url))
    assert lacking(third) == first._replace(sessions=(*first.sessions, done.stdout))
    third.forget_gap()
    assert lacking(third) is None
    third.close()
    last = as_file(open_store(url))
    assert last.gap is None
    last.close()


def lacking(store: DuckDBStore) -> Gap | None:
    return store.gap


@pytest.mark.parametrize("whole", [True, False])
def test_a_log_stays_where_the_database_cannot_be_told_what_it_lacks(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, whole: bool
) -> None:
    (killed if whole else broken_log)(path)
    marked: Any = statements.mark

    def full(*_: object) -> None:
        raise duckdb.IOException("No space left on device")

    monkeypatch.setattr(opening, "mark", full)
    with pytest.raises(StoreUnavailable, match=r"cannot be written: .*No space left"):
        open_file(path)
    monkeypatch.setattr(opening, "mark", marked)
    store = open_file(path)
    assert store.gap is not None
    assert len(store.gap.sessions) >= 29
    store.close()


def test_a_log_of_another_time_is_set_aside(path: Path) -> None:
    killed(path)
    log = path.with_name(f"{path.name}.wal")
    left = log.read_bytes()
    store = open_file(path)
    store.forget_gap()
    store.close()
    log.write_bytes(left)
    again = open_file(path)
    assert again.gap is not None
    assert again.gap.reason == "its write-ahead log could not be replayed"
    assert sorted(again.statuses()) == sorted(again.gap.sessions)
    again.close()


def killed(path: Path) -> None:
    """A database whose process was killed."""
    code = f"""
import os, signal
from session_buddy.store import open_store
from tests.samples import arrival, start_event
store = open_store("duckdb:///{path}")
for number in range(30):
    store.ingest([arrival(start_event(number))])
os.kill(os.getpid(), signal.SIGKILL)
"""
    forkserver.run([sys.executable, "-c", code])


def broken_log(path: Path) -> None:
    """A database whose process was killed, and whose log was damaged since."""
    killed(path)
    log = path.with_name(f"{path.name}.wal")
    content = bytearray(log.read_bytes())
    # Within an event: a log whose parts have no sensible length counts as one that ends there.
    middle = content.index(b'"environment":', len(content) // 2)
    content[middle : middle + 50] = b"\xff" * 50
    log.write_bytes(content)


def test_who_closes_waits_for_no_query(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    connection = Connection(path, duckdb.connect(":memory:"), lambda _: None, query_seconds=60)
    begun, said = threading.Event(), []

    def ask() -> None:
        try:
            while True:
                with connection.reading() as cursor:
                    begun.set()
                    cursor.execute(
                        "SELECT count(*) FROM range(1_000_000_000) one(i) WHERE sin(i) > 2"
                    ).fetchall()
        except StoreClosed as error:
            said.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    assert begun.wait(60)
    connection.close()
    asking.join()
    assert said == [f"database {path} was closed"]


def test_a_closed_store_says_so(store: DuckDBStore) -> None:
    store.close()
    for call in (store.live, store.count_live, lambda: store.ingest([arrival(start_event())])):
        with pytest.raises(StoreClosed, match="was closed"):
            call()


FULL_DISK = """
import resource, sys
from session_buddy.errors import StoreUnavailable
from session_buddy.history.query import Query
from session_buddy.store import open_store
from tests.samples import arrival, start_event

store = open_store(sys.argv[1])
store.ingest([arrival(start_event(i)) for i in range(50)])
size = 64 * 1024
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
refused = 0
for number in range(200):
    try:
        first = 1000 + 10 * number
        store.ingest([arrival(start_event(first + i, metadata={"x": "y" * 9000})) for i in range(10)])
    except StoreUnavailable as error:
        refused += 1
        print(error)
        break
assert refused, "the disk was never full"
assert len(store.select(Query(limit=10000))) >= 50
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.ingest([arrival(start_event(100_000))])
before = len(store.select(Query(limit=10000)))
store.close()
again = open_store(sys.argv[1])
assert len(again.select(Query(limit=10000))) == before, "something was lost"
again.close()
print("recovered")
"""


def test_a_full_disk_is_said_and_survived(path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, f"duckdb:///{path}"]
    done = forkserver.run(command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cannot be written" in done.stdout
    assert done.stdout.endswith("recovered\n")


def test_what_the_database_cannot_take_is_a_store_error(store: DuckDBStore) -> None:
    with pytest.raises(StoreError) as caught:
        store.touch([Beat(started(store)[0], MOMENT, 2**70, 0, None)])
    assert type(caught.value) is StoreError
    assert store.count_live() == 1


def test_a_damaged_database_is_not_taken_for_a_bad_event(path: Path) -> None:
    open_file(path).close()
    with duckdb.connect(str(path)) as database:
        database.execute("ALTER TABLE sessions DROP component")
    store = open_file(path)
    for count in (1, 30):
        with pytest.raises(StoreUnavailable, match=r"cannot be written: .*component"):
            started(store, count)
    store.close()


def test_a_kill_loses_nothing_that_was_acknowledged(path: Path) -> None:
    code = f"""
import os, signal
from session_buddy.store import open_store
from tests.samples import arrival, start_event
store = open_store("duckdb:///{path}")
for number in range(30):
    store.ingest([arrival(start_event(number))])
    print(number, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = forkserver.run([sys.executable, "-c", code])
    assert len(done.stdout.split()) == 30
    again = open_file(path)
    assert len(again.select(Query())) == 30
    again.close()


def test_a_connection_that_broke_is_opened_again(path: Path) -> None:
    store = DuckDBStore.open(path)
    (session,) = started(store)
    connection = store._connection
    assert connection._database is not None
    connection._writer.close()
    connection._database.close()
    with pytest.raises(StoreUnavailable, match="cannot be read: "):
        store.find(session)
    assert store.find(session).status == "active"
    assert store.ingest([arrival(end_event(session))])[0].verdict == "stored"
    store.close()
