"""The rules: a session is a pure function of its events."""

import itertools
import json
from datetime import datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneiric import contract
from session_buddy.history.fold import ENDS_ALIKE, fold, refreshed, with_outcome
from session_buddy.history.model import Arrival, Beat, SessionRow, Taken, raised
from session_buddy.history.record import to_record
from session_buddy.history.reference import nearest
from tests.samples import MOMENT, OWNER, arrival, end_event, heartbeat_event, session_id_of, start_event

START = start_event()
ID = session_id_of(START)
NOW = MOMENT + timedelta(minutes=10)


def folded(*arrivals: Arrival, onto: SessionRow | None = None) -> SessionRow:
    row = onto
    for one in arrivals:
        row = fold(row, one).row
    assert row is not None
    return row


def last(*arrivals: Arrival) -> Taken:
    *earlier, final = arrivals
    return fold(folded(*earlier) if earlier else None, final)


def ended(after: float = 60.0, **changes: Any) -> Arrival:
    return arrival(end_event(ID, after, **changes))


# --- one event


def test_a_start_makes_an_active_session() -> None:
    taken = last(arrival(START))
    assert (taken.verdict, taken.kept) == ("stored", True)
    record = to_record(folded(arrival(START)), NOW)
    assert record["session_id"] == ID
    assert (record["status"], record["username"], record["reported_by"]) == ("active", "ann", OWNER)
    assert record["start_time"] == "2026-01-02T03:04:05.123456+00:00"
    assert record["duration_seconds"] == 600.0
    assert record["metadata"] == {"version": "1.2", "adapters": ["a", "b"]}
    assert record["end_time"] is None


def test_every_field_of_a_start_reaches_the_record() -> None:
    raw = start_event(
        session_type="repl",
        parent_session_id="mother-20260101-000000-0123abcd",
        reason="TICKET-1",
        actor="agent",
        origin={"tty": "/dev/pts/1", "sudo_user": "bob"},
        process={"boot_id": "b", "pid_namespace": "pid:[1]", "started_at": 77},
    )
    row = folded(arrival(raw))
    record = to_record(row, NOW)
    assert record["origin"] == {"tty": "/dev/pts/1", "sudo_user": "bob"}
    assert (record["session_type"], record["reason"], record["actor"]) == ("repl", "TICKET-1", "agent")
    assert record["parent_session_id"] == "mother-20260101-000000-0123abcd"
    assert row.process is not None
    assert row.process.started_at == 77


def test_an_end_ends_it() -> None:
    row = folded(arrival(START), ended(exit_code=3, metadata={"adapters": 2, "why": "done"}))
    record = to_record(row, NOW)
    assert (record["status"], record["exit_reason"], record["exit_code"]) == ("ended", "exit", 3)
    assert record["duration_seconds"] == 60.0
    assert record["metadata"] == {"version": "1.2", "adapters": 2, "why": "done"}
    assert record["detected_by"] == "emitter"
    assert record["last_seen"] == record["end_time"]


def test_the_end_brings_its_counts() -> None:
    activity = {"commands": 9, "errors": 2, "last_activity": MOMENT.isoformat()}
    record = to_record(folded(arrival(START), ended(activity=activity)), NOW)
    assert (record["commands"], record["errors"]) == (9, 2)
    assert record["last_activity"] == MOMENT.isoformat()


def test_an_end_before_its_start_by_the_clock_is_marked() -> None:
    record = to_record(folded(arrival(START), ended(-5)), NOW)
    assert (record["clock_skew"], record["duration_seconds"], record["status"]) == (True, 0.0, "ended")


# --- order and repeats


def test_an_end_before_its_start_is_kept_and_joined() -> None:
    early = last(ended())
    assert (early.verdict, early.kept) == ("not_found", True)
    assert early.row is not None
    assert early.row.status is None
    assert folded(ended(), arrival(START)).status == "ended"


def test_a_repeated_end_before_its_start_is_still_not_found_and_kept_once() -> None:
    end = ended()
    again = last(end, end)
    assert (again.verdict, again.kept) == ("not_found", False)


