"""What every test starts from."""

import faulthandler
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import POSTGRES, end_shared, new_folder

# A database that a test opens in this process narrows it, and the next test gives files to other users.
_UMASK: Final = os.umask(0o022)
os.umask(_UMASK)
# They begin first, so that nobody waits for them.
_LONGEST: Final = ("test_visit.py", "test_browser.py", "test_faults.py")
_TEARDOWN_SECONDS: Final = 150
# The one parameter of a test that is no table: it says nothing new in an ordinary run.
_ANOTHER_ENGINE: Final = {repr("postgresql")}

# Under nohup, or in the background of a script, children would inherit that they ignore these two: a closed
# terminal would end nobody, and Ctrl-C interrupt nobody.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGTERM, signal.SIGCHLD):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)

# What is printed is for a terminal like any other, and written when Python does, whatever this terminal is.
for _name in ("COLUMNS", "LINES", "FORCE_COLOR", "CLICOLOR_FORCE", "PYTHONUNBUFFERED"):
    os.environ.pop(_name, None)

# Servers of tests are on this machine, which no proxy of its user can reach.
_unproxied = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
os.environ["no_proxy"] = ",".join(filter(None, (_unproxied, "127.0.0.1", "localhost")))

# How long an example takes is the machine's affair, and two runs are the same.
_PROFILE: Final[dict[str, Any]] = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.too_slow],
}
settings.register_profile("every run", max_examples=25, **_PROFILE)
settings.register_profile("all", max_examples=300, **_PROFILE)

Size = Callable[[int, int], int]


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--all`` lifts what keeps an ordinary run short."""
    parser.addoption("--all", action="store_true", help="every cell of a table, long rounds, many examples")


def pytest_configure(config: pytest.Config) -> None:
    """As many examples as asked for; coverage sees the emitter's thread, which `threading` does not know."""
    # All processes of a run have one PostgreSQL server, the first that needs it starts it.
    config.pluginmanager.register(Workers())
    config.stash[POSTGRES] = Path(getattr(config, "workerinput", {}).get("postgres", "") or new_folder())
    settings.load_profile("all" if config.getoption("--all") else "every run")
    if (trace := threading.gettrace()) is not None and "PYTEST_XDIST_WORKER" in os.environ:
        from oneiric import threads

        start = threads.start
        threads.start = lambda run, *given: start(lambda: (sys.settrace(trace), run(*given)))


class Workers:
    """What each process of a run is told; only where there are several."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - of pytest-xdist
        """Where the PostgreSQL server of the run is."""
        node.workerinput["postgres"] = str(node.config.stash[POSTGRES])


def pytest_unconfigure(config: pytest.Config) -> None:
    """The run is over, and its PostgreSQL server goes."""
    if not hasattr(config, "workerinput"):
        end_shared(config.stash[POSTGRES])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first: begun last, they would be waited for alone. Of sampled tables, a sample."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)
    if not config.getoption("--all"):
        left_out = _left_out([item for item in items if item.get_closest_marker("sampled")])
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    """End the process, and say where it was, if this hangs: a test's own time may be over by then."""
    faulthandler.dump_traceback_later(_TEARDOWN_SECONDS, exit=True, file=sys.__stderr__)
    yield
    os.umask(_UMASK)
    faulthandler.cancel_dump_traceback_later()


def _left_out(sampled: list[pytest.Item]) -> list[pytest.Item]:
    """What of each table says nothing new: every value of every parameter stands in what is left, evenly."""
    tables: dict[object, list[pytest.Function]] = {}
    left_out: list[pytest.Item] = []
    for item in sampled:
        if not isinstance(item, pytest.Function):
            continue
        if {value for _, value in _values(item)} == _ANOTHER_ENGINE:
            left_out.append(item)
        else:
            tables.setdefault(item.function, []).append(item)
    for rest in tables.values():
        uses: Counter[tuple[str, str]] = Counter()
        while rest and _news(uses, item := max(rest, key=partial(_news, uses)))[0]:
            rest.remove(item)
            uses.update(_values(item))
        left_out += rest
    return left_out


def _news(uses: Counter[tuple[str, str]], item: pytest.Function) -> tuple[int, int]:
    """How many values of a cell were not used before, and how little the others were."""
    return sum(not uses[one] for one in _values(item)), -sum(uses[one] for one in _values(item))


def _values(item: pytest.Function) -> set[tuple[str, str]]:
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return {(name, repr(value)) for name, value in params.items()}


@pytest.fixture
def size(pytestconfig: pytest.Config) -> Size:
    """How many of something: the first number in an ordinary run, the second with ``--all``."""
    return lambda ordinary, full: full if pytestconfig.getoption("--all") else ordinary
