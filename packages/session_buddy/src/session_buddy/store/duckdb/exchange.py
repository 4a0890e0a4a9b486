"""Letting another file have a database's name, while nobody can open either."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from session_buddy.errors import StoreLocked
from session_buddy.store.duckdb.wal import aside_of, log_of

_WAIT_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 0.1


def exchange(draft: Path, database: Path, log: Path) -> Path | None:
    """Let the draft have the database's name; what was there, and its log, has a second name by then.

    Returns:
        The second name, ``None`` where there was no database.

    Raises:
        StoreLocked: another process holds the database.
        OSError: a name cannot be given.
    """
    aside = aside_of(database)
    there = database.exists()
    with ExitStack() as stack:
        stack.enter_context(_locked(draft))
        if there:
            stack.enter_context(_locked(database))
            os.link(database, aside)
        # A log is left only of a database that cannot be opened, or is gone. It lies beside the name by
        # which that was opened, a link's for example.
        if log.exists():
            os.link(log, log.with_name(log_of(aside).name))
        if there:
            draft.replace(database)
        else:
            # Not replaced: a command may have made a new one meanwhile.
            os.link(draft, database)
        # Nobody can have opened the new one yet. A log that is left, by a kill, does not fit it: it is set
        # aside when it is opened.
        log.unlink(missing_ok=True)
    return aside if there else None


@contextmanager
def _locked(database: Path) -> Iterator[None]:
    """Hold the lock that DuckDB takes, so that no command opens what is about to change its name."""
    deadline = monotonic() + _WAIT_SECONDS
    with database.open("r+b") as file:
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if monotonic() >= deadline:
                    raise StoreLocked(str(database)) from None
            sleep(_RETRY_SECONDS)
        yield
