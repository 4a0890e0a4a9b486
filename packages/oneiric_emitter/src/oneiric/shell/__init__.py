"""An admin shell to build on: IPython, its session tracked, a component's commands without a prefix."""

from oneiric.shell.config import ShellConfig
from oneiric.shell.core import AdminShell
from oneiric.shell.session_tracker import SessionEventEmitter

__all__ = ["AdminShell", "SessionEventEmitter", "ShellConfig"]
