"""A window of time, of histories on both engines, and against what each session says by itself."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from session_buddy.errors import InvalidQuery
from session_buddy.history.query import Clock, Query
from session_buddy.history.record import to_record
from session_buddy.history.timeline import TimelineAnswer, Window, rendered, timeline
from session_buddy.store import Store, open_store
from tests.engines import Engine
from tests.samples import MOMENT, arrival, end_event, moment, seeded, session_id_of, start_event

NOW = MOMENT + timedelta(hours=2)
CLOCK = Clock(NOW, UTC)


def told(store: Store, begin: float, end: float, query: str = "", limit: int = 50) -> TimelineAnswer:
    """The window between so many minutes behind the first moment."""
    window = Window(*(MOMENT + timedelta(minutes=after) for after in (begin, end)))
    asked = Query.parse(query, clock=CLOCK, limit=limit)
    return timeline(
        asked, window, store.select, lambda rows: [to_record(row, NOW) for row in rows], store.count
    )


def changes(answer: TimelineAnswer) -> list[tuple[str, str]]:
    return [(event["change"], event["hostname"]) for event in answer["events"]]


def lived(store: Store, host: str, begin: float, end: float | None, **how: Any) -> str:
    """A session on a host from one minute to another; its id."""
    raw = start_event(begin * 60, hostname=host)
    session = session_id_of(raw)
    ends = [] if end is None else [arrival(end_event(session, end * 60, **how))]
    store.ingest([arrival(raw, at=NOW - timedelta(seconds=1)), *ends])
    return session


def test_who_was_in_who_came_and_who_went(engine: Engine) -> None:
    with closing(open_store(engine.url)) as store:
        lived(store, "before", 0, 9)
        lived(store, "long", 1, 90)
        lived(store, "left", 5, 20, exit_reason="exception", status="crashed", exit_code=1)
        lived(store, "both", 12, 15)
        lived(store, "stays", 30, None)
        lived(store, "on-time", 10, 40)
        lived(store, "later", 40, None)
        answer = told(store, 10, 40)
        assert changes(answer) == [
            ("in", "long"), ("in", "left"), ("start", "on-time"), ("start", "both"), ("end", "both"),
            ("end", "left"), ("start", "stays"),
        ]  # fmt: skip
        assert (answer["in_at_begin"], answer["in_at_end"], answer["truncated"]) == (2, 3, False)
        lines = rendered(answer).splitlines()
        assert (
            lines[0] == "2026-01-02 03:14:05 to 2026-01-02 03:44:05 UTC: 2 in when it began, 3 when it ended"
        )
        left = answer["events"][5]["session_id"][-8:]
        assert lines[7] == f"01-02 03:24:05 end   ann shop@left {left} crashed exception exit code 1"
        assert len(lines) == 2 + len(answer["events"])
        assert changes(told(store, 10, 40, "host:l*")) == [("in", "long"), ("in", "left"), ("end", "left")]


def test_a_part_of_a_window_is_the_beginning_of_the_whole(tmp_path: Path) -> None:
    chance = seeded(7)
    with closing(open_store(f"duckdb:///{tmp_path}/sessions.duckdb")) as store:
        for number in range(30):
            begin = chance.randrange(60)
            lived(store, f"h{number}", begin, chance.choice([None, begin, begin + chance.randrange(60)]))
        whole = told(store, 20, 50)
        assert not whole["truncated"]
        for limit in range(1, len(whole["events"]) + 1, 3):
            part = told(store, 20, 50, limit=limit)
            assert part["events"] == whole["events"][: len(part["events"])]
            assert part["truncated"] == (len(part["events"]) < len(whole["events"]))
            assert part["events"]
            assert [part[name] for name in ("in_at_begin", "in_at_end")] == [
                whole[name] for name in ("in_at_begin", "in_at_end")
            ]


def test_a_window_is_written_as_times_are() -> None:
    def window(**texts: str | None) -> Window:
        return Window.parse(CLOCK, **{"since": None, "until": None, "at": None, **texts})

    hour = timedelta(hours=1)
    assert window() == window(since="", at=" ") == (NOW - hour, NOW)
    assert window(since="2h ago") == (NOW - 2 * hour, NOW)
    assert window(since="2h ago", until="1h ago") == (NOW - 2 * hour, NOW - hour + timedelta.resolution)
    assert window(at="03:00..04:00").begin == datetime(2026, 1, 2, 3, tzinfo=UTC)
    assert window(at="today") == (datetime(2026, 1, 2, tzinfo=UTC), NOW)
    assert moment(0).startswith("2026-01-02")
    for texts, said in (
        ({"at": "today", "since": "1h ago"}, "at: 'today' is not valid: at, or since and until"),
        ({"until": "1h ago"}, "since: '' is not valid: a window has a beginning"),
        ({"at": "..04:00"}, "at: '..04:00' is not valid: a range has a beginning"),
        ({"since": "2026-01-03"}, "since: '2026-01-03' is not valid: before its end, 2026-01-02T05:04:05"),
        ({"since": "soon"}, "since: 'soon' is not valid: a time such as"),
    ):
        with pytest.raises(InvalidQuery) as refused:
            window(**texts)
        assert str(refused.value).startswith(said)
