"""Opening a DuckDB file: ours, new or not at all; another process's lock is waited for, then named."""

import logging
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Final

import duckdb

from oneiric.descriptors import make_folder
from session_buddy.errors import (
    RESTORE,
    USE_ANOTHER,
    NewerDatabase,
    NotADatabase,
    StoreLocked,
    StoreUnavailable,
)
from session_buddy.host.holders import program_of
from session_buddy.store.duckdb.schema import JUDGED_BEHIND, LATEST, MIGRATIONS
from session_buddy.store.duckdb.statements import (
    Cursor,
    gap_of,
    judge_anew,
    mark,
    one,
    rows_of,
    transaction,
)
from session_buddy.store.duckdb.wal import aside_of, is_unclean, log_of, sessions_named_in, set_aside
from session_buddy.store.protocol import Gap
from session_buddy.store.upgrade import CHANGED

# threads: two were slower than one for rows this small. Extensions: a file of another kind must not make the
# library look for a reader on the network.
CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "threads": 1,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
log = logging.getLogger("session_buddy.store")

_MAGIC: Final = slice(8, 12), b"DUCK"
_RETRY_SECONDS: Final = 0.1
# What the library says of a log that it cannot replay, or that is another file's or another time's.
_BAD_LOG: Final = ("replaying WAL", "WAL was created for", "WAL does not match", "iteration does not match")


class UnreadableLog(Exception):  # noqa: N818 - reads as the fact it states
    """The write-ahead log cannot be replayed."""


def open_file(path: Path, wait_seconds: float, *, known: bool = False) -> tuple[Cursor, Gap | None]:
    """The database at ``path``, brought to the latest schema, and its gap; made if there is none.

    A write-ahead log that cannot be replayed is set aside, under a name that says when. What is found to be
    lacking stands in the database from then on, until it is made up for. ``known``: the database was there
    before.

    Raises:
        StoreLocked: another process holds it, and still did after ``wait_seconds``.
        NotADatabase: the file is something else.
        NewerDatabase: a later version wrote it.
        StoreUnavailable: permissions, a full disk, damage.
    """
    look_at(path)
    gap = _gap(path, known=known)
    if not path.exists():
        _make(path, gap)
    aside = None
    try:
        database = _connect(path, wait_seconds)
    except UnreadableLog as problem:
        try:
            aside = set_aside(log_of(path))
            log.warning(
                "database %s: its write-ahead log cannot be replayed; set aside: %s (%s)",
                path,
                aside,
                problem,
            )
            gap = Gap("its write-ahead log could not be replayed", gap.sessions if gap else (), aside)
            database = _connect(path, wait_seconds)
        except (OSError, UnreadableLog) as error:
            raise StoreUnavailable(
                f"database {path} cannot be opened: its write-ahead log cannot be replayed, nor be done"
                f" without: {line_of(error)}; {RESTORE}, or {USE_ANOTHER}"
            ) from None
    try:
        _migrate(database, path)
        return database, _marked(database, path, gap)
    except BaseException:
        # What the database could not be told of has to be found again.
        with suppress(duckdb.Error):
            database.execute("PRAGMA disable_checkpoint_on_shutdown")
        database.close()
        if aside is not None and not log_of(path).exists():
            aside.rename(log_of(path))
        raise


def _make(path: Path, gap: Gap | None) -> None:
    """Give a database its name once it is whole: whatever stops that leaves none, and no part of one."""
    # Of a link the file that it means.
    file = Path(os.path.realpath(path))
    try:
        with TemporaryDirectory(
            prefix=f".{file.name}.", dir=file.parent, ignore_cleanup_errors=True
        ) as folder:
            draft = Path(folder) / file.name
            with duckdb.connect(str(draft), config=CONFIG) as database:
                _migrate(database, path)
                _marked(database, path, gap)
                # Closing does it too, but does not say when it fails.
                database.execute("CHECKPOINT")
            # Another process may have been faster; and where a file can have but one name, the library makes
            # it in its place when it is opened.
            with suppress(OSError):
                os.link(draft, file)
    except (OSError, duckdb.Error) as error:
        why = getattr(error, "strerror", None) or line_of(error)
        raise StoreUnavailable(f"database {path} cannot be made: {why}") from None


