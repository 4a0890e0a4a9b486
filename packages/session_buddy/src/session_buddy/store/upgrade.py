"""The rows of a history that an earlier version wrote, as this version judges them."""

import logging
from collections.abc import Iterator
from typing import Final

from session_buddy.history.fold import with_outcome
from session_buddy.history.model import SessionRow
from session_buddy.store.protocol import Tables
from session_buddy.store.rows import row_from

# What is logged before; with the database, and both versions of its tables.
CHANGED: Final = "database %s: its tables are brought from version %d to %d"
# So often it is told how far that is: every few seconds.
_TOLD_EACH: Final = 50_000

log = logging.getLogger("session_buddy.store.upgrade")


def judged(tables: Tables) -> Iterator[list[SessionRow]]:
    """All sessions, in groups, with what follows from the rest of each row; how far that is, is logged."""
    total, done = tables.count("sessions"), 0
    for rows in tables.read("sessions"):
        yield [with_outcome(row_from(values)) for values in rows]
        before, done = done, done + len(rows)
        if done // _TOLD_EACH > before // _TOLD_EACH:
            log.warning("%s of %s sessions are brought to this version", f"{done:,}", f"{total:,}")
