"""A guest in whatever its host runs on: each test is a real process."""

import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pexpect
import pytest

from oneiric.testing import FakeServer, journals

LOOPS = {
    "asyncio": "import asyncio; asyncio.run(main())",
    "uvloop": "import uvloop; uvloop.run(main())",
    "trio": "import trio; trio.run(main)",
}


def reasons(folder: Path, kind: str = "") -> list[str]:
    """How the sessions of an outbox ended, those without an end first."""
    return sorted(entry.end["exit_reason"] if entry.end else "" for entry in journals(folder, kind))


@pytest.mark.parametrize("loop", LOOPS)
def test_the_async_calls_run_on_a_loop(
    python: Any, folder: Path, environ: Mapping[str, str], loop: str
) -> None:
    code = f"""
import oneiric
async def main():
    emitter = oneiric.SessionEventEmitter("shop")
    session_id = await emitter.emit_session_start("ShopShell")
    emitter.record(commands=1)
    print(session_id == emitter.session_id, emitter.wait_connected(30))
    print(await emitter.emit_session_end(session_id))
    await emitter.close()
{LOOPS[loop]}
"""
    with FakeServer(environ):
        done = python(code, "-W", "error")
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True\nTrue\n", "")
    assert reasons(folder) + reasons(folder, "done") == ["exit"]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_session_installed_within_a_running_loop_leaves_the_loop_alone(
    python: Any, folder: Path, loop: str
) -> None:
    # In dev mode a loop complains of what its thread may not do, and also of a machine that is slow.
    code = f"""
import logging, signal, oneiric
logging.getLogger("asyncio").setLevel(logging.ERROR)
async def main():
    before = [signal.getsignal(number) for number in signal.valid_signals()], signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before[1])
    emitter = oneiric.install("shop")
    after = [signal.getsignal(number) for number in signal.valid_signals()], signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(after[1])
    print(emitter.session_id is not None, before == after)
{LOOPS[loop]}
"""
    done = python(code, "-W", "error", "-X", "dev")
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True\n", "")
    assert reasons(folder) == ["exit"]


CANCELLED = {
    "asyncio": """
import asyncio
async def main():
    waiting = asyncio.Event()
    async def wait():
        waiting.set()
        await asyncio.Event().wait()
    task = asyncio.create_task(shell(wait))
    await waiting.wait()
    task.cancel()
    await asyncio.wait([task])
asyncio.run(main())
""",
    "trio": """
import trio
async def main():
    async with trio.open_nursery() as nursery:
        waiting = trio.Event()
        async def wait():
            waiting.set()
            await trio.sleep_forever()
        nursery.start_soon(shell, wait)
        await waiting.wait()
        nursery.cancel_scope.cancel()
trio.run(main)
""",
}


@pytest.mark.parametrize("loop", CANCELLED)
def test_a_task_that_is_cancelled_ends_its_session(python: Any, folder: Path, loop: str) -> None:
    code = f"""
import os, oneiric
emitter = oneiric.SessionEventEmitter("shop")
async def shell(wait):
    await emitter.emit_session_start("ShopShell")
    try:
        await wait()
    finally:
        await emitter.emit_session_end(exit_reason="eof")
{CANCELLED[loop]}
os._exit(0)
"""
    assert python(code).stderr == ""
    assert reasons(folder) == ["eof"]


BEFORE = "from gevent import monkey; monkey.patch_all(); import oneiric; emitter = oneiric.install('shop')"
BETWEEN = "import oneiric; from gevent import monkey; monkey.patch_all(); emitter = oneiric.install('shop')"
AFTER = "import oneiric; emitter = oneiric.install('shop'); from gevent import monkey; monkey.patch_all()"


@pytest.mark.parametrize("patched", [BEFORE, BETWEEN, AFTER], ids=["before", "between", "after"])
def test_gevent_may_patch_before_our_import_and_after_it(
    python: Any, folder: Path, environ: Mapping[str, str], patched: str
) -> None:
    code = f"""
{patched}
import gevent
def job(number):
    with oneiric.track_session(f"job{{number}}"):
        emitter.record(commands=1)
        gevent.sleep(0)
gevent.joinall([gevent.spawn(job, number) for number in range(10)], raise_error=True)
emitter.wait_connected(30)
emitter.shutdown()
print(emitter.connected)
"""
    with FakeServer(environ) as server:
        done = python(code)
        assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
        sent = {event["component_name"] for event in server.events if event["event_type"] == "session_start"}
    assert sent == {"shop", *(f"job{number}" for number in range(10))}
    assert "" not in reasons(folder) + reasons(folder, "done")


