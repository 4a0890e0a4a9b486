"""An admin shell to build on: IPython, its session tracked, a component's commands without a prefix."""

from importlib.util import find_spec

if not (find_spec("IPython") and find_spec("rich")):
    raise ImportError(
        "oneiric.shell needs IPython and Rich: in its checkout,"
        " pip install './packages/oneiric_emitter[shell]'"
    )

from oneiric.shell.config import ShellConfig
from oneiric.shell.core import AdminShell
from oneiric.shell.formatters import BaseLogFormatter, BaseProgressFormatter, BaseTableFormatter, TableColumn
from oneiric.shell.session_tracker import SessionEventEmitter

__all__ = [
    "AdminShell",
    "BaseLogFormatter",
    "BaseProgressFormatter",
    "BaseTableFormatter",
    "SessionEventEmitter",
    "ShellConfig",
    "TableColumn",
]
