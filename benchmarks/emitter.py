"""The emitter as a guest: what it costs its host's thread, its exit, its whole process."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.measure import Effort, Row, duration, pairs, percentile, ratio, turns
from oneiric.testing import FakeServer
from tests.world import World, free_port

CALL_SECONDS = 0.002
FIRST_SECONDS = 0.005

CALLS = """
import json, os, resource, sys, threading, time
me, home = threading.get_ident(), os.environ["HOME"]

def by_hand(number):
    descriptor = os.open(f"{home}/by-hand.new", os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(descriptor, b"x" * 800, 0)
    os.close(descriptor)
    os.rename(f"{home}/by-hand.new", f"{home}/by-hand-{number}")

def where(frame):
    return f"{os.path.basename(frame.f_code.co_filename)[:-3]}.{frame.f_code.co_name}"

def took(call):
    before = resource.getrusage(resource.RUSAGE_THREAD)
    own, begun = time.thread_time(), time.perf_counter()
    call()
    wall = time.perf_counter() - begun
    # Where our thread is at this moment: it holds no GIL now, so it is about to go on there.
    others = [where(frame) for thread, frame in sys._current_frames().items() if thread != me]
    own = time.thread_time() - own
    after = resource.getrusage(resource.RUSAGE_THREAD)
    waits = after.ru_nvcsw - before.ru_nvcsw, after.ru_nivcsw - before.ru_nivcsw
    return {"wall": wall, "own": own, "waits": waits[0], "preempted": waits[1], "others": others}

alone = [took(lambda: by_hand(number)) for number in range(int(sys.argv[1]))]
import oneiric
first = oneiric.SessionEventEmitter("bench")
found = {"by hand": alone, "first": [took(lambda: first.start_session("bench"))]}
found |= {"start": [], "record": [], "end": []}
first.end_session()
for _ in range(int(sys.argv[1])):
    emitter = oneiric.SessionEventEmitter("bench")
    found["start"].append(took(lambda: emitter.start_session("bench")))
    found["record"].append(took(lambda: emitter.record(commands=1)))
    found["end"].append(took(emitter.end_session))
    time.sleep(0.002)
print(json.dumps(found))
"""
AT_EXIT = """
import atexit, os, sys, time
begun = []
atexit.register(lambda: os.write(2, str(time.perf_counter() - begun[0]).encode()))
import oneiric
oneiric.install("bench")
time.sleep(0.3)
begun.append(time.perf_counter())
"""
OURS = "import oneiric; oneiric.install('bench')"
# Without the integrations that it would find in this environment: as cheap as it can be.
SENTRY_INIT = (
    "import sentry_sdk; sentry_sdk.init('http://key@127.0.0.1:{port}/1', auto_enabling_integrations=False)"
)
SENTRY = SENTRY_INIT + "; sentry_sdk.capture_message('start')"
POSTHOG = (
    "import posthog; c = posthog.Posthog('key', host='http://127.0.0.1:{port}');"
    "c.capture('start', distinct_id='ada'); c.shutdown()"
)
OTEL = """
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter("http://127.0.0.1:{port}/v1/traces")))
trace.set_tracer_provider(provider)
with trace.get_tracer("bench").start_as_current_span("session"): pass
"""


@contextmanager
def server_up(folder: Path) -> Iterator[dict[str, str]]:
    """A server that answers."""
    environ = _environ(folder)
    with FakeServer(environ):
        yield environ


@contextmanager
def server_refused(folder: Path) -> Iterator[dict[str, str]]:
    """Nobody listens where a server said it would be."""
    yield _environ(folder, f"http://127.0.0.1:{free_port()}/mcp")


@contextmanager
def server_hung(folder: Path) -> Iterator[dict[str, str]]:
    """Somebody listens and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield _environ(folder, f"http://127.0.0.1:{listener.getsockname()[1]}/mcp")


@contextmanager
def server_unresolvable(folder: Path) -> Iterator[dict[str, str]]:
    """A name that does not resolve."""
    yield _environ(folder, "http://no-such-host.invalid:8678/mcp")


SERVERS = {
    "up": server_up,
    "refused": server_refused,
    "hung": server_hung,
    "not resolving": server_unresolvable,
}


def _environ(folder: Path, endpoint: str | None = None) -> dict[str, str]:
    """An environment with a home of its own, which stays until all is measured.

    ext4 takes four times as long to make a file while thousands were deleted within the last minutes.
    """
    home = tempfile.mkdtemp(dir=folder)
    environ = {"HOME": home, "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": home}
    return environ | ({"SESSION_BUDDY_MCP_ENDPOINT": endpoint} if endpoint else {})


