"""What every store does, whatever keeps it: one suite, on each engine."""

import json
import queue
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from oneiric.contract import Detector, ExitReason, Status
from oneiric.events import parse_event
from session_buddy.errors import AmbiguousSession, QueryTooLong, StoreClosed, UnknownSession
from session_buddy.history.model import Arrival, Beat, Taken
from session_buddy.history.query import Query
from session_buddy.history.reference import parse_ref
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.store import Store, open_store
from tests.engines import DuckDBFile, Engine, PostgresDatabase
from tests.samples import (
    MOMENT,
    OWNER,
    arrival,
    asked,
    end_event,
    heartbeat_event,
    seeded,
    session_id_of,
    start_event,
)

Size = Callable[[int, int], int]


@pytest.fixture
def store(engine: Engine) -> Iterator[Store]:
    with closing(open_store(engine.url)) as store:
        yield store


def started(store: Store, count: int = 1, **changes: Any) -> list[str]:
    """Sessions a second apart, the first first; returns their ids."""
    raws = [start_event(after, **changes) for after in range(count)]
    store.ingest([arrival(raw) for raw in raws])
    return [session_id_of(raw) for raw in raws]


# --- opening and closing


def test_what_was_taken_is_there_after_opening_again(engine: Engine) -> None:
    first = open_store(engine.url)
    (session,) = started(first)
    instance = first.instance
    first.close()
    first.close()
    with closing(open_store(engine.url)) as again:
        assert (again.find(session).status, again.instance) == ("active", instance)


@pytest.mark.parametrize("odd", ["a\0b", "a\ud800"])
def test_a_text_that_no_database_holds_finds_nothing(store: Store, odd: str) -> None:
    queries = [asked(username=odd), asked(session_type=odd), asked(component=odd)]
    assert [store.select(query) for query in queries] == [[]] * 3
    with pytest.raises(UnknownSession):
        store.find(parse_ref(odd))


def test_a_wiped_database_is_another_instance(store: Store, engine: Engine) -> None:
    before = store.instance
    store.close()
    engine.wipe()
    with closing(open_store(engine.url)) as again:
        assert again.instance != before


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    with pytest.raises(StoreClosed, match="was closed"):
        store.ingest([arrival(start_event())])
    with pytest.raises(StoreClosed, match="was closed"):
        store.select(Query())


# --- taking events


@pytest.mark.parametrize("count", [1, 4, 5, 60])
def test_starts_and_ends_are_taken_few_or_many(store: Store, count: int) -> None:
    sessions = started(store, count)
    assert store.count_live() == count
    assert store.size() > 0
    ends = [end_event(session, 100, metadata={"é": "\n"}) for session in sessions]
    taken = store.ingest([arrival(end) for end in ends])
    assert {one.verdict for one in taken} == {"stored"}
    assert {one.verdict for one in store.ingest([arrival(end) for end in ends])} == {"duplicate"}
    rows = store.select(Query(limit=100))
    assert [row.session_id for row in rows] == sessions[::-1]
    assert {row.status for row in rows} == {"ended"}
    assert rows == [one.row for one in taken][::-1]
    assert store.count_live() == 0


def test_every_event_is_kept_once(store: Store, engine: Engine) -> None:
    raw = start_event()
    end = end_event(session_id_of(raw))
    for _ in range(2):
        store.ingest([arrival(end), arrival(raw), arrival(raw), arrival(heartbeat_event(session_id_of(raw)))])
    store.close()
    kept = engine.ask("SELECT event_type, subject FROM events ORDER BY 1")
    assert kept == [("session_end", "local:1000"), ("session_start", "local:1000")]


def test_an_unknown_field_is_kept_with_its_event(store: Store, engine: Engine) -> None:
    store.ingest([arrival(start_event(colour={"deep": "blue"}))])
    store.close()
    assert engine.ask("SELECT body->'colour'->>'deep' FROM events") == [("blue",)]


def test_an_end_waits_for_its_start_in_another_call(store: Store) -> None:
    raw = start_event()
    session = session_id_of(raw)
    assert store.ingest([arrival(end_event(session))])[0].verdict == "not_found"
    assert store.select(Query()) == []
    assert store.live() == []
    with pytest.raises(UnknownSession):
        store.find(session)
    assert store.ingest([arrival(raw)])[0].verdict == "stored"
    assert store.find(session).status == "ended"
    assert store.find(session).start_time == MOMENT


def test_nothing_to_take_is_taken(store: Store) -> None:
    assert store.ingest([]) == []
    store.touch([])


