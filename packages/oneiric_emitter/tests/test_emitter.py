import asyncio
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from oneiric import SessionEventEmitter, facts, install, track_session
from oneiric.entries import read
from oneiric.events import SessionEnd, SessionStart, parse_event
from oneiric.sweep import sweep
from oneiric.testing import FakeServer, journals
from oneiric.transport import Endpoint


@pytest.fixture
def emitter(environ: Mapping[str, str]) -> Iterator[SessionEventEmitter]:
    emitter = SessionEventEmitter("shop")
    yield emitter
    emitter.shutdown()


def test_a_session_is_on_disk_when_its_id_is_known(emitter: SessionEventEmitter, folder: Path) -> None:
    session_id = emitter.start_session("ShopShell", {"version": "1"})
    start = parse_event(read(folder / f"{session_id}.jsonl").start)
    assert isinstance(start, SessionStart)
    assert start.session_id == session_id == emitter.session_id
    assert (start.pid, start.metadata) == (os.getpid(), {"version": "1"})


def test_an_end_is_on_disk_when_it_is_said(emitter: SessionEventEmitter, folder: Path) -> None:
    session_id = emitter.start_session("ShopShell")
    emitter.record(commands=3, errors=1)
    assert emitter.end_session(exit_reason="eof", exit_code=0)
    end = read(folder / f"{session_id}.jsonl").end
    assert end is not None
    assert (end["exit_reason"], end["exit_code"], end["status"]) == ("eof", 0, "ended")
    assert end["activity"]["commands"] == 3
    assert emitter.session_id is None


def test_one_shell_is_one_session(emitter: SessionEventEmitter, folder: Path) -> None:
    assert emitter.start_session("ShopShell") == emitter.start_session("ShopShell")
    assert len(journals(folder)) == 1


def test_ending_twice_or_somebody_elses_session_ends_nothing(emitter: SessionEventEmitter) -> None:
    emitter.start_session("ShopShell")
    assert not emitter.end_session("other-20260101-000000-00000000")
    assert emitter.end_session(shell_type="ShopShell")
    assert not emitter.end_session()


def test_an_emitter_can_begin_again(emitter: SessionEventEmitter) -> None:
    first = emitter.start_session("ShopShell")
    emitter.end_session()
    assert emitter.start_session("ShopShell") != first


def _on_trio(main: Coroutine[Any, Any, None]) -> None:
    import trio  # 0.4 s that each process would pay that collects the tests

    trio.run(lambda: main)


@pytest.mark.parametrize("run", [asyncio.run, _on_trio])
def test_the_async_calls_run_on_both_loops(environ: Mapping[str, str], folder: Path, run: Any) -> None:
    async def main() -> None:
        emitter = SessionEventEmitter("shop")
        assert await emitter._check_availability()
        session_id = await emitter.emit_session_start("ShopShell", metadata={"a": 1})
        assert session_id == emitter.session_id
        assert await emitter.emit_session_end(session_id, shell_type="ShopShell")
        await emitter.close()

    run(main())
    assert journals(folder)[0].end is not None


def test_the_async_calls_need_no_worker_thread(emitter: SessionEventEmitter) -> None:
    async def main() -> None:
        release = threading.Event()
        limiter = anyio.to_thread.current_default_thread_limiter()

        async def occupy() -> None:
            await anyio.to_thread.run_sync(release.wait)

        async with anyio.create_task_group() as tasks:
            try:
                for _ in range(40):
                    tasks.start_soon(occupy)
                while limiter.available_tokens:
                    await anyio.lowlevel.checkpoint()
                assert await emitter.emit_session_start("ShopShell")
                assert await emitter.emit_session_end()
                await emitter.close()
                assert limiter.borrowed_tokens == limiter.total_tokens == 40
            finally:
                release.set()

    anyio.run(main)


def test_closing_does_not_wait_for_delivery(
    environ: Mapping[str, str], emitter: SessionEventEmitter, folder: Path
) -> None:
    release = threading.Event()

    def hang(events: list[dict[str, Any]]) -> dict[str, Any]:
        release.wait(60)
        return server.accept(events)

    with FakeServer(environ, hang) as server:
        emitter.start_session("ShopShell")
        asyncio.run(emitter.close())
        assert [entry.end is not None for entry in journals(folder)] == [True]
        release.set()
        assert server.wait_for(lambda events: any(e["event_type"] == "session_end" for e in events))


