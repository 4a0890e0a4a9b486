"""What the first release wrote is read, brought up to date, and answered as it was.

``first_release/`` holds the events that a server of the first release was sent, one after the other, the
database that it made of them, and what its ``list-sessions --format json`` said then.
"""

import gzip
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from session_buddy.access.callers import local_caller
from session_buddy.history.query import Query
from session_buddy.history.record import to_record
from session_buddy.intake.admission import admit
from session_buddy.keep.migrate import migrate
from session_buddy.store import Store, open_store
from tests.engines import Engine

FOLDER = Path(__file__).parent / "first_release"
NOW = datetime(2026, 11, 27, tzinfo=UTC)
TWICE = "twice-20260102-190000-a0000010"
SET_BACK = "shop-20260102-160000-a000000e"
# Fields that came later; it told of accounts what variables said.
UNKNOWN_THEN: dict[str, Any] = {
    "uid": None,
    "person": None,
    "person_evidence": None,
    "person_also": [],
    "agent": None,
    "idle_seconds": None,
    "busy": False,
}
# How long a live one has lasted depends on when it is asked for; the other was sent no heartbeat since.
OF_THE_MOMENT = ("duration_seconds", "idle_seconds", "unreachable")


def then() -> dict[str, dict[str, Any]]:
    told: list[dict[str, Any]] = json.loads((FOLDER / "sessions.json").read_text())
    # Of two who found it dead, the later is believed now, whoever it was.
    (twice,) = (record for record in told if record["session_id"] == TWICE)
    twice |= {"exit_reason": "process_gone", "detected_by": "liveness", "duration_seconds": 608.75}
    twice |= {"end_time": "2026-01-02T19:10:09+00:00"}
    return {record["session_id"]: UNKNOWN_THEN | record for record in told}


def asked(store: Store, *left_out: str) -> dict[str, dict[str, Any]]:
    rows = store.select(Query(limit=500))
    return {row.session_id: told(dict(to_record(row, NOW)), *left_out) for row in rows}


def told(record: dict[str, Any], *left_out: str) -> dict[str, Any]:
    changing = OF_THE_MOMENT if record["status"] == "active" else ()
    return {name: value for name, value in record.items() if name not in (*left_out, *changing)}


@pytest.fixture
def migrated(tmp_path: Path) -> Iterator[Store]:
    path = tmp_path / "sessions.duckdb"
    path.write_bytes(gzip.decompress((FOLDER / "sessions.duckdb.gz").read_bytes()))
    with closing(open_store(f"duckdb:///{path}")) as store:
        yield store


def test_its_database_answers_as_it_did(migrated: Store) -> None:
    assert asked(migrated) == {name: told(record) for name, record in then().items()}


def test_its_database_lists_newest_first_and_by_receipt_whose_clock_was_set(migrated: Store) -> None:
    rows = migrated.select(Query(limit=500))
    assert rows[0].session_id == SET_BACK
    starts = [row.start_time for row in rows[1:]]
    assert starts == sorted(starts, reverse=True)


def test_its_database_moves_to_postgresql_and_back_and_answers_alike(
    migrated: Store, database: Engine, tmp_path: Path
) -> None:
    with (
        closing(open_store(database.url)) as there,
        closing(open_store(f"duckdb:///{tmp_path}/back.duckdb")) as back,
    ):
        sums = [migrate(one, other, lambda _: None) for one, other in ((migrated, there), (there, back))]
        expected = {name: told(record) for name, record in then().items()}
        assert [asked(store) for store in (there, back)] == [expected, expected]
        assert sums[0] == sums[1]
        assert there.find("a0000010").session_id == TWICE
        # A start, an end and a heartbeat of then, sent once more, are known there too.
        for line in (FOLDER / "events.jsonl").read_text().splitlines():
            (taken,) = there.ingest([admit(json.loads(line), local_caller(), NOW)])
            assert not taken.kept
        assert asked(there) == expected


def test_its_database_is_looked_up_by_digits(migrated: Store) -> None:
    assert migrated.find("a0000010").session_id == TWICE


def test_its_events_are_answered_as_it_did(tmp_path: Path) -> None:
    lines = (FOLDER / "events.jsonl").read_text().splitlines()
    with closing(open_store(f"duckdb:///{tmp_path}/sessions.duckdb")) as store:
        for line in lines:
            store.ingest([admit(json.loads(line), local_caller(), NOW)])
        # It counted nothing as 0.
        counts = ("commands", "errors", "reported_by")
        assert asked(store, *counts) == {name: told(record, *counts) for name, record in then().items()}


def test_its_events_are_known_when_they_come_again(migrated: Store) -> None:
    before = asked(migrated)
    for line in (FOLDER / "events.jsonl").read_text().splitlines():
        (taken,) = migrated.ingest([admit(json.loads(line), local_caller(), NOW)])
        assert taken.verdict in ("duplicate", "not_found") or '"session_heartbeat"' in line
        assert not taken.kept
    assert asked(migrated) == before
