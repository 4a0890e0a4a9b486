"""The one thread that writes."""

import resource
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from oneiric.events import SessionHeartbeat, parse_event
from session_buddy.errors import StoreClosed, StoreError, StoreUnavailable
from session_buddy.history.model import Arrival, Beat, Taken
from session_buddy.history.query import Query
from session_buddy.intake.presence import Presence
from session_buddy.intake.writer import Writer
from session_buddy.store.duckdb import DuckDBStore
from tests.samples import MOMENT, OWNER, arrival, end_event, heartbeat_event, session_id_of, start_event

TROUBLES = {
    "known": StoreError("cannot be converted"),
    "unforeseen": ValueError("surprise"),
    "memory": MemoryError(),
    "files": OSError(24, "Too many open files"),
    "closed": StoreClosed("was closed"),
}


class Troubled(DuckDBStore):
    """A real store that can be told to refuse."""

    full = False
    poison = ""
    groups: list[int]
    meanwhile: Callable[[], object] | None = None

    def ingest(self, arrivals: Sequence[Arrival]) -> list[Taken]:
        try:
            return self._ingest(arrivals)
        finally:
            if self.meanwhile is not None:
                self.meanwhile()

    def _ingest(self, arrivals: Sequence[Arrival]) -> list[Taken]:
        self.groups.append(len(arrivals))
        if self.full:
            raise StoreUnavailable("no space left on device")
        if any(one.session_id.startswith(self.poison or "\0") for one in arrivals):
            raise TROUBLES[self.poison]
        return super().ingest(arrivals)

    def touch(self, beats: Sequence[Beat]) -> None:
        if self.full and beats:
            raise StoreUnavailable("no space left on device")
        super().touch(beats)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Troubled]:
    opened = Troubled.open(tmp_path / "x.duckdb")
    opened.groups = []
    yield opened
    opened.close()


@pytest.fixture
def presence() -> Presence:
    return Presence()


@pytest.fixture
def writer(store: Troubled, presence: Presence) -> Iterator[Writer]:
    with Writer(store, presence) as running:
        yield running


def beat(raw: dict[str, object]) -> SessionHeartbeat:
    event = parse_event(raw)
    assert isinstance(event, SessionHeartbeat)
    return event


def test_what_is_acknowledged_is_stored(writer: Writer, store: Troubled) -> None:
    raw = start_event()
    (taken,) = writer.submit([arrival(raw)]).result()
    assert taken.verdict == "stored"
    assert store.find(session_id_of(raw)).status == "active"
    assert repr(writer) == "<Writer(waiting=0)>"


def test_many_callers_at_once_lose_nothing(writer: Writer, store: Troubled) -> None:
    def call(number: int) -> None:
        futures = [writer.submit([arrival(start_event(number * 100 + i))]) for i in range(25)]
        assert all(future.result()[0].verdict == "stored" for future in futures)

    callers = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert store.count_live() == 200
    assert len(store.groups) < 200, "what waits goes in one transaction"


def test_who_is_live_follows_what_was_written(writer: Writer, presence: Presence) -> None:
    raw = start_event()
    writer.submit([arrival(raw)]).result()
    assert len(presence) == 1
    writer.submit([arrival(end_event(session_id_of(raw)))]).result()
    assert len(presence) == 0


def heard(writer: Writer, presence: Presence) -> str:
    """A session of whose four commands only memory knows."""
    raw = start_event()
    session = session_id_of(raw)
    writer.submit([arrival(raw)]).result()
    presence.hear(beat(heartbeat_event(session, 40, commands=4)), OWNER, 0.0, by_admin=False)
    return session


def test_heartbeats_wait_in_memory_until_they_are_flushed(
    writer: Writer, store: Troubled, presence: Presence
) -> None:
    session = heard(writer, presence)
    assert store.find(session).commands is None
    writer.flush().result()
    assert store.find(session).commands == 4
    assert presence.unwritten() == []


def test_heartbeats_are_flushed_after_a_while_by_themselves(store: Troubled, presence: Presence) -> None:
    with Writer(store, presence, flush_seconds=0.05) as writer:
        session = heard(writer, presence)
        written = threading.Event()
        for _ in range(1000):
            if store.find(session).commands == 4:
                written.set()
                break
            written.wait(0.05)
        assert written.is_set()


@pytest.mark.parametrize(("flush", "probe"), [(0.02, 30.0), (30.0, 0.02)])
def test_that_nothing_can_be_written_is_seen_with_nobody_asking(
    store: Troubled, presence: Presence, flush: float, probe: float
) -> None:
    store.probe_seconds = probe
    pause, (before, hard) = threading.Event(), resource.getrlimit(resource.RLIMIT_FSIZE)
    with Writer(store, presence, flush_seconds=flush) as writer:
        for _ in range(2):
            # No file of this process may grow, as on a full disk.
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
            try:
                while "cannot be written" not in str(writer.trouble):
                    pause.wait(0.01)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
            while writer.trouble:
                pause.wait(0.01)


def test_heartbeats_are_flushed_at_the_end(store: Troubled, presence: Presence) -> None:
    with Writer(store, presence) as writer:
        session = heard(writer, presence)
    assert store.find(session).commands == 4


def test_an_end_takes_the_unwritten_heartbeats_along(
    writer: Writer, store: Troubled, presence: Presence
) -> None:
    session = heard(writer, presence)
    (taken,) = writer.submit([arrival(end_event(session, 50))]).result()
    assert taken.verdict == "stored"
    row = store.find(session)
    assert (row.status, row.commands, row.last_seen) == ("ended", 4, MOMENT + timedelta(seconds=40))


