"""A million sessions: the commands that ask for some of them, and the queries behind, beside bare DuckDB."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, cast

import duckdb

from benchmarks.measure import Effort, Row, duration, median, pairs, seconds
from benchmarks.population import populate
from benchmarks.starts import command
from session_buddy.history.query import Clock, Query
from session_buddy.store import Store, open_store
from session_buddy.store.duckdb import DuckDBStore
from session_buddy.store.duckdb.opening import CONFIG
from session_buddy.store.duckdb.statements import Cursor, fetch
from session_buddy.store.sql import of_query
from tests.world import World

SESSIONS = 1_000_000
COMMAND_SECONDS = 0.8
MOST = 1.3
# By its last eight digits, among so many.
FIND_SECONDS = {SESSIONS: 0.005, 10 * SESSIONS: 0.030}


def rows(world: World, effort: Effort) -> Iterator[Row]:
    """Whole commands with and without a server, then the queries alone."""
    made = seconds(lambda: populate(world.database, SESSIONS))
    megabytes = world.database.stat().st_size / 1_000_000
    yield Row(f"{SESSIONS:,} sessions made with SQL", f"{made:.0f} s, {megabytes:.0f} MB")

    yield duration(f"{SESSIONS:,} sessions: server start in the background", seconds(world.start_server))
    session_id = world.sessions("--limit", "10000")[-1]["session_id"]
    commands = {
        "list-sessions": ("list-sessions",),
        "show-session, by id": ("show-session", session_id),
        "show-session, by its last eight digits": ("show-session", session_id[-8:]),
    }
    for name, words in commands.items():
        taken = median(command(world, "session-buddy", *words), effort.rounds)
        yield duration(f"{SESSIONS:,} sessions: {name}, server running", taken, COMMAND_SECONDS)
    world.stop_server()
    taken = median(command(world, "session-buddy", "list-sessions"), effort.rounds)
    yield duration(f"{SESSIONS:,} sessions: list-sessions, no server", taken)
    yield from queries(world, effort.rounds)
    world.database.unlink()
    populate(world.database, 10 * SESSIONS)
    with closing(open_store(f"duckdb:///{world.database}")) as store:
        yield from found(store, 10 * SESSIONS, effort.rounds)


def found(store: Store, sessions: int, rounds: int) -> Iterator[Row]:
    """Look-ups of one that is neither among the newest nor the oldest."""
    session_id = store.select(Query(limit=10_000))[-1].session_id
    for name, ref, bar in (
        ("its id", session_id, None),
        ("its last eight digits", session_id[-8:], FIND_SECONDS[sessions]),
    ):
        taken = median(lambda: store.find(ref), rounds)  # noqa: B023 - called here
        yield duration(f"{sessions:,} sessions: find by {name}, in the process", taken, bar)


def queries(world: World, rounds: int) -> Iterator[Row]:
    """The store's select in turns with its own SQL on a bare connection to the same file."""
    with (
        closing(open_store(f"duckdb:///{world.database}")) as store,
        closing(duckdb.connect(str(world.database), config=CONFIG)) as bare,
    ):
        for name, query in (("the newest 50", Query()), ("the active", query_of("status:active"))):
            ours, theirs = pairs(lambda: store.select(query), asked(bare, query), rounds)  # noqa: B023 - called here
            figure = f"{ours / theirs:.2f} times ({ours * 1000:.1f} ms, DuckDB {theirs * 1000:.1f} ms)"
            yield Row(
                f"{SESSIONS:,} sessions: select of {name} / the same SQL on bare DuckDB",
                figure,
                f"≤ {MOST}",
                ours / theirs <= MOST,
            )
        yield from found(store, SESSIONS, rounds)


def query_of(text: str) -> Query:
    """A query, asked now."""
    return Query.parse(text, clock=Clock(datetime.now(UTC)))


def asked(bare: duckdb.DuckDBPyConnection, query: Query) -> Callable[[], object]:
    """What the store asks its database for a query, asked of a bare connection."""
    overheard = Overheard(bare)
    fetch(cast("Cursor", overheard), *of_query(query, DuckDBStore.json_at))
    return lambda: [bare.execute(sql, parameters).fetchall() for sql, parameters in overheard.statements]


class Overheard:
    """A connection that remembers what it was asked."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.statements: list[tuple[str, list[Any]]] = []

    def extract_statements(self, sql: str) -> list[duckdb.Statement]:
        """Parse, as the connection does."""
        return self._connection.extract_statements(sql)

    def execute(
        self, statement: str | duckdb.Statement, parameters: Sequence[Any] = ()
    ) -> duckdb.DuckDBPyConnection:
        """Pass the statement on; its text is remembered, parsed or not."""
        sql = statement if isinstance(statement, str) else statement.query
        self.statements.append((sql, list(parameters)))
        return self._connection.execute(statement, list(parameters))
