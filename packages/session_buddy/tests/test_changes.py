"""The change feed: what a store tells of what was stored, who is woken, and how it is asked for."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from oneiric.paths import Paths
from oneiric.transport import Endpoint, call_tool, page
from session_buddy.access.secret import own_secret
from session_buddy.access.tokens import issue
from session_buddy.client import following
from session_buddy.errors import InvalidQuery
from session_buddy.history.changes import Changes, Place
from session_buddy.host.server_file import ServerInfo
from session_buddy.intake.presence import Presence
from session_buddy.intake.writer import Writer
from session_buddy.keep.migrate import migrate
from session_buddy.server.answers import Answers
from session_buddy.store import Store, open_store
from session_buddy.store.sql import MOST_CHANGES
from tests.engines import DuckDBFile, Engine, PostgresDatabase
from tests.samples import MOMENT, arrival, asked, end_event, heartbeat_event, session_id_of, start_event

CHANGES = "/api/v1/changes"


@pytest.fixture
def store(engine: Engine) -> Iterator[Store]:
    with closing(open_store(engine.url)) as store:
        yield store


def told_behind(store: Store, place: int | Changes) -> Changes:
    at = (place,) if isinstance(place, int) else (place.commit_id, place.session_id)
    found = store.changes(*at)
    assert found is not None
    return found


def test_what_was_stored_behind_a_transaction_is_told_in_its_order(store: Store, engine: Engine) -> None:
    begin = store.last_commit()
    starts = [start_event(after) for after in range(3)]
    first, second, third = map(session_id_of, starts)
    store.ingest([arrival(starts[0])])
    between = told_behind(store, begin)
    store.ingest([arrival(starts[1]), arrival(starts[2]), arrival(heartbeat_event(first))])
    store.ingest([arrival(end_event(first)), arrival(starts[1])])
    told = told_behind(store, begin)
    assert told.events[0] == (first, "session_start")
    assert sorted(told.events[1:3]) == sorted([(second, "session_start"), (third, "session_start")])
    assert told.events[3:] == [(first, "session_end")]
    assert told_behind(store, between).events == told.events[1:]
    assert told_behind(store, told).events == []
    store.close()
    with closing(open_store(engine.url)) as again:
        assert told_behind(again, between).events == told.events[1:]
        again.ingest([arrival(end_event(second))])
        assert told_behind(again, told).events == [(second, "session_end")]


def test_however_much_was_stored_each_event_is_told_once(store: Store) -> None:
    place: int | Changes = store.last_commit()
    # A transaction that is told in parts, each session as a whole.
    starts = [start_event(after) for after in range(2 * MOST_CHANGES - 10)]
    ends = [end_event(session_id_of(raw)) for raw in starts]
    store.ingest([arrival(raw) for raw in [*starts, *ends[:20]]])
    store.ingest([arrival(raw) for raw in ends[20:40]])
    told = list[tuple[str, str]]()
    while (found := told_behind(store, place)).events:
        assert len(found.events) <= MOST_CHANGES
        together = [session_id for session_id, _ in found.events]
        assert (
            not {session_id for session_id, _ in told} & set(together) or len(found.events) < MOST_CHANGES / 2
        )
        told += found.events
        place = found
    assert len(told) == len(set(told)) == len(starts) + 40


def test_nobody_is_told_of_a_history_that_was_copied(store: Store, tmp_path: Path) -> None:
    with closing(open_store(DuckDBFile(tmp_path / "old.duckdb").url)) as old:
        old.ingest([arrival(start_event(after)) for after in range(30)])
        begin = store.last_commit()
        migrate(old, store, lambda _: None)
    assert told_behind(store, begin).events == []
    store.ingest([arrival(start_event(100))])
    assert len(told_behind(store, begin).events) == 1


def test_who_asked_is_told_that_something_was_stored(store: Store, engine: Engine) -> None:
    changed = threading.Event()
    store.tell(changed.set)
    store.ingest([arrival(start_event())])
    assert changed.wait(60)
    if isinstance(engine, PostgresDatabase):
        # By another server, too.
        with closing(open_store(engine.url)) as another:
            another.tell(lambda: None)
            changed.clear()
            while not changed.wait(0.1):
                another.ingest([arrival(start_event())])


def test_what_another_transaction_still_holds_back_is_told_later(
    database: PostgresDatabase, second: PostgresDatabase
) -> None:
    with (
        closing(open_store(database.url)) as store,
        psycopg.connect(second.url.whole) as another,
        psycopg.connect(database.url.whole) as slow,
    ):
        # One of another database holds nothing back.
        another.execute("CREATE TABLE slow ()")
        begin = store.last_commit()
        first = start_event()
        store.ingest([arrival(first)])
        assert told_behind(store, begin).events == [(session_id_of(first), "session_start")]
        begin = store.last_commit()
        event = "INSERT INTO events SELECT %s, 'e', 'session_start', now(), now(), 's', false, '{}'"
        slow.execute(event, ["early"])
        later = start_event(1)
        store.ingest([arrival(later)])
        told = told_behind(store, begin)
        assert told.events == []
        slow.commit()
        assert sorted(one for one, _ in told_behind(store, told).events) == [
            "early",
            session_id_of(later),
        ]


def test_a_database_that_came_from_a_server_that_had_counted_further_tells_what_is_new(
    database: PostgresDatabase,
) -> None:
    with closing(open_store(database.url)) as store:
        store.tell(lambda: None)
        store.ingest([arrival(start_event())])
    with psycopg.connect(database.url.whole) as connection:
        connection.execute("UPDATE events SET commit_id = 1000000000000")
        connection.execute("UPDATE meta SET value = 'another' WHERE key = 'cluster'")
    with closing(open_store(database.url)) as store:
        store.tell(lambda: None)
        assert database.ask("SELECT commit_id FROM events") == [(None,)]
        begin = store.last_commit()
        fresh = start_event(1)
        store.ingest([arrival(fresh)])
        assert told_behind(store, begin).events == [(session_id_of(fresh), "session_start")]


def test_who_was_lost_and_came_back_ends_twice() -> None:
    told: dict[tuple[str, str], None] = {}

    def one(change: str, status: str) -> bool:
        return following.is_new(told, {"change": change, "session": {"session_id": "x", "status": status}})

    # Both in one answer, after a long absence; told again; and what became of it in the end.
    assert [one("start", "lost"), one("end", "lost"), one("end", "lost")] == [True, True, False]
    assert [one("end", "ended"), one("end", "crashed"), one("start", "ended")] == [True, False, False]


# --- asked of a server


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[Answers]:
    with closing(open_store(DuckDBFile(tmp_path / "one.duckdb").url)) as store:
        presence = Presence()
        with Writer(store, presence) as writer:
            answers = Answers(store, writer, presence, clock=lambda: 0.0, now=lambda: datetime.now(UTC))
            answers.store = store  # type: ignore[attr-defined]
            yield answers


def test_who_waits_is_woken_by_what_fits(answers: Any) -> None:
    ann, bob = start_event(), start_event(1, user={"username": "bob", "home": ""})

    async def follow() -> list[Any]:
        begin = await answers.changes(asked(), None)
        waiting = asyncio.ensure_future(answers.changes(asked("user:bob"), begin["place"], 600))
        for raw in (ann, bob):
            await asyncio.sleep(0)
            await asyncio.to_thread(answers.store.ingest, [arrival(raw)])
        return [begin, await waiting, await answers.changes(asked(), begin["place"], 600)]

    begin, of_bob, of_all = asyncio.run(follow())
    assert (begin["changes"], begin["another_history"]) == ([], False)
    assert [(one["change"], one["session"]["session_id"]) for one in of_bob["changes"]] == [
        ("start", session_id_of(bob))
    ]
    assert len(of_all["changes"]) == 2


def test_who_waits_is_let_go_when_the_server_ends(answers: Any) -> None:
    async def follow() -> Any:
        begin = await answers.changes(asked(), None)
        waiting = asyncio.ensure_future(answers.changes(asked(), begin["place"], 600))
        await asyncio.sleep(0.05)
        answers.feed.close()
        return await waiting, await answers.changes(asked(), begin["place"], 600)

    for answer in asyncio.run(follow()):
        assert answer["changes"] == []


def test_an_end_that_came_before_its_start_is_told_with_it(answers: Any) -> None:
    raw = start_event()
    session = session_id_of(raw)

    def since(place: str) -> Any:
        return asyncio.run(answers.changes(asked(), place))

    begin = asyncio.run(answers.changes(asked(), None))["place"]
    answers.store.ingest([arrival(end_event(session))])
    early = since(begin)
    assert early["changes"] == []
    answers.store.ingest([arrival(raw)])
    told = [(one["change"], one["session"]["status"]) for one in since(early["place"])["changes"]]
    assert told == [("start", "ended"), ("end", "ended")]


def test_a_place_in_another_history_is_lost(answers: Any) -> None:
    answers.store.ingest([arrival(start_event())])
    now = Place.parse(asyncio.run(answers.changes(asked(), None))["place"])
    for place in (now._replace(instance="0" * 36), now._replace(commit_id=now.commit_id + 1)):
        answer = asyncio.run(answers.changes(asked(), str(place)))
        assert (answer["another_history"], answer["place"], answer["changes"]) == (True, str(now), [])
    for odd in ("x", "1.2", f"{now} "):
        with pytest.raises(InvalidQuery, match="the place of an answer, or none to begin now"):
            asyncio.run(answers.changes(asked(), odd))


def test_the_endpoint_tells_what_is_wrong_and_who_may(server: ServerInfo, paths: Paths) -> None:
    def at(endpoint: Endpoint, asked: str = "") -> tuple[int, dict[str, Any]]:
        status, body = page(endpoint, f"{CHANGES}?{asked}")
        return status, json.loads(body)

    status, begin = at(server.endpoint)
    assert (status, begin["changes"]) == (200, [])
    event = {**start_event(), "timestamp": MOMENT.isoformat()}
    call_tool(server.endpoint, "track_session_start", event)
    secret = own_secret(paths)
    reader, tracker = (
        Endpoint(url=server.url, token=issue(secret, "ann", [s], 60)) for s in ("read", "track")
    )
    status, found = at(reader, f"place={begin['place']}&wait=25&query=user:ann")
    assert [one["session"]["username"] for one in found["changes"]] == ["ann"]
    assert at(reader, f"place={found['place']}")[1]["changes"] == []
    assert at(tracker)[0] == 403
    assert at(Endpoint(url=server.url))[0] == 401
    for odd, said in (
        ("wait=26", "wait: '26' is not valid: Input should be less than or equal to 25"),
        ("wait=-1", "greater than or equal to 0"),
        (f"wait={'1' * 5000}", "is not valid"),
        ("wait=1&wait=2", "wait: ['1', '2'] is not valid: one value"),
        ("wiat=1", "wiat: "),
        ("query=usr:x", "the nearest is user"),
        ("place=x", "place: 'x' is not valid"),
    ):
        status, answer = at(reader, odd)
        assert (status, said in answer["detail"]) == (400, True), answer
