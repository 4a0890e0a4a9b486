"""Copies of a DuckDB file: checked, read, and made into a history of their own.

Each is opened by a path that no other part of this process has open: closing any handle of a file gives up
all the locks that the process has on it, DuckDB's among them.
"""

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import BinaryIO, Final, NamedTuple

import duckdb

from session_buddy.errors import NotADatabase, StoreLocked, StoreUnavailable
from session_buddy.host.holders import lock_holder, program_of
from session_buddy.store.duckdb import statements as sql
from session_buddy.store.duckdb.opening import CONFIG, line_of, locked, look_at, schema_of
from session_buddy.store.duckdb.schema import LATEST
from session_buddy.store.duckdb.wal import log_of
from session_buddy.store.protocol import Gap
from session_buddy.store.sql import BEGAN_LAST, COUNT_STARTED

_CHUNK_BYTES: Final = 1024 * 1024
_RETRY_SECONDS: Final = 0.1
_WAIT_SECONDS: Final = 5.0
# Reading a large file whole must not make a server large.
_CHECKING: Final = {**CONFIG, "memory_limit": "128MB"}


def copy_whole(source: int, target: Path) -> None:
    """Copy an open file, which stays open, to a new one that is its user's alone.

    Raises:
        OSError: the disk is full, or would be.
    """
    if shutil.disk_usage(target.parent).free < os.fstat(source).st_size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(source, "rb", closefd=False) as reader, open(descriptor, "wb") as writer:  # noqa: PTH123 - descriptors
        reader.seek(0)
        shutil.copyfileobj(reader, writer, _CHUNK_BYTES)


def copied(path: Path, folder: Path) -> Path:
    """Copy a database, and its log, to a folder; returns where the copy is.

    Raises:
        NotADatabase: the file is something else.
        StoreLocked: another process holds it.
        StoreUnavailable: it is not there, or cannot be read or copied.
    """
    look_at(path)
    copy = folder / path.name
    try:
        with path.open("rb") as source:
            lock(source, path, fcntl.LOCK_SH)
            copy_whole(source.fileno(), copy)
            with suppress(FileNotFoundError), log_of(path).open("rb") as log:
                copy_whole(log.fileno(), log_of(copy))
    except OSError as error:
        raise StoreUnavailable(f"database {path} cannot be copied to {folder}: {error.strerror}") from None
    return copy


def lock(file: BinaryIO, path: Path, kind: int) -> None:
    """Take DuckDB's lock on an open file: ``fcntl.LOCK_SH`` keeps writers out, ``fcntl.LOCK_EX`` everyone.

    Raises:
        StoreLocked: another process holds it, and still did after 5 s.
    """
    deadline = monotonic() + _WAIT_SECONDS
    while True:
        try:
            fcntl.lockf(file, kind | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            if monotonic() >= deadline:
                pid = lock_holder(path, "POSIX")
                raise StoreLocked(str(path), pid, program_of(pid) if pid else None) from None
            sleep(_RETRY_SECONDS)
        else:
            return


def sessions_in(path: Path) -> int:
    """How many sessions a database has, after every row of it was read; nothing is written.

    Raises:
        NotADatabase: it is none of ours.
        NewerDatabase: a later version wrote it.
        StoreUnavailable: it is damaged, or not there.
    """
    with _opened(path, read_only=True) as database:
        if schema_of(database, path) == 0:
            raise NotADatabase(f"{path} holds nothing")
        for statement in sql.UNLIKELY_ROWS:
            sql.rows_of(database, statement)
        return int(sql.one(database, COUNT_STARTED)[0])


class Looked(NamedTuple):
    """What a look at a database tells.

    Attributes:
        schema: the last migration that it has seen.
        sessions: how many there are.
        newest: which began last: its id, when, and on which host.
        gap: what it lacks.
    """

    schema: int
    sessions: int
    newest: tuple[str, datetime, str | None] | None
    gap: Gap | None

    @property
    def is_older(self) -> bool:
        """Whether an earlier version made its tables."""
        return 0 < self.schema < LATEST


def look(path: Path) -> Looked:
    """Look at a database where it lies, whatever its size; nothing is written, nobody waited for.

    Raises:
        StoreLocked: another process holds it.
        NotADatabase: it is something else.
        NewerDatabase: a later version wrote it.
        StoreUnavailable: it is damaged, or not there.
    """
    with _opened(path, read_only=True) as database:
        schema = schema_of(database, path)
        if schema == 0:
            return Looked(0, 0, None, None)
        sessions = int(sql.one(database, COUNT_STARTED)[0])
        newest = None
        for session_id, start_time, hostname in sql.rows_of(database, BEGAN_LAST):
            newest = (session_id, start_time.replace(tzinfo=UTC), hostname)
        return Looked(schema, sessions, newest, sql.gap_of(database))


def renew(path: Path, gap: Gap) -> None:
    """Make a copy a history of its own, one that is known to have a gap.

    Raises:
        StoreUnavailable: it cannot be written.
    """
    with _opened(path, read_only=False) as database, sql.transaction(database) as cursor:
        cursor.execute(sql.RENEW, [str(uuid.uuid4())])
        sql.mark(cursor, gap)


@contextmanager
def _opened(path: Path, *, read_only: bool) -> Iterator[sql.Cursor]:
    if not path.exists():
        raise StoreUnavailable(f"{path} is not there")
    look_at(path)
    try:
        with duckdb.connect(str(path), read_only=read_only, config=_CHECKING) as database:
            yield database
    except duckdb.Error as error:
        if "lock on file" in str(error):
            raise locked(path, str(error)) from None
        raise StoreUnavailable(f"database {path} cannot be read: {line_of(error)}") from None
