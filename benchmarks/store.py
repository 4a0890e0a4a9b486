"""The server's side: single calls and batches, beside an empty FastMCP tool and bare DuckDB."""

import asyncio
import gc
import inspect
import itertools
import json
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import duckdb
from fastmcp import FastMCP

from benchmarks.measure import Effort, Row, pairs, seconds
from oneiric.testing import start_event
from oneiric.transport import PROTOCOL_VERSION
from session_buddy.access.callers import local_caller
from session_buddy.access.keyring import Keyring
from session_buddy.history.fold import fold
from session_buddy.intake.admission import validate
from session_buddy.intake.presence import Presence
from session_buddy.intake.writer import Writer
from session_buddy.server.app import MCP_PATH, mcp_app
from session_buddy.server.front import Front
from session_buddy.server.gate import Authenticator, Gate
from session_buddy.server.mcp.tracking import Tracking
from session_buddy.server.register import Register
from session_buddy.server.wiring import COLLECT_AFTER
from session_buddy.store import Store, open_store
from session_buddy.store.duckdb.schema import MIGRATIONS
from session_buddy.store.duckdb.statements import ROW_COLUMNS, insert, transaction, values_of
from session_buddy.store.rows import EVENT_COLUMNS, Values, event_values
from tests.world import World

Made = tuple[list[Values], list[Values]]

BATCH = 500
LEAST = 0.5
MOST = 1.5