def test_times_at_the_edges_of_the_calendar_are_taken(store: Store) -> None:
    raws = [start_event(timestamp=time) for time in ("1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")]
    store.ingest([arrival(raw) for raw in raws])
    assert [row.session_id for row in store.select(Query())] == [session_id_of(raw) for raw in raws[::-1]]


@pytest.mark.parametrize("count", [1, 30])
def test_heartbeats_raise_the_state_of_active_sessions(store: Store, count: int) -> None:
    sessions = started(store, count)
    over = started(store)[0]
    store.ingest([arrival(end_event(over))])
    later = MOMENT + timedelta(minutes=5)
    store.touch([Beat(session, later, 7, 2, None) for session in [*sessions, over]])
    store.touch([Beat(session, MOMENT, 1, 0, MOMENT) for session in sessions])
    for row in store.live():
        assert (row.last_seen, row.commands, row.errors, row.last_activity) == (later, 7, 2, MOMENT)
    assert store.find(over).commands is None


def test_heartbeats_find_their_sessions_also_where_digits_are_the_same(store: Store) -> None:
    alike = "0a1b2c3d-1111-4222-8333-"
    raws = [
        start_event(after, event_id=f"{alike}{number:012}", component_name=component)
        for number, (after, component) in enumerate([(0, "shop"), (0, "desk"), (1, "shop"), (2, "shop")])
    ]
    store.ingest([arrival(raw) for raw in raws])
    sessions = [session_id_of(raw) for raw in raws]
    assert len({session[-8:] for session in sessions}) == 1
    beats = [
        Beat(session, MOMENT + timedelta(minutes=1), count, 0, None) for count, session in enumerate(sessions)
    ]
    store.touch(beats[:3])
    assert [store.find(session).commands for session in sessions] == [0, 1, 2, None]


def test_a_heartbeat_wakes_a_lost_session(store: Store) -> None:
    (session,) = started(store)
    lost = end_event(session, 10, exit_reason="lease_expired", status="crashed")
    store.ingest([arrival(lost)])
    assert store.find(session).status == "lost"
    store.ingest([arrival(heartbeat_event(session, 40, commands=3))])
    row = store.find(session)
    assert (row.status, row.exit_reason, row.end_time, row.commands) == ("active", None, None, 3)


def test_the_events_that_are_kept_give_the_same_sessions(store: Store, engine: Engine) -> None:
    sessions = started(store, 20)
    store.ingest([arrival(end_event(session, 90)) for session in sessions[:10]])
    store.ingest([arrival(end_event(sessions[11], 95), "root", by_admin=True)])
    store.ingest([arrival(end_event(session_id_of(start_event(500))))])
    before = store.select(Query(limit=100))
    store.close()
    events = engine.ask("SELECT CAST(body AS text), subject, by_admin, received_at FROM events")
    engine.wipe()
    with closing(open_store(engine.url)) as again:
        again.ingest(
            [
                Arrival.of(parse_event(json.loads(body)), subject, at.replace(tzinfo=UTC), by_admin=by_admin)
                for body, subject, by_admin, at in events
            ]
        )
        assert again.select(Query(limit=100)) == before


# --- asking


def test_a_user_is_the_person_the_account_who_ran_sudo_or_whom_weaker_evidence_names(store: Store) -> None:
    (sudo,) = started(
        store,
        user={"username": "root", "uid": 0},
        person={"name": "zoe", "evidence": "login", "also": [{"name": "eve", "evidence": "claimed"}]},
        origin={"sudo_user": "yan"},
    )
    found = {name: store.select(asked(f"user:{name}")) for name in ("root", "zoe", "yan", "eve", "ann")}
    assert {name: [row.session_id for row in rows] for name, rows in found.items()} == {
        "root": [sudo],
        "zoe": [sudo],
        "yan": [sudo],
        "eve": [sudo],
        "ann": [],
    }
    (row,) = found["zoe"]
    assert (row.uid, row.person_evidence, row.sudo_user) == (0, "login", "yan")
    assert row.person_also == [{"name": "eve", "evidence": "claimed"}]


def test_filters_narrow_the_list(store: Store) -> None:
    (shop,) = started(store)
    (bank,) = started(store, component_name="bank", session_type="repl", user={"username": "bob"})
    store.ingest([arrival(end_event(bank))])

    def found(text: str = "", **filters: Any) -> list[str]:
        return [row.session_id for row in store.select(asked(text, **filters))]

    assert found(component="bank") == found(session_type="repl") == found("user:bob") == [bank]
    assert found("status:ended") == [bank]
    assert found(status="active") == [shop]
    assert found("component:bank", status="active") == []
    assert found(since=(MOMENT + timedelta(seconds=1)).isoformat()) == []
    assert len(found(since=MOMENT.isoformat())) == 2
    assert len(found(limit=1)) == 1


