"""Commands at the IPython prompt: a typed line becomes a child process, Tab completes it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from oneiric.process import on_main_thread
from oneiric.shell.commands import Commands, is_python
from oneiric.shell.prompt import Prompt


class Dispatcher:
    """Connects a prompt with the commands that it understands."""

    def __init__(self, prompt: Prompt, commands: Commands) -> None:
        self._prompt = prompt
        self._commands = commands

    def install(self, *, completion: bool) -> None:
        """Understand commands from the next cell on, with Tab where ``completion`` is set."""
        self._prompt.input_transformers_cleanup.append(self.transform)
        if completion and self._prompt.Completer is not None:
            self._prompt.Completer.custom_matchers.append(self.match)

    def transform(self, lines: list[str]) -> list[str]:
        """One line that is a command and no Python becomes a call of ``%cli``; the rest passes untouched."""
        line = "".join(lines).strip()
        if len(lines) != 1 or self._commands.argv(line) is None or is_python(line, self._prompt.user_ns):
            return lines
        return [f"get_ipython().run_line_magic('cli', {line!r})\n"]

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


def run(argv: list[str]) -> int:
    """Run a program on this terminal and wait for it.

    Returns:
        Its exit code as shells give it: 128 + n when signal n ended it, 127 when it cannot be started.
    """
    sys.stdout.flush()
    try:
        with _without_interrupts(), subprocess.Popen(argv) as child:
            code = child.wait()
    except OSError as error:
        print(f"{argv[0]} cannot be started: {error.strerror}")  # noqa: T201 - to the person who typed it
        return 127
    return code if code >= 0 else 128 - code


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Leave Ctrl-C, which reaches every process of the terminal, to the child: we wait for what it decides.

    The handler does nothing, and a child does not inherit it. To catch the interrupt would not do: one that
    comes just after the child was reaped loses its exit code.
    """
    if not on_main_thread() or signal.getsignal(signal.SIGINT) in {
        None,
        signal.SIG_IGN,
    }:  # a handler in C cannot be put back
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