def rows(world: World, effort: Effort) -> Iterator[Row]:
    """Calls on the caller's thread, exit, whole processes beside others' SDKs."""
    folder = world.home.parent
    yield from callers_thread(folder, effort.calls)
    yield from exits(folder, effort.rounds)
    yield from processes(world, effort.rounds)


def callers_thread(folder: Path, calls: int) -> Iterator[Row]:
    """How long a call of the emitter takes its caller, by what the server does.

    Heartbeats are not among them: our thread makes and sends them; the caller's part is ``record``.
    """
    for name, server in SERVERS.items():
        with server(folder) as environ:
            found: dict[str, list[Call]] = {
                kind: [Call(**one) for one in taken]
                for kind, taken in json.loads(run(environ, CALLS, str(calls)).stdout).items()
            }
        alone = percentile([one.wall for one in found.pop("by hand")], 0.99)
        yield duration(f"a file written and renamed by hand, {calls} times before server {name}, p99", alone)
        yield duration(f"first start of a process, server {name}", found.pop("first")[0].wall, FIRST_SECONDS)
        for kind, taken in found.items():
            slowest = percentile([one.wall for one in taken], 0.99)
            what = f"{kind} on the caller's thread, server {name}"
            yield duration(f"{what}, p99 of {calls}", slowest, CALL_SECONDS)
            if slowest > CALL_SECONDS:
                yield Row(f"{what}: the slow ones", slow([one for one in taken if one.wall > CALL_SECONDS]))


class Call(NamedTuple):
    """One call of the emitter, in seconds of real time and of the caller's own processor time.

    Attributes:
        wall: how long the caller was held up.
        own: how long its thread computed.
        waits: how often the thread gave its processor up, for the GIL, a lock or the disk.
        preempted: how often it was taken away.
        others: in which function each other thread was right after.
    """

    wall: float
    own: float
    waits: int
    preempted: int
    others: list[str]


def slow(calls: list[Call]) -> str:
    """What the slow calls did instead of returning."""
    walls, owns = [one.wall for one in calls], [one.own for one in calls]
    elsewhere = Counter(place for one in calls for place in one.others).most_common(3)
    return (
        f"{len(calls)} over {CALL_SECONDS * 1000:g} ms, median {median(walls) * 1000:.1f} ms"
        f" of which {median(owns) * 1000:.1f} computing; gave the processor up"
        f" {median(one.waits for one in calls):g} times, lost it {median(one.preempted for one in calls):g};"
        f" our thread was then: {', '.join(f'{number} in {place}' for place, number in elsewhere) or 'none'}"
    )


def exits(folder: Path, rounds: int) -> Iterator[Row]:
    """What the emitter adds to the end of a process."""
    for name, server in SERVERS.items():
        bar = 0.05 if name in ("up", "refused") else 0.25
        with server(folder) as environ:
            done = [run(environ, AT_EXIT) for _ in range(rounds)]
        yield duration(f"added at exit, server {name}", median(float(one.stderr) for one in done), bar)
        printed = sum(len(one.stdout) for one in done)
        yield Row(f"bytes printed at exit, server {name}", str(printed), "0", printed == 0)


def processes(world: World, rounds: int) -> Iterator[Row]:
    """A whole process that reports one thing and leaves, nobody listening; ours beside others'."""
    port = str(free_port())
    bare, ours, theirs = turns(
        [Process(world, code) for code in ("", OURS, SENTRY_INIT.format(port=port))], rounds
    )
    yield ratio(
        "cost over bare Python beside sentry_sdk.init() alone", ours - bare, theirs - bare, 0.25, "sentry"
    )
    for name, code in (("sentry-sdk", SENTRY), ("posthog", POSTHOG), ("opentelemetry-sdk", OTEL)):
        ours, theirs = pairs(Process(world, OURS), Process(world, code.format(port=port)), 2)
        yield ratio(f"whole process, server down, beside {name}", ours, theirs, 1.0, name)


class Process:
    """Runs code in a new interpreter when called."""

    def __init__(self, world: World, code: str) -> None:
        self._environ = world.environ
        self._code = code

    def __call__(self) -> None:
        """Run it to its end."""
        run(self._environ, self._code)


def run(environ: dict[str, str], code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command,
        env=environ,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=True,
    )