def test_a_query_over_its_time_is_stopped_and_blocks_no_writer(engine: Engine) -> None:
    numbers = "generate_series(1, 1000000)"
    endless = f"SELECT count(*) FROM {numbers} AS a (x), {numbers} AS b (y) WHERE x + y = 7"  # noqa: S608 - numbers
    said = queue.Queue[str]()
    with closing(open_store(engine.url, query_seconds=2.0)) as store:

        def ask() -> None:
            try:
                store.rows(endless)  # type: ignore[attr-defined]  # of both stores
            except QueryTooLong as error:
                said.put(str(error))

        asking = threading.Thread(target=ask)
        asking.start()
        (session,) = started(store)
        assert store.find(session).status == "active"
        assert asking.is_alive()
        asking.join()
        assert said.get_nowait().startswith("the query took longer than 2 s and was stopped; narrow it")
        assert len(store.select(Query())) == 1


def test_unreachable_are_the_active_that_are_silent(store: Store) -> None:
    silent, lively = started(store, 2)
    (over,) = started(store)
    store.ingest([arrival(end_event(over))])
    query = replace(asked("status:unreachable"), silent=frozenset({silent, over}))
    assert [row.session_id for row in store.select(query)] == [silent]
    assert store.select(asked("status:unreachable component:bank")) == []
    assert {row.session_id for row in store.live()} == {silent, lively}
    assert store.select(asked("status:unreachable")) == []


def test_a_session_is_found_by_id_suffix_and_prefix(store: Store) -> None:
    session, other = started(store, 2)
    suffix = session.rpartition("-")[2]
    for ref in (session, suffix, suffix.upper(), suffix[:7], session[:-2]):
        assert store.find(ref).session_id == session
    with pytest.raises(AmbiguousSession, match=f"'shop-2026' fits several sessions: {other}, {session};"):
        store.find("shop-2026")


def test_many_candidates_are_cut(store: Store) -> None:
    started(store, 30)
    with pytest.raises(AmbiguousSession) as caught:
        store.find("shop")
    assert str(caught.value).count("shop-2026") == 10


def test_an_unknown_session_names_the_nearest(store: Store) -> None:
    (session,) = started(store)
    wrong = session[:-1] + ("0" if session[-1] != "0" else "1")
    with pytest.raises(UnknownSession, match=f"no session '{wrong}'; the nearest: {session}"):
        store.find(wrong)
    with pytest.raises(UnknownSession, match=r"no session '%_'$"):
        store.find("%_")


def test_readers_are_not_disturbed_by_the_writer(store: Store) -> None:
    failures: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                rows = store.select(Query(limit=1000))
                assert len({row.session_id for row in rows}) == len(rows)
                store.count_live()
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(20):
        started(store, 10)
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert store.count_live() == 200


# --- the last eight digits


@pytest.mark.parametrize(("typed", "unknown"), [("deadbeef", "00c0ffee"), ("DEADBEEF", "00C0FFEE")])
def test_eight_digits_mean_the_session_that_they_end(store: Store, typed: str, unknown: str) -> None:
    ends = start_event(event_id="deadbeef-bbfd-4b2d-9b5d-ab8dfbbd4bed")
    begins = start_event(component_name="deadbeef")
    only_an_end = end_event("shop-20260102-030405-00c0ffee")
    store.ingest([arrival(raw) for raw in (ends, begins, only_an_end)])
    assert store.find(typed).session_id == session_id_of(ends)
    with pytest.raises(UnknownSession):
        store.find(unknown)


def test_eight_digits_that_end_none_may_begin_an_id(store: Store) -> None:
    begins = start_event(component_name="deadbeef")
    store.ingest([arrival(begins)])
    assert store.find("deadbeef").session_id == session_id_of(begins)


def test_eight_digits_that_end_several_are_ambiguous_newest_first(store: Store) -> None:
    raws = [start_event(after, event_id=f"deadbeef-bbfd-4b2d-9b5d-ab8dfbbd4be{after}") for after in (1, 3, 2)]
    store.ingest([arrival(raw) for raw in raws])
    newest_first = ", ".join(session_id_of(raws[index]) for index in (1, 2, 0))
    with pytest.raises(AmbiguousSession, match=f"fits several sessions: {newest_first}; "):
        store.find("deadbeef")


