"""Where errors end: one line on standard error and an exit code, never a traceback."""

import io
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, NoReturn, TextIO

import typer

from oneiric.transport import TransportError
from oneiric.visible import visible
from session_buddy.errors import InvalidQuery, SessionBuddyError

DEBUG_VARIABLE: Final = "SESSION_BUDDY_DEBUG"
INTERRUPTED: Final = 130
MISTYPED: Final = 2
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_ANY: Final = 10_000
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Unprintable(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """Standard output is closed or takes nothing more."""


def run(app: Callable[..., Any]) -> None:
    """Run a Typer application as the whole program."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(app(prog_name="session-buddy", standalone_mode=False))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except typer.Abort:
        fail("nothing was done")
    except typer.TyperException as error:
        mistyped(error)
    except InvalidQuery as error:
        fail(str(error), MISTYPED)
    except (SessionBuddyError, TransportError) as error:
        fail(str(error))
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        said = f"unexpected: {type(error).__name__}: {error}"
        fail(f"{said}; see {_logged(error)}, or set {DEBUG_VARIABLE}=1")


def mistyped(error: typer.TyperException) -> NoReturn:
    """Say in one line what is wrong with what was typed, and where to read more; alone, a command's help."""
    context, said = (
        getattr(error, "ctx", None),
        error.format_message().rstrip(".").removeprefix("Invalid value: "),
    )
    if said.startswith("Usage: "):
        typer.echo(said, err=True)
        sys.exit(error.exit_code)
    if said.startswith("No such command") and "Did you mean" not in said:
        said += f"; there are {', '.join(context.command.commands)}" if context else ""
    more = f"; see {context.command_path} --help" if context else ""
    # Of an option that is missing, its choices stand a line each.
    fail(f"{' '.join(said.split())}{more}", error.exit_code)


def _logged(error: Exception) -> str:
    """Put an error's traceback into the log; returns where that is."""
    from oneiric.paths import user_paths
    from session_buddy.host.log import log_file, set_up_logging

    path = log_file(user_paths())
    try:
        set_up_logging(path, "error")
    except SessionBuddyError as problem:
        return f"no log ({problem})"
    logging.getLogger("session_buddy.cli").error("unexpected error", exc_info=error)
    return str(path)


def fail(message: str, code: int = 1) -> NoReturn:
    """Say what is wrong in one line and leave."""
    tell(f"Error: {message}")
    sys.exit(code)


def agree(question: str, *, yes: bool, before: Callable[[], object] = lambda: None) -> None:
    """Ask a person whether to go on, unless ``yes`` says so; leave where nobody agrees, or is there to ask.

    Args:
        question: what is asked.
        yes: nobody need be asked.
        before: prints what the question is about.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and on_terminal()):
        fail(f"{question} Confirm it on a terminal, or with --yes", MISTYPED)
    before()
    typer.confirm(question, abort=True)


def tell(message: str) -> None:
    """One line for the person at the terminal, kept out of what a pipe reads."""
    with suppress(OSError):  # its terminal is gone
        typer.echo(visible(message), err=True)


def tell_all(messages: Iterable[str]) -> None:
    """Several lines."""
    for message in messages:
        tell(message)


def say(text: str) -> None:
    """What a command has done, for whoever reads; nobody where standard output is closed."""
    if sys.stdout is not None:
        with output() as stream:
            stream.write(f"{text}\n")


def require_free(file: Path, name: str = "output") -> None:
    """Refuse to replace a file, and to write to a folder; a name that no file can have is refused later.

    Raises:
        InvalidQuery: it is there already.
    """
    with suppress(OSError, ValueError):
        if file.is_dir():
            raise InvalidQuery(name, str(file), f"it is a folder; name a file, as in {file / 'all.csv'}")
        if file.exists():
            raise InvalidQuery(name, str(file), "it is there already; --force replaces it")


def is_plain(file: Path) -> bool:
    """Whether it is a plain file, or would be."""
    return file.is_file() or not file.exists()


def on_terminal() -> bool:
    """Whether a person reads standard output."""
    return sys.stdout is not None and sys.stdout.isatty()


def width() -> int:
    """How many cells a line of standard output has; a file takes lines of any length."""
    return shutil.get_terminal_size().columns if on_terminal() else _ANY


@contextmanager
def output(file: Path | None = None) -> Iterator[TextIO]:
    """Standard output for what was asked for, or a file, which has its name once it is whole.

    A reader that has had enough (``| head``) is no error.

    Raises:
        Unprintable: it is closed, or it is full; what is printed after that goes nowhere.
    """
    if file is not None:
        with written(file) as binary:
            stream = io.TextIOWrapper(binary, encoding="utf-8")
            yield stream
            stream.detach()
        return
    if sys.stdout is None:
        raise Unprintable("standard output is closed: there is nowhere to print to")
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        _print_nowhere()
    except OSError as error:
        _print_nowhere()
        raise Unprintable(f"standard output cannot be written: {error.strerror or error}") from None


@contextmanager
def written(file: Path) -> Iterator[BinaryIO]:
    """A file of this name, which nobody else can read; one that it replaces lends it its rights.

    It has the name once it is whole. What is no plain file, such as a device, is written to, and stays what
    it is.

    Raises:
        Unprintable: it cannot be written; nothing is left of it.
    """
    try:
        if not is_plain(file):
            with file.open("wb") as stream:
                yield stream
            return
        # Of a link the file that it means.
        target = Path(os.path.realpath(file))
        draft = target.with_name(f".{target.name[:100]}.{os.getpid()}")
        try:
            nameless = _nameless(target.parent)
            with os.fdopen(nameless or os.open(draft, _NEW, 0o600), "w+b") as stream:
                yield stream
                stream.flush()
                if nameless is not None:
                    draft.unlink(missing_ok=True)
                    # Python follows the link only where a descriptor is named, which this path needs not.
                    os.link(f"/proc/self/fd/{nameless}", draft, src_dir_fd=nameless)
            if target.exists():
                shutil.copymode(target, draft)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except BrokenPipeError:
        pass
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Unprintable(f"{file} cannot be written: {why}") from None


def _nameless(folder: Path) -> int | None:
    """A file in a folder that goes with this process, however it ends, until it is given a name.

    ``None``: there is none of that kind here.
    """
    with suppress(OSError, AttributeError):
        return os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    return None


def _print_nowhere() -> None:
    """The interpreter flushes once more at exit: let that go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
