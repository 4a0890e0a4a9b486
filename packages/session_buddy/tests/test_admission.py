"""Taking events in as plain dictionaries."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from oneiric import compose
from oneiric.events import InvalidEvent
from oneiric.paths import Paths
from oneiric.sweep import sweep
from session_buddy.access.callers import Caller
from session_buddy.errors import BatchTooLarge
from session_buddy.history.query import Query
from session_buddy.intake.accounts import Accounts
from session_buddy.intake.admission import MAX_EVENT_BYTES, admit, locally, validate
from session_buddy.store import Store, open_store
from tests.samples import MOMENT, asked, end_event, heartbeat_event, session_id_of, start_event

ANN = Caller("ann", frozenset({"track"}))


def test_each_event_is_answered_by_itself(tmp_path: Path) -> None:
    raw = start_event()
    session = session_id_of(raw)
    batch = [
        raw,
        5,
        {"event_type": "nonsense"},
        start_event(pid=0),
        heartbeat_event(session),
        end_event(session),
        raw,
    ]
    store = open_store(f"duckdb:///{tmp_path}/x.duckdb")
    delivery = validate(batch, ANN, MOMENT)
    results = delivery.results(store.ingest(delivery.arrivals))
    store.close()
    statuses = [result["status"] for result in results]
    assert statuses == ["stored", "invalid", "invalid", "invalid", "stored", "stored", "duplicate"]
    assert results[3]["field"] == "pid"
    assert results[3]["error"] == "pid: 0 is not valid: Input should be greater than or equal to 1"
    assert results[0] == {"status": "stored", "session_id": session, "field": None, "error": None}
    assert {arrival.subject for arrival in delivery.arrivals} == {"ann"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event_id": "x"}, "event_id"),
        ({"user": {"username": "x" * 101}}, "user.username"),
        ({"metadata": {"a": float("nan")}}, "metadata"),
        ({"metadata": {"a": "\ud800"}}, "metadata"),
        ({"novelty": "\ud800"}, ""),
        ({"novelty": "x" * MAX_EVENT_BYTES}, ""),
        ({"timestamp": "0001-01-01T00:00:00Z"}, "timestamp"),
    ],
)
def test_an_event_that_cannot_be_kept_is_refused_by_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        admit(start_event(**changes), ANN, MOMENT)
    assert caught.value.field == field


def test_a_newer_emitters_fields_are_taken() -> None:
    raw = start_event(event_version="1.9", novelty={"deep": [1, None]}, timestamp="2026-01-02T05:04:05+02:00")
    assert json.loads(admit(raw, ANN, MOMENT).body) == raw


def test_a_batch_has_bounds() -> None:
    with pytest.raises(BatchTooLarge, match="events: 501 in one call; 500 are allowed"):
        validate([{}] * 501, ANN, MOMENT)
    long = {"text": "x" * 16_000}
    assert len(validate([start_event(metadata=long)] * 60, ANN, MOMENT).arrivals) == 60
    with pytest.raises(BatchTooLarge, match=r"events: 11\d{5} bytes in one call; 1048576 are allowed"):
        validate([start_event(metadata=long)] * 70, ANN, MOMENT)


def test_a_batch_is_measured_in_bytes_and_its_bad_events_count_too() -> None:
    wide = {"text": "é" * 8_000}
    with pytest.raises(BatchTooLarge, match=r"events: 11\d{5} bytes in one call"):
        validate([start_event(metadata=wide)] * 70, ANN, MOMENT)
    with pytest.raises(BatchTooLarge, match=r"events: 1\d{6} bytes in one call"):
        validate([{"event_type": "nonsense", "text": "x" * 16_000}] * 70, ANN, MOMENT)
    deep: dict[str, Any] = {}
    for _ in range(10_000):
        deep = {"deeper": deep}
    (answer,) = validate([{"event_type": "\ud800", "deep": deep}], ANN, MOMENT).answers
    assert answer is not None
    assert answer["status"] == "invalid"


def test_an_event_is_measured_in_bytes() -> None:
    with pytest.raises(InvalidEvent, match=r"it takes 8\d{4} bytes; 65536 are allowed"):
        admit(start_event(novelty="é" * 40_000), ANN, MOMENT)


def swept(store: Store, paths: Paths) -> bool:
    now = datetime.now(UTC)
    return sweep(paths.outbox, locally(store.ingest, Accounts(), lambda: now), now=now)


def test_a_journal_that_is_too_large_is_set_aside_and_holds_up_no_other(paths: Paths, home: Path) -> None:
    paths.outbox.mkdir(parents=True, mode=0o700)
    starts = [start_event(number, component_name=name) for number, name in enumerate("abc")]
    # Its journal is smaller than a call may be, and what json makes of it is not.
    starts[0]["novelty"] = [1] * 480_000
    for start in starts:
        session = session_id_of(start)
        lines = compose.encode(start) + compose.encode(end_event(session))
        (paths.outbox / f"{session}.jsonl").write_bytes(lines)
    store = open_store(f"duckdb:///{home}/x.duckdb")
    assert swept(store, paths)
    assert {row.component for row in store.select(asked("status:ended"))} == {"b", "c"}
    assert [path.stem for path in (paths.outbox / "rejected").iterdir()] == [session_id_of(starts[0])]
    store.close()


def test_what_waits_in_the_outbox_is_taken_in_once(paths: Paths, home: Path) -> None:
    code = "import oneiric\nwith oneiric.track_session('shop'): pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    store = open_store(f"duckdb:///{home}/x.duckdb")
    for _ in range(2):
        assert swept(store, paths)
    (row,) = store.select(Query())
    assert (row.component, row.status) == ("shop", "ended")
    store.close()