@pytest.mark.parametrize("make", [lambda: arrival(START), ended])
def test_a_repeat_is_a_duplicate(make: Any) -> None:
    event = make()
    taken = last(arrival(START), event, event)
    assert (taken.verdict, taken.kept) == ("duplicate", False)


def test_the_same_id_with_another_event_id_is_refused() -> None:
    other = START["event_id"][:8] + "-0000-4000-8000-000000000000"
    taken = last(arrival(START), arrival(START | {"event_id": other}))
    assert (taken.verdict, taken.field, taken.kept) == ("invalid", "event_id", False)
    assert other in (taken.error or "")


def test_a_session_that_is_lost_and_wakes_for_ever_can_still_be_ended() -> None:
    row = folded(arrival(START))
    for number in range(10 * ENDS_ALIKE):
        lost = ended(100 * number, **KINDS["lease_expired"])
        taken = fold(row, lost)
        assert (taken.verdict, taken.kept) == ("stored", True)
        row = folded(*(arrival(START), arrival(heartbeat_event(ID, 100 * number + 50))), onto=taken.row)
        assert row.status == "active"
    assert len(row.ends) == ENDS_ALIKE
    assert fold(row, ended(0, **KINDS["lease_expired"])).verdict == "duplicate"
    final = fold(row, ended(60))
    assert (final.verdict, folded(ended(60), onto=row).exit_reason) == ("stored", "exit")


@pytest.mark.parametrize("kind", ["exit", "operator"])
def test_nobodys_own_word_is_refused_however_many_there_are(kind: str) -> None:
    row = folded(arrival(START))
    for number in range(100):
        taken = fold(row, ended(number, **KINDS[kind]))
        assert taken.verdict == "stored"
        row = folded(onto=taken.row)
    assert (len(row.ends), row.end_time) == (ENDS_ALIKE, MOMENT + timedelta(seconds=99))


def test_a_strangers_many_ends_displace_no_other_while_the_start_is_missing() -> None:
    forged = [arrival(end_event(ID, 1000 + number), "mallory") for number in range(3 * ENDS_ALIKE)]
    row = folded(ended(50), *forged, arrival(START))
    assert (row.end_time, len(row.ends)) == (MOMENT + timedelta(seconds=50), 1)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_of_two_ends_with_one_id_the_later_is_believed_in_any_order(order: tuple[int, ...]) -> None:
    found = [
        ended(10, **KINDS["outbox_recovered"], event_id="one-orphan"),
        ended(100, **KINDS["outbox_recovered"], event_id="one-orphan"),
        arrival(heartbeat_event(ID, 50)),
    ]
    row = folded(arrival(START), *(found[index] for index in order))
    assert (row.status, row.end_time) == ("crashed", MOMENT + timedelta(seconds=100))


# --- which end counts

KINDS: dict[str, dict[str, Any]] = {
    "exit": {"exit_reason": "exit"},
    "operator": {"exit_reason": "operator", "detected_by": "operator"},
    "exec": {"exit_reason": "exec", "detected_by": "outbox"},
    "outbox_recovered": {"exit_reason": "outbox_recovered", "status": "crashed", "detected_by": "outbox"},
    "process_gone": {"exit_reason": "process_gone", "status": "crashed", "detected_by": "liveness"},
    "lease_expired": {"exit_reason": "lease_expired", "status": "crashed", "detected_by": "lease"},
}


# Two finds of the same death: nothing speaks for one but that it is nearer to it.
FOUND_DEAD = ("outbox_recovered", "process_gone")


@pytest.mark.parametrize(("strong", "weak"), list(itertools.combinations(KINDS, 2)))
def test_the_stronger_end_is_believed_whatever_its_time(strong: str, weak: str) -> None:
    row = folded(arrival(START), ended(10, **KINDS[strong]), ended(20, **KINDS[weak]))
    assert row.exit_reason == (weak if (strong, weak) == FOUND_DEAD else strong)
    assert folded(arrival(START), ended(20, **KINDS[strong]), ended(10, **KINDS[weak])).exit_reason == strong


