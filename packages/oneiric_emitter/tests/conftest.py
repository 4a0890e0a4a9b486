"""An isolated home for each test, and processes that live in it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from oneiric import agents
from oneiric.paths import user_paths
from tests.terminal import Start, Terminal

if TYPE_CHECKING:
    import pexpect

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """This process's environment, with a home of the test's own."""
    for name in list(os.environ):
        ours = name.startswith(("ONEIRIC_", "SESSION_BUDDY_", "XDG_", "SUDO_", "SSH_"))
        if ours or name in {*agents.HINTS, *agents.AUTOMATIONS}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return os.environ


@pytest.fixture
def unmeasured(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment for processes in which measuring coverage would be in the way: it prints and writes."""
    return {name: value for name, value in environ.items() if not name.startswith("COVERAGE")}


@pytest.fixture
def folder(environ: Mapping[str, str]) -> Path:
    """The outbox of the test's home."""
    return user_paths(environ).outbox


@pytest.fixture
def python(environ: Mapping[str, str]) -> Run:
    """Run code in a real interpreter in the test's home."""

    def run(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments, "-c", code]
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)

    return run


@pytest.fixture
def at_terminal(python: Run) -> Run:
    """Run code in a real interpreter whose standard input is a terminal."""

    def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        ours, theirs = os.openpty()
        try:
            return python(code, *arguments, stdin=theirs)
        finally:
            os.close(ours)
            os.close(theirs)

    return run


@pytest.fixture
def start(environ: Mapping[str, str], tmp_path: Path) -> Iterator[Start]:
    """Run code under a pseudo-terminal."""
    running: list[pexpect.spawn[str]] = []

    def spawn(code: str, **more: str) -> "pexpect.spawn[str]":
        env = {**environ, "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm", **more}
        child = Terminal(
            sys.executable, ["-c", code], env=env, cwd=str(tmp_path), encoding="utf-8", timeout=60
        )
        running.append(child)
        return child

    yield spawn
    for child in running:
        child.close(force=True)
