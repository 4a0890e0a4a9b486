import sys
from typing import Any

import pytest

FORBIDDEN = (
    "pydantic",
    "IPython",
    "mcp",
    "fastmcp",
    "duckdb",
    "structlog",
    "anyio",
    "httpx",
    "httpx2",
    "http.client",
)


def test_a_started_session_loads_none_of_the_heavy_modules(python: Any) -> None:
    code = "import sys, oneiric; oneiric.install('shop').wait_connected(5); print(*sys.modules)"
    loaded = set(python(code).stdout.split())
    assert "oneiric.delivery" in loaded
    assert loaded.isdisjoint(FORBIDDEN)


def test_the_async_calls_import_no_library_of_theirs(python: Any) -> None:
    code = """
import asyncio, sys, oneiric
async def main():
    emitter = oneiric.SessionEventEmitter("shop")
    print(await emitter.emit_session_start("ShopShell") is not None, await emitter.emit_session_end())
    await emitter.close()
asyncio.run(main())
print("anyio" in sys.modules)
"""
    assert python(code).stdout == "True True\nFalse\n"


def test_the_standard_library_is_enough(python: Any) -> None:
    code = "import sys, oneiric; oneiric.install('shop');"
    code += "print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(python(code, "-S", env=_without_site()).stdout.split())
    assert "oneiric" in loaded
    assert loaded - sys.stdlib_module_names - {"__main__", "oneiric"} == set()


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:9/mcp", "http://no-such-host.invalid/mcp"])
def test_the_thread_imports_nothing(python: Any, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("SESSION_BUDDY_MCP_ENDPOINT", endpoint)
    code = """
import sys, threading, oneiric
class Watch:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            print("imported in a thread:", name)
oneiric.track_session("warm-up")
sys.meta_path.insert(0, Watch())
e = oneiric.install("shop")
e.wait_connected(5)
e.shutdown()
print("done")
"""
    assert python(code).stdout.strip() == "done"


def test_on_windows_it_imports_and_does_nothing(python: Any) -> None:
    code = """
import os, sys, time, oneiric

# The standard library stays as it was loaded here; all that is ours is imported anew.
for name in [name for name in sys.modules if name.partition(".")[0] == "oneiric"]:
    del sys.modules[name]
for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "register_at_fork", "geteuid", "uname"):
    delattr(os, name)
del time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC
import _signal
del _signal.pthread_sigmask
sys.modules["fcntl"] = sys.modules["pwd"] = None
sys.platform = "win32"
import oneiric

os.name = "nt"
emitter = oneiric.install("shop")
emitter.record(commands=1)
print(emitter.session_id, emitter.available, emitter.dropped, emitter.unavailable_reason)
emitter.shutdown()
"""
    done = python(code)
    assert (done.stdout, done.stderr) == ("None False 0 this platform is not supported\n", "")


def _without_site() -> dict[str, str]:
    import os
    from pathlib import Path

    import oneiric

    return {**os.environ, "PYTHONPATH": str(Path(oneiric.__file__).parent.parent)}
