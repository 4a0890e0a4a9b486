"""Answers without a server."""

import subprocess
import sys
from typing import Any

from oneiric.paths import Paths
from session_buddy.client import offline


def leave() -> str:
    """A session that came and went; its id."""
    code = "import oneiric\nwith oneiric.track_session('shop') as s: print(s.id)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def answer(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    with offline.answering() as ask:
        return dict(ask(tool, arguments))


def listed() -> list[str]:
    return [record["session_id"] for record in answer("list_sessions", {})["sessions"]]


def test_what_waits_is_taken_in_first(paths: Paths) -> None:
    session = leave()
    assert listed() == [session]
    assert answer("get_session", {"session_id": session})["session"]["status"] == "ended"


def test_a_wiped_database_gets_its_history_back(paths: Paths) -> None:
    session = leave()
    assert listed() == [session]
    (paths.data / "session-buddy" / "sessions.duckdb").unlink()
    assert listed() == [session]
