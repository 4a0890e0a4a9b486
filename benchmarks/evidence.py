"""What the emitter does in its host: modules it brings, and what its calls open on the caller's thread."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from benchmarks.measure import Effort, Row, count
from benchmarks.trace import OPTIONS, PROGRAM, Call, Trace
from oneiric.testing import FakeServer
from tests.world import World

FORBIDDEN = frozenset({"pydantic", "IPython", "mcp", "fastmcp", "duckdb", "structlog", "anyio", "httpx"})
OPENING = ("open", "openat", "openat2", "creat")
SOCKETS = ("socket", "socketpair", "connect", "bind", "sendto", "recvfrom", "sendmsg", "recvmsg")
# What a start must know of the kernel, the machine and the account, and reads once.
FACTS = ("/proc/", "/etc/machine-id", "/etc/passwd", "/etc/oneiric/shared-accounts")
SYNCING = ("fsync", "fdatasync", "sync", "syncfs")

MODULES = "import json, sys; print(json.dumps(sorted(sys.modules)))"
START = "import oneiric; oneiric.SessionEventEmitter('bench').start_session('bench'); "
HOST = """
import os, time, oneiric
def session(number):
    emitter = oneiric.SessionEventEmitter("bench")
    os.access(f"/mark-begin{number}", 0)
    emitter.start_session("bench")
    emitter.record(commands=1)
    emitter.end_session()
    os.access(f"/mark-end{number}", 0)
    # Our thread has its turn: what it imports or opens is not the caller's.
    time.sleep(0.5)
session(1)
session(2)
"""
_SESSION = re.compile(r"bench-\d{8}-\d{6}-[0-9a-f]{8}")


def rows(world: World, _effort: Effort) -> Iterator[Row]:
    """Modules, then system calls."""
    yield from modules(world)
    if shutil.which(PROGRAM) is None:
        yield Row("what the calls open on the caller's thread", f"{PROGRAM} is not installed: skipped")
        return
    up: dict[str, tuple[AbstractContextManager[object], dict[str, str]]] = {
        "server up": (FakeServer(world.environ), world.environ),
        "no server": (nullcontext(), world.environ),
    }
    # The first session of all makes the folder of the outbox, once and for ever.
    subprocess.run([sys.executable, "-c", START], env=world.environ, check=True)
    for name, (server, environ) in up.items():
        with server:
            yield from opened(name, traced(world, environ), world)


def modules(world: World) -> Iterator[Row]:
    """What ``import oneiric`` and a start load that bare Python has not."""
    bare, ours = (loaded(world, code) for code in ("", START))
    added = sorted(ours - bare)
    yield count("modules that import oneiric and a start add to bare Python", added)
    forbidden = [name for name in added if name.partition(".")[0] in FORBIDDEN]
    yield count(f"of them {', '.join(sorted(FORBIDDEN))}", forbidden, bar=0)


def loaded(world: World, code: str) -> set[str]:
    """The modules that are loaded after ``code``."""
    done = subprocess.run(
        [sys.executable, "-c", code + MODULES],
        env=world.environ,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return set(json.loads(done.stdout))


def traced(world: World, environ: dict[str, str]) -> Trace:
    """Two sessions in one process, traced; ``-X importtime`` writes its lines on the importing thread."""
    file = world.home.parent / "trace"
    subprocess.run(
        [PROGRAM, *OPTIONS, "-o", str(file), sys.executable, "-X", "importtime", "-c", HOST],
        env=environ,
        check=True,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return Trace.parse(file.read_text(errors="replace").splitlines())


def opened(name: str, trace: Trace, world: World) -> Iterator[Row]:
    """What happened between the marks."""
    sessions = [trace.between(f"begin{number}", f"end{number}") for number in (1, 2)]
    for which, session in zip(("first", "second"), sessions, strict=True):
        caller = session.of(trace.caller)
        files = [shown(call, world) for call in caller.named(*OPENING)]
        journals = [file for file in files if file.endswith(".new")]
        facts = [file for file in files if file.startswith(FACTS)]
        others = [file for file in files if file not in {*journals, *facts}]
        what = f"caller's thread, {which} session, {name}"
        opened_journals = count(f"{what}: journals opened", journals)
        yield opened_journals._replace(bar="1", within=len(journals) == 1)
        shown_facts = count(f"{what}: facts of kernel, machine and account opened", facts)
        yield shown_facts._replace(bar="each once", within=len(facts) == len(set(facts)))
        yield count(f"{what}: anything else opened", others, bar=0)
        yield count(f"{what}: sockets", [call.name for call in caller.named(*SOCKETS)], bar=0)
        yield count(f"{what}: syncs to disk", [call.name for call in caller.named(*SYNCING)], bar=0)
        rest = [done(call, world) for call in caller.calls if call.name not in OPENING and not call.imported]
        yield count(f"{what}: other calls on files", rest)
    whole = trace.between("begin1", "end2")
    imported = [call.imported for call in whole.calls if call.imported]
    yield count(f"modules imported from the first start to the last end, any thread, {name}", imported, bar=0)
    synced = len(whole.beside(trace.caller).named(*SYNCING))
    yield Row(f"our thread, {name}: syncs to disk", str(synced), "≥ 1", synced >= 1)


def done(call: Call, world: World) -> str:
    """A call, and the path that it is about if it names one."""
    return f"{call.name} {shown(call, world)}" if call.text.startswith("/") else call.name


def shown(call: Call, world: World) -> str:
    """A path without what differs from run to run."""
    path = call.text.replace(str(world.home), "~")
    if _SESSION.search(path):
        path = Path(path).name
    return _SESSION.sub("SESSION", re.sub(r"^/proc/\d+/", "/proc/PID/", path))