@pytest.mark.parametrize("poison", ["known", "unforeseen"])
def test_one_event_that_cannot_be_stored_hurts_no_other(writer: Writer, store: Troubled, poison: str) -> None:
    store.poison = poison
    bad = start_event(component_name=poison)
    jobs = [[start_event(1)], [start_event(2), bad, start_event(3)], [start_event(4)]]
    futures = [writer.submit([arrival(raw) for raw in job]) for job in jobs]
    verdicts = [[taken.verdict for taken in future.result()] for future in futures]
    assert verdicts == [["stored"], ["stored", "invalid", "stored"], ["stored"]]
    assert store.count_live() == 4


@pytest.mark.parametrize(
    ("poison", "said"),
    [
        ("memory", r"cannot write now: MemoryError\(\)"),
        ("files", "cannot write now: .*Too many open files"),
        ("closed", "was closed"),
    ],
)
def test_what_the_server_lacks_for_a_while_is_no_fault_of_an_event(
    writer: Writer, store: Troubled, poison: str, said: str
) -> None:
    store.poison = poison
    events = [arrival(start_event(1)), arrival(start_event(2, component_name=poison))]
    other = writer.submit([arrival(start_event(3))])
    with pytest.raises(StoreError, match=said) as caught:
        writer.submit(events).result()
    assert isinstance(caught.value, StoreUnavailable | StoreClosed)
    assert other.result()[0].verdict == "stored"
    store.poison = ""
    assert {taken.verdict for taken in writer.submit(events).result()} <= {"stored", "duplicate"}
    assert store.count_live() == 3


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ({"exit_reason": "lease_expired", "detected_by": "lease"}, "active"),
        ({"exit_reason": "exit"}, "ended"),
    ],
)
def test_a_heartbeat_that_comes_while_an_end_is_written_counts(
    writer: Writer, store: Troubled, presence: Presence, end: dict[str, Any], status: str
) -> None:
    raw = start_event()
    session = session_id_of(raw)
    writer.submit([arrival(raw)]).result()
    heard = []

    def hear() -> None:
        store.meanwhile = None
        late = beat(heartbeat_event(session, 300, commands=9))
        heard.append(presence.hear(late, OWNER, 0.0, by_admin=False))

    store.meanwhile = hear
    assert writer.submit([arrival(end_event(session, 60, **end))]).result()[0].verdict == "stored"
    row = store.find(session)
    assert heard == [True]
    assert (row.status, row.commands, row.last_seen) == (status, 9, MOMENT + timedelta(seconds=300))
    assert len(presence) == (status == "active")
    assert presence.unwritten() == []


def test_a_late_heartbeat_that_cannot_be_written_leaves_the_end_acknowledged(
    writer: Writer, store: Troubled, presence: Presence
) -> None:
    raw = start_event()
    session = session_id_of(raw)
    writer.submit([arrival(raw)]).result()

    def hear() -> None:
        store.meanwhile = None
        presence.hear(beat(heartbeat_event(session, 300)), OWNER, 0.0, by_admin=False)
        store.full = True

    store.meanwhile = hear
    lost = end_event(session, 60, exit_reason="lease_expired", status="crashed")
    assert writer.submit([arrival(lost)]).result()[0].verdict == "stored"
    store.full = False
    assert store.find(session).status == "lost"
    assert not presence.hear(beat(heartbeat_event(session, 315)), OWNER, 0.0, by_admin=False)
    writer.submit([arrival(heartbeat_event(session, 315))]).result()
    assert store.find(session).status == "active"


def test_a_full_disk_is_told_to_every_caller_and_then_forgotten(
    writer: Writer, store: Troubled, presence: Presence
) -> None:
    raw = start_event()
    writer.submit([arrival(raw)]).result()
    presence.hear(beat(heartbeat_event(session_id_of(raw), 40, commands=4)), OWNER, 0.0, by_admin=False)
    store.full = True
    futures = [writer.submit([arrival(start_event(n)), arrival(start_event(n + 50))]) for n in range(5)]
    flush = writer.flush()
    everything: list[Future[Any]] = [*futures, flush]
    wait(everything)
    assert {str(future.exception()) for future in everything} == {"no space left on device"}
    assert max(store.groups[1:]) <= 10
    store.full = False
    assert writer.submit([arrival(start_event(99))]).result()[0].verdict == "stored"
    writer.flush().result()
    assert store.find(session_id_of(raw)).commands == 4


def test_a_caller_who_gave_up_does_not_stop_the_rest(writer: Writer, store: Troubled) -> None:
    futures = [writer.submit([arrival(start_event(n))]) for n in range(50)]
    given_up = [future for future in futures if future.cancel()]
    flush = writer.flush()
    flush.cancel()
    done = [future for future in futures if not future.cancelled()]
    wait(done)
    assert store.count_live() == len(futures) - len(given_up)


def test_nothing_is_taken_after_the_end(store: Troubled, presence: Presence) -> None:
    writer = Writer(store, presence)
    last = writer.submit([arrival(start_event())])
    writer.close()
    writer.close()
    assert last.result()[0].verdict == "stored"
    with pytest.raises(StoreClosed, match="going down"):
        writer.submit([arrival(start_event())]).result()
    with pytest.raises(StoreClosed):
        writer.flush().result()


def test_a_large_group_is_cut(writer: Writer, store: Troubled) -> None:
    futures = [writer.submit([arrival(start_event(n * 500 + i)) for i in range(500)]) for n in range(6)]
    wait(futures)
    assert max(store.groups) <= 2000
    assert len(store.select(Query(limit=10_000))) == 3000
