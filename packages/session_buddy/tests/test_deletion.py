"""Sessions that were deleted: whatever could bring one back, it stays gone, and the rest stays."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from session_buddy.errors import DeletedSession, DeletionRefused, InvalidQuery, UnknownSession
from session_buddy.history.query import Query
from session_buddy.history.tombstones import Wanted, wanted_of
from session_buddy.keep import deletion
from session_buddy.keep.deletion import Deletion, carry
from session_buddy.keep.migrate import merge, migrate
from session_buddy.store import Store, open_file, open_store
from session_buddy.store.duckdb.wal import log_of
from session_buddy.store.rows import COLUMNS
from tests.engines import Engine, PostgresDatabase
from tests.samples import MOMENT, arrival, end_event, heartbeat_event, session_id_of, start_event

NOW = MOMENT + timedelta(days=400)
AGE = wanted_of(None, NOW - timedelta(days=365))
ANN = wanted_of("ann", None)
Event = dict[str, Any]


@pytest.fixture
def store(engine: Engine) -> Iterator[Store]:
    with closing(open_store(engine.url)) as store:
        yield store


def deleting(store: Store, folder: Path, retain: int = 0) -> Deletion:
    return Deletion(store, folder / "outbox" / "machine", timedelta(days=retain))


def told(store: Store, *raws: Event, at: datetime | None = None) -> list[str]:
    """What becomes of events, which come in as they happen if nothing is said."""
    arrivals = [
        arrival(raw, "root", by_admin=True, at=at or datetime.fromisoformat(raw["timestamp"])) for raw in raws
    ]
    return [taken.verdict for taken in store.ingest(arrivals)]


def over(store: Store, after: float = 0.0, lasted: float = 60.0, **changes: Any) -> tuple[Event, Event]:
    """A session that is over: its start and its end."""
    start = start_event(after, **changes)
    end = end_event(session_id_of(start), after + lasted)
    assert told(store, start, end) == ["stored", "stored"]
    return start, end


def ids(store: Store) -> set[str]:
    return {row.session_id for row in store.select(Query(limit=100))}


def named(*raws: Event) -> set[str]:
    return {session_id_of(raw) for raw in raws}


def of_bob() -> Event:
    return {"user": {"username": "bob", "home": "/home/bob"}}


def delete(store: Store, wanted: Wanted, folder: Path, **options: Any) -> int:
    done = deleting(store, folder).some(wanted, "local:0", NOW, **options)
    return done["deleted"]


def test_of_who_is_forgotten_nothing_is_left_but_that_it_was_deleted(
    store: Store, engine: Engine, tmp_path: Path
) -> None:
    start, end = over(store, reason="secret", metadata={"k": "v"})
    also = start_event(5, **of_bob(), person={"name": "ann", "evidence": "sudo", "also": []})
    kept, _ = over(store, 10, **of_bob())
    told(store, also, end_event(session_id_of(also)))
    found = deleting(store, tmp_path).look(ANN, NOW)
    assert (found["sessions"], found["oldest"]) == (2, MOMENT.isoformat())
    assert delete(store, ANN, tmp_path) == 2
    assert ids(store) == named(kept)
    (left, _) = store.buried()
    assert (left.status, left.tombstone) == (None, 1)
    (entry,) = store.tombstones()
    assert (entry.kind, entry.sessions, entry.deleted_by, entry.oldest) == ("forget", 2, "local:0", MOMENT)
    # Whatever is told of it again.
    session = session_id_of(start)
    late = [heartbeat_event(session), end_event(session, 90), start, end]
    assert told(store, *late) == ["duplicate"] * 4
    assert told(store, start) == ["duplicate"], "alone, it is stored without a look"
    (again,) = store.ingest([arrival(start)])
    assert again.error is not None
    assert "was deleted on 2027-02-06 03:04 UTC by local:0 (forget: 2 sessions, started " in again.error
    assert ids(store) == named(kept)
    assert store.live() == []
    for ref in (session, session[-8:], session[:-2]):
        with pytest.raises(DeletedSession, match=r"was deleted on 2027-02-06 03:04 UTC by local:0"):
            store.find(ref)
    assert delete(store, ANN, tmp_path) == 0
    assert len(store.tombstones()) == 1, "nothing was deleted, so nothing is to be said"
    assert told(store, start_event(77)) == ["stored"], "of the same person, but another session"
    store.close()
    rest = {"session_id", "start_time", "listed_at", "digits", "ends", "tombstone"}
    columns = [name for name in COLUMNS if name not in rest]
    blank = " AND ".join(f"{name} IS NULL" for name in columns)
    query = f"SELECT count(*) FROM sessions WHERE tombstone = 1 AND {blank} AND CAST(ends AS text) = '[]'"  # noqa: S608
    assert engine.ask(query) == [(2,)]
    assert engine.ask(f"SELECT count(*) FROM events WHERE session_id = '{session}'") == [(0,)]  # noqa: S608


def test_what_was_pruned_stays_away_and_what_is_known_stays(store: Store, tmp_path: Path) -> None:
    day = 86_400.0
    old, long_end = over(store), end_event("x-20260101-000000-00000000")
    long = start_event(10)
    told(store, long, heartbeat_event(session_id_of(long), 399 * day))
    ended_late, _ = over(store, 20, lasted=390 * day)
    alone = end_event(f"shop-{MOMENT:%Y%m%d-%H%M%S}-0a0b0c0d")
    young, _ = over(store, 380 * day)
    assert told(store, alone) == ["not_found"]
    assert delete(store, AGE, tmp_path) == 1
    assert ids(store) == named(long, ended_late, young)
    assert delete(store, AGE, tmp_path) == 0
    (entry,) = store.tombstones()
    assert (entry.kind, entry.sessions, entry.started_before) == ("prune", 1, AGE.ended_before)
    # What was deleted, and what was never told and is as old, is refused, and why is said.
    (refused,) = store.ingest([arrival(old[0])])
    assert (refused.verdict, refused.field, refused.kept) == ("invalid", "timestamp", False)
    assert "is not known, and those that started before 2026-02-06 03:04 UTC were deleted on" in str(
        refused.error
    )
    assert told(store, old[0], old[1], heartbeat_event(session_id_of(old[0]))) == [
        "invalid",
        "invalid",
        "not_found",
    ]
    never = start_event(30)
    assert told(store, never, end_event(session_id_of(never)), alone, long_end) == ["invalid"] * 4
    # What is known goes on, however old: by a start alone, too, which is sent again.
    assert told(store, long) == ["duplicate"]
    assert (
        told(
            store,
            heartbeat_event(session_id_of(long), 399.5 * day),
            end_event(session_id_of(long), 400 * day),
        )
        == ["stored"] * 2
    )
    assert told(store, ended_late) == ["duplicate"]
    assert told(store, start_event(36 * day)) == ["stored"]
    with pytest.raises(DeletedSession, match="those that started before 2026-02-06"):
        store.find(session_id_of(old[0]))
    with pytest.raises(UnknownSession, match="no session 'nobody'"):
        store.find("nobody")
    assert store.missing([session_id_of(old[0]), "shop-20261231-000000-00000000"]) == [
        "shop-20261231-000000-00000000"
    ]


def test_whose_clock_was_ahead_does_not_come_back_either(store: Store, tmp_path: Path) -> None:
    # It said a year to come, and came in long ago.
    start = start_event(86_400.0 * 500)
    end = end_event(session_id_of(start), 86_400.0 * 500 + 60)
    assert told(store, start, end, at=MOMENT) == ["stored", "stored"]
    assert delete(store, AGE, tmp_path) == 1
    assert (ids(store), [one.session_id for one in store.buried()]) == (set(), [session_id_of(start)])
    assert told(store, start) == told(store, end) == ["duplicate"]
    assert ids(store) == set()


def test_it_goes_in_portions_of_one_deletion(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "PORTION", 2)
    for number in range(5):
        over(store, number)
    work = deleting(store, tmp_path)
    first = work.some(ANN, "local:0", NOW)
    assert (first["deleted"], first["left"]) == (2, True)
    for odd, subject in ((99, "local:0"), (first["number"], "bob")):
        with pytest.raises(InvalidQuery, match="that of your own deletion, which goes on"):
            work.some(ANN, subject, NOW, number=odd)
    rest = [work.some(ANN, "local:0", NOW, number=first["number"]) for _ in range(2)]
    assert [(one["deleted"], one["left"]) for one in rest] == [(2, True), (1, False)]
    (entry,) = store.tombstones()
    assert (entry.sessions, entry.oldest, entry.newest) == (5, MOMENT, MOMENT + timedelta(seconds=4))


def test_who_is_active_is_refused_and_followers_go_on(store: Store, tmp_path: Path) -> None:
    start = start_event()
    told(store, start)
    with pytest.raises(DeletionRefused, match=f"session {session_id_of(start)} is active; have it"):
        delete(store, ANN, tmp_path)
    place = store.last_commit()
    kept = start_event(9, **of_bob())
    told(store, kept, start_event(10))
    assert delete(store, ANN, tmp_path, force=True) == 2
    changes = store.changes(place)
    assert changes is not None
    assert changes.events == [(session_id_of(kept), "session_start")]
    assert [row.session_id for row in store.live()] == list(named(kept))


def test_a_follower_s_place_is_there_after_what_stood_at_it_was_deleted(tmp_path: Path) -> None:
    with closing(open_file(tmp_path / "a.duckdb")) as store:
        over(store)
        place = store.last_commit()
        delete(store, ANN, tmp_path)
    with closing(open_file(tmp_path / "a.duckdb")) as store:
        assert store.last_commit() > place
        later, _ = over(store, 5)
        changes = store.changes(place)
        assert changes is not None
        assert {name for name, _ in changes.events} == named(later)


def test_what_was_deleted_stands_in_no_log(tmp_path: Path) -> None:
    with closing(open_file(tmp_path / "a.duckdb")) as store:
        start, _ = over(store, reason="secret reason")
        log = log_of(tmp_path / "a.duckdb")
        assert b"secret reason" in log.read_bytes()
        delete(store, ANN, tmp_path)
        assert not log.exists() or not log.stat().st_size
        assert told(store, start) == ["duplicate"]


def test_it_is_known_after_opening_again(engine: Engine, tmp_path: Path) -> None:
    with closing(open_store(engine.url)) as store:
        gone, _ = over(store)
        mine, _ = over(store, 5, **of_bob())
        delete(store, wanted_of("bob", None), tmp_path)
        delete(store, AGE, tmp_path)
    with closing(open_store(engine.url)) as store:
        assert told(store, gone, mine) == ["invalid", "duplicate"]
        assert [one.number for one in store.tombstones()] == [1, 2]


def test_another_server_of_the_database_knows_at_once(database: PostgresDatabase, tmp_path: Path) -> None:
    with closing(open_store(database.url)) as here, closing(open_store(database.url)) as there:
        old, end = over(here)
        bob, _ = over(here, 5, **of_bob())
        delete(there, wanted_of("bob", None), tmp_path)
        delete(there, AGE, tmp_path)
        assert told(here, old) == ["invalid"]
        assert told(here, old, end, bob) == ["invalid", "invalid", "duplicate"]
        assert ids(here) == set()


@pytest.mark.parametrize("where", ["duckdb", "postgresql"])
def test_a_history_that_is_moved_takes_what_was_deleted_along(
    store: Store, where: str, second: PostgresDatabase, tmp_path: Path
) -> None:
    old, _ = over(store)
    bob, _ = over(store, 86_400.0 * 390, **of_bob())
    kept, _ = over(store, 86_400.0 * 391)
    delete(store, wanted_of("bob", None), tmp_path)
    delete(store, AGE, tmp_path)
    with closing(open_file(tmp_path / "b.duckdb") if where == "duckdb" else open_store(second.url)) as there:
        migrate(store, there, lambda _: None)
        assert there.tombstones() == store.tombstones()
        assert told(there, old, bob, kept) == ["invalid", "duplicate", "duplicate"]
        assert ids(there) == named(kept)


def test_of_two_histories_that_become_one_each_keeps_its_own(tmp_path: Path) -> None:
    with (
        closing(open_file(tmp_path / "a.duckdb")) as ours,
        closing(open_file(tmp_path / "b.duckdb")) as theirs,
    ):
        both, _ = over(theirs, 86_400.0 * 390)
        told(ours, both, end_event(session_id_of(both), 86_400.0 * 390 + 60))
        pruned, end = over(ours)
        told(theirs, pruned, end)
        forgotten, _ = over(theirs, 86_400.0 * 391)
        delete(ours, AGE, tmp_path)
        delete(theirs, ANN, tmp_path)
        over(theirs, 86_400.0 * 392)
        others, last = over(theirs, 3)
        for _ in range(2):
            moved = merge(theirs, ours, lambda _: None)
            ((refused, why),) = moved.refused.items()
            assert (refused, moved.sessions.rows) == (session_id_of(others), 1)
            assert "those that started before 2" in why
            assert session_id_of(both) in ids(ours), "what is known here stays"
            assert len(ids(ours)) == 2
            assert told(ours, pruned, forgotten) == ["invalid", "duplicate"]
        assert told(ours, others, last) == ["invalid", "invalid"], "as old as what was pruned here"
        assert len(ours.tombstones()) == 2
        assert carry(ours, ours) == 0


def test_what_is_refused(tmp_path: Path) -> None:
    with closing(open_file(tmp_path / "a.duckdb")) as store:
        over(store)
        for days, retain, said in (
            (0.5, 0, "ended_before: '12h ago' is not valid: a day is the least"),
            (89, 90, "ended_before: '89d ago' is not valid: retain_for is 90d: nothing younger goes"),
        ):
            with pytest.raises(InvalidQuery, match=said):
                deleting(store, tmp_path, retain).look(wanted_of(None, NOW - timedelta(days=days)), NOW)
        assert (
            deleting(store, tmp_path, 90).look(wanted_of(None, NOW - timedelta(days=90)), NOW)["sessions"]
            == 1
        )
        for user, before in ((None, None), ("ann", NOW), (" ", None), (None, datetime(2026, 1, 1))):  # noqa: DTZ001
            with pytest.raises(InvalidQuery):
                wanted_of(user, before)
        star = wanted_of("an*", None)
        assert deleting(store, tmp_path).look(star, datetime.now(UTC))["sessions"] == 0, "exactly that name"
