"""What a log names, and what is told of it."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from oneiric.paths import Paths
from session_buddy.errors import StoreUnavailable
from session_buddy.history.model import Arrival, Taken
from session_buddy.host.settings import BackupSettings, Settings
from session_buddy.intake.accounts import Accounts
from session_buddy.intake.admission import locally
from session_buddy.intake.outbox import hand_over
from session_buddy.intake.presence import Presence
from session_buddy.intake.writer import Writer
from session_buddy.keep.deletion import Deletion
from session_buddy.keep.losses import Losses, count
from session_buddy.keep.upkeep import upkeep_of
from session_buddy.server import assembly
from session_buddy.store import open_file, open_store
from session_buddy.store.duckdb import DuckDBStore
from session_buddy.store.duckdb.wal import log_of, sessions_named_in
from tests import forkserver
from tests.samples import MOMENT, arrival, end_event, session_id_of, start_event


class Troubled(DuckDBStore):
    """A real store that can be told to refuse."""

    full = False

    def ingest(self, arrivals: Sequence[Arrival]) -> list[Taken]:
        if self.full:
            raise StoreUnavailable("no space left on device")
        return super().ingest(arrivals)


OTHER = "other-20260102-030405-deadbeef"

WRITE = """
import json, os, signal, sys
from session_buddy.store import open_store
from tests.samples import arrival
store = open_store(sys.argv[1])
for line in sys.stdin:
    store.ingest([arrival(event) for event in json.loads(line)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def written(path: Path, *groups: list[dict[str, object]]) -> Path:
    """The log of a database whose process was killed after it had taken these events."""
    lines = "".join(json.dumps(group) + "\n" for group in groups)
    forkserver.run([sys.executable, "-c", WRITE, f"duckdb:///{path}"], lines)
    return log_of(path)


def test_a_log_names_the_sessions_whatever_their_components(tmp_path: Path) -> None:
    components = ["shop", "my-shop", "c" * 20, "c" * 23, "d" * 24, "e" * 40, "f" * 64, "a"]
    groups = [
        [start_event(number, component_name=component) for number in range(size)]
        for component in components
        for size in (1, 3, 30)
    ]
    groups.append([start_event(99, shell_type='"{\\"', timestamp="2026-01-02T03:04:05+05:00")])
    starts = [session_id_of(event) for group in groups for event in group]
    log = written(tmp_path / "x.duckdb", *groups)
    assert sorted(sessions_named_in(log)) == sorted(starts)
    assert sessions_named_in(tmp_path / "none") == ()


@pytest.mark.parametrize("count", [1, 30])
def test_a_parent_metadata_and_an_end_whose_start_never_came_are_no_sessions_lost(
    tmp_path: Path, count: int
) -> None:
    seen = {"id": OTHER, "deep": {"event_type": "session_end", "session_id": OTHER}}
    starts = [start_event(n, parent_session_id=OTHER, metadata=seen) for n in range(count)]
    log = written(tmp_path / "x.duckdb", starts)
    assert sorted(sessions_named_in(log)) == sorted(map(session_id_of, starts))
    log = written(tmp_path / "y.duckdb", starts, [end_event(session_id_of(start_event(99)))])
    store = open_file(tmp_path / "y.duckdb")
    assert store.gap is not None
    assert store.missing(store.gap.sessions) == []
    assert sorted(store.statuses()) == sorted(map(session_id_of, starts))
    store.close()


def test_a_damaged_log_names_what_can_be_read(tmp_path: Path) -> None:
    starts = [start_event(number) for number in range(30)]
    ends = [end_event(session_id_of(start)) for start in starts]
    log = written(tmp_path / "x.duckdb", *([start, end] for start, end in zip(starts, ends, strict=True)))
    content = log.read_bytes()
    middle = len(content) // 2
    log.write_bytes(content[:middle] + b"\xff" * 200 + content[middle + 200 :])
    assert set(sessions_named_in(log)) == {session_id_of(start) for start in starts}


def test_what_is_missing_is_counted_named_and_listed(tmp_path: Path) -> None:
    store = open_file(tmp_path / "x.duckdb")
    starts = [start_event(number) for number in range(20)]
    store.ingest([arrival(start) for start in starts[:5]])
    ids = [session_id_of(start) for start in starts]
    losses = count(store, ids, tmp_path / "aside")
    assert list(losses.missing) == sorted(ids[5:])
    assert losses.report == tmp_path / "aside.missing.txt"
    assert losses.report.read_text().split() == sorted(ids[5:])
    assert losses.report.stat().st_mode & 0o777 == 0o600
    assert str(losses).startswith(
        f"15 sessions of 20 could not come back, no journal has them: {min(ids[5:])}, "
    )
    assert f" and 5 more; listed in {losses.report}" in str(losses)
    assert str(count(store, ids[:5], None)) == "none is missing of 5 sessions that it held"
    assert count(store, [], None) == Losses(0, [])
    store.close()


def test_what_went_back_to_an_earlier_state_is_counted_and_listed(tmp_path: Path) -> None:
    store = open_file(tmp_path / "x.duckdb")
    starts = [start_event(number) for number in range(3)]
    ids = [session_id_of(start) for start in starts]
    lost = end_event(ids[1], exit_reason="lease_expired", status="crashed")
    store.ingest([*map(arrival, starts), arrival(lost), arrival(end_event(ids[2]))])
    assert store.statuses() == dict(zip(ids, ("active", "lost", "ended"), strict=True))
    losses = count(store, ids, tmp_path / "aside", dict.fromkeys(ids, "ended"))
    assert losses.report is not None
    assert str(losses) == (
        "none is missing of 3 sessions that it held; 2 sessions went back to an earlier state;"
        f" listed in {losses.report}"
    )
    assert losses.report.read_text() == f"{ids[0]} ended, now active again\n{ids[1]} ended, now lost again\n"
    assert count(store, ids, None, dict.fromkeys(ids, "active")) == Losses(3, [])
    store.close()


def test_a_report_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_file(tmp_path / "x.duckdb")
    losses = count(store, ["shop-20260102-030405-00000000"], tmp_path / "none" / "aside")
    store.close()
    assert losses.report is None
    assert "cannot be written" in caplog.text
    assert os.linesep not in str(losses)


def test_a_server_that_cannot_make_up_for_a_gap_tries_again(paths: Paths, shell: Callable[..., str]) -> None:
    url = f"duckdb:///{paths.data}/x.duckdb"
    session = shell()
    store = open_store(url)
    hand_over(paths.outbox, locally(store.ingest, Accounts(), lambda: MOMENT), MOMENT)
    store.close()
    (paths.data / "x.duckdb").unlink()
    troubled = Troubled.open(paths.data / "x.duckdb", known=True)
    troubled.full = True
    deletion = Deletion(troubled, paths.outbox, timedelta(0))
    with Writer(troubled, Presence()) as writer:
        upkeep = upkeep_of(troubled, writer, deletion, Settings(backup=BackupSettings(every_hours=0)))
        sweep = partial(assembly._sweep, locally(writer.ingest, Accounts()), paths, upkeep)
        with pytest.raises(StoreUnavailable, match="no space left"):
            sweep()
        assert (bool(troubled.gap), list(troubled.statuses())) == (True, [])
        troubled.full = False
        sweep()
        assert (bool(troubled.gap), list(troubled.statuses())) == (False, [session])
    troubled.close()