@pytest.mark.parametrize("by", ["outbox", "liveness"])
def test_of_two_who_found_it_dead_the_later_is_believed(by: str) -> None:
    other = {"outbox": "liveness", "liveness": "outbox"}[by]
    ends = [
        ended(seconds, exit_reason="process_gone", status="crashed", detected_by=one)
        for seconds, one in ((10, other), (20, by))
    ]
    for found in (ends, ends[::-1]):
        believed = folded(arrival(START), *found).believed_end
        assert believed is not None
        assert (believed.detected_by, believed.timestamp) == (by, MOMENT + timedelta(seconds=20))


def test_an_exec_that_a_finder_concluded_is_weaker_than_what_anybody_says_and_can_be_refuted() -> None:
    found = ended(30, exit_reason="exec", detected_by="outbox")
    for kind in ("exit", "operator"):
        assert folded(arrival(START), found, ended(10, **KINDS[kind])).exit_reason == kind
    assert folded(arrival(START), found, ended(60, **KINDS["process_gone"])).exit_reason == "exec"
    assert folded(arrival(START), found, arrival(heartbeat_event(ID, 45))).status == "active"
    own = ended(30, exit_reason="exec")
    assert folded(arrival(START), own, arrival(heartbeat_event(ID, 45))).exit_reason == "exec"


@pytest.mark.parametrize(
    ("by", "kind"),
    [
        ("operator", "operator"),
        ("outbox", "outbox_recovered"),
        ("liveness", "process_gone"),
        ("lease", "lease_expired"),
    ],
)
@pytest.mark.parametrize("reason", [None, "exit", "sigterm"])
def test_who_says_it_counts_whatever_the_reason(by: str, kind: str, reason: str | None) -> None:
    said = ended(30, detected_by=by, exit_reason=reason, status="crashed")
    kinds = list(KINDS)
    alike = FOUND_DEAD if kind in FOUND_DEAD else ()
    for other in kinds[: kinds.index(kind)]:
        expected = reason if other in alike else other
        assert folded(arrival(START), said, ended(10, **KINDS[other])).exit_reason == expected
    for other in kinds[kinds.index(kind) + 1 :]:
        expected = other if other in alike else reason
        assert folded(arrival(START), said, ended(60, **KINDS[other])).exit_reason == expected
    woken = folded(arrival(START), said, arrival(heartbeat_event(ID, 45)))
    assert (woken.status == "active") is (kind != "operator")
    assert (folded(arrival(START), said).status == "lost") is (kind == "lease_expired")


def test_of_two_alike_the_later_is_believed() -> None:
    assert folded(arrival(START), ended(20), ended(10)).end_time == MOMENT + timedelta(seconds=20)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("exit", "ended"),
        ("outbox_recovered", "crashed"),
        ("process_gone", "crashed"),
        ("lease_expired", "lost"),
    ],
)
def test_the_end_decides_the_status(kind: str, status: str) -> None:
    assert folded(arrival(START), ended(**KINDS[kind])).status == status


# --- heartbeats


def test_a_heartbeat_raises_the_state() -> None:
    first = heartbeat_event(ID, 30, commands=4, errors=1, last_activity=MOMENT.isoformat())
    late = heartbeat_event(ID, 15, commands=2)
    row = folded(arrival(START), arrival(first), arrival(late))
    assert (row.commands, row.errors, row.last_activity) == (4, 1, MOMENT)
    assert row.last_seen == MOMENT + timedelta(seconds=30)


def test_a_heartbeat_is_no_part_of_the_history() -> None:
    assert not last(arrival(START), arrival(heartbeat_event(ID))).kept


@pytest.mark.parametrize("earlier", [[], [ended()]])
def test_a_heartbeat_of_an_unknown_session_is_not_found(earlier: list[Arrival]) -> None:
    taken = last(*earlier, arrival(heartbeat_event(ID)))
    assert (taken.verdict, taken.kept) == ("not_found", False)


@pytest.mark.parametrize("kind", ["outbox_recovered", "process_gone", "lease_expired"])
def test_a_later_heartbeat_refutes_an_inferred_end(kind: str) -> None:
    row = folded(arrival(START), ended(60, **KINDS[kind]), arrival(heartbeat_event(ID, 75)))
    assert (row.status, row.end_time) == ("active", None)


