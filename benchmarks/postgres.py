"""The history on PostgreSQL: the event path, a million sessions moved there and back, and asked."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import psycopg
from psycopg.types.string import TextLoader

from benchmarks.files import by_postgres, exported, files
from benchmarks.measure import Effort, Row, duration, median
from benchmarks.million import SESSIONS
from benchmarks.population import populate
from benchmarks.queries import COMMAND_SECONDS, commands, in_process
from benchmarks.starts import command
from benchmarks.store import Made, batched, fresh, single
from benchmarks.sums import counted, statistics
from session_buddy.history.query import Query
from session_buddy.store import Store, open_store
from session_buddy.store.rows import COLUMNS, EVENT_COLUMNS
from tests.postgres import Postgres, new_folder
from tests.world import World

_DURABLE = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "512MB", "max_wal_size": "4GB"}


def rows(world: World, effort: Effort) -> Iterator[Row]:
    """The event path beside bare commits and COPY, then a million sessions."""
    server = Postgres(new_folder(), **_DURABLE)
    server.make()
    server.start()
    try:
        server.run("CREATE DATABASE bare", "CREATE DATABASE history", "CREATE DATABASE million")
        yield from _events(server, effort)
        yield from _million(server, world, effort)
    finally:
        server.end()


def _events(server: Postgres, effort: Effort) -> Iterator[Row]:
    with (
        closing(open_store(server.url("bare"))),
        closing(open_store(server.url("history"))) as store,
        psycopg.connect(server.url("bare")) as bare,
    ):
        bare.execute("CREATE TABLE two (a text, b text)")
        bare.commit()
        yield asyncio.run(single("bare commit", store, partial(_commit, bare), effort.rounds * 20))
        yield batched("plain COPY", store, partial(_copy, bare), effort.rounds * 4)


def _commit(bare: psycopg.Connection) -> None:
    text = json.dumps(fresh())
    bare.execute("INSERT INTO two VALUES (%s, %s), (%s, %s)", ["a", text, "b", text])
    bare.commit()


def _copy(bare: psycopg.Connection, made: Made) -> None:
    tables = zip(("events", "sessions"), (EVENT_COLUMNS, COLUMNS), made, strict=True)
    with bare.cursor() as cursor:
        for table, columns, found in tables:
            with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copy:
                for row in found:
                    copy.write_row(row[: len(columns)])
    bare.commit()


def _million(server: Postgres, world: World, effort: Effort) -> Iterator[Row]:
    populate(world.database, SESSIONS)
    there, back = server.url("million"), world.home / "back.duckdb"
    sums = []
    for old, new in ((str(world.database), there), (there, str(back))):
        done = world.run("session-buddy", "migrate", "--from", old, "--to", new, timeout=3600)
        took, _, checksum = done.stdout.rpartition(" in ")[2].partition(" s; checksum ")
        sums.append(checksum)
        engine = "DuckDB" if new == str(back) else "PostgreSQL"
        yield Row(f"{SESSIONS:,} sessions moved to {engine}, and compared", f"{float(took) / 60:.1f} min")
    yield Row("the checksum there and back", sums[1].strip(), "the same", sums[0] == sums[1])
    # As the database's own upkeep leaves a table, which would else run beside what is measured.
    with psycopg.connect(there, autocommit=True) as bare:
        bare.execute("VACUUM ANALYZE")
    world.environ["SESSION_BUDDY_STORAGE_URL"] = there
    world.run("session-buddy", "mcp", "start", "--background")
    yield from commands(world, f"{SESSIONS:,} sessions on PostgreSQL", effort)
    yield from counted(world, f"{SESSIONS:,} sessions on PostgreSQL", effort)
    yield from exported(world, f"{SESSIONS:,} sessions on PostgreSQL", effort)
    world.stop_server()
    taken = median(command(world, "session-buddy", "list-sessions"), effort.rounds)
    yield duration("the newest without a server", taken, COMMAND_SECONDS)
    with closing(open_store(there)) as store, psycopg.connect(there, autocommit=True) as bare:
        bare.prepare_threshold = None
        bare.adapters.register_loader("json", TextLoader)

        def by_hand(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
            text = statement.replace("%", "%%") if values else statement
            return bare.execute(text.replace("?", "%s").encode(), values or None).fetchall()

        yield from in_process(
            store, by_hand, "origin->>'{}'", f"{SESSIONS:,} sessions on PostgreSQL", effort.rounds
        )
        yield from statistics(store, by_hand, f"{SESSIONS:,} sessions on PostgreSQL", effort.rounds)
        yield from files(store, by_postgres(bare), f"{SESSIONS:,} sessions on PostgreSQL")
        yield from _found(store, effort.rounds)


def _found(store: Store, rounds: int) -> Iterator[Row]:
    session_id = store.select(Query(limit=10_000))[-1].session_id
    for name, ref in (
        ("its id", session_id),
        ("eight digits", session_id[-8:]),
        ("a beginning", session_id[:-3]),
    ):
        taken = median(partial(store.find, ref), rounds)
        yield duration(f"{SESSIONS:,} sessions on PostgreSQL: find by {name}, in the process", taken)
