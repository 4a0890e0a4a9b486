"""What a host's signal handlers and threads raise in the middle of our work is the host's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from oneiric.testing import journals

LIMITS = """
import ctypes, random, signal, sys, threading, oneiric

class Stop(Exception): pass

error, fired, passed, within = {error}, 0, 0, 0
def over(number, frame):
    global fired, within
    fired += 1
    while frame is not None and not frame.f_globals["__name__"].startswith("oneiric."):
        frame = frame.f_back
    within += frame is not None
    raise error
signal.signal(signal.SIGALRM, over)
chance = random.Random(1)
{before}
emitter = oneiric.SessionEventEmitter("shop")
{first}
def work_until_over(seen):
    # A function: what comes at a jump of a loop in the block itself, 3.13 does not take for raised in it.
    signal.setitimer(signal.ITIMER_REAL, 0.0001 + chance.random() * 0.001)
    while fired == seen:
        {work}
for _ in range({rounds}):
    try:
        work_until_over(fired)
    except error:
        passed += 1
print(fired, passed, emitter.dropped, within)
{after}
"""
BEFORE = {
    "alone": "",
    # The kernel gives a signal to any thread that takes it; the handler runs on the main one all the same.
    "beside another thread": "threading.Thread(target=threading.Event().wait, daemon=True).start()",
}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("error", ["TimeoutError", "Stop", "KeyboardInterrupt"])
def test_a_time_limit_passes_through_a_record(
    python: Any, unmeasured: Mapping[str, str], error: str, before: str
) -> None:
    code = LIMITS.format(
        error=error,
        before=BEFORE[before],
        first="emitter.start_session('x')",
        rounds=300,
        work="emitter.record(1)",
        after="",
    )
    fired, passed, dropped, within = map(int, python(code, env=unmeasured).stdout.split())
    assert (fired, passed, dropped) == (300, 300, 0)
    assert within > 100


# Each start that is begun is ended: what is left open would be half of one.
WHOLE = """
def end():
    while emitter.session_id is not None:
        try: emitter.end_session()
        except error: pass
end()
"""


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "Stop"])
@pytest.mark.parametrize(
    "work",
    [
        "emitter.start_session('x'); emitter.end_session()",
        "with oneiric.track_session('block'): pass",
    ],
)
def test_an_interrupt_leaves_a_session_whole_or_not_begun(
    python: Any, unmeasured: Mapping[str, str], folder: Path, error: str, work: str
) -> None:
    code = LIMITS.format(error=error, before="", first="", rounds=200, work=work, after=WHOLE)
    fired, passed, dropped, within = map(int, python(code, env=unmeasured).stdout.split())
    assert (fired, passed, dropped) == (200, 200, 0)
    assert within > 100
    found = journals(folder)
    assert found
    assert [entry.end for entry in found].count(None) == 0


def test_an_end_that_was_interrupted_is_gone_on_with(
    python: Any, unmeasured: Mapping[str, str], folder: Path
) -> None:
    # Beside a thread that takes signals: the handler runs within our work.
    code = LIMITS.format(
        error="KeyboardInterrupt",
        before=BEFORE["beside another thread"],
        first="def again():\n    emitter.start_session('x')\n",
        rounds=200,
        work="emitter.end_session()",
        after="",
    ).replace("work_until_over(fired)", "again(); work_until_over(fired)")
    code = code.replace("        passed += 1", "        passed += 1\n    emitter.end_session()")
    fired, _, dropped, within = map(int, python(code, env=unmeasured).stdout.split())
    assert (fired, dropped) == (200, 0)
    assert within > 20
    ends = [entry.end for entry in journals(folder)]
    assert (len(ends), ends.count(None)) == (200, 0)


def test_a_block_that_is_not_reached_leaves_no_session(python: Any, folder: Path) -> None:
    code = """
import os, signal, oneiric
class Interrupting:
    def __str__(self):
        signal.raise_signal(signal.SIGINT)
        return ""
