"""Sessions deleted from a DuckDB file, and the entry that says so."""

from collections.abc import Sequence

from session_buddy.history.tombstones import Named, Tombstone
from session_buddy.store import sql as common
from session_buddy.store.duckdb.statements import ROW_COLUMNS, Cursor, insert, one, rows_of, run, values_of
from session_buddy.store.rows import TABLES, left_of, span_of, tombstone_from


def tombstones(cursor: Cursor) -> list[Tombstone]:
    """All deletions, the first first."""
    return [tombstone_from(values) for values in rows_of(cursor, common.TOMBSTONES)]


def delete(
    cursor: Cursor, entry: Tombstone, gone: Sequence[str], buried: Sequence[Named], commit_id: int
) -> Tombstone:
    """Within the transaction of this number; see :meth:`session_buddy.store.protocol.Store.delete`."""
    if entry.number:
        run(cursor, common.DELETE_TOMBSTONE, [entry.number])
    else:
        entry = entry._replace(number=one(cursor, common.LAST_TOMBSTONE)[0] + 1)
    insert(cursor, "tombstones", (*TABLES["tombstones"], "commit_id"), [(*entry, commit_id)])
    if ids := [*gone, *(found.session_id for found in buried)]:
        run(cursor, common.DELETE_EVENTS, [ids])
        run(cursor, common.DELETE_SESSIONS, [*span_of(ids), ids])
        insert(cursor, "sessions", ROW_COLUMNS, [values_of(left_of(found, entry)) for found in buried])
    return entry
