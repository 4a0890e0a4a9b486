"""The IPython prompt inside an admin shell; the only module that knows how IPython is embedded."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.terminal.embed import InteractiveShellEmbed  # noqa: T100 - an embedded prompt is the product
from IPython.terminal.ipapp import load_default_config
from IPython.terminal.prompts import Prompts

from oneiric.contract import ExitReason
from oneiric.shell.config import ShellConfig

# What a prompt, and a cell that fails at it, set in the host's `sys`; some of it may be absent there.
_REPLACED = {"excepthook", "ps1", "ps2", "ps3", "last_exc", "last_type", "last_value", "last_traceback"}


class Prompt(InteractiveShellEmbed):
    """An embedded IPython that knows how it was left.

    Attributes:
        left_by: ``"exit"`` for ``exit()`` and ``quit``, ``"eof"`` for Ctrl-D and the end of a pipe.
    """

    left_by: ExitReason = "exit"

    def ask_exit(self) -> None:
        """Leave after this cell; IPython's loop calls this, too, when its input ends."""
        error = sys.exception()
        trace = error.__traceback__ if isinstance(error, EOFError) else None
        input_ended = trace is not None and trace.tb_frame.f_code is InteractiveShellEmbed.interact.__code__
        self.left_by = "eof" if input_ended else "exit"
        super().ask_exit()  # type: ignore[no-untyped-call]

    def interact(self) -> None:
        """Read and run cells until the user leaves; Ctrl-C at a plain prompt is no reason to leave.

        A standard input that cannot be read, as ``nohup`` gives it, has ended.
        """
        while True:
            try:
                super().interact()  # type: ignore[no-untyped-call]
            except KeyboardInterrupt:
                print("\nKeyboardInterrupt")  # noqa: T201 - as Python's own prompt does
            except OSError:
                if _stdin_is_readable():
                    raise
                self.left_by = "eof"
                return
            else:
                return


def _stdin_is_readable() -> bool:
    with suppress(OSError):
        return os.read(0, 0) == b""
    return False


class EmptyPrompts(Prompts):
    """No ``In [1]:`` and no ``Out[1]:``."""

    def in_prompt_tokens(self, *_: object, **__: object) -> list[tuple[Any, str]]:
        """Nothing before a cell, its next lines and its result."""
        return []

    continuation_prompt_tokens = out_prompt_tokens = in_prompt_tokens


@contextmanager
def embedded(namespace: dict[str, Any], config: ShellConfig) -> Iterator[Prompt]:
    """A prompt over ``namespace``, with this user's IPython profile; what it changes is put back after.

    Embedding replaces the host's ``sys.excepthook``, its ``sys.ps1`` and an IPython that already runs; a
    cell that fails sets ``sys.last_value``, which outside a prompt says that the host itself failed.
    """
    outer = InteractiveShell.instance() if InteractiveShell.initialized() else None
    before = {name: vars(sys)[name] for name in _REPLACED & vars(sys).keys()}
    if outer is not None:
        type(outer).clear_instance()
    try:
        yield Prompt.instance(**_options(namespace, config))
    finally:
        Prompt.clear_instance()
        if outer is not None:
            for owner in type(outer)._walk_mro():  # noqa: SLF001 - as IPython's own `embed` restores it
                owner._instance = outer  # type: ignore[assignment]  # noqa: SLF001
        vars(sys).update(before)
        for name in _REPLACED - before.keys():
            vars(sys).pop(name, None)


def _options(namespace: dict[str, Any], config: ShellConfig) -> dict[str, Any]:
    options = {
        "config": load_default_config(),  # type: ignore[no-untyped-call]
        "user_ns": namespace,
        "confirm_exit": False,
        "enable_tip": False,
    }
    if config.show_tracebacks:
        options["xmode"] = "Verbose"
    if not config.display_prompt:
        options["prompts_class"] = EmptyPrompts
    return options