def _gap(path: Path, *, known: bool) -> Gap | None:
    """What speaks against completeness: the library replays a damaged log as far as it likes, silently."""
    # Read now: opening it makes the log part of the database, or of nothing.
    named = sessions_named_in(log_of(path))
    beside = aside_of(log_of(path)) if named else None
    if known and not path.exists():
        return Gap("it was here before and is gone", named, beside)
    return Gap("its last process did not close it", named, beside) if is_unclean(path) else None


def _marked(database: Cursor, path: Path, gap: Gap | None) -> Gap | None:
    """What the files tell and what the database says of itself, in one; it says so from here on."""
    before = gap_of(database)
    if gap is None:
        return before
    if before is not None:
        together = tuple(dict.fromkeys((*before.sessions, *gap.sessions)))
        gap = Gap(before.reason, together, before.beside or gap.beside)
    with _writing(database, path) as cursor:
        mark(cursor, gap)
    return gap


@contextmanager
def _writing(database: Cursor, path: Path) -> Iterator[Cursor]:
    try:
        with transaction(database) as cursor:
            yield cursor
    except duckdb.Error as error:
        raise StoreUnavailable(f"database {path} cannot be written: {line_of(error)}") from None


def look_at(path: Path) -> None:
    """Refuse, before the library touches anything, what is no DuckDB file; make the folder of a new one.

    Raises:
        NotADatabase: the file is something else.
        StoreUnavailable: permissions.
    """
    where, magic = _MAGIC
    try:
        if path.exists() and not path.is_file():
            raise NotADatabase(f"{path} is no file", is_file=True)
        with path.open("rb") as file:
            if file.read(where.stop)[where] != magic:
                raise NotADatabase(f"{path} is no DuckDB database", is_file=True)
    except FileNotFoundError:
        try:
            make_folder(path.parent)
        except OSError as error:
            raise StoreUnavailable(
                f"the database's folder {path.parent} cannot be made: {error.strerror}"
            ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise StoreUnavailable(f"database {path} cannot be read: {why}") from None


def _connect(path: Path, wait_seconds: float) -> Cursor:
    deadline = monotonic() + wait_seconds
    while True:
        try:
            return duckdb.connect(str(path), config=CONFIG)
        except duckdb.Error as error:
            if any(said in str(error) for said in _BAD_LOG):
                raise UnreadableLog(line_of(error)) from None
            if "lock on file" not in str(error):
                raise StoreUnavailable(
                    f"database {path} cannot be opened: {line_of(error)}; {RESTORE}"
                ) from None
            if monotonic() >= deadline:
                raise locked(path, str(error)) from None
        sleep(_RETRY_SECONDS)


def locked(path: Path, message: str) -> StoreLocked:
    """What is said of a file that another process holds, as the library names that."""
    holder = re.search(r"held in (.+?) \(PID (\d+)\)", message)
    if holder is None:
        return StoreLocked(str(path))
    pid = int(holder[2])
    return StoreLocked(str(path), pid, program_of(pid) or holder[1])


def _migrate(database: Cursor, path: Path) -> None:
    seen = schema_of(database, path)
    if 0 < seen < LATEST:
        log.warning(CHANGED, path, seen, LATEST)
    for number, statements in enumerate(MIGRATIONS[seen:], start=seen + 1):
        with _writing(database, path) as cursor:
            cursor.execute(statements)
            if number == 1:
                insert = "INSERT INTO meta VALUES ('instance', ?), ('schema_version', '1')"
                cursor.execute(insert, [str(uuid.uuid4())])
            if number == LATEST and seen < JUDGED_BEHIND:
                judge_anew(cursor)
            cursor.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", [str(number)])


def schema_of(database: Cursor, path: Path) -> int:
    """The last migration that the database has seen, 0 if it is new.

    Raises:
        NotADatabase: it holds something else.
        NewerDatabase: a later version wrote it.
    """
    try:
        if not rows_of(database, "SELECT 1 FROM duckdb_tables() LIMIT 1"):
            return 0
        found = int(one(database, "SELECT value FROM meta WHERE key = 'schema_version'")[0])
    except (duckdb.Error, ValueError):
        raise NotADatabase(f"{path} is a DuckDB database of something else", is_file=True) from None
    if found > LATEST:
        raise NewerDatabase(str(path), found, LATEST)
    return found


def line_of(error: Exception) -> str:
    """What the library says, on one line."""
    return str(error).strip().splitlines()[0]
