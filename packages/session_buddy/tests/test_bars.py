"""What a timeline draws is the same on DuckDB, on PostgreSQL and by hand."""

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from session_buddy.history.bars import LANES_BY, Bar, Cut, LaneBy, Slice
from session_buddy.history.record import person, to_record
from session_buddy.history.timeline import Window
from session_buddy.store import Store
from tests.engines import PostgresDatabase
from tests.random_history import NOW, history, on_both_engines
from tests.samples import asked, seeded

WINDOW = Window(NOW - timedelta(days=2), NOW - timedelta(hours=3))
SLICES, MOST = 7, 3


def by_hand(store: Store, text: str) -> list[Bar]:
    records: list[tuple[Any, Any]] = [
        (row, to_record(row, NOW)) for row in store.select(WINDOW.of(asked(text, limit=10_000)))
    ]
    return [
        Bar(
            row.session_id,
            row.listed_at,
            row.listed_until,
            record["status"],
            row.exit_reason,
            person(record),
            record["hostname"],
            record["component"],
            row.parent_session_id,
        )
        for row, record in records
    ]


def sliced_by_hand(bars: list[Bar], by: LaneBy) -> tuple[list[Slice], int]:
    length = (WINDOW.end - WINDOW.begin) / SLICES
    many = Counter(getattr(bar, by) for bar in bars)
    chosen = sorted(many, key=lambda name: (-many[name], name))[:MOST]
    numbers = defaultdict[tuple[str, int], list[int]](lambda: [0, 0, 0, 0])
    for bar in bars:
        name = getattr(bar, by)
        numbers[name, max(0, (bar.begin - WINDOW.begin) // length)][0] += 1
        if bar.end and bar.end < WINDOW.end:
            found = numbers[name, (bar.end - WINDOW.begin) // length]
            for place, counts in enumerate((True, bar.status == "crashed", bar.status == "lost"), 1):
                found[place] += counts
    return [Slice(*key, *found) for key, found in sorted(numbers.items()) if key[0] in chosen], len(many)


def test_bars_and_slices_are_those_of_the_sessions_that_were_in(
    tmp_path: Path, database: PostgresDatabase
) -> None:
    with on_both_engines(history(seeded(5), 80), tmp_path, database) as stores:
        for store in stores:
            for text in ("", "host:web*"):
                query = WINDOW.of(asked(text))
                bars = store.bars(replace(query, limit=10_000))
                assert bars
                assert bars == by_hand(store, text)
                assert store.bars(replace(query, limit=3)) == bars[:3]
                for by in LANES_BY:
                    slices, lanes = store.sliced(query, Cut(WINDOW, by, MOST, SLICES))
                    assert (sorted(slices), lanes) == sliced_by_hand(bars, by), (store.url, text, by)


def test_where_nobody_was_in_there_is_nothing(tmp_path: Path, database: PostgresDatabase) -> None:
    with on_both_engines([], tmp_path, database) as stores:
        for store in stores:
            assert store.bars(WINDOW.of(asked())) == []
            assert store.sliced(WINDOW.of(asked()), Cut(WINDOW, "person", MOST, SLICES)) == ([], 0)
