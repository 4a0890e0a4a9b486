"""The kernel's word of processes that end."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from session_buddy.intake.exits import Exits

WAITS = [sys.executable, "-c", "import sys; sys.stdin.read()"]
pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this kernel tells of nobody")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def exits() -> Iterator[Exits]:
    with closing(Exits(3)) as exits:
        yield exits


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    with ExitStack() as stack:
        started = [stack.enter_context(subprocess.Popen(WAITS, stdin=subprocess.PIPE)) for _ in range(4)]
        yield started
        for process in started:
            process.kill()


def test_each_end_is_told_once(exits: Exits, processes: list[subprocess.Popen[bytes]]) -> None:
    assert all(exits.watch(f"{number}", processes[number].pid) for number in range(3))
    assert exits.wait(0) == []
    for number in (2, 0):
        # Also while its parent does not ask for it.
        processes[number].kill()
        assert exits.wait(60) == [f"{number}"]
    assert exits.wait(0) == []


def test_what_is_forgotten_is_not_told(exits: Exits, processes: list[subprocess.Popen[bytes]]) -> None:
    exits.watch("one", processes[0].pid)
    exits.watch("other", processes[0].pid)
    exits.forget("one")
    exits.forget("one")
    exits.forget("nobody")
    processes[0].kill()
    assert exits.wait(60) == ["other"]


def test_who_is_there_no_more_and_who_is_one_too_many(
    exits: Exits, processes: list[subprocess.Popen[bytes]]
) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    assert not exits.watch("gone", gone.pid)
    watched = [exits.watch(f"{number}", process.pid) for number, process in enumerate(processes)]
    assert watched == [True, True, True, False]
    exits.forget("1")
    assert exits.watch("3", processes[3].pid)


def test_it_holds_no_descriptor_longer_than_it_must(processes: list[subprocess.Popen[bytes]]) -> None:
    before = descriptors()
    with closing(Exits(3)) as exits:
        for _ in range(100):
            exits.watch("one", processes[0].pid)
            exits.forget("one")
        exits.watch("one", processes[0].pid)
    assert descriptors() == before


def test_another_thread_wakes_it(exits: Exits) -> None:
    woken = threading.Event()

    def wait() -> None:
        assert exits.wait(600) == []
        woken.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    # More often than anybody listens.
    for _ in range(100_000):
        exits.wake()
    assert woken.wait(60)
    waiting.join(60)
    assert exits.wait(0) == []


def test_closed_it_wakes_nobody() -> None:
    exits = Exits(1)
    exits.close()
    exits.wake()


def test_where_the_system_does_not_tell_it_says_so(exits: Exits, monkeypatch: pytest.MonkeyPatch) -> None:
    def old(_pid: int) -> int:
        raise OSError

    # An older kernel, and a system that never had it.
    monkeypatch.setattr(os, "pidfd_open", old)
    assert not exits.watch("one", os.getpid())
    monkeypatch.delattr(os, "pidfd_open")
    assert not exits.watch("one", os.getpid())


def test_where_no_more_can_be_waited_for_none_is_lost(
    exits: Exits, processes: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = descriptors()
    with monkeypatch.context() as limited:
        limited.setattr(exits._ready, "register", full)
        assert not exits.watch("one", processes[0].pid)
    exits.forget("one")
    assert descriptors() == before
    assert exits.watch("one", processes[0].pid)
