"""Lists in pages: all that stood there when the first was given, each once."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic_core import to_json

from session_buddy.errors import InvalidQuery
from session_buddy.history.fields import chosen
from session_buddy.history.model import SessionRow
from session_buddy.history.page import MAX_PAGE_BYTES, SessionsAnswer, page
from session_buddy.history.record import to_record
from session_buddy.store import Store, open_store
from tests.engines import Engine
from tests.samples import arrival, end_event, session_id_of, start_event
from tests.samples import asked as sample_query

ID = "shop-20260102-030405-1b9d6bcd"
NOW = datetime(2026, 1, 3, tzinfo=UTC)


@pytest.fixture
def store(engine: Engine) -> Iterator[Store]:
    with closing(open_store(engine.url)) as store:
        yield store


def told(rows: Sequence[SessionRow]) -> list[dict[str, Any]]:
    return [dict(to_record(row, NOW)) for row in rows]


def started(store: Store, numbers: range, seconds: float, **fields: object) -> set[str]:
    """Sessions that start so many seconds after each other."""
    raws = [start_event(number * seconds, **fields) for number in numbers]
    store.ingest([arrival(raw) for raw in raws])
    return {session_id_of(raw) for raw in raws}


def asked(store: Store, cursor: str | None = None, **filters: Any) -> SessionsAnswer:
    return page(sample_query(cursor=cursor, **filters), store.select, told)


# All at once, in the same second, some in the same microsecond, one after the other.
@pytest.mark.sampled
@pytest.mark.parametrize("seconds", [0.0, 0.0001, 0.0000005, 1.0])
@pytest.mark.parametrize("limit", [1, 7, 24, 25, 26, 10_000])
def test_what_stood_there_appears_once_whatever_comes(store: Store, seconds: float, limit: int) -> None:
    there = started(store, range(80 if limit == 1 else 450), seconds)
    answer = asked(store, limit=limit)
    seen = [record["session_id"] for record in answer["sessions"]]
    later = 1000
    while answer["next_cursor"]:
        assert len(answer["sessions"]) == limit
        started(store, range(later, later + 3), seconds or 1.0)
        later += 3
        answer = asked(store, answer["next_cursor"], limit=limit)
        seen += [record["session_id"] for record in answer["sessions"]]
    assert len(seen) == len(there)
    assert set(seen) == there


def test_a_page_has_a_size(store: Store) -> None:
    there = started(store, range(100), 1.0, metadata={"notes": "ü" * 8000})
    cursor, seen = None, []
    while True:
        answer = asked(store, cursor, limit=10_000)
        assert len(to_json(answer["sessions"])) <= MAX_PAGE_BYTES + 100
        seen += [record["session_id"] for record in answer["sessions"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen) == sorted(there)


def test_another_order_has_one_answer_and_says_when_more_fit(store: Store) -> None:
    started(store, range(30), 1.0)
    answer = asked(store, sort="duration", limit=20)
    assert (len(answer["sessions"]), answer["next_cursor"], answer["truncated"]) == (20, None, True)
    answer = asked(store, sort="duration", limit=30)
    assert (len(answer["sessions"]), answer["next_cursor"], answer["truncated"]) == (30, None, False)
    large = started(store, range(30, 130), 1.0, metadata={"notes": "ü" * 8000})
    answer = asked(store, sort="host", limit=1000)
    assert 10 < len(answer["sessions"]) < len(large)
    assert answer["truncated"]
    for refused in ({"sort": "host"}, {"reverse": True}):
        with pytest.raises(InvalidQuery, match="one goes with the newest first alone"):
            asked(store, "1767312000000000." + ID, **refused)


def test_few_fields_in_short_are_small_enough_for_an_agent(store: Store) -> None:
    who = {"username": "root", "uid": 0}
    person = {"name": "ada.lovelace", "evidence": "sudo", "also": []}
    reason = "OPS-1234: rollback of the payment service after the failed release of this morning"
    long: Any = {
        "component_name": "mahavishnu",
        "hostname": "web12.eu.example",
        "user": who,
        "person": person,
    }
    raws = [start_event(number, reason=reason, **long) for number in range(60)]
    ends = [end_event(session_id_of(raw), 4000.5, exit_code=1) for raw in raws]
    store.ingest([arrival(one) for one in (*raws, *ends)])
    pick = chosen(None)
    short = page(sample_query(), store.select, lambda rows: [pick(to_record(row, NOW)) for row in rows])
    assert len(short["sessions"]) == 50
    assert short["truncated"]
    # A token has three letters of such text at the least.
    assert len(to_json(short)) / 3 <= 4000
    assert short["sessions"][0] == {
        "session_id": session_id_of(raws[-1]),
        "who": "ada.lovelace (as root)",
        "hostname": "web12.eu.example",
        "status": "ended",
        "exit_reason": "exit",
        "duration_seconds": 3942,
        "reason": "OPS-1234: rollback of the payment servi…",
    }


def test_a_field_that_there_is_not_is_named() -> None:
    with pytest.raises(InvalidQuery, match="fields: 'hostnme' is not valid: one of hostname, "):
        chosen(["hostnme"])


def test_filters_hold_behind_a_cursor(store: Store) -> None:
    started(store, range(10), 1.0, component_name="shop")
    bank = started(store, range(10, 20), 1.0, component_name="bank")
    first = asked(store, limit=4, component="bank")
    rest = asked(store, first["next_cursor"], component="bank")
    assert {one["session_id"] for one in (*first["sessions"], *rest["sessions"])} == bank
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    "cursor",
    ["x", "1", "1.", f".{ID}", f"{'9' * 30}.{ID}", "1.2", f"1.5.{ID}", f"1_0.{ID}", f" 5.{ID}", "\ud800"],
)
def test_what_no_answer_gave_is_no_cursor(cursor: str) -> None:
    with pytest.raises(InvalidQuery, match=r"^cursor: .* is not valid: the next_cursor of an answer$"):
        sample_query(cursor=cursor)
