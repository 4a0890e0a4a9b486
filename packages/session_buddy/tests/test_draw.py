"""Pictures as numbers: whatever the sessions, nothing stands where it does not belong."""

import doctest
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_buddy.history.bars import Bar, Slice
from session_buddy.history.timeline import Window
from session_buddy.history.zones import local, offsets_of
from session_buddy.server.page import address
from session_buddy.server.page.draw import scale, shares, steps, week, words
from session_buddy.server.page.draw.density import HEIGHT, SLICES, counts, strips
from session_buddy.server.page.draw.lanes import LEAST_HEIGHT, Lane, Placed, laid_out
from session_buddy.server.page.draw.scale import LEAST, place
from session_buddy.server.page.draw.steps import CLASSES, axis, class_of, classes, stairs
from session_buddy.server.page.draw.ticks import ticks

BEGIN = datetime(2026, 3, 28, 22, tzinfo=UTC)
DAY = Window(BEGIN, BEGIN + timedelta(days=1))
NEAR = 1e-6


@st.composite
def histories(draw: st.DrawFn) -> list[Bar]:
    """Sessions that were in within the window; some were started from others, also in circles."""
    number = draw(st.integers(0, 30))
    bars = []
    for one in range(number):
        begin = BEGIN + timedelta(minutes=draw(st.integers(-300, 1439)))
        lasted = draw(st.none() | st.integers(0, 600) | st.just(0))
        end = None if lasted is None else max(begin + timedelta(minutes=lasted), BEGIN)
        parent = draw(st.none() | st.integers(0, number)) if number else None
        person = draw(st.sampled_from(["ada", "bob", "Ünal"]))
        bars.append(
            Bar(
                f"s{one}",
                begin,
                end,
                "ended" if end else "active",
                None,
                person,
                "web1",
                "shop",
                f"s{parent}",
            )
        )
    return bars


def rows(placed: list[Placed], holder: Placed | None) -> list[Placed]:
    """What is within one that holds others, and in no other within it; or in none."""
    inside = [one for one in placed if one is not holder and (holder is None or is_within(one, holder))]
    return [one for one in inside if one.depth == (0 if holder is None else holder.depth + 1)]


def is_within(one: Placed, other: Placed) -> bool:
    across = other.x - NEAR <= one.x and one.x + one.width <= other.x + other.width + NEAR
    return across and other.y <= one.y and one.y + one.height <= other.y + other.height + NEAR


def overlap(one: Placed, other: Placed) -> bool:
    across = one.x + NEAR < other.x + other.width and other.x + NEAR < one.x + one.width
    return across and one.y + NEAR < other.y + other.height and other.y + NEAR < one.y + one.height


@settings(deadline=None, max_examples=25)
@given(histories())
def test_each_session_has_one_place_in_its_lane_that_no_other_has(bars: list[Bar]) -> None:
    lanes, many = laid_out(bars, "person", DAY, 60)
    assert many == len(lanes) == len({bar.person for bar in bars})
    assert Counter(one.bar for lane in lanes for one in lane.bars) == Counter(bars)
    for above, below in pairwise(lanes):
        assert above.y + above.height == pytest.approx(below.y)
    for lane in lanes:
        assert lane.height >= LEAST_HEIGHT
        for one in lane.bars:
            assert one.bar.person == lane.name
            assert 0 <= one.x <= one.x + one.width <= 100 + NEAR
            assert lane.y <= one.y <= one.y + one.height <= lane.y + lane.height + NEAR
        require_nesting(lane)


def require_nesting(lane: Lane) -> None:
    by_id = {one.bar.session_id: one for one in lane.bars}
    for one in lane.bars:
        if one.depth:
            holder = by_id[one.bar.parent or ""]
            assert (holder.depth, is_within(one, holder)) == (one.depth - 1, True)
    holders: list[Placed | None] = [None, *lane.bars]
    for inside in (rows(lane.bars, holder) for holder in holders):
        for place_, one in enumerate(inside):
            assert not any(overlap(one, other) for other in inside[place_ + 1 :])


def bar(name: str, begin: float, end: float | None, parent: str | None = None, person: str = "ada") -> Bar:
    """A session, by hours of the window."""
    last = None if end is None else BEGIN + timedelta(hours=end)
    return Bar(name, BEGIN + timedelta(hours=begin), last, "ended", None, person, "web1", "shop", parent)


@pytest.mark.parametrize(
    ("parent", "nested", "depth"),
    [
        (bar("a", 1, 5), bar("b", 2, 3, "a"), 1),
        (bar("a", 1, None), bar("b", 2, None, "a"), 1),
        # It went on, or somebody else did it: to be within would not be true.
        (bar("a", 1, 5), bar("b", 2, 6, "a"), 0),
        (bar("a", 1, 5), bar("b", 2, None, "a"), 0),
        (bar("a", 1, 5), bar("b", 2, 3, "a", "bob"), 0),
        # There is no room to show it.
        (bar("a", 1, 1.1), bar("b", 1.05, 1.06, "a"), 0),
        # Each says that it was started from the other.
        (bar("a", 1, 5, "b"), bar("b", 1, 5, "a"), 1),
    ],
)
def test_what_was_started_from_another_is_within_it_where_that_is_true(
    parent: Bar, nested: Bar, depth: int
) -> None:
    lanes, _ = laid_out([nested, parent], "person", DAY, 60)
    found = {one.bar.session_id: one for lane in lanes for one in lane.bars}
    assert (found["b"].depth, found["a"].holds) == (depth, depth)


