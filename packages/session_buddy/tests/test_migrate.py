"""A history that is taken from one engine to the other, and back."""

import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from session_buddy.errors import MigrationRefused
from session_buddy.history.query import Query
from session_buddy.host.server_file import ServerInfo
from session_buddy.keep.migrate import merge, migrate, steps
from session_buddy.store import Store, open_file, open_store
from tests.engines import Engine, PostgresDatabase
from tests.samples import arrival, end_event, heartbeat_event, session_id_of, start_event

Cli = Callable[..., subprocess.CompletedProcess[str]]
ALL = Query(limit=10_000)


def fill(store: Store, sessions: int, first: int = 0) -> None:
    """Sessions of all sorts: live, ended, woken, with letters of every kind, and an end without a start."""
    chance = random.Random(first)  # noqa: S311 - two runs are the same
    raws = [start_event(first + number, reason="é\u2028𝄞") for number in range(sessions)]
    store.ingest([arrival(raw, f"subject {number % 3}") for number, raw in enumerate(raws)])
    for raw in raws:
        session = session_id_of(raw)
        kinds = [
            end_event(session, 99, metadata={"é": [1, None]}),
            end_event(session, 10, exit_reason="lease_expired", status="crashed"),
            heartbeat_event(session, 40, commands=3) | {"elapsed_seconds": 40.25},
        ]
        said = chance.sample(kinds, chance.randint(0, 3))
        store.ingest([arrival(one, "root", by_admin=True) for one in said])
    store.ingest([arrival(end_event(f"shop-20260102-0304{first % 60:02}-0a0b0c0d"))])


@pytest.fixture
def source(engine: Engine) -> Iterator[Store]:
    with closing(open_store(engine.url)) as store:
        fill(store, 30)
        yield store


@contextmanager
def opened(where: str, tmp_path: Path, database: PostgresDatabase) -> Iterator[Store]:
    with closing(
        open_file(tmp_path / "there.duckdb") if where == "duckdb" else open_store(database.url)
    ) as there:
        yield there


@pytest.mark.parametrize("where", ["duckdb", "postgresql"])
def test_all_is_there_as_it_was(source: Store, where: str, tmp_path: Path, second: PostgresDatabase) -> None:
    done: list[int] = []
    with opened(where, tmp_path, second) as target:
        moved = migrate(source, target, done.append)
        assert (moved.sessions.rows, sum(done)) == (31, steps(source))
        assert target.select(ALL) == source.select(ALL)
        # And goes on as any other.
        (live, *_) = target.live()
        assert (
            target.ingest([arrival(end_event(live.session_id), "root", by_admin=True)])[0].verdict == "stored"
        )
        with pytest.raises(MigrationRefused, match="has sessions; to add to them: --merge"):
            migrate(source, target, done.append)


@pytest.mark.parametrize("where", ["duckdb", "postgresql"])
def test_two_histories_become_one(
    source: Store, where: str, tmp_path: Path, second: PostgresDatabase
) -> None:
    with opened(where, tmp_path, second) as target:
        fill(target, 10, first=500)
        before = {row.session_id: row for row in target.select(ALL)}
        for _ in range(2):
            merge(source, target, lambda _: None)
            rows = {row.session_id: row for row in target.select(ALL)}
            assert rows == before | {row.session_id: row for row in source.select(ALL)}


@pytest.mark.parametrize("where", ["duckdb", "postgresql"])
def test_what_breaks_off_leaves_nothing(
    source: Store, where: str, tmp_path: Path, second: PostgresDatabase
) -> None:
    def broken(_rows: int) -> None:
        raise KeyboardInterrupt

    with opened(where, tmp_path, second) as target:
        with pytest.raises(KeyboardInterrupt):
            migrate(source, target, broken)
        assert (target.select(ALL), target.statuses()) == ([], {})
        migrate(source, target, lambda _: None)
        assert target.select(ALL) == source.select(ALL)


def test_there_and_back_the_checksum_is_the_same(cli: Cli, home: Path, database: PostgresDatabase) -> None:
    with closing(open_file(home / "a.duckdb")) as store:
        fill(store, 20)
    there = cli("migrate", "--from", "a.duckdb", "--to", database.url.whole)
    back = cli("migrate", "--from", database.url.whole, "--to", "b.duckdb")
    assert (there.returncode, back.returncode, there.stderr, back.stderr) == (0, 0, "", "")
    assert "21 sessions and " in there.stdout
    assert there.stdout.rpartition("checksum ")[2] == back.stdout.rpartition("checksum ")[2]


def test_what_cannot_be_taken_is_said_in_a_line(cli: Cli, home: Path, server: ServerInfo) -> None:
    open_file(home / "a.duckdb").close()
    said: dict[str, Any] = {
        "name one database": ("a.duckdb", "a.duckdb"),
        "database nowhere.duckdb is not there".replace("nowhere", f"{home}/nowhere"): (
            "nowhere.duckdb",
            "b.duckdb",
        ),
        "stop it first: session-buddy mcp stop": (server.database, "b.duckdb"),
        "storage_url: ": ("mysql://ada:geheim@h/d", "b.duckdb"),
    }
    for line, (old, new) in said.items():
        done = cli("migrate", "--from", old, "--to", new)
        assert (done.returncode, done.stderr.count("\n"), line in done.stderr) == (1, 1, True), done.stderr
        assert "geheim" not in done.stderr
    assert not (home / "b.duckdb").exists()
