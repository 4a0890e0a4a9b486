"""Shells in a home of the test's own, under a pseudo-terminal or behind a pipe."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from oneiric.paths import user_paths
from tests import forkserver
from tests.terminal import Terminal

if TYPE_CHECKING:
    import pexpect

COMMAND = [sys.executable, "-m", "mahavishnu"]

if TYPE_CHECKING:
    import pexpect

Shell = Callable[..., "pexpect.spawn[str]"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
Sessions = Callable[[], list[list[dict[str, Any]]]]


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """The environment, with a home and a working folder of the test's own."""
    for name in list(os.environ):
        if name.startswith(("MAHAVISHNU_", "ONEIRIC_", "SESSION_BUDDY_", "XDG_", "SUDO_", "SSH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PROMPT_TOOLKIT_NO_CPR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "home").mkdir()
    return os.environ


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The working folder, with an empty `settings`."""
    (tmp_path / "work" / "settings").mkdir(parents=True)
    return tmp_path / "work"


@pytest.fixture
def mahavishnu(environ: Mapping[str, str], work: Path) -> Run:
    """Run the command line, its lines from a pipe."""

    def run(*arguments: str, typed: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return forkserver.run([*COMMAND, *arguments], typed, env={**environ, **more}, cwd=work)

    return run


@pytest.fixture
def shell(environ: Mapping[str, str], work: Path) -> Iterator[Shell]:
    """Start the shell under a pseudo-terminal."""
    running: list[pexpect.spawn[str]] = []

    def start(*arguments: str, **more: str) -> "pexpect.spawn[str]":
        command = [*COMMAND, "shell", *arguments]
        child = Terminal(
            command[0],
            command[1:],
            env={**environ, **more},
            cwd=str(work),
            encoding="utf-8",
            timeout=60,
            dimensions=(50, 200),
        )
        running.append(child)
        return child

    yield start
    for child in running:
        child.close(force=True)


@pytest.fixture
def sessions(environ: Mapping[str, str]) -> Sessions:
    """Read what the outbox holds: the events of each session, heartbeats left out."""

    def read() -> list[list[dict[str, Any]]]:
        found = []
        for path in sorted(user_paths(environ).outbox.glob("*.jsonl")):
            events = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
            found.append([event for event in events if event["event_type"] != "session_heartbeat"])
        return found

    return read