try:
    with oneiric.track_session("shop", metadata={"value": Interrupting()}): print("reached")
except KeyboardInterrupt:
    print("ONEIRIC_SESSION_ID" in os.environ)
os._exit(0)
"""
    assert python(code).stdout == ""
    assert journals(folder) == []


def test_a_thread_of_ours_that_the_host_ends_begins_again(
    python: Any, unmeasured: Mapping[str, str], folder: Path
) -> None:
    code = """
import ctypes, sys, threading, time, oneiric
from oneiric import deliveries
emitter = oneiric.install("shop")
emitter.wait_connected(60)
(delivery,) = deliveries._deliveries.values()
for number in set(sys._current_frames()) - {threading.get_ident()}:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(number), ctypes.py_object(SystemExit))
delivery.worker.ask()
deadline = time.monotonic() + 60
while delivery.worker._running and time.monotonic() < deadline: time.sleep(0.01)
delivery.worker.ask()
print(delivery.worker.flush(60))
"""
    assert python(code, env=unmeasured).stdout == "True\n"


def test_what_a_thread_of_the_host_sends_passes(python: Any, unmeasured: Mapping[str, str]) -> None:
    code = """
import ctypes, random, sys, threading, oneiric
from oneiric import deliveries

class Stop(Exception): pass

emitter = oneiric.install("shop")
chance, passed = random.Random(1), 0
# A thread that is being started has its starter's number for a moment, before Python 3.12: what Python gives
# to our new thread instead, it reports.
strays = []
sys.unraisablehook = lambda told: strays.append(told.exc_type is Stop)
for _ in range(100):
    begun, done = threading.Event(), threading.Event()
    def send(me=threading.get_ident()):
        begun.wait()
        done.wait(0.0001 + chance.random() * 0.0005)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(me), ctypes.py_object(Stop))
        done.set()
    sender = threading.Thread(target=send)
    sender.start()
    try:
        begun.set()
        while not done.is_set(): emitter.record(1)
        for _ in range(1000): pass
    except Stop:
        passed += 1
    sender.join()
    (delivery,) = deliveries._deliveries.values()
    while not delivery.worker.flush(10): delivery.worker.ask()
print(passed + sum(strays), emitter.dropped)
"""
    assert python(code, env=unmeasured).stdout == "100 0\n"


@pytest.mark.parametrize(
    "handler",
    [
        "lambda *everything: fail()",
        "Limit().over",
        "functools.partial(Limit.over, Limit())",
        "Limit()",
    ],
)
def test_a_handler_of_any_kind_is_known(python: Any, unmeasured: Mapping[str, str], handler: str) -> None:
    code = f"""
import functools, signal, sys, threading, oneiric
from oneiric import interrupts
def fail(): raise TimeoutError
class Odd:
    def __eq__(self, other): raise KeyError
class Limit:
    def over(self, number, frame):
        odd = (Odd(), frame)
        fail()
    __call__ = over
signal.signal(signal.SIGALRM, {handler})
def interrupted(): signal.raise_signal(signal.SIGALRM)
try: interrupted()
except TimeoutError as error: print(interrupts.raised_by_host(error))
try: fail()
except TimeoutError as error: print(interrupts.raised_by_host(error))
"""
    assert python(code, env=unmeasured).stdout.split() == ["True", "False"]


def test_an_object_of_the_host_that_raises_is_none_of_its_signals(python: Any) -> None:
    code = """
import oneiric
class Stop(Exception): pass
class Array:
    def __eq__(self, other): return self
    def __bool__(self): raise ValueError
class Bad:
    def __str__(self): raise Stop
    def __int__(self):
        arguments = (Array(), 1)
        raise Stop
emitter = oneiric.SessionEventEmitter(Bad())
print(emitter.component_name, emitter.start_session("x", reason=Bad()) is not None)
emitter.record(Bad())
print(emitter.dropped)
"""
    assert python(code).stdout == "unknown True\n1\n"
