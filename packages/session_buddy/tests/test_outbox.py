import fcntl
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from oneiric import SessionEventEmitter, outbox
from oneiric.compose import session_id_of
from oneiric.entries import Moment, complete, read
from oneiric.journal import Journal
from oneiric.paths import Paths
from oneiric.testing import start_event
from session_buddy.intake.outbox import deliver_gone, hand_over, replay

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Keeper:
    """Takes every event and keeps it."""

    def __init__(self) -> None:
        self.calls: list[list[dict[str, Any]]] = []

    def __call__(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self.calls.append(events)
        return [{"status": "stored", "error": None} for _ in events]

    @property
    def kinds(self) -> list[str]:
        return [event["event_type"] for call in self.calls for event in call]


def _leave(component: str) -> None:
    code = f"import oneiric\nwith oneiric.track_session({component!r}): pass"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


def test_nothing_waits_in_a_new_home(paths: Paths) -> None:
    keeper = Keeper()
    hand_over(paths.outbox, keeper, NOW)
    assert keeper.calls == []


def test_ended_sessions_are_handed_over_once_and_live_ones_stay(paths: Paths) -> None:
    _leave("shop")
    emitter = SessionEventEmitter("bank")
    session_id = emitter.start_session("BankShell")
    keeper = Keeper()
    hand_over(paths.outbox, keeper, NOW)
    assert keeper.kinds == ["session_start", "session_end", "session_start", "session_heartbeat"]
    assert keeper.calls[-1][-1]["session_id"] == session_id
    again = Keeper()
    hand_over(paths.outbox, again, NOW)
    assert again.kinds == ["session_start", "session_heartbeat"]
    emitter.end_session()
    emitter.shutdown()


def test_many_live_sessions_go_in_several_calls(paths: Paths) -> None:
    emitters = [SessionEventEmitter(f"shop{number}") for number in range(25)]
    for emitter in emitters:
        emitter.start_session("ShopShell", {"pad": "x" * 15_000})
    keeper = Keeper()
    hand_over(paths.outbox, keeper, NOW)
    assert sum(len(call) for call in keeper.calls) == 50
    assert len(keeper.calls) == 2
    # What one journal says is not torn apart.
    assert keeper.calls[1][0]["event_type"] == "session_start"
    for emitter in emitters:
        emitter.end_session()
        emitter.shutdown()


def test_an_outbox_that_cannot_be_read_is_said_and_no_error(
    paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    paths.outbox.parent.mkdir(parents=True)
    paths.outbox.write_text("a file where the folder should be")
    keeper = Keeper()
    with caplog.at_level(logging.WARNING):
        hand_over(paths.outbox, keeper, NOW)
    assert keeper.calls == []
    assert str(paths.outbox) in caplog.text


def test_a_corrupt_journal_is_passed_over(paths: Paths, home: Path) -> None:
    _leave("shop")
    (paths.outbox / "broken-20260102-030405-1b9d6bcd.jsonl").write_text("nonsense\n")
    keeper = Keeper()
    hand_over(paths.outbox, keeper, NOW)
    assert keeper.kinds == ["session_start", "session_end"]


def test_what_another_sweep_is_busy_with_is_handed_over_too(paths: Paths) -> None:
    _leave("shop")
    with (paths.outbox / "sweep.lock").open("a") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        keeper = Keeper()
        hand_over(paths.outbox, keeper, NOW)
    assert keeper.kinds == ["session_start", "session_end"]


# --- for a database that was lost; for processes that were seen to end


def _orphan(paths: Paths, number: int = 0, kind: str = "") -> Path:
    """A journal in the outbox, or in one of its folders, whose session nobody holds."""
    start = start_event(event_id=f"1b9d{number:04x}-bbfd-4b2d-9b5d-ab8dfbbd4bed")
    journal = Journal(outbox.path_for(paths.outbox / kind, session_id_of(start)), start, 0.0)
    journal.close()
    return journal.path


def test_done_journals_are_replayed_for_a_lost_database(paths: Paths) -> None:
    _orphan(paths, kind="done")
    keeper = Keeper()
    assert len(replay(paths.outbox, keeper)) == 1
    assert keeper.kinds == ["session_start"]


def test_of_journals_for_named_servers_those_are_replayed_that_the_database_held(paths: Paths) -> None:
    mine, held, elsewhere = (_orphan(paths, number, "done") for number in range(3))
    for path in (held, elsewhere):
        path.rename(outbox.path_for(path.parent, path.stem, "ca6afae1"))
    keeper = Keeper()
    replay(paths.outbox, keeper, {held.stem})
    delivered = {session_id_of(event) for call in keeper.calls for event in call}
    assert delivered == {mine.stem, held.stem}


def test_the_journals_of_the_dead_are_taken_in_and_no_others(paths: Paths) -> None:
    dead, other = _orphan(paths, 1), _orphan(paths, 2)
    keeper = Keeper()
    died = Moment(datetime(2026, 1, 2, 5, tzinfo=UTC), 0.0)
    deliver_gone(paths.outbox, {dead.stem: died, "shop-20260102-030405-ffffffff": died}, keeper)
    assert keeper.kinds == ["session_start", "session_end"]
    assert keeper.calls[0][1]["timestamp"] == died.time.isoformat()
    assert outbox.journals(paths.outbox) == [other]
    assert outbox.journals(paths.outbox / "done") == [paths.outbox / "done" / dead.name]


def test_the_end_that_a_journal_has_is_the_one_that_counts(paths: Paths) -> None:
    path = _orphan(paths)
    own = {"event_type": "session_end", "session_id": path.stem, "timestamp": NOW.isoformat()}
    complete(path, read(path), own)
    keeper = Keeper()
    deliver_gone(paths.outbox, {path.stem: Moment(NOW, 0.0)}, keeper)
    assert keeper.calls[0][1] == own


def test_a_journal_that_somebody_holds_is_left(paths: Paths) -> None:
    start = start_event(pid=os.getpid())
    path = outbox.path_for(paths.outbox, session_id_of(start))
    journal = Journal(path, start, 0.0)
    keeper = Keeper()
    deliver_gone(paths.outbox, {path.stem: Moment(NOW, 0.0)}, keeper)
    assert (keeper.calls, outbox.journals(paths.outbox)) == ([], [path])
    journal.close()
