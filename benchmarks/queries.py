"""Each key of a query on a million sessions: beside SQL by hand, as a whole command, while events come in."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from benchmarks.measure import Effort, Row, duration, median, pairs
from benchmarks.starts import command
from oneiric import contract
from oneiric.testing import start_event
from oneiric.transport import call_tool
from session_buddy.access.callers import local_caller
from session_buddy.history.cursor import Cursor
from session_buddy.history.model import SessionRow
from session_buddy.history.query import Clock, Query
from session_buddy.intake.admission import validate
from session_buddy.store import Store
from session_buddy.store.rows import COLUMNS, row_from
from tests.world import World

MOST = 1.3
COMMAND_SECONDS = 0.8
WHO_SECONDS = 0.3
# So many events come in a second, in so many calls.
MINUTE = timedelta(minutes=1)
EVENTS_A_SECOND, CALLS_A_SECOND = 200, 10

SELECT = f"SELECT {', '.join(COLUMNS)} FROM sessions WHERE status IS NOT NULL AND "  # noqa: S608 - names of columns
NEWEST = " ORDER BY listed_at DESC, session_id DESC LIMIT 50"
WORDS = "concat(' ', translate(reason, '.,;:()', '      '), ' ')"
# Whether an active one has lasted so long; where its clock was set, what its shell counted is believed.
LASTS = """CASE WHEN abs(extract(epoch FROM (last_seen - start_time)) - elapsed_seconds) > 5
        OR extract(epoch FROM (start_time - received_at)) > 5
    THEN elapsed_seconds > {0} ELSE start_time < ? END"""
LASTED = f"duration_seconds > {{0}} OR (duration_seconds IS NULL AND {LASTS})"
IDLES = "coalesce(last_activity, CASE WHEN commands >= 0 THEN start_time END) < ?"
# What asks a database for rows: a statement, and its parameters.
ByHand = Callable[[str, Sequence[datetime]], Sequence[Any]]
Asked = tuple[str, str, list[datetime]]


def query_of(text: str) -> Query:
    """A query, asked now."""
    return Query.parse(text, clock=Clock(datetime.now(UTC)))


def asked(now: datetime, session_id: str, origin: str) -> list[Asked]:
    """Queries with what an engineer would write by hand; ``origin`` is a value of that, by its name."""
    recent, old = now - timedelta(hours=5), now - timedelta(days=200)
    metadata = origin.replace("origin", "metadata")
    day = timedelta(days=1)
    return [
        ("", "true", []),
        ("user:user7", "'user7' IN (username, person, sudo_user)", []),
        ("user:nobody", "'nobody' IN (username, person, sudo_user)", []),
        ("account:user7", "username = 'user7'", []),
        ("uid:0", "uid = 0", []),
        ("host:host7", "hostname = 'host7'", []),
        ("host:host99*", "hostname LIKE 'host99%'", []),
        ("component:shop", "component = 'shop'", []),
        ("type:repl", "session_type = 'repl'", []),
        ("shell:*REPL", "shell_type LIKE '%REPL'", []),
        ("folder:/nowhere*", "cwd LIKE '/nowhere%'", []),
        ("pid:7", "pid = 7", []),
        ("status:active", "status = 'active'", []),
        ("status:lost", "status = 'lost'", []),
        ("-status:ended", "status <> 'ended'", []),
        ("exit:sigterm", "exit_reason = 'sigterm'", []),
        ("exit:>0", "exit_code > 0", []),
        ("actor:agent", "actor = 'agent'", []),
        ("agent:cline", "agent = 'cline'", []),
        ("reason:OPS-7", f"{WORDS} LIKE '% OPS-7 %'", []),
        ("reason:OPS-x", f"{WORDS} LIKE '% OPS-x %'", []),
        (f"parent:{session_id}", f"parent_session_id = '{session_id}'", []),
        (f"id:{session_id}", f"session_id = '{session_id}'", []),
        (f"id:{session_id[-8:]}", f"right(session_id, 8) = '{session_id[-8:]}'", []),
        ("tty:pts/77", f"{origin.format('tty')} = '/dev/pts/77'", []),
        ("from:10.9.*", f"{origin.format('ssh_client')} LIKE '10.9.%'", []),
        ("duration:>115m", LASTED.format(6900), [now - 115 * MINUTE]),
        ("duration:>2d", LASTED.format(172_800), [now - 2 * day]),
        ("idle:>1h", f"status = 'active' AND {IDLES} AND {LASTS.format(3600)}", [now - 60 * MINUTE] * 2),
        ("commands:>5", "counted_commands > 5 OR commands > 5", []),
        ("errors:>0", "counted_errors > 0 OR errors > 0", []),
        (f"started:{old:%Y-%m-%d}", "listed_at >= ? AND listed_at < ?", [midnight(old), midnight(old) + day]),
        ("ended:>5h", "listed_until > ?", [recent]),
        (
            f'at:"{recent.isoformat()}"',
            "listed_at <= ? AND (listed_until >= ? OR listed_until IS NULL)",
            [recent, recent],
        ),
        (
            f'at:"{old.isoformat()}"',
            "listed_at <= ? AND (listed_until >= ? OR listed_until IS NULL)",
            [old, old],
        ),
        ("metadata.version:9.9", f"{metadata.format('version')} = '9.9'", []),
        ("user299", "search_text LIKE '%user299%'", []),
        ("nowhere", "search_text LIKE '%nowhere%'", []),
        (
            "host:host7 component:shop -status:active",
            "hostname = 'host7' AND component = 'shop' AND status <> 'active'",
            [],
        ),
    ]


def midnight(time: datetime) -> datetime:
    """The beginning of its day on this machine."""
    return time.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)


def in_process(store: Store, by_hand: ByHand, origin: str, what: str, rounds: int) -> Iterator[Row]:
    """The store's select in turns with SQL by hand, while events come in to the same database."""
    newest = store.select(Query(limit=5050))
    session_id = newest[-1].session_id
    place = Cursor(newest[4999].listed_at, newest[4999].session_id)
    hundredth = replace(Query(), behind=place)
    by_place = f"listed_at <= ? AND (listed_at, session_id) < (?, '{place.session_id}')"
    every = [
        (text, query_of(text), where, values)
        for text, where, values in asked(datetime.now(UTC), session_id, origin)
    ]
    every.append(("the hundredth page", hundredth, by_place, [place.listed_at] * 2))

    def theirs(where: str, values: Sequence[datetime]) -> list[SessionRow]:
        return [row_from(row) for row in by_hand(f"{SELECT}({where}){NEWEST}", values)]

    for text, query, where, values in every:
        if _ids(theirs(where, values)) != _ids(store.select(query)):
            raise RuntimeError(f"{text}: by hand it finds something else")
    with coming_in(lambda events: store.ingest(validate(events, local_caller(), datetime.now(UTC)).arrivals)):
        for text, query, where, values in every:
            ours, hand = pairs(partial(store.select, query), partial(theirs, where, values), rounds)
            figure = f"{ours / hand:.2f} times ({ours * 1000:.1f} ms, by hand {hand * 1000:.1f} ms)"
            named = f"{what}: {text or 'the newest 50'} / the same by hand"
            # Below a millisecond the parts that are not the database's count.
            yield Row(named, figure, f"≤ {MOST}", ours / hand <= MOST or ours - hand < 0.001)  # noqa: PLR2004 - said above


