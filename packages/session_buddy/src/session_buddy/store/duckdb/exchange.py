"""Letting another file have a database's name, while nobody can open either."""

import fcntl
import os
from contextlib import ExitStack
from pathlib import Path

from session_buddy.store.duckdb.copies import lock
from session_buddy.store.duckdb.wal import aside_of, log_of


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
        for file in (draft, database) if there else (draft,):
            lock(stack.enter_context(file.open("r+b")), file, fcntl.LOCK_EX)
        if there:
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