_number = itertools.count()
SOCKET = Path("/benchmark.sock")
META = {
    "io.modelcontextprotocol/protocolVersion": PROTOCOL_VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def rows(world: World, effort: Effort) -> Iterator[Row]:
    """Both bars of the event path."""
    folder = world.database.parent
    folder.mkdir(parents=True)
    with (
        closing(open_store(f"duckdb:///{folder}/single.duckdb")) as store,
        closing(duckdb.connect(str(folder / "bare.duckdb"))) as bare,
    ):
        bare.execute("CREATE TABLE events(a VARCHAR, b VARCHAR); CREATE TABLE sessions(a VARCHAR, b VARCHAR)")
        yield asyncio.run(
            single("bare two-row transaction", store, partial(_two_rows, bare), effort.rounds * 20)
        )
    with (
        closing(open_store(f"duckdb:///{folder}/batch.duckdb")) as store,
        closing(duckdb.connect(str(folder / "bare-batch.duckdb"))) as bare,
    ):
        for step in MIGRATIONS:
            bare.execute(step)
        yield batched("bare DuckDB inserts", store, partial(_insert, bare), effort.rounds * 4)
        row_by_row = _seconds_row_by_row(bare)
        yield Row("the same rows by DuckDB's executemany", f"{BATCH / row_by_row:,.0f} events/s")


def fresh() -> dict[str, Any]:
    """A start that nobody has seen, also among thousands in its second: an id has eight of these digits."""
    event_id = f"{next(_number):08x}{str(uuid.uuid4())[8:]}"
    return start_event(event_id=event_id, timestamp=datetime.now(UTC).isoformat())


async def single(beside: str, store: Store, bare: Callable[[], object], calls: int) -> Row:
    """One ``track_session_start`` call, door to disk, against its parts done empty and bare."""
    presence = Presence()
    with Writer(store, presence) as writer:
        keeper = Authenticator(Keyring(["s" * 40]))
        ours: Any
        ours, _ = mcp_app(Register(store, writer, presence), keeper)
        empty = _empty_tool(keeper)
        async with AsyncExitStack() as stack:
            for app in (ours, empty):
                await stack.enter_async_context(app.router.lifespan_context(app))
            whole = Front(ours, MCP_PATH, ours, [])
            real, nothing = (partial(_call, Gate(app, keeper.local_token)) for app in (whole, empty))
            taken: dict[str, list[float]] = {"ours": [], "empty": [], "bare": []}
            with _collecting_as_the_server_does():
                for turn in range(calls):
                    # In any order: who runs behind its like finds the processor's caches filled.
                    for name in Random(turn).sample(list(taken), len(taken)):  # noqa: S311 - no secret
                        if name == "bare":
                            taken[name].append(seconds(bare))
                        else:
                            taken[name].append(await _timed(real if name == "ours" else nothing))
    ours_ms, empty_ms, bare_ms = (statistics.median(taken[name]) * 1000 for name in ("ours", "empty", "bare"))
    figure = ours_ms / (empty_ms + bare_ms)
    shown = f"{figure:.2f} times ({ours_ms:.1f} ms; empty tool {empty_ms:.1f} + bare {bare_ms:.1f} ms)"
    return Row(
        f"one track_session_start / (empty FastMCP tool + {beside})", shown, f"≤ {MOST}", figure <= MOST
    )


def _empty_tool(keeper: Authenticator) -> Any:  # noqa: ANN401 - a Starlette application
    mcp: FastMCP[Any] = FastMCP("empty", auth=keeper, dereference_schemas=False)
    signature = inspect.signature(Tracking.track_session_start)
    parameters = [one for name, one in signature.parameters.items() if name != "self"]

    async def track_session_start(**_arguments: object) -> dict[str, str]:
        return {}

    answer = signature.replace(parameters=parameters, return_annotation=dict[str, str])
    track_session_start.__signature__ = answer  # type: ignore[attr-defined]
    annotations = {one.name: one.annotation for one in parameters}
    track_session_start.__annotations__ = annotations | {"return": dict[str, str]}
    mcp.tool(track_session_start)
    return mcp.http_app(path="/mcp", json_response=True, stateless_http=True, host_origin_protection=True)


async def _timed(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    await call()
    return time.perf_counter() - begun


async def _call(app: Any) -> None:  # noqa: ANN401 - an ASGI application
    """One POST straight into an ASGI application, as the socket's door hands it in."""
    params = {"name": "track_session_start", "arguments": fresh(), "_meta": META}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    headers = {
        "host": "localhost",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": PROTOCOL_VERSION,
        "mcp-method": "tools/call",
        "mcp-name": "track_session_start",
        "content-length": str(len(body)),
    }
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/mcp",
        "raw_path": b"/mcp",
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": None,
        "server": (str(SOCKET), None),
    }
    sent: list[dict[str, Any]] = []
    asked = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        return next(asked, {"type": "http.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answer = json.loads(b"".join(message.get("body", b"") for message in sent))
    if answer["result"].get("isError"):
        raise RuntimeError(answer)


def _two_rows(bare: duckdb.DuckDBPyConnection) -> None:
    text = json.dumps(fresh())
    bare.execute("BEGIN")
    bare.execute("INSERT INTO events VALUES (?, ?)", ["a", text])
    bare.execute("INSERT INTO sessions VALUES (?, ?)", ["a", text])
    bare.execute("COMMIT")


def batched(beside: str, store: Store, bare: Callable[[Made], None], rounds: int) -> Row:
    """500 events as ``track_events`` takes them, against bare inserts of the same rows into both tables."""
    raw = iter([[fresh() for _ in range(BATCH)] for _ in range(rounds + 1)])
    made = iter([_made_rows() for _ in range(rounds + 1)])

    def ours() -> None:
        delivery = validate(next(raw), local_caller(), datetime.now(UTC))
        delivery.results(store.ingest(delivery.arrivals))

    with _collecting_as_the_server_does():
        ours_time, bare_time = pairs(ours, lambda: bare(next(made)), rounds)
    share = bare_time / ours_time
    figure = f"{share:.2f} ({BATCH / ours_time:,.0f} events/s; bare {BATCH / bare_time:,.0f})"
    return Row(f"track_events with 500 events, events/s / {beside}", figure, f"≥ {LEAST}", share >= LEAST)


def _insert(bare: duckdb.DuckDBPyConnection, made: Made) -> None:
    events, sessions = made
    with transaction(bare):
        insert(bare, "events", EVENT_COLUMNS, events)
        insert(bare, "sessions", ROW_COLUMNS, sessions)


@contextmanager
def _collecting_as_the_server_does() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _seconds_row_by_row(bare: duckdb.DuckDBPyConnection) -> float:
    """The same rows as DuckDB's own ``executemany`` inserts them."""
    tables = zip(("events", "sessions"), (EVENT_COLUMNS, ROW_COLUMNS), _made_rows(), strict=True)
    begun = time.perf_counter()
    with transaction(bare):
        for table, columns, rows in tables:
            marks = ", ".join("?" * len(columns))
            into = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names
            bare.executemany(into, rows)
    return time.perf_counter() - begun


def _made_rows() -> Made:
    """The rows of both tables, made beforehand."""
    arrivals = validate([fresh() for _ in range(BATCH)], local_caller(), datetime.now(UTC)).arrivals
    rows = [fold(None, arrival).row for arrival in arrivals]
    return [event_values(one) for one in arrivals], [values_of(row) for row in rows if row is not None]