def _ids(rows: Sequence[SessionRow]) -> list[str]:
    return [row.session_id for row in rows]


def commands(world: World, what: str, effort: Effort) -> Iterator[Row]:
    """Whole commands, with a server, while events come in to it."""
    endpoint = world.endpoint
    session_id = world.sessions("--limit", "5000")[-1]["session_id"]
    week = (datetime.now(UTC) - timedelta(days=200)).isoformat()
    lists = [
        "",
        "user:nobody",
        "host:host99*",
        "nowhere",
        "user299",
        f'at:"{week}"',
        "duration:>2d",
        "metadata.version:9.9",
    ]
    with coming_in(lambda events: call_tool(endpoint, "track_events", {"events": events}, 30)):
        for text in lists:
            words = ("session-buddy", "list-sessions", *[text] * bool(text))
            taken = median(command(world, *words), effort.rounds)
            yield duration(f"{what}: list-sessions {text}", taken, COMMAND_SECONDS)
        who = median(command(world, "session-buddy", "who", "host:host7"), effort.rounds)
        yield duration(f"{what}: who, of one host", who, WHO_SECONDS)
        for ref in (session_id, session_id[-8:]):
            taken = median(command(world, "session-buddy", "show-session", ref), effort.rounds)
            yield duration(f"{what}: show-session {ref}", taken, COMMAND_SECONDS)


@contextmanager
def coming_in(take: Callable[[list[dict[str, Any]]], object]) -> Iterator[None]:
    """Starts that come in meanwhile, 200 a second."""
    over, failed = threading.Event(), []

    def send() -> None:
        try:
            while not over.wait(1 / CALLS_A_SECOND):
                take([_started() for _ in range(EVENTS_A_SECOND // CALLS_A_SECOND)])
        except Exception as error:  # noqa: BLE001 - told below
            failed.append(error)

    sending = threading.Thread(target=send)
    sending.start()
    try:
        yield
    finally:
        over.set()
        sending.join()
    if failed:
        raise failed[0]


def _started() -> dict[str, Any]:
    now, event_id = datetime.now(UTC).isoformat(), contract.new_event_id()
    return start_event(event_id=event_id, timestamp=now, component_name="comes", hostname="comes")
