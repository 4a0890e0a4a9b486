"""Commands at the IPython prompt: a typed line becomes a child process, Tab completes it."""

import ast
import copy
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.interactiveshell import ExecutionResult

from oneiric.shell.commands import FIRST_WORD, Commands, can_run
from oneiric.shell.prompt import Prompt
from oneiric.threads import on_main_thread

_POSIX_SHELLS: Final = {"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh"}

# Words, quotes, comments, here-documents; no backslash at the end, and neither ``|`` nor ``&&``.
_WHOLE: Final = re.compile(
    r"""(?:
        [^\\'"#<|&] | \\.
      | '[^']*' | "(?:\\.|[^"\\])*"
      | (?<!\s)\# | (?<=\s)\#[^\n]*+
      | <<-?[ \t]*[\\'"]?([\w.-]++)['"]?[^\n]*\n (?:[^\n]*\n)*? \t*\1 (?=\n|$)
      | <<< | <(?!<)
      | \|(?!\s*$) | &(?!&\s*$)
    )*+""",
    re.DOTALL | re.VERBOSE,
)


class Dispatcher:
    """Connects a prompt with the commands that it understands."""

    def __init__(self, prompt: Prompt, commands: Commands) -> None:
        self._prompt = prompt
        self._commands = commands

    def install(self, *, completion: bool) -> None:
        """Understand commands from the next cell on, with Tab where ``completion`` is set."""
        self._prompt.input_transformers_cleanup.append(self.transform)
        self._prompt.events.register("post_run_cell", self._hint)
        if completion and self._prompt.Completer is not None:
            self._prompt.Completer.custom_matchers.append(self.match)

    def transform(self, lines: list[str]) -> list[str]:
        """Lines that are commands, in a cell that Python cannot run, become calls of ``%cli``.

        A cell with which Python still cannot do anything then passes untouched: the error is Python's.
        """
        if not any(map(self._is_command, lines)) or self._is_python("".join(lines)):
            return lines
        called, python = list[str](), [""]
        for line in self._logical(lines):
            if self._is_command(line) and not self._is_python(line):
                typed = line.rstrip("\n")
                end = ")" if _is_whole(typed) else ""  # left open, IPython waits for more lines
                # Not run_line_magic: it would fill in ``$x`` and ``{x}``.
                called.append(f"get_ipython().find_line_magic('cli')({typed!r}{end}\n")
                python.append("")
            else:
                called.append(line)
                python[-1] += line
        # What stands between commands has to be whole: none of them is within a string, or an open bracket.
        return called if len(python) > 1 and all(map(self._compiles, python)) else lines

    def _is_command(self, line: str) -> bool:
        """Whether a command begins ``line``: not an indented one, which is within a block of Python.

        IPython has taken away by then what the whole cell is indented by.
        """
        return not line[:1].isspace() and self._commands.for_shell(line) is not None

    def _is_python(self, cell: str) -> bool:
        with suppress(SyntaxError):
            return can_run(self._transformed(cell), self._prompt.user_ns)
        return False

    def _compiles(self, cell: str) -> bool:
        with suppress(SyntaxError, ValueError):
            return bool(compile(self._transformed(cell), "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))
        return False

    def _transformed(self, cell: str) -> str:
        """What IPython, and whatever else was added to it, makes of a cell: of magics, ``!`` and ``?``."""
        manager = copy.copy(self._prompt.input_transformer_manager)
        manager.cleanup_transforms = [one for one in manager.cleanup_transforms if one != self.transform]
        return str(manager.transform_cell(cell))

    def _logical(self, lines: list[str]) -> Iterator[str]:
        """The lines, those of a command that a quote or a backslash continues in one."""
        whole = ""
        for line in lines:
            whole += line
            if not self._is_command(whole) or _is_whole(whole):
                yield whole
                whole = ""
        if whole:
            yield whole

    def _hint(self, result: ExecutionResult) -> None:
        """Behind what Python cannot run, the command that was perhaps meant."""
        failed = isinstance(result.error_before_exec or result.error_in_exec, SyntaxError | NameError)
        found = FIRST_WORD.match(result.info.raw_cell) if failed and result.info else None
        if found is None or found[1] in self._prompt.user_ns:
            return
        from difflib import get_close_matches  # which IPython does without

        near = get_close_matches(found[1], self._commands.names, n=1, cutoff=0.8)
        if near and near != [found[1]]:
            print(f"There is no command {found[1]}; did you mean {near[0]}?")  # noqa: T201 - to who typed it

    @context_matcher()  # type: ignore[untyped-decorator]
    def match(self, context: CompletionContext) -> SimpleMatcherResult:
        """Completions of a command line; Python's own stay only while the line may still become a name."""
        line = context.text_until_cursor.removeprefix("%cli ")
        words = self._commands.completions(line)
        return SimpleMatcherResult(
            completions=[SimpleCompletion(text=word, type="command") for word in words],
            matched_fragment=line.rpartition(" ")[2],
            suppress=bool(words) and not line.strip().isidentifier(),
        )


def _is_whole(line: str) -> bool:
    """Whether a POSIX shell would run ``line`` and not read on."""
    return _WHOLE.fullmatch(line.removesuffix("\n")) is not None


def run(line: str) -> int:
    """Have the user's shell, where that is a POSIX one, run a line on this terminal; wait for it.

    Returns:
        Its exit code as shells give it: 128 + n when signal n ended it, 127 when it cannot be started.
    """
    named = os.environ.get("SHELL", "")
    shell = named if os.path.basename(named) in _POSIX_SHELLS and os.access(named, os.X_OK) else "/bin/sh"
    sys.stdout.flush()
    try:
        # With a trap, the shell waits for its child at Ctrl-C and then leaves; without one, some leave at
        # once and let the child run on.
        command = f"trap 'exit $?' INT\n{line}"
        with _without_interrupts(), subprocess.Popen([shell, "-c", command]) as child:
            code = child.wait()
    except OSError as error:
        print(f"{shell} cannot be started: {error.strerror}")  # noqa: T201 - to the person who typed it
        return 127
    return code if code >= 0 else 128 - code


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Leave Ctrl-C, which reaches every process of the terminal, to the child: we wait for what it decides.

    The handler does nothing, and a child does not inherit it. To catch the interrupt would not do: one that
    comes just after the child was reaped loses its exit code.
    """
    before = signal.getsignal(signal.SIGINT)
    # None: a handler in C, which cannot be put back.
    if not on_main_thread() or before in (None, signal.SIG_IGN):
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
