"""Sessions deleted from a PostgreSQL database, and the entry that says so."""

from collections.abc import Sequence
from typing import Final

from session_buddy.errors import DeletionRefused
from session_buddy.history.tombstones import Named, Tombstone
from session_buddy.store import sql as common
from session_buddy.store.postgres.statements import Postgres, insert, lock, remove, rows_of, run
from session_buddy.store.rows import left_of, row_values, tombstone_from

# Numbers are given by one server at a time; who reads is not kept waiting.
_ALONE: Final = "LOCK TABLE tombstones IN EXCLUSIVE MODE"


def tombstones(connection: Postgres) -> list[Tombstone]:
    """All deletions, the first first."""
    return [tombstone_from(values) for values in rows_of(connection, common.TOMBSTONES)]


def delete(connection: Postgres, entry: Tombstone, gone: Sequence[str], buried: Sequence[Named]) -> Tombstone:
    """Within a transaction; see :meth:`session_buddy.store.protocol.Store.delete`.

    Raises:
        DeletionRefused: another server has just heard of one that was over.
    """
    ids = sorted([*gone, *(found.session_id for found in buried)])
    # First: whoever is at one of these sessions just now has stored its events then, or waits for us.
    known = lock(connection, ids)
    active = {found.session_id for found in buried if found.status == "active"}
    for session_id, row in known.items():
        if row.status == "active" and session_id not in active:
            raise DeletionRefused(
                f"session {session_id} was heard of just now: it is active; delete once more"
            )
    run(connection, _ALONE)
    if entry.number:
        run(connection, common.DELETE_TOMBSTONE, [entry.number])
    else:
        ((last,),) = rows_of(connection, common.LAST_TOMBSTONE)
        entry = entry._replace(number=last + 1)
    insert(connection, "tombstones", [entry], list)
    run(connection, common.DELETE_EVENTS, [ids])
    remove(connection, ids)
    insert(connection, "sessions", [left_of(found, entry) for found in buried], row_values)
    return entry
