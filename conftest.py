"""What every test starts from."""

import os
import signal
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

_LONGEST: Final = "test_faults.py"

# Under nohup, or in the background of a script, children would inherit that they ignore these two: a closed
# terminal would end nobody, and Ctrl-C interrupt nobody.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGTERM, signal.SIGCHLD):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)

# What is printed is for a terminal like any other, whatever this one is.
for _name in ("COLUMNS", "LINES", "FORCE_COLOR", "CLICOLOR_FORCE"):
    os.environ.pop(_name, None)

# Servers of tests are on this machine, which no proxy of its user can reach.
_unproxied = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
os.environ["no_proxy"] = ",".join(filter(None, (_unproxied, "127.0.0.1", "localhost")))

# How long an example takes is the machine's affair, and two runs are the same.
settings.register_profile(
    "any machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: begun last, they would be waited for alone."""
    items.sort(key=lambda item: item.path.name != _LONGEST)