def test_a_fork_under_gevent_is_not_the_session(python: Any, folder: Path) -> None:
    code = f"""
{BEFORE}
import gevent, os, sys
pid = os.fork()
if pid == 0:
    gevent.sleep(0)
    sys.exit(7 if emitter.session_id is None and not emitter.end_session() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), emitter.end_session(exit_reason="eof"))
"""
    assert python(code).stdout == "7 True\n"
    assert reasons(folder) == ["eof"]


def test_an_embedded_ipython_belongs_to_the_session_around_it(
    environ: Mapping[str, str], folder: Path, tmp_path: Path
) -> None:
    code = """
import oneiric, IPython
emitter = oneiric.install("shop")
IPython.embed(display_banner=False, colors="nocolor", confirm_exit=False)
print("after", emitter.session_id is not None)
"""
    child = pexpect.spawn(
        sys.executable,
        ["-c", code],
        env={
            **environ,
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "TERM": "xterm",
            "IPYTHONDIR": str(tmp_path / "ipython"),
        },
        encoding="utf-8",
        timeout=60,
    )
    child.expect(r"In \[1\]:")
    child.send("1/0\r")
    child.expect("ZeroDivisionError")
    child.send("print('in' + 'side', emitter.session_id)\r")
    child.expect(r"inside shop-")
    child.send("exit()\r")
    child.expect("after True")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0
    assert reasons(folder) == ["exit"]


def test_threads_at_once_have_sessions_of_their_own_and_one_delivery(
    python: Any, folder: Path, environ: Mapping[str, str]
) -> None:
    code = """
import threading, oneiric
from oneiric import deliveries
together = threading.Barrier(8)
def work(number):
    together.wait()
    for _ in range(10):
        with oneiric.track_session(f"thread{number}") as session:
            session.record(commands=1)
threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
(delivery,) = deliveries._deliveries.values()
print(delivery.worker.flush(50))
"""
    with FakeServer(environ) as server:
        done = python(code)
        ends = {event["session_id"] for event in server.events if event["event_type"] == "session_end"}
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
    assert len(ends) == 80


def test_an_interpreter_that_finalises_still_begins_and_ends_sessions(python: Any, folder: Path) -> None:
    code = """
import atexit, sys
@atexit.register
def after_ours():
    with oneiric.track_session("at-exit"): pass
    host.emitter.start_session("x")
import oneiric
class Host:
    def __init__(self):
        self.emitter = oneiric.SessionEventEmitter("kept")
    def __del__(self):
        self.emitter.record(commands=1)
        self.emitter.end_session()
        self.emitter.shutdown()
        late = oneiric.SessionEventEmitter("late")
        begun = late.start_session("x") is not None
        print(sys.is_finalizing(), begun, late.end_session(), late.dropped, flush=True)
        late.shutdown()
host = Host()
"""
    done = python(code, "-W", "error")
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True True 0\n", "")
    ended = {
        entry.start["component_name"]: entry.end["exit_reason"] for entry in journals(folder) if entry.end
    }
    assert ended == {"at-exit": "exit", "kept": "exit", "late": "exit"}


def test_daemon_threads_that_still_emit_do_not_hold_up_the_exit(python: Any, folder: Path) -> None:
    code = """
import threading, oneiric
begun = threading.Semaphore(0)
def emit(number):
    emitter = oneiric.SessionEventEmitter(f"daemon{number}")
    while True:
        emitter.start_session("x")
        begun.release()
        emitter.record(commands=1)
        emitter.end_session()
oneiric.install("shop")
for number in range(4): threading.Thread(target=emit, args=(number,), daemon=True).start()
for _ in range(20): begun.acquire()
"""
    done = python(code, "-W", "error")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    shop = [entry.end for entry in journals(folder) if entry.start["component_name"] == "shop"]
    assert [end["exit_reason"] for end in shop if end] == ["exit"]