# --- both engines alike


def a_history(chance: random.Random) -> list[Arrival]:
    """Events of a few sessions in any order: repeated, lost, of strangers, with clocks that differ."""
    events: list[Arrival] = []
    for _ in range(chance.randint(1, 6)):
        component = chance.choice(["shop", "desk"])
        raw = start_event(chance.randint(0, 9), event_id=a_uuid(chance), component_name=component)
        session, said = session_id_of(raw), []
        for number in range(chance.randint(0, 5)):
            by, reason = chance.choice(get_args(Detector)), chance.choice([None, *get_args(ExitReason)])
            end = {
                "detected_by": by,
                "exit_reason": reason,
                "event_id": f"end-{number % 2}",
                "exit_code": number,
            }
            said.append(end_event(session, chance.randint(-20, 60), **end))
        for number in range(chance.randint(0, 3)):
            beat = heartbeat_event(
                session, chance.randint(-20, 60), commands=number, errors=chance.randint(0, 9)
            )
            said.append(beat | {"elapsed_seconds": chance.choice([None, 0.0, 9.0])})
        events += [arrival(raw)] * chance.randint(0, 2)
        for one in said:
            subject = chance.choice([OWNER, OWNER, "mallory", "root"])
            events.append(arrival(one, subject, by_admin=subject == "root"))
    events += [chance.choice(events) for _ in events[:4]]
    chance.shuffle(events)
    return events


def a_uuid(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def test_both_engines_make_the_same_of_the_same_events(
    tmp_path: Path, database: PostgresDatabase, size: Size
) -> None:
    with (
        closing(open_store(DatabaseUrl.of(tmp_path / "x.duckdb"))) as one,
        closing(open_store(database.url)) as other,
    ):
        for seed in range(size(25, 1000)):
            chance = seeded(seed)
            events = a_history(chance)
            while events:
                batch = [events.pop() for _ in events[: chance.choice([1, 2, 30])]]
                assert one.ingest(batch) == other.ingest(batch), seed
            later = MOMENT + timedelta(seconds=chance.randint(0, 99))
            beats = [Beat(row.session_id, later, chance.randint(0, 9), 1, None) for row in one.live()[:5]]
            one.touch(beats)
            other.touch(beats)
        query = Query(limit=10_000)
        assert one.select(query) == other.select(query)
        for status in get_args(Status):
            narrowed = replace(asked(status=status), limit=10_000)
            assert one.select(narrowed) == other.select(narrowed)
        assert (one.statuses(), one.count_live()) == (other.statuses(), other.count_live())
        kept = "SELECT session_id, event_id, CAST(body AS text) FROM events"
        there = sorted(database.ask(kept))
    assert sorted(DuckDBFile(tmp_path / "x.duckdb").ask(kept)) == there


def test_two_servers_that_write_the_same_at_once_store_it_once(
    database: PostgresDatabase, size: Size
) -> None:
    rounds, taken = size(50, 1000), queue.SimpleQueue[Taken]()
    gate = threading.Barrier(2, timeout=60)

    def write(store: Store, which: int) -> None:
        for number in range(rounds):
            raws = [start_event(number, event_id=a_uuid(seeded(number * 2 + part))) for part in (0, 1)]
            end = end_event(session_id_of(raws[1]), event_id="the-end")
            # The same start from both; the start of the other session from one, its end from the other.
            batch = [arrival(raw) for raw in (raws[0], raws[1] if which else end)]
            gate.wait()
            for one in store.ingest(batch[:: -1 if which else 1]):
                taken.put(one)

    with (
        closing(database),
        closing(open_store(database.url)) as one,
        closing(open_store(database.url)) as other,
    ):
        writers = [threading.Thread(target=write, args=pair) for pair in ((one, 0), (other, 1))]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        verdicts = Counter(taken.get(timeout=1).verdict for _ in range(4 * rounds))
        rows = one.select(Query(limit=10_000))
        events = database.ask(
            "SELECT event_type, count(*), count(DISTINCT event_id || session_id) FROM events GROUP BY 1"
        )
    assert (verdicts["duplicate"], verdicts["stored"] + verdicts["not_found"]) == (rounds, 3 * rounds)
    assert Counter(row.status for row in rows) == {"active": rounds, "ended": rounds}
    assert sorted(events) == [("session_end", rounds, rounds), ("session_start", 2 * rounds, 2 * rounds)]
