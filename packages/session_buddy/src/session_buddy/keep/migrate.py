"""A whole history taken from one database to another, of whatever engine; checked before it counts."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, NamedTuple

from oneiric.events import parse_event
from session_buddy.errors import MigrationRefused
from session_buddy.history.model import Arrival, Beat
from session_buddy.intake.writer import arrival_of
from session_buddy.keep.deletion import carry
from session_buddy.store import Store
from session_buddy.store.protocol import Tables
from session_buddy.store.rows import BEAT_COLUMNS, COLUMNS, EVENT_COLUMNS, TABLES, Table, Values

_DIGEST_BYTES: Final = 16
_NAMED: Final = 10
_TOLD: Final = [EVENT_COLUMNS.index(name) for name in ("body", "subject", "received_at", "by_admin")]
_STATE: Final = [COLUMNS.index(name) for name in BEAT_COLUMNS]
_TOMBSTONE: Final = COLUMNS.index("tombstone")
_LAST_SEEN: Final = BEAT_COLUMNS.index("last_seen")


class Sum:
    """How many rows there are, and a checksum over them that does not depend on their order."""

    def __init__(self) -> None:
        self.rows = 0
        self._total = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sum) and (self.rows, str(self)) == (other.rows, str(other))

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __str__(self) -> str:
        return f"{self._total % 256**_DIGEST_BYTES:0{2 * _DIGEST_BYTES}x}"

    def add(self, rows: Sequence[Values]) -> None:
        """Count rows in."""
        self.rows += len(rows)
        for row in rows:
            told = [value.isoformat() if isinstance(value, datetime) else value for value in row]
            digest = blake2b(repr(told).encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES)
            self._total += int.from_bytes(digest.digest())


class Moved(NamedTuple):
    """What was taken over.

    Attributes:
        refused: sessions that the other history does not take, and why: it deleted them, or others as old.
    """

    sessions: Sum
    events: Sum
    refused: Mapping[str, str] = MappingProxyType({})


def steps(source: Store) -> int:
    """How many rows :func:`migrate` reports, with the second reading."""
    with source.tables() as old:
        return 2 * sum(map(old.count, TABLES))


def migrate(source: Store, target: Store, advance: Callable[[int], None]) -> Moved:
    """Copy a history into an empty database, all or nothing, and compare what is there with what was read.

    Args:
        source: where it is; nothing changes there.
        target: where it goes.
        advance: is told how many rows more were read, or compared.

    Raises:
        MigrationRefused: the target has sessions, or the copy is not the same; nothing was written.
    """
    with source.tables() as old, target.tables(to_write=True) as new:
        if any(map(new.count, TABLES)):
            raise MigrationRefused(f"{target.url.name} has sessions; to add to them: --merge")
        read = {table: Sum() for table in TABLES}
        for table, total in read.items():
            for rows in old.read(table):
                new.write(table, rows)
                total.add(rows)
                advance(len(rows))
        if _read(new, advance) != read:
            raise MigrationRefused(f"{target.url.name} has other values than were written: nothing was kept")
        return Moved(read["sessions"], read["events"])


def merge(source: Store, target: Store, advance: Callable[[int], None]) -> Moved:
    """Take the events of a history into one that has sessions; what that knows already stays as it is.

    What was forgotten there stays so here, but for sessions that are known here; how long ago sessions may
    have started that are still taken in, each history says for itself. Not in one transaction: done again, it
    goes on. Arguments as of :func:`migrate`.

    Raises:
        MigrationRefused: some sessions are not there afterwards.
    """
    read, refused = {table: Sum() for table in TABLES}, dict[str, str]()
    carry(source, target, merging=True)
    with source.tables() as old:
        for rows in old.read("events"):
            taken = target.ingest([_arrival(row) for row in rows])
            refused |= {one.session_id: one.error for one in taken if one.error}
            read["events"].add([row for row, one in zip(rows, taken, strict=True) if not one.error])
            advance(2 * len(rows))
        for rows in old.read("sessions"):
            states = [[row[place] for place in _STATE] for row in rows]
            target.ingest([arrival_of(Beat(*state)) for state in states if state[_LAST_SEEN] is not None])
            if missing := set(target.missing([state[0] for state in states])) - refused.keys():
                raise MigrationRefused(f"{target.url.name} lacks {', '.join(sorted(missing)[:_NAMED])}")
            left_out = (row[0] in refused or row[_TOMBSTONE] is not None for row in rows)
            read["sessions"].add([row for row, out in zip(rows, left_out, strict=True) if not out])
            advance(2 * len(rows))
    return Moved(read["sessions"], read["events"], refused)


def _arrival(row: Values) -> Arrival:
    body, subject, received_at, by_admin = (row[place] for place in _TOLD)
    return Arrival.of(parse_event(json.loads(body)), subject, received_at, by_admin=by_admin, body=body)


def _read(tables: Tables, advance: Callable[[int], None]) -> dict[Table, Sum]:
    found = {table: Sum() for table in TABLES}
    for table, total in found.items():
        for rows in tables.read(table):
            total.add(rows)
            advance(len(rows))
    return found