def test_no_thread_to_be_had_costs_no_session(python: Any, folder: Path) -> None:
    code = """
import threading, oneiric
threading.stack_size(2**47)
try:
    threading.Thread(target=print).start()
except RuntimeError:
    print("no thread")
oneiric.install("shop")
"""
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "no thread\n", "")
    assert reasons(folder) == ["exit"]


def test_a_subinterpreter_that_allows_no_thread_has_its_session_in_the_outbox(
    python: Any, unmeasured: Mapping[str, str], folder: Path
) -> None:
    code = """
try: import _interpreters as interpreters
except ImportError: import _xxsubinterpreters as interpreters
run = getattr(interpreters, "exec", None) or interpreters.run_string
other = interpreters.create()
run(other, '''
import oneiric
with oneiric.track_session("block") as session:
    print(session.id is not None, session.emitter.wait_connected(60), flush=True)
emitter = oneiric.install("shop")
print(emitter.problem, flush=True)
''')
interpreters.destroy(other)
print("alive", flush=True)
"""
    done = python(code, env=unmeasured)
    assert (done.returncode, done.stderr) == (0, "")
    told, problem, alive = done.stdout.splitlines()
    assert (told, alive) == ("True False", "alive")
    assert problem.startswith("no thread can be started")
    assert reasons(folder) == ["exit", "exit"]


def test_under_gevent_a_slow_disk_stops_no_greenlet(python: Any, folder: Path) -> None:
    code = f"""
import os
begun, (over, goes_on) = [], os.pipe()
def fsync(descriptor):
    begun.append(descriptor)
    os.read(over, 1)
os.fsync = fsync
{BEFORE}
import gevent
def tick():
    while not begun: gevent.sleep(0.001)
    for _ in range(10): gevent.sleep(0.001)
gevent.spawn(tick).join()
print("ticked", flush=True)
os.write(goes_on, b"x" * 100)
"""
    assert python(code).stdout == "ticked\n"


@pytest.mark.parametrize("patched", ["", "from gevent import monkey; monkey.patch_all()"])
def test_a_server_that_hangs_up_does_not_kill_a_host_with_the_default_for_broken_pipes(
    python: Any, environ: Mapping[str, str], folder: Path, patched: str
) -> None:
    code = f"""
{patched}
import signal, oneiric
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
emitter = oneiric.SessionEventEmitter("shop")
for _ in range(20):
    emitter.start_session("x", {{"long": "x" * 16000}})
    print(emitter.wait_connected(60))
    emitter.end_session()
"""
    with FakeServer(environ) as server:
        assert server._server is not None
        server._server.RequestHandlerClass = HangsUp  # type: ignore[assignment]  # it answers nobody
        done = python(code)
    assert (done.returncode, set(done.stdout.split())) == (0, {"False"})


@pytest.mark.parametrize("patched", [BEFORE, BETWEEN], ids=["before", "between"])
def test_greenlets_and_threads_of_gevent_count_together(python: Any, folder: Path, patched: str) -> None:
    code = f"""
{patched}
import gevent
def count():
    for _ in range(50):
        emitter.record(commands=1)
        gevent.sleep(0)
pool = gevent.get_hub().threadpool
gevent.joinall([pool.spawn(count) for _ in range(4)] + [gevent.spawn(count) for _ in range(4)], timeout=50)
print(emitter._recorder.session.commands)
"""
    assert python(code).stdout == "400\n"


def test_greenlets_that_begin_at_once_leave_the_signals_as_they_were(python: Any, folder: Path) -> None:
    code = """
import gevent.monkey; gevent.monkey.patch_all()
import gevent, signal, oneiric
class Slow:
    def __init__(self, seconds): self.seconds = seconds
    def __str__(self):
        gevent.sleep(self.seconds)
        return "slow"
def begin(after, seconds):
    gevent.sleep(after)
    oneiric.SessionEventEmitter("shop").start_session("x", {"value": Slow(seconds)})
gevent.joinall([gevent.spawn(begin, 0, 0.1), gevent.spawn(begin, 0.05, 0.2)])
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""
    assert python(code).stdout == "set()\n"


class HangsUp:
    """Closes a connection while the request still comes."""

    def __init__(self, request: socket.socket, *_: object) -> None:
        request.close()