@pytest.mark.parametrize("kind", ["exit", "operator"])
def test_a_later_heartbeat_refutes_nobodys_word(kind: str) -> None:
    row = folded(arrival(START), ended(60, **KINDS[kind]), arrival(heartbeat_event(ID, 75)))
    assert row.status == "ended"


def test_a_coarse_clock_does_not_refute_an_inferred_end() -> None:
    row = folded(
        arrival(START), arrival(heartbeat_event(ID, 60.003)), ended(60.0, **KINDS["outbox_recovered"])
    )
    assert row.status == "crashed"


def test_an_inferred_end_before_the_start_stands() -> None:
    assert folded(arrival(START), ended(-2, **KINDS["outbox_recovered"])).status == "crashed"


# --- who may


def test_a_stranger_may_not_end_a_session() -> None:
    taken = last(arrival(START), arrival(end_event(ID), "mallory"))
    assert (taken.verdict, taken.kept) == ("forbidden", False)
    assert "mallory" in (taken.error or "")


def test_a_stranger_may_not_keep_it_alive() -> None:
    assert last(arrival(START), arrival(heartbeat_event(ID), "mallory")).verdict == "forbidden"


def test_who_was_known_without_a_host_is_known_with_it() -> None:
    taken = last(arrival(START, "local:1000"), arrival(end_event(ID), "local:1000@web1"))
    assert taken.verdict == "stored"
    assert last(arrival(START, "ann"), arrival(end_event(ID), "ann@web1")).verdict == "forbidden"
    assert (
        last(arrival(START, "local:1000@web1"), arrival(end_event(ID), "local:1000@web2")).verdict
        == "forbidden"
    )


def test_an_admin_may() -> None:
    assert folded(arrival(START), arrival(end_event(ID), "root", by_admin=True)).status == "ended"


def test_a_strangers_end_that_came_first_does_not_count_and_hides_no_other() -> None:
    true_end = end_event(ID, 50)
    forged = true_end | {"timestamp": MOMENT.isoformat()}
    row = folded(arrival(forged, "mallory"), arrival(true_end), arrival(START))
    assert row.end_time == MOMENT + timedelta(seconds=50)
    assert [end.subject for end in row.ends] == [OWNER]


# --- the whole, in any order

ENDS = st.builds(
    lambda by, reason, status, after, elapsed, code, number, source: arrival(
        end_event(
            ID,
            after,
            detected_by=by,
            exit_reason=reason,
            status=status,
            exit_code=code,
            elapsed_seconds=elapsed,
            event_id=f"end-{number}",
        ),
        source[0],
        by_admin=source[1],
    ),
    elapsed=st.sampled_from([None, 0.0, 9.0, 10.0, 20.0]),
    by=st.sampled_from(get_args(contract.Detector)),
    reason=st.sampled_from([None, *get_args(contract.ExitReason)]),
    status=st.sampled_from(get_args(contract.EndStatus)),
    # Before the start too: clocks differ.
    after=st.integers(-20, 60),
    code=st.sampled_from([0, 1]),
    # Few ids, so that many events share one.
    number=st.integers(0, 3),
    source=st.sampled_from([(OWNER, False), ("mallory", False), ("root", True)]),
)
BEATS = st.builds(
    lambda after, elapsed, commands, source: arrival(
        heartbeat_event(ID, after, commands=commands) | {"elapsed_seconds": elapsed},
        source[0],
        by_admin=source[1],
    ),
    elapsed=st.sampled_from([None, 0.0, 9.0, 10.0, 20.0]),
    after=st.integers(-20, 60),
    commands=st.integers(0, 9),
    source=st.sampled_from([(OWNER, False), ("mallory", False), ("root", True)]),
)
STARTED = arrival(START)


def told(events: list[Arrival], row: SessionRow | None = None) -> tuple[SessionRow | None, list[Arrival]]:
    """The row after some events, and those of them that the history keeps."""
    kept = []
    for event in events:
        taken = fold(row, event)
        row = taken.row
        kept += [event] if taken.kept else []
    return row, kept


