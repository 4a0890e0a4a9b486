"""Who is gone without a word."""

import errno
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import pytest
from structlog.testing import capture_logs

from oneiric import facts
from oneiric.contract import DEFAULT_LEASE_SECONDS, UNKNOWN
from oneiric.entries import Moment
from oneiric.events import SessionEnd, SessionHeartbeat, parse_event
from session_buddy.access.callers import local_subject
from session_buddy.errors import StoreUnavailable
from session_buddy.history.model import Arrival, Taken
from session_buddy.intake.exits import Exits
from session_buddy.intake.liveness import (
    SWEEP_SECONDS,
    TICK_SECONDS,
    Here,
    Watch,
    end_of,
    expired,
    life_in_table,
    life_since,
)
from session_buddy.intake.presence import Presence
from session_buddy.store import Store, open_store
from tests.samples import MOMENT, OWNER, arrival, end_event, heartbeat_event, session_id_of, start_event

NOW = MOMENT + timedelta(minutes=1)
SLEEPER = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(SLEEPER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def process_of(pid: int) -> dict[str, Any]:
    found = facts.process(pid)
    assert found is not None
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"duckdb:///{tmp_path}/x.duckdb")
    yield opened
    opened.close()


class Bench:
    """A watch over a real store, with clocks that the test turns."""

    def __init__(self, store: Store, most: int = 1000) -> None:
        self.store = store
        self.presence = Presence()
        self.clock = 0.0
        self.time = NOW
        self.sweeps = 0
        self.on_sweep: Callable[[], object] = lambda: None
        self.taken_in: list[Mapping[str, Moment | None]] = []
        self.on_take_in: Callable[[], object] = lambda: None
        self.exits = Exits(most)
        self.presence.on_arrival = self.exits.wake
        self.watch = Watch(
            self.presence,
            self.ingest,
            self._take_in,
            self._sweep,
            self.exits,
            clock=lambda: self.clock,
            now=lambda: Moment(self.time, 0.0),
        )

    def ingest(self, arrivals: Sequence[Arrival]) -> Sequence[Taken]:
        taken = self.store.ingest(arrivals)
        self.presence.learn([one.row for one in taken if one.row is not None], self.clock)
        return taken

    def _take_in(self, gone: Mapping[str, Moment | None]) -> None:
        self.taken_in.append(dict(gone))
        self.on_take_in()

    def _sweep(self) -> None:
        self.sweeps += 1
        self.on_sweep()

    def close(self) -> None:
        self.watch.close()

    def start(self, subject: str = OWNER, **changes: Any) -> str:
        raw = start_event(**changes)
        self.ingest([arrival(raw, subject)])
        return session_id_of(raw)


@pytest.fixture
def bench(store: Store) -> Iterator[Bench]:
    with closing(Bench(store)) as bench:
        yield bench


@pytest.fixture
def unaided(store: Store) -> Iterator[Bench]:
    """One whose kernel tells of nobody."""
    with closing(Bench(store, most=0)) as bench:
        yield bench


# --- processes


def test_a_process_is_alive_gone_or_another_with_its_number(sleeper: subprocess.Popen[str]) -> None:
    started_at = process_of(sleeper.pid)["started_at"]
    assert life_since(sleeper.pid, started_at) == "alive"
    assert life_since(sleeper.pid, started_at + 1) == "gone"
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert life_since(sleeper.pid, started_at) == "gone", "a zombie is gone"
    sleeper.wait()
    assert life_since(sleeper.pid, started_at) == "gone"


def test_a_process_that_may_not_be_looked_at_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(facts, "process_start_ticks", lambda _pid: None)
    monkeypatch.setattr(os, "kill", denied)
    assert life_since(1, 5) == "unknown"


def test_a_killed_shell_has_crashed(bench: Bench, sleeper: subprocess.Popen[str]) -> None:
    session = bench.start(pid=sleeper.pid, process=process_of(sleeper.pid))
    bench.watch.look()
    assert bench.store.find(session).status == "active"
    sleeper.kill()
    sleeper.wait()
    bench.time = NOW + timedelta(seconds=1)
    bench.watch.look()
    row = bench.store.find(session)
    assert (row.status, row.exit_reason, row.end_time) == ("crashed", "process_gone", bench.time)
    assert row.ends[0].detected_by == "liveness"
    assert len(bench.presence) == 0


