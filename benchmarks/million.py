"""A million sessions: the commands that ask for some of them, and the queries behind, beside bare DuckDB."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import duckdb

from benchmarks.files import by_duckdb, exported, files
from benchmarks.measure import Effort, Row, duration, median, seconds
from benchmarks.population import populate
from benchmarks.queries import commands, in_process
from benchmarks.starts import command
from benchmarks.sums import counted, statistics
from session_buddy.history.query import Query
from session_buddy.store import Store, open_store
from session_buddy.store.duckdb.opening import CONFIG
from tests.world import World

SESSIONS = 1_000_000
# By its last eight digits, among so many.
FIND_SECONDS = {SESSIONS: 0.005, 10 * SESSIONS: 0.030}


def rows(world: World, effort: Effort) -> Iterator[Row]:
    """Whole commands with and without a server, then the queries alone."""
    made = seconds(lambda: populate(world.database, SESSIONS))
    megabytes = world.database.stat().st_size / 1_000_000
    yield Row(f"{SESSIONS:,} sessions made with SQL", f"{made:.0f} s, {megabytes:.0f} MB")

    yield duration(f"{SESSIONS:,} sessions: server start in the background", seconds(world.start_server))
    yield from commands(world, f"{SESSIONS:,} sessions on DuckDB", effort)
    yield from counted(world, f"{SESSIONS:,} sessions on DuckDB", effort)
    yield from exported(world, f"{SESSIONS:,} sessions on DuckDB", effort)
    world.stop_server()
    taken = median(command(world, "session-buddy", "list-sessions"), effort.rounds)
    yield duration(f"{SESSIONS:,} sessions: list-sessions, no server", taken)
    yield from queries(world, SESSIONS, effort.rounds)
    world.database.unlink()
    # Ten times as many: figures without a bar, but for one.
    populate(world.database, 10 * SESSIONS)
    world.start_server()
    yield from map(_without_bar, commands(world, f"{10 * SESSIONS:,} sessions on DuckDB", effort))
    world.stop_server()
    for row in queries(world, 10 * SESSIONS, effort.rounds):
        yield row if "find by" in row.what else _without_bar(row)


def _without_bar(row: Row) -> Row:
    return row._replace(bar="", within=None)


def found(store: Store, sessions: int, rounds: int) -> Iterator[Row]:
    """Look-ups of one that is neither among the newest nor the oldest."""
    session_id = store.select(Query(limit=10_000))[-1].session_id
    for name, ref, bar in (
        ("its id", session_id, None),
        ("its last eight digits", session_id[-8:], FIND_SECONDS[sessions]),
    ):
        taken = median(lambda: store.find(ref), rounds)  # noqa: B023 - called here
        yield duration(f"{sessions:,} sessions: find by {name}, in the process", taken, bar)


def queries(world: World, sessions: int, rounds: int) -> Iterator[Row]:
    """The store's select in turns with SQL by hand on a bare connection to the same file."""
    with (
        closing(open_store(f"duckdb:///{world.database}")) as store,
        closing(duckdb.connect(str(world.database), config=CONFIG)) as bare,
    ):

        def by_hand(statement: str, values: Sequence[datetime]) -> list[tuple[Any, ...]]:
            # As the columns have them: UTC without saying so.
            return bare.execute(
                statement, [time.astimezone(UTC).replace(tzinfo=None) for time in values]
            ).fetchall()

        yield from in_process(store, by_hand, "origin->>'$.{}'", f"{sessions:,} sessions on DuckDB", rounds)
        yield from statistics(store, by_hand, f"{sessions:,} sessions on DuckDB", rounds)
        if sessions == SESSIONS:
            yield from files(store, by_duckdb(bare), f"{sessions:,} sessions on DuckDB")
        yield from found(store, sessions, rounds)