@given(ends=st.lists(ENDS, max_size=3 * ENDS_ALIKE), data=st.data())
def test_any_order_and_any_repeats_give_the_same_row(ends: list[Arrival], data: st.DataObject) -> None:
    repeats = data.draw(st.lists(st.sampled_from([STARTED, *ends]), max_size=10))
    shuffled = data.draw(st.permutations([STARTED, *ends, *repeats]))
    row, history = told(shuffled)
    assert row == told([STARTED, *ends])[0]
    assert told(data.draw(st.permutations(history)))[0] == row, "a rebuild differs"


@given(events=st.lists(ENDS | BEATS, max_size=3 * ENDS_ALIKE), data=st.data())
def test_heartbeats_in_any_order_too_and_a_rebuild_gives_the_same(
    events: list[Arrival], data: st.DataObject
) -> None:
    # Some events are lost, some come twice; heartbeats before the start are answered not_found.
    came = data.draw(st.lists(st.sampled_from(events), max_size=20)) if events else []
    row, history = told([STARTED, *came])
    again, _ = told(data.draw(st.permutations([*came, *came, STARTED])), STARTED_ROW)
    assert again == row
    rebuilt, _ = told(data.draw(st.permutations(history)))
    assert rebuilt is not None
    assert row is not None
    assert with_outcome(raised(rebuilt, row)) == row


STARTED_ROW = folded(STARTED)


# --- state that is not stored yet


def test_state_in_memory_refreshes_a_live_row_only() -> None:
    beat = Beat(ID, MOMENT + timedelta(seconds=40), 5, 1, MOMENT)
    live = refreshed(folded(arrival(START)), beat)
    assert (live.commands, live.last_seen) == (5, MOMENT + timedelta(seconds=40))
    over = folded(arrival(START), ended())
    assert refreshed(over, beat) is over
    assert refreshed(live, None) is live


# --- asking


def test_only_an_active_session_is_unreachable() -> None:
    assert to_record(folded(arrival(START)), NOW, silent=True)["unreachable"]
    assert not to_record(folded(arrival(START)), NOW)["unreachable"]
    assert not to_record(folded(arrival(START), ended()), NOW, silent=True)["unreachable"]


def test_the_nearest_ids_are_named_once_each() -> None:
    ids = ["shop-20260102-030405-1b9d6bcd", "bank-20260101-000000-ffff0000"]
    assert nearest("1b9d6bce", ids) == ids[:1]
    assert nearest("shop-20260102-030405-1b9d6bce", ids)[0] == ids[0]
    assert nearest("zzz", ids) == []


# --- clocks that were set, and the ends of the calendar


def beat(seconds: float, elapsed: float | None, **fields: Any) -> Arrival:
    return arrival(heartbeat_event(ID, seconds) | {"elapsed_seconds": elapsed} | fields)


MONTH = 30 * 86_400.0
JUMPS = [-MONTH, -6.0, 6.0, MONTH, 56 * 365 * 86_400.0]


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("reason", ["exit", "process_gone", "lease_expired"])
def test_a_clock_that_is_set_changes_no_duration(jump: float, reason: str) -> None:
    end = ended(100 + jump, **KINDS[reason], elapsed_seconds=100.25)
    for events in itertools.permutations([arrival(START), beat(60 + jump, 60.0), beat(15, 15.0), end]):
        row = folded(*events)
        record = to_record(row, MOMENT)
        assert (record["duration_seconds"], record["clock_skew"]) == (100.25, True)
        assert row.status != "active"
        assert row.listed_at == row.received_at


@pytest.mark.parametrize("seconds", [-4.0, 0.0, 4.0])
def test_a_clock_that_is_kept_in_time_is_not_skewed(seconds: float) -> None:
    row = folded(arrival(START), beat(60 + seconds, 60.0), ended(100 + seconds, elapsed_seconds=100.0))
    assert not to_record(row, MOMENT)["clock_skew"]
    assert row.listed_at == row.start_time


