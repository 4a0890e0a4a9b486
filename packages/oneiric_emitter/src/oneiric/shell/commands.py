"""Command trees of installed programs, and what a line typed at the prompt means in them.

A tree is read from the program itself, so its count and its completions follow what is installed: the
distribution of the program's name says where its console script lives, and that module's ``app`` (Typer)
is walked. That imports the module of the command line and nothing behind it (measured: 0.01-0.03 s, where
asking a child process would take 0.3 s); no component depends on another for it.
"""

import ast
import builtins
import logging
import shlex
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typer._click.core import Command as TyperCommand

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Command:
    """One node of a command tree: a program, a group or a command."""

    name: str
    options: tuple[str, ...] = ()
    children: Mapping[str, "Command"] = field(default_factory=dict)

    def __len__(self) -> int:
        """Commands that can be run below this node, itself if it is one."""
        return sum(map(len, self.children.values())) if self.children else 1

    def __bool__(self) -> bool:
        return True

    def at(self, words: Iterable[str]) -> "Command":
        """The deepest node that ``words`` lead to; words that name no child are options or arguments."""
        node = self
        for word in words:
            node = node.children.get(word, node)
        return node


class Commands:
    """What can be typed without a prefix: the programs, and the commands of each; the first program wins."""

    def __init__(self, programs: Iterable[Command] = ()) -> None:
        self.programs = {program.name: program for program in programs}
        self._owners: dict[str, Command] = {}
        for program in self.programs.values():
            self._owners = dict.fromkeys(program.children, program) | self._owners

    def __repr__(self) -> str:
        return f"<Commands({', '.join(f'{name}={len(tree)}' for name, tree in self.programs.items())})>"

    def __len__(self) -> int:
        """Commands that can be run, of all programs."""
        return sum(map(len, self.programs.values()))

    @property
    def names(self) -> list[str]:
        """First words that are understood."""
        return sorted({*self.programs, *self._owners})

    def argv(self, line: str) -> list[str] | None:
        """The program and its arguments that ``line`` asks for; ``None``: it is no command."""
        try:
            words = shlex.split(line)
        except ValueError:
            return None
        if words and words[0] in self.programs:
            return [find_program(words[0]), *words[1:]]
        if words and words[0] in self._owners:
            return [find_program(self._owners[words[0]].name), *words]
        return None

    def completions(self, line: str) -> list[str]:
        """Words that can stand where the last word of ``line`` (up to the cursor) begins."""
        *words, last = line.lstrip().split(" ")
        words = [word for word in words if word]
        if not words:
            return [name for name in self.names if last and name.startswith(last)]
        program = self.programs.get(words[0]) or self._owners.get(words[0])
        if program is None:
            return []
        node = program.at(words)
        choices = node.options if last.startswith("-") else node.children
        return [word for word in choices if word.startswith(last)]


def is_python(line: str, namespace: Collection[str]) -> bool:
    """Whether Python can run ``line``: it parses, and every name that it reads is defined.

    ``list-sessions`` parses as a subtraction; it is Python only for who has defined ``sessions``.
    """
    try:
        nodes = list(ast.walk(ast.parse(line)))
    except (SyntaxError, ValueError):
        return False
    names = [node for node in nodes if isinstance(node, ast.Name)]
    bound = {name.id for name in names if not isinstance(name.ctx, ast.Load)}
    return all(name.id in bound or name.id in namespace or hasattr(builtins, name.id) for name in names)


def discover(program: str) -> Command | None:
    """The command tree of an installed program; ``None``: not installed, or it cannot be read."""
    try:
        scripts = distribution(program).entry_points.select(group="console_scripts", name=program)
        apps = [getattr(sys.modules[script.module], "app", None) for script in scripts if script.load()]
        from typer.main import get_command

        return next((_node(program, get_command(app)) for app in apps if app is not None), None)
    except PackageNotFoundError:
        return None
    except Exception:  # a neighbour's broken command line must not stop this shell
        logger.debug("the commands of %s cannot be read", program, exc_info=True)
        return None


def _node(name: str, command: "TyperCommand") -> Command:
    children: Mapping[str, Any] = getattr(command, "commands", {})
    options = [option for parameter in command.params for option in parameter.opts]
    return Command(
        name,
        tuple(option for option in options if option.startswith("--")),
        {child: _node(child, node) for child, node in children.items() if not node.hidden},
    )


def find_program(name: str) -> str:
    """The program beside this interpreter, else on ``PATH``: a virtual environment need not be activated."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name) or name