def test_the_lanes_with_the_most_sessions_are_drawn_by_name() -> None:
    bars = [bar(f"{name}{number}", number, number + 1, None, name) for name in "abc" for number in range(3)]
    lanes, many = laid_out([*bars, bar("d", 1, 2, None, "d")], "person", DAY, 3)
    assert ([lane.name for lane in lanes], many) == (["a", "b", "c"], 4)


def test_a_moment_is_wide_enough_to_be_seen_and_stays_within() -> None:
    ((lane,), _) = laid_out([bar("a", 24, 24), bar("b", -5, 0)], "person", DAY, 60)
    last, first = sorted(lane.bars, key=lambda one: -one.x)
    assert (last.x, last.width, first.x, first.width) == (100 - LEAST, LEAST, 0, LEAST)


@settings(deadline=None, max_examples=30)
@given(
    st.floats(10, 86_400 * 3000),
    st.integers(0, 86_400 * 400),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe"]),
)
def test_ticks_stand_within_in_order_at_round_local_times(length: float, after: int, zone: str) -> None:
    window = Window(end := BEGIN + timedelta(seconds=after), end + timedelta(seconds=length))
    offsets = offsets_of(ZoneInfo(zone), *window)
    found = ticks(window, offsets)
    assert 0 <= len(found) <= 16
    assert sum(not one.spare for one in found) <= 7
    assert [one.moment for one in found] == sorted({one.moment for one in found})
    for one in found:
        assert window.begin <= one.moment < window.end
        here = local(one.moment, offsets)
        assert (here.microsecond, one.day) == (0, f"{here:%H:%M:%S}" == "00:00:00")
        assert not one.day or not one.label.endswith(":00")


def test_a_day_that_is_an_hour_shorter_has_its_clock_times_once() -> None:
    offsets = offsets_of(ZoneInfo("Europe/Berlin"), *DAY)
    found = ticks(Window(BEGIN + timedelta(hours=1), BEGIN + timedelta(hours=9)), offsets)
    whole = [one.label for one in found if not one.label.endswith(":30")]
    assert whole == ["Sun 29", "01:00", "03:00", "04:00", "05:00", "06:00", "07:00", "08:00"]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, SLICES - 1), st.integers(0, SLICES - 1) | st.none()), max_size=40))
def test_a_session_counts_from_the_slice_of_its_start_to_that_of_its_end(
    sessions: list[tuple[int, int | None]],
) -> None:
    sessions = [(first, None if last is None else max(first, last)) for first, last in sessions]
    changes = [Slice("ada", first, 1, 0, 0, 0) for first, _ in sessions]
    changes += [Slice("ada", last, 0, 1, 1, 0) for _, last in sessions if last is not None]
    by_hand = [
        sum(first <= at and (last is None or last >= at) for first, last in sessions) for at in range(SLICES)
    ]
    assert counts(changes) == by_hand
    for strip in strips(changes):
        assert (strip.sessions, strip.most) == (len(sessions), max(by_hand))
        assert strip.area.count("M") >= 1
        assert all(0 <= float(part.split()[0]) < SLICES for part in strip.area.split("M")[1:])


@given(st.lists(st.integers(0, 500), max_size=168))
def test_classes_part_all_numbers_in_order(numbers: list[int]) -> None:
    found = classes(numbers)
    assert len(found) <= CLASSES
    assert all(one.high < other.low for one, other in pairwise(found))
    assert all(class_of(number, found) > 0 for number in numbers if number)
    assert class_of(0, found) == 0


@given(st.integers(0, 10**7))
def test_an_axis_is_of_few_round_numbers_that_hold_all(most: int) -> None:
    found = axis(most)
    assert (found[0], 2 <= len(found) <= 5, found[-1] >= max(most, 1)) == (0, True, True)
    assert len({later - earlier for earlier, later in pairwise(found)}) == 1


def test_a_line_in_steps_has_a_unit_for_each_number() -> None:
    line, area = stairs([0, 5, 10], 10, HEIGHT)
    assert line == "M0 100h1L1 50h1L2 0h1"
    assert area == "M0 100L0 100h1L1 50h1L2 0h1V100z"


@pytest.mark.parametrize("module", [address, scale, shares, steps, week, words], ids=lambda one: one.__name__)
def test_examples_run(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


def test_a_place_outside_is_at_the_edge() -> None:
    moments: list[Any] = [BEGIN - timedelta(hours=1), DAY.end + timedelta(hours=1)]
    assert [place(DAY, one) for one in moments] == [0, 100]