def test_where_the_kernel_does_not_tell_it_ended_when_that_was_found(
    unaided: Bench, sleeper: subprocess.Popen[str]
) -> None:
    session = unaided.start(pid=sleeper.pid, process=process_of(sleeper.pid))
    unaided.watch.look()
    sleeper.kill()
    sleeper.wait()
    unaided.time = NOW + timedelta(seconds=1)
    unaided.watch.look()
    assert unaided.store.find(session).end_time == unaided.time


def test_who_died_before_anybody_looked_ended_at_its_last_sign_of_life(
    bench: Bench, sleeper: subprocess.Popen[str]
) -> None:
    session = bench.start(pid=sleeper.pid, process=process_of(sleeper.pid))
    sleeper.kill()
    sleeper.wait()
    bench.watch.look()
    assert bench.taken_in == [{session: None}]
    assert bench.store.find(session).end_time == MOMENT


def test_an_end_that_cannot_be_stored_is_stored_later_and_as_early(
    bench: Bench, sleeper: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = bench.start(pid=sleeper.pid, process=process_of(sleeper.pid))
    bench.watch.look()
    sleeper.kill()
    sleeper.wait()
    with monkeypatch.context() as full:
        full.setattr(bench.watch, "_ingest", _refuse)
        bench.clock += SWEEP_SECONDS
        bench.watch.look()
        assert (bench.sweeps, bench.store.find(session).status) == (2, "active"), "nothing waits for it"
    bench.time = NOW + timedelta(seconds=30)
    bench.watch.look()
    assert bench.store.find(session).end_time == NOW


def _refuse(_: Sequence[Arrival]) -> Sequence[Taken]:
    raise StoreUnavailable("the disk is full")


def test_a_clock_that_was_set_back_keeps_nobody_alive(bench: Bench, sleeper: subprocess.Popen[str]) -> None:
    session = bench.start(pid=sleeper.pid, process=process_of(sleeper.pid))
    beat = parse_event(heartbeat_event(session, 30 * 86_400))
    assert isinstance(beat, SessionHeartbeat)
    assert bench.presence.hear(beat, OWNER, 0.0, by_admin=False)
    bench.ingest([arrival(heartbeat_event(session, 30 * 86_400))])
    bench.watch.look()
    sleeper.kill()
    sleeper.wait()
    bench.watch.look()
    assert bench.store.find(session).status == "crashed"


def test_a_dead_shells_journal_is_asked_first(bench: Bench, sleeper: subprocess.Popen[str]) -> None:
    session = bench.start(pid=sleeper.pid, process=process_of(sleeper.pid))
    sleeper.kill()
    sleeper.wait()
    bench.on_take_in = lambda: bench.ingest([arrival(end_event(session, exit_reason="exit"))])
    bench.watch.look()
    row = bench.store.find(session)
    assert (row.exit_reason, len(row.ends)) == ("exit", 1)


@pytest.mark.parametrize("fact", ["boot_id", "pid_namespace"])
def test_a_process_of_another_boot_or_namespace_is_not_ours_to_judge(bench: Bench, fact: str) -> None:
    session = bench.start(pid=999_999, process=process_of(os.getpid()) | {fact: "elsewhere"})
    assert not Here.now().holds(bench.presence.everyone()[0])
    bench.watch.look()
    assert bench.store.find(session).status == "active"


def test_a_process_without_facts_is_not_ours_to_judge(bench: Bench) -> None:
    session = bench.start(pid=999_999)
    bench.watch.look()
    assert bench.store.find(session).status == "active"


def test_what_names_this_host_is_read_once_a_look(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = [bench.start(pid=os.getpid(), process=process_of(os.getpid())) for _ in range(20)]
    read = facts.pid_namespace
    reads: list[str] = []

    def counted() -> str:
        reads.append(read())
        return reads[-1]

    monkeypatch.setattr(facts, "pid_namespace", counted)
    bench.watch.look()
    assert (len(reads), len(sessions)) == (1, 20)
    assert all(live.alive for live in bench.presence.everyone())


# --- systems without /proc


@pytest.fixture
def without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "boot_id", lambda: UNKNOWN)
    monkeypatch.setattr(facts, "pid_namespace", lambda: UNKNOWN)


@pytest.mark.usefixtures("without_proc")
def test_without_proc_the_process_table_tells(bench: Bench, sleeper: subprocess.Popen[str]) -> None:
    now = datetime.now(UTC).isoformat()
    here = {"pid": sleeper.pid, "hostname": facts.hostname(), "timestamp": now}
    session = bench.start(subject=local_subject(), **here)
    elsewhere = bench.start(subject=local_subject(), **here | {"hostname": "elsewhere"})
    remote = bench.start(subject="ann", **here)
    bench.watch.look()
    assert bench.store.find(session).status == "active"
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    bench.watch.look()  # a zombie is gone
    assert bench.store.find(session).exit_reason == "process_gone"
    assert {bench.store.find(other).status for other in (elsewhere, remote)} == {"active"}


def test_in_a_process_table_a_number_given_anew_is_another_process(sleeper: subprocess.Popen[str]) -> None:
    now = datetime.now(UTC)
    assert life_in_table(sleeper.pid, now) == "alive"
    assert life_in_table(sleeper.pid, now - timedelta(hours=1)) == "gone"


def test_a_process_that_the_table_hides_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(process: psutil.Process) -> str:
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "status", denied)
    assert life_in_table(os.getpid(), NOW) == "unknown"


