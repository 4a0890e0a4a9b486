"""Command trees of installed programs, and what a line typed at the prompt means in them.

A tree is read from the program itself, so its count and its completions follow what is installed: the
distribution of the program's name says where its console script lives, and that module's ``app`` (Typer)
is walked. That imports the module of the command line and nothing behind it (measured: 0.01-0.03 s, where
asking a child process would take 0.3 s); no component depends on another for it.
"""

import ast
import builtins
import codeop
import re
import shlex
import shutil
import symtable
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from oneiric import log

if TYPE_CHECKING:
    from typer._click.core import Command as TyperCommand

# The first word of a line, unless Python assigns to it or compares it: ``x =``, ``x += ``, ``x ==``.
FIRST_WORD: Final = re.compile(r"\s*([\w-]+)(?=[\s|&;<>]|$)(?!\s*[-+*/%&|^@:<>!]{0,2}=)")


@dataclass(frozen=True)
class Command:
    """One node of a command tree: a program, a group or a command."""

    name: str
    options: tuple[str, ...] = ()
    children: Mapping[str, "Command"] = field(default_factory=dict)

    def __len__(self) -> int:
        """Commands that can be run below this node, itself if it is one."""
        return sum(map(len, self.children.values())) if self.children else 1

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
        owners: dict[str, Command] = {}
        for program in self.programs.values():
            owners = dict.fromkeys(program.children, program) | owners
        self._owners = owners | self.programs

    def __repr__(self) -> str:
        return f"<Commands({', '.join(f'{name}={len(tree)}' for name, tree in self.programs.items())})>"

    def __len__(self) -> int:
        """Commands that can be run, of all programs."""
        return sum(map(len, self.programs.values()))

    @property
    def names(self) -> list[str]:
        """First words that are understood."""
        return sorted(self._owners)

    def for_shell(self, line: str) -> str | None:
        """What a POSIX shell has to run for ``line``; ``None``: it is no command."""
        found = FIRST_WORD.match(line)
        owner = self._owners.get(found[1]) if found else None
        if found is None or owner is None:
            return None
        program = shlex.quote(find_program(owner.name))
        if found[1] == owner.name:
            return program + line[found.end() :]
        return f"{program} {line[found.start(1) :]}"

    def completions(self, line: str) -> list[str]:
        """Words that can stand where the last word of ``line`` (up to the cursor) begins."""
        *words, last = line.lstrip().split(" ")
        words = [word for word in words if word]
        if not words:
            return [name for name in self.names if last and name.startswith(last)]
        program = self._owners.get(words[0])
        if program is None:
            return []
        node = program.at(words)
        choices = node.options if last.startswith("-") else node.children
        return [word for word in choices if word.startswith(last)]


def can_run(source: str, namespace: Collection[str]) -> bool:
    """Whether Python can run ``source``, or could with more lines, and its expressions know their names.

    ``list-sessions`` compiles as a subtraction; it is Python only for who has defined ``sessions``. An
    assignment, an import, a loop is Python with any names, and so is the error in it.
    """
    try:
        flags: int = codeop.PyCF_ALLOW_INCOMPLETE_INPUT  # type: ignore[attr-defined]
        flags |= ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        cell: ast.Module = compile(source, "<cell>", "exec", flags)
        asked = ast.Module([one for one in cell.body if isinstance(one, ast.Expr)], [])
        names = symtable.symtable(source, "<cell>", "exec").get_symbols()
        free = set(_read_globals(symtable.symtable(ast.unparse(asked), "<cell>", "exec")))
        free -= {name.get_name() for name in names if name.is_assigned() or name.is_imported()}
    except (RecursionError, MemoryError):
        return True  # too deep to be judged: the error is Python's
    except (SyntaxError, ValueError) as error:
        return str(error).startswith("incomplete input")
    # ``list --all`` and ``list > rows`` fail whatever is defined: they negate and compare a function.
    operands = (
        operand.id
        for node in ast.walk(asked)
        if isinstance(node, ast.UnaryOp | ast.BinOp)
        or (isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Lt | ast.Gt))
        for operand in ast.iter_child_nodes(node)
        if isinstance(operand, ast.Name)
    )
    return all(name in namespace or hasattr(builtins, name) for name in free) and not any(
        name not in namespace and callable(getattr(builtins, name, None)) for name in operands
    )


def _read_globals(scope: symtable.SymbolTable) -> Iterator[str]:
    """The global names that expressions read, below lambdas and comprehensions too."""
    for name in scope.get_symbols():
        if name.is_global() and name.is_referenced():
            yield name.get_name()
    for child in scope.get_children():
        yield from _read_globals(child)


def discover(program: str) -> Command | None:
    """The command tree of an installed program; ``None``: not installed, or it cannot be read."""
    try:
        scripts = distribution(program).entry_points.select(group="console_scripts", name=program)
        apps = [getattr(sys.modules[script.module], "app", None) for script in scripts if script.load()]
        from typer.main import get_command

        return next((_node(program, get_command(app)) for app in apps if app is not None), None)
    except PackageNotFoundError:
        return None
    except Exception:  # noqa: BLE001 - a neighbour's broken command line must not stop this shell
        log.debug("the commands of %s cannot be read", program)
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
