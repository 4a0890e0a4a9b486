"""Magic commands that every admin shell has."""

# ruff: noqa: T201 - what a magic command has to say, it prints
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_magic, magics_class

from oneiric.shell import dispatch
from oneiric.shell.commands import Commands

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oneiric.shell.prompt import Prompt


@magics_class
class BaseMagics(Magics):
    """``%help_shell``, ``%status`` and ``%cli``; components subclass it for their own, registered beside it.

    Attributes:
        app: the component's application.
        admin: the :class:`~oneiric.shell.AdminShell`; ``None`` where a component registers them by itself.
    """

    def __init__(self, shell: Prompt) -> None:
        super().__init__(shell)
        self.shell: Prompt = shell
        self.app: Any = None
        self.admin: Any = None

    def set_app(self, app: object) -> None:
        """Give the magics the component's application."""
        self.app = app

    @line_magic
    def help_shell(self, line: str) -> None:  # noqa: ARG002 - IPython passes it
        """Show what this shell adds to IPython."""
        print_pairs({f"%{name}": summary for name, summary in sorted(self._own_magics())})
        if self._commands:
            print("\nCommands (typed as they are):", ", ".join(self._commands.names))
        print("\nexit() or Ctrl-D leaves, help() is Python's own, ? is IPython's.")

    @line_magic
    def status(self, line: str) -> None:  # noqa: ARG002 - IPython passes it
        """Show the component, the application and the state of the session tracking."""
        print_pairs(self.admin.get_status() if self.admin else {"Application": type(self.app).__name__})

    @line_magic
    def cli(self, line: str) -> None:
        """Run a command as if it stood at a shell's prompt: %cli list-sessions --limit 5."""
        command = self._commands.for_shell(line)
        if command is None:
            where = "%help_shell lists them" if self._commands else "there are none"
            print(f"%cli: {line.partition(' ')[0]!r} is no command here; {where}")
            return
        code = dispatch.run(command)
        self.shell.user_ns["_exit_code"] = code
        if code:
            self.admin.count(errors=1)

    @property
    def _commands(self) -> Commands:
        return self.admin.commands if self.admin else Commands()

    def _own_magics(self) -> Iterator[tuple[str, str]]:
        for name, magic in self.shell.magics_manager.magics["line"].items():
            module = getattr(magic, "__module__", None) or "IPython.core"
            ours = not module.startswith("IPython.")
            if ours and (name != "cli" or self._commands):
                yield name, (magic.__doc__ or "").strip().partition("\n")[0]


def print_pairs(pairs: dict[str, str]) -> None:
    """Print labels and values in two columns."""
    width = max(map(len, pairs), default=0) + 2
    for label, value in pairs.items():
        print(f"  {label:<{width}}{value}")
