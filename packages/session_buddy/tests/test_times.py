"""Times and lengths of time, as operators write them."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_buddy.errors import InvalidQuery
from session_buddy.history.times import Span, Time, parse_bounds, parse_duration, parse_overlap, parse_time

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
NOW = datetime(2026, 4, 14, 12, tzinfo=BERLIN)  # a Tuesday
LASTING = {"minute": 60.0, "second": 1.0, "microsecond": 1e-6}


def at(text: str, zone: tzinfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def read(text: str, now: datetime = NOW, zone: tzinfo | None = BERLIN) -> Time:
    return parse_time("at", text, now, zone)


def shown(bound: datetime | None) -> str:
    """As a clock in Berlin shows it, to the microsecond where there are any."""
    local = bound and bound.astimezone(BERLIN).replace(tzinfo=None)
    return local.isoformat(" ", "microseconds" if local.microsecond else "minutes") if local else ""


@pytest.fixture
def system_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def change(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield change
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "begin", "lasting"),
    [
        ("2026-01-31T09:30", "2026-01-31 09:30", "minute"),
        ("2026-01-31 09:30", "2026-01-31 09:30", "minute"),
        ("2026-01-31t9:30", "2026-01-31 09:30", "minute"),
        ("2026-01-31T09:30:05", "2026-01-31 09:30:05", "second"),
        ("2026-01-31T09:30:05.25", "2026-01-31 09:30:05.250", "microsecond"),
        ("2026-01-31T09:30:05.123456789Z", "2026-01-31 10:30:05.123456", "microsecond"),
        ("2026-01-31T09:30Z", "2026-01-31 10:30", "minute"),
        ("2026-01-31 09:30 UTC", "2026-01-31 10:30", "minute"),
        ("2026-01-31T09:30-05", "2026-01-31 15:30", "minute"),
        ("2026-01-31T09:30:05+0230", "2026-01-31 08:00:05", "second"),
        ("2026-01-31T09:30+02:00", "2026-01-31 08:30", "minute"),
        ("17:28", "2026-04-13 17:28", "minute"),
        ("17:28:05", "2026-04-13 17:28:05", "second"),
        ("9:00", "2026-04-14 09:00", "minute"),
        ("12:00", "2026-04-14 12:00", "minute"),
        ("12:01", "2026-04-13 12:01", "minute"),
        ("noon", "2026-04-14 12:00", "minute"),
        ("9am", "2026-04-14 09:00", "minute"),
        ("9:30 PM", "2026-04-13 21:30", "minute"),
        ("12am", "2026-04-14 00:00", "minute"),
        ("midnight", "2026-04-14 00:00", "minute"),
        ("12pm", "2026-04-14 12:00", "minute"),
        ("today 9:00", "2026-04-14 09:00", "minute"),
        ("today 23:00", "2026-04-14 23:00", "minute"),
        ("  Yesterday   17:28 ", "2026-04-13 17:28", "minute"),
        ("9:00 yesterday", "2026-04-13 09:00", "minute"),
        ("9am last monday", "2026-04-13 09:00", "minute"),
        ("day before yesterday 9:00", "2026-04-12 09:00", "minute"),
        ("monday 9:00", "2026-04-13 09:00", "minute"),
        ("on monday at noon", "2026-04-13 12:00", "minute"),
        ("tuesday 11:59", "2026-04-14 11:59", "minute"),
        ("tue 12:01", "2026-04-07 12:01", "minute"),
        ("last tuesday 9:00", "2026-04-07 09:00", "minute"),
        ("now", "2026-04-14 12:00", "microsecond"),
        ("2h", "2026-04-14 10:00", "microsecond"),
        ("-5min", "2026-04-14 11:55", "microsecond"),
        ("- 1h30m", "2026-04-14 10:30", "microsecond"),
        ("now-2h", "2026-04-14 10:00", "microsecond"),
        ("2h ago", "2026-04-14 10:00", "microsecond"),
        ("7D ago", "2026-04-07 12:00", "microsecond"),
        ("90 seconds ago", "2026-04-14 11:58:30", "microsecond"),
        ("an hour ago", "2026-04-14 11:00", "microsecond"),
        ("a week ago", "2026-04-07 12:00", "microsecond"),
        ("two hours ago", "2026-04-14 10:00", "microsecond"),
        ("1 hour and 30 minutes ago", "2026-04-14 10:30", "microsecond"),
        ("31 january 2026 9:00", "2026-01-31 09:00", "minute"),
        ("jan 31 9:30pm", "2026-01-31 21:30", "minute"),
        ("jan 31 2026 at 9:00:05", "2026-01-31 09:00:05", "second"),
        ("Tue Apr 14 11:00:00 CEST 2026", "2026-04-14 11:00:00", "second"),
        ("jan 31 2026 9:00 EST", "2026-01-31 15:00", "minute"),
    ],
)
def test_a_moment_lasts_as_long_as_it_is_written_to(text: str, begin: str, lasting: str) -> None:
    found = read(text)
    assert found == (at(begin), at(begin) + timedelta(seconds=LASTING[lasting]), False)
    assert found.begin.tzinfo is found.end.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("2026-01-31", "2026-01-31", "2026-02-01"),
        ("2026-01", "2026-01-01", "2026-02-01"),
        ("2024-02", "2024-02-01", "2024-03-01"),
        ("today", "2026-04-14", "2026-04-15"),
        ("Yesterday", "2026-04-13", "2026-04-14"),
        ("the day before yesterday", "2026-04-12", "2026-04-13"),
        ("monday", "2026-04-13", "2026-04-14"),
        ("tuesday", "2026-04-14", "2026-04-15"),
        ("wed", "2026-04-08", "2026-04-09"),
        ("thurs", "2026-04-09", "2026-04-10"),
        ("fri", "2026-04-10", "2026-04-11"),
        ("saturday", "2026-04-11", "2026-04-12"),
        ("sun", "2026-04-12", "2026-04-13"),
        ("last monday", "2026-04-13", "2026-04-14"),
        ("last tuesday", "2026-04-07", "2026-04-08"),
        ("this week", "2026-04-13", "2026-04-20"),
        ("last  week", "2026-04-06", "2026-04-13"),
        ("this month", "2026-04-01", "2026-05-01"),
        ("last month", "2026-03-01", "2026-04-01"),
        ("this year", "2026-01-01", "2027-01-01"),
        ("last year", "2025-01-01", "2026-01-01"),
        ("last night", "2026-04-13 18:00", "2026-04-14 06:00"),
        ("last 2h", "2026-04-14 10:00", "2026-04-14 12:00"),
        ("the last hour", "2026-04-14 11:00", "2026-04-14 12:00"),
        ("past week", "2026-04-07 12:00", "2026-04-14 12:00"),
        ("jan 31", "2026-01-31", "2026-02-01"),
        ("3 march", "2026-03-03", "2026-03-04"),
        ("may 5", "2025-05-05", "2025-05-06"),
        ("31/jan/2026", "2026-01-31", "2026-02-01"),
        ("saturday the 31st of jan", "2026-01-31", "2026-02-01"),
        ("Jan 31st, 2025", "2025-01-31", "2025-02-01"),
        ("february 2024", "2024-02-01", "2024-03-01"),
        ("sept 2025", "2025-09-01", "2025-10-01"),
        ("may", "2025-05-01", "2025-06-01"),
    ],
)
def test_a_span_is_whole(text: str, begin: str, end: str) -> None:
    assert read(text) == (at(begin), at(end), True)


@pytest.mark.parametrize(
    ("now", "text", "begin"),
    [
        ("2026-04-13 08:00", "monday 9:00", "2026-04-06 09:00"),
        ("2026-04-13 09:00", "monday 9:00", "2026-04-13 09:00"),
        ("2026-04-14 05:00", "last night", "2026-04-13 18:00"),
        ("2026-04-14 23:00", "last night", "2026-04-13 18:00"),
        ("2026-04-14 00:00", "23:59", "2026-04-13 23:59"),
        ("2026-01-01 00:30", "yesterday", "2025-12-31"),
        ("2026-01-01 00:30", "last month", "2025-12-01"),
        ("2026-10-25 12:00", "24h", "2026-10-24 13:00"),
        ("2026-10-25 12:00", "yesterday 12:00", "2026-10-24 12:00"),
        ("2026-03-29 04:00", "two hours ago", "2026-03-29 01:00"),
    ],
)
def test_a_time_is_the_last_such_one(now: str, text: str, begin: str) -> None:
    assert read(text, at(now)).begin == at(begin)


@pytest.mark.parametrize(
    ("zone", "text", "hours"),
    [
        (BERLIN, "2026-03-29", 23),
        (BERLIN, "mar 29 2026", 23),
        (BERLIN, "2025-10-26", 25),
        (BERLIN, "2026-03", 31 * 24 - 1),
        (NEW_YORK, "2026-03-08", 23),
        (NEW_YORK, "2026-03-29", 24),
        (UTC, "2026-03-29", 24),
    ],
)
def test_a_day_is_as_long_as_the_zone_has_it(zone: tzinfo, text: str, hours: int) -> None:
    found = read(text, zone=zone)
    assert found.end - found.begin == timedelta(hours=hours)


def test_a_clock_time_that_comes_twice_is_the_first_and_one_left_out_the_hour_later() -> None:
    assert read("2025-10-26 02:30").begin == datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    assert read("2026-03-29 02:30").begin == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert read("2:30", datetime(2025, 10, 26, 1, 15, tzinfo=UTC)).begin == datetime(
        2025, 10, 26, 0, 30, tzinfo=UTC
    )


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, UTC])
@pytest.mark.parametrize("text", ["2026-04-14", "apr 14", "today", "2026-04-14 3:00", "apr 14 3:00", "3am"])
def test_a_text_is_read_in_the_zone(zone: tzinfo, text: str) -> None:
    now = datetime(2026, 4, 14, 12, tzinfo=UTC)
    assert read(text, now, zone).begin == at("2026-04-14 03:00" if "3" in text else "2026-04-14", zone)


@pytest.mark.parametrize("name", ["America/New_York", "EST5EDT,M3.2.0,M11.1.0"])
def test_without_a_zone_it_is_that_of_the_system(system_zone: Callable[[str], None], name: str) -> None:
    system_zone(name)
    for text in (
        "2026-03-08",
        "mar 8",
        "mar 8 3:00",
        "yesterday",
        "17:28",
        "last week",
        "2h",
        "two months ago",
    ):
        assert read(text, zone=None) == read(text, zone=NEW_YORK)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "abc",
            "rollback",
            "5",
            "17",
            "2026",
            "a",
            "m",
            "d",
            "-",
            "ago",
            "now ago",
            "last",
            "last 5",
        ),
        *("25:00", "9:60", "9:00:60", "13pm", "0am", "2026-02-30", "2026-13", "0000-01-01", "1899-12-31"),
        "9999-12-31",
        *(
            "0001-01-01",
            "99999999d",
            "9999999w",
            "1h30",
            "5m 3h",
            "1h ago ago",
            "9:00 2 days ago",
            "9:00-10:00",
        ),
        *(
            "01/02/2026",
            "31.01.2026",
            "1/2",
            "tomorrow",
            "in 2 hours",
            "in 5 minutes ago",
            "yesterday evening",
        ),
        *(
            "monday 9:00 sunday",
            "sun 5",
            "mayor",
            "market 3",
            "decade",
            "feb 30",
            "jan 31 10.30",
            "march 9:00",
        ),
        *("jan 31 EST", "jan 31 9:00 EST", "\u0663h", "\uff12h", "jan \uff13", "\0", "jan\0 3", "\ud800"),
        *(
            "may two",
            "jan monday",
            "jan of",
            "jan {31}",
            "foo months ago",
            "yesterday ago",
            "month ago 9:00 decade",
        ),
        *("9" * 5000, "jan " * 5000, "1h" * 5000, "9:" * 5000),
    ],
)
def test_what_names_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        read(text)
    assert str(refused.value) == (
        f"at: {text!r} is not valid: a time such as 17:28, yesterday 9:00, monday, last week, 2h ago,"
        " 2026-01-31 or 2026-01-31T09:30"
    )


@pytest.mark.parametrize(
    ("text", "after", "before"),
    [
        ("17:28", "2026-04-13 17:28", "2026-04-13 17:29"),
        ("monday", "2026-04-13 00:00", "2026-04-14 00:00"),
        ("last 2h", "2026-04-14 10:00", "2026-04-14 12:00"),
        (">17:28", "2026-04-13 17:28:00.000001", ""),
        (" >= 17:28", "2026-04-13 17:28", ""),
        ("<17:28", "", "2026-04-13 17:28"),
        ("<=17:28", "", "2026-04-13 17:28:00.000001"),
        (">2h", "2026-04-14 10:00:00.000001", ""),
        (">monday", "2026-04-14 00:00", ""),
        (">=monday", "2026-04-13 00:00", ""),
        ("<monday", "", "2026-04-13 00:00"),
        ("<=monday", "", "2026-04-14 00:00"),
    ],
)
def test_a_comparison_has_bounds(text: str, after: str, before: str) -> None:
    assert tuple(map(shown, parse_bounds("started", text, NOW, BERLIN))) == (after, before)


@pytest.mark.parametrize("parse", [parse_bounds, parse_overlap])
@pytest.mark.parametrize(
    ("text", "after", "before"),
    [
        ("9:00..10:00", "2026-04-14 09:00", "2026-04-14 10:00:00.000001"),
        ("11:00 .. 13:00", "2026-04-14 11:00", "2026-04-14 13:00:00.000001"),
        ("22:00..02:00", "2026-04-13 22:00", "2026-04-14 02:00:00.000001"),
        ("9:00..9:00", "2026-04-14 09:00", "2026-04-14 09:00:00.000001"),
        ("tuesday 9:00..11am", "2026-04-14 09:00", "2026-04-14 11:00:00.000001"),
        ("tuesday 14:00..16:00", "2026-04-07 14:00", "2026-04-07 16:00:00.000001"),
        ("monday 22:00..02:00", "2026-04-13 22:00", "2026-04-14 02:00:00.000001"),
        ("jan 31 14:00..midnight", "2026-01-31 14:00", "2026-02-01 00:00:00.000001"),
        ("yesterday..16:00", "2026-04-13 00:00", "2026-04-13 16:00:00.000001"),
        ("last night..9:00", "2026-04-13 18:00", "2026-04-14 09:00:00.000001"),
        ("2h..1h", "2026-04-14 10:00", "2026-04-14 11:00:00.000001"),
        ("1.5h..now", "2026-04-14 10:30", "2026-04-14 12:00:00.000001"),
        ("2026-01..2026-02", "2026-01-01 00:00", "2026-03-01 00:00"),
        ("monday..monday", "2026-04-13 00:00", "2026-04-14 00:00"),
        ("last week..", "2026-04-06 00:00", ""),
        ("2h ago..", "2026-04-14 10:00", ""),
        ("..last week", "", "2026-04-13 00:00"),
        ("..16:00", "", "2026-04-13 16:00:00.000001"),
    ],
)
def test_a_range_is_from_its_first_time_through_its_last(
    parse: Callable[..., Span], text: str, after: str, before: str
) -> None:
    assert tuple(map(shown, parse("started", text, NOW, BERLIN))) == (after, before)


@pytest.mark.parametrize(
    ("text", "after", "before"),
    [
        ("17:28", "2026-04-13 17:28", "2026-04-13 17:28:00.000001"),
        ("2h ago", "2026-04-14 10:00", "2026-04-14 10:00:00.000001"),
        ("yesterday", "2026-04-13 00:00", "2026-04-14 00:00"),
    ],
)
def test_a_moment_overlaps_with_what_was_there_then(text: str, after: str, before: str) -> None:
    assert tuple(map(shown, parse_overlap("at", text, NOW, BERLIN))) == (after, before)


@pytest.mark.parametrize("parse", [parse_bounds, parse_overlap])
@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1h..2h", "2026-04-14 11:00 to 2026-04-14 10:00"),
        ("monday..friday", "2026-04-13 00:00 to 2026-04-10 00:00"),
    ],
)
def test_a_range_that_ends_before_it_begins_is_refused(
    parse: Callable[..., Span], text: str, meant: str
) -> None:
    with pytest.raises(InvalidQuery) as refused:
        parse("at", text, NOW, BERLIN)
    assert str(refused.value) == (
        f"at: {text!r} is not valid: the range ends before it begins: it means {meant}"
    )


@pytest.mark.parametrize(
    "text", ["..", "...", "foo", "foo..", "..foo", "9:00..25:00", "9:00..10:00..11:00", ">9:00..10:00"]
)
@pytest.mark.parametrize("parse", [parse_bounds, parse_overlap])
def test_a_range_of_what_is_no_time_is_refused(parse: Callable[..., Span], text: str) -> None:
    with pytest.raises(
        InvalidQuery, match=r"^at: .* is not valid: a time such as .* or a range such as 14:00..16:00"
    ):
        parse("at", text, NOW, BERLIN)


@pytest.mark.parametrize("text", ["2h", "2h ago", "-2h", "now", "two days ago"])
def test_a_length_of_time_alone_is_too_short_a_moment_for_anything_to_begin_in(text: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        parse_bounds("started", text, NOW, BERLIN)
    assert str(refused.value) == (
        f"started: {text!r} is not valid: >{text} for after that moment, <{text} for before it,"
        " or e.g. last 2h"
    )


@pytest.mark.parametrize("text", [">2h", "<=monday"])
def test_nothing_is_there_before_or_after(text: str) -> None:
    with pytest.raises(InvalidQuery, match=r"^at: .* or a range such as 14:00..16:00; not with > or <$"):
        parse_overlap("at", text, NOW, BERLIN)


@pytest.mark.parametrize("text", [">>2h", "=5", "> ", "<>"])
def test_what_compares_with_no_time_is_refused(text: str) -> None:
    with pytest.raises(
        InvalidQuery, match=r"^started: .*; also >2h, <=monday, or a range such as 14:00..16:00$"
    ):
        parse_bounds("started", text, NOW, BERLIN)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("90s", 90), ("90 sec", 90), ("90secs", 90), ("1 second", 1), ("2 Seconds", 2)),
        *(("30m", 1800), ("30min", 1800), ("30 mins", 1800), ("1 minute", 60), ("2minutes", 120)),
        *(("2h", 7200), ("1hr", 3600), ("2 hrs", 7200), ("1 hour", 3600), ("2 hours", 7200)),
        *(("7d", 604_800), ("1 day", 86_400), ("2 days", 172_800)),
        *(("4w", 2_419_200), ("1 week", 604_800), ("2 weeks", 1_209_600)),
        *(("1h30m", 5400), (" 1h  30m ", 5400), ("1 hour 30 minutes", 5400), ("1w2d3h4m5s", 788_645)),
        *(("1.5h", 5400), ("0.25s", 0.25), ("0s", 0)),
    ],
)
def test_a_length_of_time_is_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration("duration", text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "5",
        "m",
        "-2h",
        "1h30",
        "30m 1h",
        "1h1h",
        "5 months",
        "1e5s",
        "99999999d",
        "\u0663h",
        "\0",
        "9" * 5000,
    ],
)
def test_a_length_has_units(text: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        parse_duration("duration", text)
    assert str(refused.value) == (
        f"duration: {text!r} is not valid: a length such as 90s, 30min, 1.5h, 1h30m, 7d or 4w;"
        " the units are s, m or min, h, d and w"
    )


@given(st.tuples(st.integers(0, 9_999_999), *[st.integers(0, 59)] * 4), st.sampled_from(["", " "]))
@settings(max_examples=50, deadline=None)
def test_a_length_is_the_sum_of_its_parts(numbers: tuple[int, ...], blank: str) -> None:
    text = blank.join(f"{number}{blank}{unit}" for number, unit in zip(numbers, "wdhms", strict=True))
    weeks, days, hours, minutes, seconds = numbers
    length = timedelta(weeks=weeks % 1000, days=days, hours=hours, minutes=minutes, seconds=seconds)
    assert parse_duration("duration", text) == (weeks - weeks % 1000) * 604_800 + length.total_seconds()


WORDS = [
    "jan",
    "31",
    "2026",
    "9:00",
    "monday",
    "last",
    "week",
    "2h",
    "ago",
    "two",
    "days",
    "-",
    "..",
    ">",
    "EST",
    "+02:00",
]


@given(st.text(max_size=40) | st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join))
@settings(max_examples=60, deadline=None)
def test_any_text_is_a_time_or_refused(text: str) -> None:
    for parse in (parse_time, parse_bounds, parse_overlap):
        try:
            begin, end = parse("at", text, NOW, BERLIN)[:2]
        except InvalidQuery:
            continue
        assert not begin or not end or begin < end