def test_who_lives_lasts_as_long_as_its_own_clock_counted_once_another_was_set() -> None:
    kept = folded(arrival(START), beat(60, 60.0))
    assert to_record(kept, MOMENT + timedelta(seconds=75))["duration_seconds"] == 75.0
    was_set = folded(arrival(START), beat(60 + MONTH, 60.0))
    record = to_record(was_set, MOMENT + timedelta(seconds=75 + MONTH))
    assert (record["duration_seconds"], record["clock_skew"]) == (60.0, True)


def test_a_start_that_comes_in_before_it_began_is_skewed() -> None:
    row = folded(arrival(START)._replace(received_at=MOMENT - timedelta(days=30)))
    assert to_record(row, MOMENT)["clock_skew"]
    assert row.listed_at == MOMENT - timedelta(days=30)
    late = folded(arrival(START)._replace(received_at=MOMENT + timedelta(days=30)))
    assert (late.clock_skew, late.listed_at) == (False, MOMENT)


def test_the_clock_that_nobody_sets_tells_whether_a_sign_of_life_refutes_an_end() -> None:
    # Set back by a month between the two: the end is the later one, though its time is not.
    end = ended(100 - MONTH, **KINDS["process_gone"], elapsed_seconds=100.0)
    assert folded(arrival(START), beat(60, 60.0), end).status == "crashed"
    # Set ahead: the heartbeat is the later one.
    end = ended(10 + MONTH, **KINDS["process_gone"], elapsed_seconds=10.0)
    assert folded(arrival(START), end, beat(60, 60.0)).status == "active"


@pytest.mark.parametrize("last", ["9999-12-31T23:59:59.5+00:00", "9999-12-31T23:59:59.999999+00:00"])
@pytest.mark.parametrize("reason", list(KINDS))
def test_at_the_end_of_the_calendar_any_order_gives_the_same(last: str, reason: str) -> None:
    start = arrival(start_event(timestamp="9999-12-31T23:59:58+00:00"))
    end = arrival(end_event(start.session_id, **KINDS[reason]) | {"timestamp": last})
    alive = arrival(heartbeat_event(start.session_id) | {"timestamp": last})
    # A heartbeat without a start is not kept, so the start is always before it.
    orders = itertools.permutations([start, end, alive])
    rows = [folded(*order) for order in orders if order.index(start) < order.index(alive)]
    (told,) = {json.dumps(to_record(row, MOMENT), sort_keys=True) for row in rows}
    assert json.loads(told)["end_time"] == datetime.fromisoformat(last).isoformat()


# --- what is counted


def test_what_nobody_counted_is_not_0() -> None:
    nobody = to_record(folded(arrival(START), ended(10)), MOMENT)
    assert (nobody["commands"], nobody["errors"]) == (None, None)
    none_yet = to_record(folded(arrival(START), beat(5, None, activity={"commands": 0})), MOMENT)
    assert (none_yet["commands"], none_yet["errors"]) == (0, None)


def test_the_last_counts_that_reached_anybody_are_told() -> None:
    found = ended(20, **KINDS["process_gone"])
    early = ended(10, **KINDS["outbox_recovered"], activity={"commands": 7, "errors": 2})
    record = to_record(folded(arrival(START), early, found), MOMENT)
    assert (record["exit_reason"], record["commands"], record["errors"]) == ("process_gone", 7, 2)


def test_of_ends_at_one_time_the_one_that_lasted_longest_is_kept() -> None:
    # A clock was set back, so each silence ends at the same last heartbeat, only longer after the start.
    lost = KINDS["lease_expired"] | {"event_id": "lost"}
    ends = [ended(5, **lost, elapsed_seconds=float(elapsed)) for elapsed in range(100, 3000, 100)]
    for order in (ends, ends[::-1]):
        row = folded(arrival(START), beat(5, 2900.0), *order)
        assert row.status == "lost"


def test_an_end_that_the_first_release_has_taken_is_known_when_it_comes_again() -> None:
    counted = ended(10, event_id="x", activity={"commands": 0, "errors": 0})
    uncounted = ended(10, event_id="x")
    row = folded(arrival(START), counted)
    assert fold(row, uncounted).verdict == "duplicate"
