import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from oneiric import entries, facts, log, outbox
from oneiric.compose import session_end, session_id_of
from oneiric.delivery import Delivery
from oneiric.journal import Journal
from oneiric.paths import user_paths
from oneiric.server import Server
from oneiric.session import Session
from oneiric.testing import Answer, FakeServer, journals, start_event
from oneiric.transport import Endpoint, local_endpoint

NOW = datetime(2026, 1, 2, 4, 0, tzinfo=UTC)
STORED = {"status": "stored", "error": None}
REFUSED = {"status": "forbidden", "error": "not yours"}


class Clock:
    """Seconds that pass when the test says so; the delivery notices at its next look."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def wall(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def delivery(environ: Mapping[str, str], folder: Path, clock: Clock) -> Delivery:
    paths = user_paths(environ)
    return delivering(folder, lambda: local_endpoint(paths), clock)


def delivering(folder: Path, locate: Callable[[], Endpoint | None], clock: Clock) -> Delivery:
    server = Server(locate, monotonic=clock, jitter=lambda: 0.5)
    return Delivery(folder, server, monotonic=clock, wall=clock.wall)


def begin(folder: Path, number: int = 0, **changes: Any) -> Session:
    start = start_event(event_id=f"1b9d{number:04x}-bbfd-4b2d-9b5d-ab8dfbbd4bed", **changes)
    session_id = session_id_of(start)
    return Session(session_id, start, Journal(outbox.path_for(folder, session_id), start, 0.0))


def finish(delivery: Delivery, session: Session) -> None:
    end = session_end(session.id, NOW, event_id=f"end-of-{session.id[-8:]}", exit_reason="exit")
    session.journal.append_end(end)
    delivery.finish(session, end)


def answering(judge: Callable[[dict[str, Any]], dict[str, Any]], pace: float = 15.0) -> Answer:
    """The answers of a server that judges each event so."""
    return lambda events: {
        "results": [judge(event) for event in events],
        "server_instance": "x",
        "next_heartbeat_seconds": pace,
    }


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["event_type"] for event in events]


def test_start_and_end_arrive_and_the_journal_is_done(
    environ: Mapping[str, str], folder: Path, delivery: Delivery
) -> None:
    with FakeServer(environ) as server:
        session = begin(folder)
        delivery.add(session)
        assert delivery.worker.flush(10)
        assert delivery.server.connected
        finish(delivery, session)
        assert delivery.worker.flush(10)
    assert kinds(server.events) == ["session_start", "session_start", "session_end"]
    assert outbox.counts(folder)["open"] == 0
    assert journals(folder, "done")[0].end is not None


def test_without_a_server_everything_stays_in_the_outbox(folder: Path, delivery: Delivery) -> None:
    session = begin(folder)
    delivery.add(session)
    assert delivery.worker.flush(10)
    assert not delivery.server.connected
    assert str(delivery.server.error) == "no server is running"
    finish(delivery, session)
    assert delivery.worker.flush(10)
    assert journals(folder)[0].end is not None


def test_what_waited_is_delivered_by_the_next_session(
    environ: Mapping[str, str], folder: Path, delivery: Delivery, clock: Clock
) -> None:
    first = begin(folder, 1)
    delivery.add(first)
    finish(delivery, first)
    assert delivery.worker.flush(10)
    clock.seconds += 1
    with FakeServer(environ) as server:
        delivery.add(begin(folder, 2))
        assert server.wait_for(lambda events: kinds(events).count("session_start") == 2)
        assert server.wait_for(lambda events: kinds(events).count("session_end") == 1)


def test_an_answer_that_makes_no_sense_leaves_what_has_ended_to_the_next_sweep(
    environ: Mapping[str, str], folder: Path, delivery: Delivery
) -> None:
    with FakeServer(environ, answering(lambda _event: {})):
        session = begin(folder)
        delivery.add(session)
        finish(delivery, session)
        assert delivery.worker.flush(10)
    assert delivery.sessions == {}
    with outbox.claim(session.journal.path) as claimed:
        assert claimed


def test_many_short_sessions_beside_a_slow_delivery_hold_few_descriptors(folder: Path, clock: Clock) -> None:
    asked, answered = threading.Event(), threading.Event()

    def locate() -> Endpoint | None:
        asked.set()
        answered.wait(30)
        return None

    delivery = delivering(folder, locate, clock)
    delivery.add(begin(folder))
    assert asked.wait(10)
    for number in range(1, 301):
        session = begin(folder, number)
        delivery.add(session)
        finish(delivery, session)
    held = [link for link in _open_files() if link.startswith(f"{folder}/")]
    answered.set()
    assert delivery.worker.flush(30)
    assert len(held) < 100
    assert len(delivery.sessions) == 1
    assert sum(entry.end is not None for entry in journals(folder)) == 300


def _open_files() -> list[str]:
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(str(descriptor.readlink()))
    return found


def test_a_server_that_just_failed_is_not_asked_again_at_once(folder: Path, clock: Clock) -> None:
    looked: list[float] = []

    def locate() -> None:
        looked.append(clock())

    delivery = delivering(folder, locate, clock)
    for number in range(3):
        delivery.add(begin(folder, number))
        assert delivery.worker.flush(10)
    assert len(looked) == 1
    clock.seconds += 1
    delivery.add(begin(folder, 3))
    assert delivery.worker.flush(10)
    assert len(looked) == 2
    for session in delivery.sessions.values():
        session.journal.close()


def test_a_server_that_came_back_unasked_is_asked_for_the_next_session(
    environ: Mapping[str, str], folder: Path, delivery: Delivery, clock: Clock
) -> None:
    with FakeServer(environ):
        first = begin(folder, 1)
        delivery.add(first)
        finish(delivery, first)
        assert delivery.worker.flush(60)
    clock.seconds += 16
    delivery.worker.ask()
    assert delivery.worker.flush(60)
    assert str(delivery.server.error) == "no server is running"
    with FakeServer(environ):
        # The retry has nothing to send.
        clock.seconds += 1
        delivery.worker.ask()
        assert delivery.worker.flush(60)
        second = begin(folder, 2)
        delivery.add(second)
        assert delivery.worker.flush(60)
        assert delivery.server.connected
    second.journal.close()


def test_an_end_that_is_not_delivered_is_on_the_disk(
    folder: Path, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[tuple[int, int]] = set()
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced.add((found.st_ino, found.st_size))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    session = begin(folder)
    delivery.add(session)
    assert delivery.worker.flush(60)
    finish(delivery, session)
    assert delivery.worker.flush(60)
    whole = session.journal.path.stat()
    assert (whole.st_ino, whole.st_size) in synced


def test_heartbeats_carry_the_activity(
    environ: Mapping[str, str], folder: Path, delivery: Delivery, clock: Clock
) -> None:
    with FakeServer(environ) as server:
        session = begin(folder)
        delivery.add(session)
        assert delivery.worker.flush(10)
        session.commands = 7
        clock.seconds += 16
        delivery.add(session)
        assert server.wait_for(lambda events: "session_heartbeat" in kinds(events))
    beat = server.events[-1]
    assert beat["activity"]["commands"] == 7
    assert delivery.worker.flush(10)
    pulse = journals(folder)[0].pulse
    assert pulse is not None
    assert pulse["commands"] == 7
    session.journal.close()


def test_a_journal_says_no_less_than_the_server_heard(
    environ: Mapping[str, str], folder: Path, delivery: Delivery, clock: Clock
) -> None:
    with FakeServer(environ) as server:
        session = begin(folder)
        delivery.add(session)
        assert delivery.worker.flush(10)
        for _ in range(3):
            clock.seconds += 15.5
            delivery.add(session)
            assert delivery.worker.flush(10)
    pulse = journals(folder)[0].pulse
    beats = [event["timestamp"] for event in server.events if event["event_type"] == "session_heartbeat"]
    assert pulse is not None
    assert pulse["timestamp"] == max(beats)
    session.journal.close()


def test_what_waits_is_not_read_for_a_server_that_is_not_there(folder: Path, clock: Clock) -> None:
    nobody = Endpoint(folder / "nobody.sock")
    delivery = delivering(folder, lambda: nobody, clock)
    session = begin(folder)
    delivery.add(session)
    finish(delivery, session)
    assert delivery.worker.flush(10)
    unreadable = folder / f"shop-20260102-030405-0123abcd{outbox.SUFFIX}"
    unreadable.write_text("whoever reads this sets it aside\n")
    clock.seconds += 100
    for _ in range(2):
        delivery.worker.ask()
        assert delivery.worker.flush(10)
    assert unreadable.exists()


def test_what_ended_offline_is_delivered_though_nothing_lives(
    environ: Mapping[str, str], folder: Path, delivery: Delivery, clock: Clock
) -> None:
    session = begin(folder)
    delivery.add(session)
    finish(delivery, session)
    assert delivery.worker.flush(10)
    with FakeServer(environ) as server:
        clock.seconds += 100
        delivery.worker.ask()
        assert server.wait_for(lambda events: "session_end" in kinds(events))


def test_a_wiped_database_gets_the_start_again(
    environ: Mapping[str, str], folder: Path, delivery: Delivery, clock: Clock
) -> None:
    with FakeServer(environ):
        session = begin(folder)
        delivery.add(session)
        assert delivery.worker.flush(10)
    with FakeServer(environ) as wiped:
        clock.seconds += 16
        delivery.add(session)
        assert wiped.wait_for(lambda events: "session_start" in kinds(events))
        assert delivery.worker.flush(10)
    assert kinds(wiped.events) == ["session_heartbeat", "session_start"]
    session.journal.close()


def pass_time(delivery: Delivery, clock: Clock, session: Session, *pauses: float) -> None:
    """Seconds that go by between two looks at a session."""
    for seconds in pauses:
        assert delivery.worker.flush(10)
        clock.seconds += seconds
        delivery.add(session)
    assert delivery.worker.flush(10)


def test_a_server_that_never_knows_the_session_is_told_once(
    environ: Mapping[str, str], folder: Path, delivery: Delivery, clock: Clock
) -> None:
    def forget(event: dict[str, Any]) -> dict[str, Any]:
        status = {"session_start": "stored", "session_heartbeat": "not_found"}
        return {"status": status[event["event_type"]], "error": None}

    with FakeServer(environ, answering(forget)) as server:
        session = begin(folder)
        delivery.add(session)
        pass_time(delivery, clock, session, 16, 16, 16)
    assert kinds(server.events).count("session_start") == 2
    session.journal.close()


def test_a_host_whose_logging_raises_is_served_all_the_same(
    environ: Mapping[str, str], folder: Path, delivery: Delivery
) -> None:
    def fail(_record: logging.LogRecord) -> bool:
        raise AttributeError("set on this host's own threads alone")

    logger = logging.getLogger("oneiric")
    logger.addFilter(fail)
    try:
        with FakeServer(environ, answering(lambda _event: REFUSED)):
            session = begin(folder)
            delivery.add(session)
            finish(delivery, session)
            assert delivery.worker.flush(60)
        log.warning("the caller hears nothing of it")
    finally:
        logger.removeFilter(fail)
    assert outbox.counts(folder)["rejected"] == 1


def test_a_refused_session_is_kept_apart(
    environ: Mapping[str, str], folder: Path, delivery: Delivery
) -> None:
    with FakeServer(environ, answering(lambda _event: REFUSED)):
        session = begin(folder)
        delivery.add(session)
        finish(delivery, session)
        assert delivery.worker.flush(10)
    assert outbox.counts(folder)["rejected"] == 1


@pytest.mark.parametrize("answer", [{}, {"results": [], "server_instance": "x", "next_heartbeat_seconds": 1}])
def test_an_answer_that_is_none_leaves_the_journal(
    environ: Mapping[str, str], folder: Path, delivery: Delivery, answer: dict[str, Any]
) -> None:
    with FakeServer(environ, lambda _events: answer):
        session = begin(folder)
        delivery.add(session)
        finish(delivery, session)
        assert delivery.worker.flush(10)
    assert not delivery.server.connected
    assert outbox.counts(folder)["open"] == 1


def test_the_server_sets_the_pace(
    environ: Mapping[str, str], folder: Path, delivery: Delivery, clock: Clock
) -> None:
    with FakeServer(environ, answering(lambda _event: STORED, pace=200)) as server:
        session = begin(folder)
        delivery.add(session)
        pass_time(delivery, clock, session, 16, 100, 100)
    assert kinds(server.events).count("session_heartbeat") == 2
    session.journal.close()


def test_a_flush_gives_up_on_a_server_that_hangs(
    environ: Mapping[str, str], folder: Path, delivery: Delivery
) -> None:
    release = threading.Event()

    def hang(_events: list[dict[str, Any]]) -> dict[str, Any]:
        release.wait(10)
        return {}

    with FakeServer(environ, hang):
        session = begin(folder)
        delivery.add(session)
        assert not delivery.worker.flush(0.05)
        release.set()
        assert delivery.worker.flush(10)
    session.journal.close()


def test_what_others_left_makes_way_for_the_process_own_session(
    environ: Mapping[str, str], folder: Path, delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "oneiric")
    others = 40
    for number in range(others):
        # Too much for one call together.
        left = begin(folder, number, metadata={"pad": "x" * 15_000})
        left.journal.append_end(session_end(left.id, NOW, event_id=str(number), exit_reason="exit"))
        left.journal.close()
    first, second = begin(folder, others), begin(folder, others + 1)

    def answer(events: list[dict[str, Any]]) -> dict[str, Any]:
        if "session_end" in kinds(events) and second.id not in delivery.sessions:
            delivery.add(second)
        return server.accept(events)

    with FakeServer(environ, answer) as server:
        delivery.add(first)
        assert server.wait_for(lambda events: kinds(events).count("session_end") == others, 60)
    starts = [event["event_id"] for event in server.events if event["event_type"] == "session_start"]
    assert starts[0] == first.start["event_id"]
    assert second.start["event_id"] in starts[2:others]
    assert "swept" not in caplog.text
    first.journal.close()
    second.journal.close()


def test_no_signal_is_for_the_thread(python: Any, unmeasured: Mapping[str, str]) -> None:
    code = """
