"""What every test starts from."""

import signal
from typing import Final

import pytest

_LONGEST: Final = "test_faults.py"

# Under nohup, or in the background of a script, children would inherit that they ignore these two: a closed
# terminal would end nobody, and Ctrl-C interrupt nobody.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: begun last, they would be waited for alone."""
    items.sort(key=lambda item: item.path.name != _LONGEST)