# --- leases


def test_silence_for_a_whole_lease_is_lost(bench: Bench) -> None:
    session = bench.start()
    bench.clock = DEFAULT_LEASE_SECONDS - 1
    bench.watch.look()
    assert bench.store.find(session).status == "active"
    bench.clock = DEFAULT_LEASE_SECONDS + SWEEP_SECONDS
    bench.watch.look()
    row = bench.store.find(session)
    assert (row.status, row.end_time) == ("lost", MOMENT)
    assert row.ends[0].detected_by == "lease"


def test_a_lost_session_wakes_and_is_lost_again(bench: Bench) -> None:
    session = bench.start()
    bench.clock = DEFAULT_LEASE_SECONDS
    bench.watch.look()
    bench.ingest([arrival(heartbeat_event(session, 400))])
    assert bench.store.find(session).status == "active"
    bench.clock += DEFAULT_LEASE_SECONDS
    bench.watch.look()
    row = bench.store.find(session)
    assert (row.status, row.end_time) == ("lost", MOMENT + timedelta(seconds=400))
    assert len({end.event_id for end in row.ends}) == 2


def test_a_process_seen_alive_is_never_given_up(bench: Bench, sleeper: subprocess.Popen[str]) -> None:
    session = bench.start(pid=sleeper.pid, process=process_of(sleeper.pid))
    bench.clock = 10 * DEFAULT_LEASE_SECONDS
    bench.watch.look()
    assert bench.store.find(session).status == "active"


def test_nothing_is_given_up_before_a_lease_after_the_servers_start(bench: Bench) -> None:
    bench.start()
    restarted = Presence()
    restarted.learn(bench.store.live(), heard=1000.0)
    assert expired(restarted, 1000.0 + DEFAULT_LEASE_SECONDS - 1) == []
    assert len(expired(restarted, 1000.0 + DEFAULT_LEASE_SECONDS)) == 1


def test_the_same_conclusion_is_the_same_event(bench: Bench) -> None:
    bench.start()
    (live,) = bench.presence.everyone()
    assert end_of(live, "lease_expired").event_id == end_of(live, "lease_expired").event_id
    assert end_of(live, "lease_expired").event_id != end_of(live, "process_gone").event_id


# --- the thread


