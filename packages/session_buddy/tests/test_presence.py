"""Who is live right now."""

from datetime import timedelta

from oneiric.contract import DEFAULT_LEASE_SECONDS
from oneiric.events import SessionHeartbeat, parse_event
from session_buddy.history.fold import fold
from session_buddy.history.model import Arrival, SessionRow
from session_buddy.intake.presence import Presence
from tests.samples import MOMENT, OWNER, arrival, end_event, heartbeat_event, session_id_of, start_event


def row_of(*raws: dict[str, object]) -> SessionRow:
    row = None
    for raw in raws:
        row = fold(row, arrival(raw)).row
    assert row is not None
    return row


def beat(session: str, after: float, **activity: object) -> SessionHeartbeat:
    event = parse_event(heartbeat_event(session, after, **activity))
    assert isinstance(event, SessionHeartbeat)
    return event


def test_a_heartbeat_is_taken_from_the_owner_and_from_an_admin_only() -> None:
    raw = start_event()
    session = session_id_of(raw)
    presence = Presence()
    assert not presence.hear(beat(session, 1), OWNER, 1.0, by_admin=False)
    presence.learn([row_of(raw)], 0.0)
    assert not presence.hear(beat(session, 1), "mallory", 1.0, by_admin=False)
    assert presence.unwritten() == []
    assert presence.hear(beat(session, 1), OWNER, 1.0, by_admin=False)
    assert presence.hear(beat(session, 2), "root", 1.0, by_admin=True)
    assert len(presence) == 1
    assert repr(presence) == "<Presence(live=1)>"


def test_the_state_only_rises() -> None:
    raw = start_event()
    session = session_id_of(raw)
    presence = Presence()
    presence.learn([row_of(raw)], 0.0)
    presence.hear(
        beat(session, 30, commands=5, errors=1, last_activity=MOMENT.isoformat()), OWNER, 1.0, by_admin=False
    )
    presence.hear(beat(session, 10, commands=2), OWNER, 2.0, by_admin=False)
    state = presence.state([session, "other"])[session]
    assert (state.commands, state.errors, state.last_activity) == (5, 1, MOMENT)
    assert state.last_seen == MOMENT + timedelta(seconds=30)


def test_what_could_not_be_written_stays_to_be_written() -> None:
    raw = start_event()
    presence = Presence()
    presence.learn([row_of(raw)], 0.0)
    presence.hear(beat(session_id_of(raw), 30), OWNER, 1.0, by_admin=False)
    assert presence.unwritten({"other"}) == []
    beats = presence.unwritten()
    assert presence.unwritten() == []
    presence.still_unwritten(beats)
    assert presence.unwritten({session_id_of(raw)}) == beats


def test_an_ended_session_is_no_longer_live_and_a_woken_one_is_again() -> None:
    raw = start_event()
    session = session_id_of(raw)
    lost = end_event(session, 10, exit_reason="lease_expired", status="crashed")
    presence = Presence()
    presence.learn([row_of(raw)], 0.0)
    presence.learn([row_of(raw, lost)], 1.0)
    assert len(presence) == 0
    presence.learn([row_of(raw, lost, heartbeat_event(session, 50))], 2.0)
    assert presence.everyone()[0].heard == 2.0


def test_what_was_heard_and_not_written_of_an_ended_session_is_given_back() -> None:
    raw = start_event()
    session = session_id_of(raw)
    over = [row_of(raw, end_event(session, 10))]
    presence = Presence()
    presence.learn([row_of(raw)], 0.0)
    presence.hear(beat(session, 50, commands=9), OWNER, 1.0, by_admin=False)
    (left,) = presence.learn(over, 2.0)
    assert (left.session_id, left.commands, left.last_seen) == (session, 9, MOMENT + timedelta(seconds=50))
    assert presence.learn(over, 3.0) == []
    presence.learn([row_of(raw)], 4.0)
    assert presence.learn(over, 5.0) == [], "nothing was heard"


def test_a_session_of_which_only_an_end_is_known_is_not_live() -> None:
    presence = Presence()
    presence.learn([row_of(end_event("shop-20260102-030405-0123abcd"))], 0.0)
    assert len(presence) == 0


def test_the_pace_slows_with_the_number_of_sessions_and_leases_with_the_pace() -> None:
    presence = Presence()
    assert presence.heartbeat_seconds == 15
    presence.learn([row_of(start_event(n)) for n in range(5000)], 0.0)
    assert presence.heartbeat_seconds == 100
    assert {entry.lease for entry in presence.everyone()} == {400}, "also after a restart"
    few = Presence()
    few.learn([row_of(start_event())], 0.0)
    assert few.everyone()[0].lease == DEFAULT_LEASE_SECONDS


def test_silence_is_measured_here_whatever_the_emitters_clock_says() -> None:
    raw = start_event()
    session = session_id_of(raw)
    presence = Presence()
    presence.learn([row_of(raw)], 1000.0)
    assert presence.silent(1044.9) == frozenset()
    assert presence.silent(1045.0) == {session}
    presence.hear(beat(session, -86_400), OWNER, 1045.0, by_admin=False)
    assert presence.silent(1089.9) == frozenset()


def test_what_somebody_read_in_the_outbox_is_no_sign_of_life() -> None:
    raw = start_event()
    session = session_id_of(raw)
    presence = Presence()
    presence.learn([row_of(raw)], 1000.0)
    presence.hear(beat(session, 10), OWNER, 1010.0, by_admin=False)
    presence.hear(beat(session, 10), OWNER, 1040.0, by_admin=False)
    presence.learn([row_of(raw)], 1050.0)
    assert presence.silent(1054.9) == frozenset()
    assert presence.silent(1055.0) == {session}


def test_pace_and_lease_can_be_set() -> None:
    presence = Presence(pace=1.0, min_lease=10.0)
    presence.learn([row_of(start_event())], 0.0)
    assert (presence.heartbeat_seconds, presence.everyone()[0].lease) == (1.0, 10.0)


def test_that_a_clock_was_set_is_news_until_the_store_knows() -> None:
    raw = start_event()
    session = session_id_of(raw)
    presence = Presence()
    row = row_of(raw)
    presence.learn([row], 0.0)

    def heard(after: float, elapsed: float) -> SessionHeartbeat | None:
        """The heartbeat, if a store must judge it."""
        event = beat(session, after).model_copy(update={"elapsed_seconds": elapsed})
        return None if presence.hear(event, OWNER, after, by_admin=False) else event

    assert heard(10, 10) is None
    # The first time it cannot be written.
    assert heard(3600, 20)
    news = heard(3610, 30)
    assert news
    judged = fold(row, Arrival.of(news, OWNER, MOMENT, by_admin=False)).row
    assert judged is not None
    assert judged.listed_at == row.received_at
    presence.learn([judged], 3610)
    assert heard(3620, 40) is None
    assert presence.state([session])[session].elapsed_seconds == 40
    assert presence.news()[1:] == []


def test_news_is_who_came_and_who_went() -> None:
    arrivals: list[int] = []
    presence = Presence(on_arrival=lambda: arrivals.append(len(presence)))
    raws = [start_event(), start_event()]
    presence.learn([row_of(raw) for raw in raws], 0.0)
    assert [is_live for _, is_live in presence.news()] == [True, True]
    presence.learn([row_of(raws[0], end_event(session_id_of(raws[0])))], 1.0)
    ((gone, is_live),) = presence.news()
    assert (gone.session_id, is_live) == (session_id_of(raws[0]), False)
    assert presence.news() == []
    assert arrivals == [2]