def test_concurrent_threads_count_everything_and_share_one_session(
    emitter: SessionEventEmitter, folder: Path
) -> None:
    def work() -> None:
        emitter.start_session("ShopShell")
        for _ in range(200):
            emitter.record(commands=1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    emitter.end_session()
    ends = [entry.end for entry in journals(folder)]
    assert [end["activity"]["commands"] for end in ends if end] == [1600]


def test_tracking_switched_off_says_so(environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEIRIC_TRACKING", "off")
    emitter = SessionEventEmitter("shop")
    assert emitter.start_session("ShopShell") is None
    assert not emitter.available
    assert emitter.unavailable_reason == "ONEIRIC_TRACKING=off"
    assert emitter.dropped == 0
    emitter.record(1)
    assert not emitter.end_session()
    emitter.shutdown()


def test_an_outbox_that_cannot_be_written_is_counted_and_explained(environ: Mapping[str, str]) -> None:
    Path(environ["HOME"], ".local").write_text("in the way")
    emitter = SessionEventEmitter("shop")
    assert emitter.start_session("ShopShell") is None
    assert emitter.dropped == 1
    assert emitter.unavailable_reason is not None
    assert "outbox" in emitter.unavailable_reason


def test_a_broken_endpoint_is_explained_and_loses_nothing(
    environ: Mapping[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_BUDDY_MCP_ENDPOINT", "nonsense")
    emitter = SessionEventEmitter("shop")
    assert emitter.start_session("ShopShell")
    assert not emitter.wait_connected(10)
    assert "SESSION_BUDDY_MCP_ENDPOINT" in str(emitter.problem)
    emitter.shutdown()
    assert journals(folder)[0].end is not None


def test_a_name_that_the_contract_refuses_is_cleaned(environ: Mapping[str, str], folder: Path) -> None:
    with track_session("my shop/é") as session:
        assert session.id is not None
        assert session.id.startswith("my_shop__-")


def test_a_child_knows_its_parent_and_a_stranger_does_not(environ: Mapping[str, str], folder: Path) -> None:
    child = "import oneiric; oneiric.install('child')"
    with track_session("parent") as parent:
        subprocess.run([sys.executable, "-c", child], check=True)
        claimed = os.environ["ONEIRIC_SESSION_ID"]
    assert "ONEIRIC_SESSION_ID" not in os.environ
    stranger = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    forged = claimed.rpartition(":")[0] + f":{stranger.pid}"
    subprocess.run([sys.executable, "-c", child], check=True, env={**environ, "ONEIRIC_SESSION_ID": forged})
    stranger.communicate()
    parents = [
        e.start.get("parent_session_id") for e in journals(folder) if e.start["component_name"] == "child"
    ]
    assert sorted(parents, key=str) == sorted([None, parent.id], key=str)


@pytest.mark.parametrize("person", [7, b"ann", ["ann"], {"name": "ann"}, "a" * 101, "\0"])
def test_a_person_that_is_no_name_is_left_out(environ: Mapping[str, str], folder: Path, person: Any) -> None:
    emitter = SessionEventEmitter("shop", environ={**environ, "USER": "", "LOGNAME": ""})
    assert emitter.start_session("x", person=person)
    emitter.end_session()
    (entry,) = journals(folder)
    assert entry.start.get("person", {}).get("evidence") != "asked"


def test_the_environment_gives_reason_and_actor(
    environ: Mapping[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEIRIC_REASON", "OPS-7")
    monkeypatch.setenv("ONEIRIC_ACTOR", "robot")
    with track_session("shop"):
        pass
    start = journals(folder)[0].start
    assert start["reason"] == "OPS-7"
    assert "actor" not in start


def test_a_server_that_answers_is_noticed(environ: Mapping[str, str], emitter: SessionEventEmitter) -> None:
    with FakeServer(environ):
        emitter.start_session("ShopShell")
        assert emitter.wait_connected(30)
        emitter.shutdown()
        assert emitter.wait_connected(30)
    assert emitter.problem is None


def test_a_server_that_turns_us_away_is_told_apart_from_none(
    environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            # What is left unread when a connection is closed resets it, answer and all.
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_error(401)

        def log_message(self, *_arguments: object) -> None:
            """Keep the test's output clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("SESSION_BUDDY_MCP_ENDPOINT", f"http://127.0.0.1:{server.server_port}/mcp")
        emitter = SessionEventEmitter("shop")
        emitter.start_session("ShopShell")
        assert not emitter.wait_connected(30)
        assert emitter.turned_away
        assert "token" in str(emitter.problem)
        emitter.shutdown()
        server.shutdown()


def test_a_host_object_that_misbehaves_reaches_nobody(emitter: SessionEventEmitter, folder: Path) -> None:
    class Trap(dict[str, object]):
        def items(self) -> Any:
            raise RuntimeError("no items today")

    assert emitter.start_session("ShopShell", Trap(a=1))
    assert journals(folder)[0].start["metadata"] == {"unreadable": "Trap"}
    emitter.end_session()
    assert emitter.start_session("ShopShell", ["no", "mapping"])  # type: ignore[arg-type]
    assert emitter.dropped == 0


@pytest.mark.parametrize(
    "ending",
    [
        {"exit_reason": "quit"},
        {"status": "done"},
        {"exit_code": "a"},
        {"exit_code": 2**40},
        {"signal": "SIGTERM"},
        {"signal": signal.SIGTERM},
    ],
)
def test_an_end_that_the_contract_does_not_know_is_brought_within_it(
    emitter: SessionEventEmitter, folder: Path, ending: dict[str, Any]
) -> None:
    emitter.start_session("ShopShell", session_type="Admin Shell", actor="robot")
    emitter.record(commands=-1)
    assert emitter.end_session(**ending)
    (entry,) = journals(folder)
    for event in entry.events:
        parse_event(event)


@pytest.mark.parametrize("nonsense", [None, "many", math.nan, math.inf])
def test_a_record_of_nonsense_reaches_nobody(
    emitter: SessionEventEmitter, folder: Path, nonsense: Any
) -> None:
    session_id = emitter.start_session("ShopShell")
    emitter.record(commands=2)
    emitter.record(commands=nonsense)
    assert emitter.dropped == 1
    assert emitter.end_session()
    end = read(folder / f"{session_id}.jsonl").end
    assert end is not None
    assert end["activity"]["commands"] == 2


def test_a_look_that_fails_loses_nothing_and_is_not_counted(environ: Mapping[str, str]) -> None:
    class Unreadable(dict[str, str]):
        def get(self, *_arguments: object) -> Any:
            raise RuntimeError("no variables today")

    emitter = SessionEventEmitter("shop", environ=Unreadable())
    assert (emitter.available, emitter.outbox, emitter.dropped) == (False, {}, 0)
    assert emitter.unavailable_reason == "no variables today"
    assert emitter.start_session("ShopShell") is None
    assert emitter.dropped == 1


def test_what_lies_in_the_outbox_is_counted(emitter: SessionEventEmitter, folder: Path) -> None:
    emitter.start_session("ShopShell")
    (folder / "corrupt").mkdir()
    (folder / "corrupt" / "broken.jsonl").touch()
    assert emitter.outbox == {"open": 1, "rejected": 0, "corrupt": 1}


@pytest.mark.parametrize(
    ("number", "counted"),
    [(Decimal(3), 3), (3.5, 3), (Fraction(7, 2), 3), pytest.param(10**150, 2**53, id="huge")],
)
def test_a_number_of_another_kind_is_counted_as_a_whole_one(
    emitter: SessionEventEmitter, folder: Path, number: Any, counted: int
) -> None:
    session_id = emitter.start_session("ShopShell")
    for _ in range(2):
        emitter.record(commands=number, errors=number)
    assert emitter.end_session()
    end = parse_event(read(folder / f"{session_id}.jsonl").end or {})
    assert isinstance(end, SessionEnd)
    assert end.activity is not None
    assert end.activity.commands == end.activity.errors == min(2 * counted, 2**53)


def test_a_failure_that_has_passed_is_no_reason_any_more(environ: Mapping[str, str]) -> None:
    in_the_way = Path(environ["HOME"], ".local")
    in_the_way.write_text("")
    emitter = SessionEventEmitter("shop")
    assert emitter.start_session("ShopShell") is None
    in_the_way.unlink()
    assert emitter.start_session("ShopShell")
    assert emitter.end_session()
    assert emitter.available
    emitter.shutdown()


def test_overlapping_sessions_leave_no_parent_behind(environ: Mapping[str, str]) -> None:
    first, second = SessionEventEmitter("one"), SessionEventEmitter("two")
    first.start_session("x")
    second.start_session("x")
    first.end_session()
    second.end_session()
    assert "ONEIRIC_SESSION_ID" not in os.environ
    first.shutdown()


def test_a_full_disk_at_the_end_still_tells_a_server(unmeasured: Mapping[str, str]) -> None:
    code = """
import resource, signal, oneiric
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
e = oneiric.SessionEventEmitter("shop")
e.start_session("x")
assert e.wait_connected(30)
resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
print(e.end_session(), e.dropped)
e.wait_connected(30)
"""
    with FakeServer(unmeasured) as server:
        done = subprocess.run(
            [sys.executable, "-c", code], env=unmeasured, capture_output=True, text=True, check=False
        )
        assert server.wait_for(lambda events: any(e["event_type"] == "session_end" for e in events))
    assert done.stdout.split() == ["False", "1"], done.stderr


def test_a_session_for_another_server_waits_for_that_one(
    environ: Mapping[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_BUDDY_MCP_ENDPOINT", "http://127.0.0.1:9/mcp")
    with track_session("far") as far:
        pass
    # Until the delivery has closed the journal.
    assert not far.emitter.wait_connected(30)
    taken: list[dict[str, Any]] = []

    def deliver(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        taken.extend(events)
        return [{"status": "stored", "error": None} for _ in events]

    now = datetime.now(UTC)
    sweep(folder, deliver, now=now)
    assert taken == []
    sweep(folder, deliver, now=now, destination=Endpoint(url="http://127.0.0.1:9/mcp").destination)
    assert [event["event_type"] for event in taken] == ["session_start", "session_end"]


# --- what is counted, and how long it lasted


def test_where_nobody_counts_nothing_is_said_to_be_0(emitter: SessionEventEmitter, folder: Path) -> None:
    session_id = emitter.start_session("ShopShell")
    emitter.end_session()
    assert "activity" not in (read(folder / f"{session_id}.jsonl").end or {})


def test_who_counts_has_counted_none_so_far(emitter: SessionEventEmitter, folder: Path) -> None:
    session_id = emitter.start_session("ShopShell")
    emitter.record()
    emitter.end_session()
    end = read(folder / f"{session_id}.jsonl").end
    assert end is not None
    assert end["activity"] == {"commands": 0, "errors": 0}


def test_what_was_counted_is_on_disk_at_once(emitter: SessionEventEmitter, folder: Path) -> None:
    session_id = emitter.start_session("ShopShell")
    for number in range(1, 4):
        emitter.record(commands=1, errors=number == 2)
        pulse = read(folder / f"{session_id}.jsonl").pulse
        assert pulse is not None
        assert (pulse["commands"], pulse["errors"]) == (number, int(number >= 2))
        assert pulse["last_activity"] == pulse["timestamp"]


def test_an_end_tells_how_long_it_lasted_whatever_the_clock_says(
    emitter: SessionEventEmitter, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = emitter.start_session("ShopShell")
    before = facts.boottime()
    monkeypatch.setattr(facts, "boottime", lambda: before + 3600)
    emitter.end_session()
    end = read(folder / f"{session_id}.jsonl").end
    assert end is not None
    assert 3600 <= end["elapsed_seconds"] < 3660


def test_a_start_that_took_long_to_make_is_counted_from_its_beginning(
    emitter: SessionEventEmitter, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boottime, slept = facts.boottime, [0.0]

    def slow() -> dict[str, str]:
        slept[0] = 6.0
        return {"python_version": "", "platform": "", "cwd": ""}

    monkeypatch.setattr(facts, "boottime", lambda: boottime() + slept[0])
    monkeypatch.setattr(facts, "environment", slow)
    session_id = emitter.start_session("ShopShell")
    emitter.end_session()
    end = read(folder / f"{session_id}.jsonl").end
    assert end is not None
    assert end["elapsed_seconds"] >= 6


def test_a_prompt_waits_for_a_slow_disk_now_and_then_only(
    emitter: SessionEventEmitter, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = emitter.start_session("ShopShell")
    pwrite, writes, mine = os.pwrite, [], threading.get_ident()

    def slow(descriptor: int, line: bytes, offset: int) -> int:
        if threading.get_ident() == mine:
            writes.append(line)
            threading.Event().wait(0.1)
        return pwrite(descriptor, line, offset)

    monkeypatch.setattr(os, "pwrite", slow)
    for _ in range(20):
        emitter.record(commands=1)
    # Then the delivery's thread does, and the end.
    assert len(writes) == 1
    monkeypatch.undo()
    emitter.end_session()
    end = read(folder / f"{session_id}.jsonl").end
    assert end is not None
    assert end["activity"]["commands"] == 20


# --- odd hosts


def test_what_an_older_caller_says_is_taken(environ: Mapping[str, str]) -> None:
    emitter = SessionEventEmitter("shop", "/path/of/a/server", interactive=True)
    assert emitter.start_session("x", older=True)
    assert emitter.end_session(older=True)


def test_install_again_is_the_session_that_lives(environ: Mapping[str, str], folder: Path) -> None:
    first = install("once")
    assert install("once") is first
    other = install("another")
    assert other.session_id != first.session_id
    assert first.end_session()
    second = install("once")
    assert second.session_id is not None
    assert {one.end_session() for one in (second, other)} == {True}
    assert len(journals(folder)) + len(journals(folder, "done")) == 3


@pytest.mark.parametrize(
    "claim", ["x:²", "x:" + "1" * 5000, f"shop-20260102-030405-1b9d6bcd:{'1' * 5000}", ":", "x:-1", "x: 1 "]
)
def test_an_odd_parent_is_none(
    monkeypatch: pytest.MonkeyPatch, emitter: SessionEventEmitter, claim: str
) -> None:
    monkeypatch.setenv("ONEIRIC_SESSION_ID", claim)
    assert emitter.start_session("x")
    assert emitter._recorder.session is not None
    assert "parent_session_id" not in emitter._recorder.session.start
    assert emitter.dropped == 0


def test_a_pipe_for_a_token_keeps_nobody_waiting(
    environ: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "token")
    monkeypatch.setenv("SESSION_BUDDY_MCP_ENDPOINT", "http://127.0.0.1:9/mcp")
    monkeypatch.setenv("SESSION_BUDDY_TOKEN_FILE", str(tmp_path / "token"))
    emitter = SessionEventEmitter("shop")
    assert emitter.start_session("x")
    assert emitter.end_session()


def test_who_asks_whether_it_can_be_recorded_is_told_what_a_start_would_meet(python: Any) -> None:
    code = """
import resource, oneiric
emitter = oneiric.SessionEventEmitter("shop")
print(emitter.available)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
print(emitter.available, emitter.start_session("x"), emitter.dropped)
"""
    assert python(code).stdout.split() == ["True", "False", "None", "1"]


def test_asking_leaves_nothing_behind(emitter: SessionEventEmitter, folder: Path) -> None:
    assert emitter.available
    assert list(folder.iterdir()) == []


def test_who_counts_does_not_wait_for_a_start(emitter: SessionEventEmitter) -> None:
    emitter.start_session("x")
    begun, over = threading.Event(), threading.Event()

    def hold() -> None:
        # As long as a start waits for a disk.
        with emitter._lock("begin or end"):
            begun.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    emitter.record(commands=3)
    over.set()
    thread.join()
    assert emitter._recorder.session is not None
    assert emitter._recorder.session.commands == 3