def test_it_hears_of_a_death_at_once_also_of_one_that_just_came(store: Store) -> None:
    ended = threading.Event()
    presence = Presence()

    def ingest(arrivals: Sequence[Arrival]) -> Sequence[Taken]:
        taken = store.ingest(arrivals)
        presence.learn([one.row for one in taken if one.row is not None], 0.0)
        if any(isinstance(one.event, SessionEnd) for one in arrivals):
            ended.set()
        return taken

    # By this clock what is done now and then is never due.
    clock, exits = itertools.count(0.0, -1000.0).__next__, Exits(10)
    presence.on_arrival = exits.wake
    watch = Watch(presence, ingest, lambda _: None, lambda: None, exits, clock=clock)
    watch.start()
    try:
        for _ in range(3):
            with subprocess.Popen(SLEEPER, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                raw = start_event(pid=process.pid, process=process_of(process.pid))
                ingest([arrival(raw)])
                process.kill()
            assert ended.wait(60)
            ended.clear()
            assert store.find(session_id_of(raw)).status == "crashed"
    finally:
        watch.close()


def test_of_those_one_too_many_a_look_tells(store: Store, sleeper: subprocess.Popen[str]) -> None:
    with closing(Bench(store, most=1)) as bench:
        told = bench.start(pid=os.getpid(), process=process_of(os.getpid()))
        looked_at = bench.start(pid=sleeper.pid, process=process_of(sleeper.pid))
        bench.watch.look()
        sleeper.kill()
        sleeper.wait()
        bench.watch.look()
        assert (bench.store.find(told).status, bench.store.find(looked_at).status) == ("active", "crashed")


def test_who_ended_is_watched_no_longer(bench: Bench, sleeper: subprocess.Popen[str]) -> None:
    session = bench.start(pid=sleeper.pid, process=process_of(sleeper.pid))
    bench.watch.look()
    bench.ingest([arrival(end_event(session, exit_reason="exit"))])
    bench.watch.look()
    sleeper.kill()
    sleeper.wait()
    bench.watch.look()
    assert bench.taken_in == []
    assert "processes=0" in repr(bench.exits)


def test_an_outbox_that_cannot_be_swept_keeps_nobody_alive_and_is_told_once(
    bench: Bench, sleeper: subprocess.Popen[str]
) -> None:
    dead = bench.start(pid=sleeper.pid, process=process_of(sleeper.pid))
    silent = bench.start()
    sleeper.kill()
    sleeper.wait()
    trouble = ["one journal is bad"]

    def fail() -> None:
        if trouble:
            raise ValueError(trouble[0])

    def told() -> int:
        bench.clock += DEFAULT_LEASE_SECONDS
        with capture_logs() as logs:
            bench.watch.look()
        return sum(entry.get("failed") == "sweep" for entry in logs)

    bench.on_sweep = fail
    assert told() == 1
    assert bench.store.find(dead).status == "crashed"
    assert bench.store.find(silent).status == "lost"
    assert told() == 0
    trouble[0] = "another is"
    assert told() == 1
    trouble.clear()
    assert told() == 0
    trouble.append("another is")
    assert told() == 1, "it had been mended"


def test_the_outbox_is_swept_now_and_then(bench: Bench) -> None:
    for bench.clock in (0.0, 1.0, 4.9, 5.0, 6.0):
        bench.watch.look()
    assert bench.sweeps == 2


def test_the_watch_survives_trouble_and_ends_when_told(bench: Bench) -> None:
    trouble, again = threading.Event(), threading.Event()

    def fail() -> None:
        (again if trouble.is_set() else trouble).set()
        raise ValueError("no")

    watch = Watch(
        Presence(), bench.ingest, bench.taken_in.append, fail, Exits(1), clock=lambda: 100 * monotonic()
    )
    watch.start()
    assert again.wait(30)
    watch.close()
    watch.close()


class Broken(Exits):
    """A kernel that refuses to wait; it tells when it was asked four times."""

    asked = 0

    def __init__(self) -> None:
        super().__init__(1)
        self.often = threading.Event()

    def wait(self, seconds: float) -> list[str]:
        self.asked += 1
        if self.asked == 4:
            self.often.set()
        raise OSError(errno.ENOMEM, f"nobody waits {seconds} s")


def test_a_wait_that_fails_is_not_tried_again_at_once(bench: Bench) -> None:
    exits = Broken()
    begun = monotonic()
    with closing(Watch(Presence(), bench.ingest, lambda _: None, lambda: None, exits)) as watch:
        watch.start()
        assert exits.often.wait(60)
    # Two a turn: at the look, and to wait.
    assert exits.asked <= 2 * (2 + (monotonic() - begun) / TICK_SECONDS)
