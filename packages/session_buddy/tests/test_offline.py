"""Answers without a server."""

import subprocess
import sys

import pytest

from oneiric.paths import Paths
from session_buddy.client.offline import answer


def leave() -> str:
    """A session that came and went; its id."""
    code = "import oneiric\nwith oneiric.track_session('shop') as s: print(s.id)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def listed() -> list[str]:
    return [record["session_id"] for record in answer("list_sessions", {}, 0)["sessions"]]


def test_what_waits_is_taken_in_first(paths: Paths) -> None:
    session = leave()
    assert listed() == [session]
    assert answer("get_session", {"session_id": session}, 0)["session"]["status"] == "ended"


def test_a_wiped_database_gets_its_history_back(paths: Paths) -> None:
    session = leave()
    assert listed() == [session]
    (paths.data / "session-buddy" / "sessions.duckdb").unlink()
    assert listed() == [session]


def test_another_database_is_simply_new(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    leave()
    assert len(listed()) == 1
    monkeypatch.setenv("SESSION_BUDDY_DB_PATH", str(paths.data / "other.duckdb"))
    assert listed() == []
