import fcntl
import logging
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from oneiric import SessionEventEmitter
from oneiric.paths import Paths
from session_buddy.intake.outbox import hand_over

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
