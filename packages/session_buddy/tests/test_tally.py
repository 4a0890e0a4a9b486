"""What is counted of events that came in: each session once, however and however often it is told."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from session_buddy.history.fold import fold_all
from session_buddy.history.model import Arrival, SessionRow
from session_buddy.intake.tally import Tally
from tests.samples import MOMENT, arrival, end_event, heartbeat_event, session_id_of, start_event

START = start_event()
SESSION = session_id_of(START)
GONE: dict[str, Any] = {"status": "crashed", "exit_reason": "process_gone", "detected_by": "liveness"}


def counted(*groups: Sequence[Arrival]) -> Tally:
    """What a tally has of groups that were written one after another, each a minute after :data:`MOMENT`."""
    tally, rows = Tally(), dict[str, SessionRow]()
    for group in groups:
        folded = fold_all(rows, group)
        rows = dict(folded.known)
        tally.take(group, folded.taken, 0.002, MOMENT + timedelta(minutes=1))
    return tally


def start() -> Arrival:
    return arrival(START)


def end(after: float = 30.0, **changes: Any) -> Arrival:
    return arrival(end_event(SESSION, after, **changes), by_admin=True)


@pytest.mark.parametrize(
    "groups",
    [
        [[start(), end()]],
        [[start()], [end()], [end(), start()]],
        [[end()], [start()]],
        [[start()], [end(**GONE)], [end(31)], [arrival(heartbeat_event(SESSION, 20))]],
    ],
    ids=["together", "again", "the end first", "found gone, and told later"],
)
def test_a_session_starts_once_and_ends_once(groups: list[list[Arrival]]) -> None:
    tally = counted(*groups)
    assert (tally.started, tally.ended.total(), sum(tally.durations.spread().counts)) == (1, 1, 1)
    assert tally.durations.spread().total == 30


def test_an_end_counts_as_it_was_first_known() -> None:
    assert counted([start()], [end(**GONE)], [end()]).ended == {("crashed", "process_gone"): 1}
    assert counted([start()], [end(exit_reason=None)]).ended == {("ended", "unknown"): 1}


def test_who_was_believed_gone_and_came_back_ends_again() -> None:
    alive = arrival(heartbeat_event(SESSION, 50))
    tally = counted([start()], [end(30, **GONE)], [alive], [end(55)])
    assert tally.ended == {("crashed", "process_gone"): 1, ("ended", "exit"): 1}
    # An end that is refuted as it comes is none.
    assert counted([start()], [alive], [end(30, **GONE)]).ended == {}


def test_delays_are_of_what_is_new_and_never_below_zero() -> None:
    tally = counted([start()], [start(), end(40)], [arrival(start_event(3600))])
    starts, ends = (tally.delays[kind].spread() for kind in ("start", "end"))
    assert (sum(starts.counts), starts.total) == (2, 60)
    assert (sum(ends.counts), ends.total) == (1, 20)


def test_groups_are_counted_with_how_long_they_took() -> None:
    tally = counted([start()], [end(), end()])
    sizes, seconds = tally.groups.spread(), tally.commits.spread()
    assert (sizes.counts[:2], sizes.total) == ((1, 1), 3)
    assert (sum(seconds.counts), round(seconds.total, 6)) == (2, 0.004)


def test_what_is_not_taken_is_counted_by_why() -> None:
    others = arrival(end_event(SESSION), "somebody else")
    # The same id, of another event.
    other = arrival({**START, "event_id": f"{START['event_id'][:-4]}ffff"})
    tally = counted([start()], [others, other])
    tally.refuse("too_large", 501)
    tally.refuse("invalid", 0)
    assert tally.refused == {"forbidden": 1, "invalid": 1, "too_large": 501}
    assert (tally.started, tally.ended) == (1, {})
