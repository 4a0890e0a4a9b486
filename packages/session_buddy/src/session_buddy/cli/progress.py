"""A bar for who watches, on whatever takes over a second; nothing where standard error is no terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Final

_AFTER_SECONDS: Final = 1.0
_EVERY_SECONDS: Final = 0.1


@contextmanager
def shown(
    what: str,
    done: Callable[[], float] = lambda: 0.0,
    total: Callable[[], float | None] = lambda: None,
    *,
    in_bytes: bool = False,
) -> Iterator[None]:
    """A bar beside the work, drawn by a thread: a database does not return before it is done.

    Args:
        what: is done.
        done: how much of it.
        total: of how much; ``None``: that is not known, and the bar only moves.
        in_bytes: what that counts.
    """
    if not sys.stderr.isatty():
        yield
        return
    over = Event()
    watcher = Thread(target=_draw, args=(over, what, done, total, in_bytes), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


class Counter:
    """How much is done, as the work tells it."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self) -> int:
        """How much there is."""
        return self.done

    def add(self, more: int) -> None:
        """So much more is done."""
        self.done += more


def _draw(
    over: Event,
    what: str,
    done: Callable[[], float],
    total: Callable[[], float | None],
    in_bytes: bool,  # noqa: FBT001 - a thread's argument
) -> None:
    if over.wait(_AFTER_SECONDS):
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    amount = DownloadColumn() if in_bytes else TextColumn("{task.fields[amount]}")
    shown_columns = (TextColumn(what), BarColumn(), amount, TimeElapsedColumn())
    with Progress(*shown_columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, amount="")
        while not over.wait(_EVERY_SECONDS):
            now, whole = done(), total()
            amount_text = f"{now:,.0f} of {whole:,.0f}" if whole else ""
            bar.update(task, completed=now, total=whole, amount=amount_text)