import os, signal, sys, threading, oneiric

def mask():
    return signal.pthread_sigmask(signal.SIG_BLOCK, ())

before = mask()
oneiric.install("shop").wait_connected(60)
print(mask() == before)
(ours,) = sys._current_frames().keys() - {threading.get_ident()}

# As the kernel does where a server hangs up on a host that is a filter.
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.pthread_kill(ours, signal.SIGPIPE)

# And in a section that its host lets nobody interrupt.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
os.kill(os.getpid(), signal.SIGTERM)
print(signal.sigwait({signal.SIGTERM}).name)
"""
    done = python(code, env=unmeasured)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\nSIGTERM\n", "")


def test_the_server_hears_no_more_than_the_journal_says(
    environ: Mapping[str, str],
    folder: Path,
    clock: Clock,
    delivery: Delivery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = begin(folder)
    boottime, late = facts.boottime, [0.0]
    monkeypatch.setattr(facts, "boottime", lambda: boottime() + late[0])
    pwrite = os.pwrite

    def slow(descriptor: int, line: bytes, offset: int) -> int:
        late[0] += 7.0
        return pwrite(descriptor, line, offset)

    monkeypatch.setattr(os, "pwrite", slow)
    with FakeServer(environ) as server:
        delivery.add(session)
        assert delivery.worker.flush(30)
        clock.seconds += 60
        delivery.worker.ask()
        assert server.wait_for(
            lambda events: any(one["event_type"] == "session_heartbeat" for one in events), 30
        )
        beat = next(one for one in server.events if one["event_type"] == "session_heartbeat")
    pulse = entries.read(session.journal.path).pulse
    assert pulse is not None
    assert (beat["timestamp"], beat["elapsed_seconds"]) == (pulse["timestamp"], pulse["elapsed_seconds"])


def test_signs_of_life_are_given_between_calls_that_take_long(folder: Path, clock: Clock) -> None:
    """A server that takes its time for each of many calls."""
    server = Server(Endpoint, monotonic=clock, jitter=lambda: 0.5)
    delivery = Delivery(folder, server, monotonic=clock, wall=clock.wall)
    session = begin(folder)
    delivery.sessions[session.id] = session
    seen = []

    def call(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        seen.append(session.journal.pulsed[0])
        clock.seconds += 5.0
        return [STORED for _ in events]

    server.call = call  # type: ignore[method-assign]  # a call that takes five seconds
    for _ in range(8):
        delivery._call([session.start])
    assert len(set(seen)) == 3
