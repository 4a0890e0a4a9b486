"""The backups of one database: whole copies, named by their time, of which so many are kept.

They lie in ``backups/`` beside it. Listing them needs no database library, so that ``mcp status`` can.
"""

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple, Self

from oneiric.descriptors import make_folder, sync
from session_buddy.errors import BackupsElsewhere, StoreUnavailable, UnknownBackup
from session_buddy.host.database_url import DatabaseUrl

LATEST: Final = "latest"
_SUFFIX: Final = ".duckdb"
_LAYOUT: Final = "%Y%m%d-%H%M%SZ"

log = logging.getLogger("session_buddy.keep.backups")


class Backup(NamedTuple):
    """One of them.

    Attributes:
        path: the file, a database like any other.
        made_at: when, in UTC, to the second.
        size: in bytes.
    """

    path: Path
    made_at: datetime
    size: int

    @property
    def name(self) -> str:
        """What users call it."""
        return self.path.name


class Backups:
    """Those of one database.

    Args:
        database: its file; two databases in one folder do not mix, since the names begin and end like the
            file's.
    """

    def __init__(self, database: Path) -> None:
        self.database: Final = database
        self.folder: Final = database.parent / "backups"
        self._stem = database.name.removesuffix(_SUFFIX)
        self._suffix = database.name[len(self._stem) :]
        self._name = re.compile(rf"{re.escape(self._stem)}-(\d{{8}}-\d{{6}}Z){re.escape(self._suffix)}")
        self._making = Lock()

    @classmethod
    def of(cls, url: DatabaseUrl) -> Self:
        """Those of a database that is a file.

        Raises:
            BackupsElsewhere: it is none.
        """
        if url.file is None:
            raise BackupsElsewhere(url)
        return cls(url.file)

    def __repr__(self) -> str:
        return f"<Backups({self.folder}, count={len(self.listed())})>"

    def listed(self) -> list[Backup]:
        """All there are, newest first.

        Raises:
            StoreUnavailable: the folder cannot be read.
        """
        try:
            found = [backup for path in self.folder.iterdir() if (backup := self._read(path))]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreUnavailable(f"backups {self.folder} cannot be read: {error.strerror}") from None
        return sorted(found, key=lambda backup: backup.made_at, reverse=True)

    def last(self, now: datetime) -> Backup | None:
        """The newest; one that is dated later than now tells of a clock that was wrong, and of no time.

        Raises:
            StoreUnavailable: the folder cannot be read.
        """
        return next((backup for backup in self.listed() if backup.made_at <= now), None)

    def find(self, name: str, now: datetime) -> Backup:
        """The one of this name; ``latest`` is the :meth:`last`; with a slash it is a path to any copy.

        Raises:
            UnknownBackup: lists those that there are.
            StoreUnavailable: there is nothing at the path.
        """
        if "/" in name:
            return _elsewhere(Path(name).absolute())
        listed, last = self.listed(), self.last(now)
        for backup in listed:
            if backup.name == name or (name == LATEST and backup == last):
                return backup
        raise UnknownBackup(name, self.folder, [backup.name for backup in listed])

    def is_due(self, now: datetime, every: timedelta) -> bool:
        """Whether the last is older than ``every``."""
        last = self.last(now)
        return last is None or now - last.made_at >= every

    def make(self, copy: Callable[[Path], int], now: datetime, keep: int) -> Backup:
        """Make one; it has its name only after it was read whole and is on disk. Then the oldest go.

        Args:
            copy: writes it to a path, and returns how many sessions are in it; see ``Store.backup``.
            now: the time.
            keep: how many stay, this one among them.

        Raises:
            StoreError: it cannot be made, and why; nothing is left of it.
        """
        path = self.folder / f"{self._stem}-{now.astimezone(UTC):{_LAYOUT}}{self._suffix}"
        draft = path.with_name(f".{path.name}.new")
        with self._making:
            try:
                self._clear()
                self._check(draft, copy(draft))
                sync(draft)
                draft.replace(path)
                sync(self.folder)
                made = Backup(path, now.astimezone(UTC).replace(microsecond=0), path.stat().st_size)
            except OSError as error:
                raise StoreUnavailable(f"backup {path} cannot be made: {error.strerror}") from None
            finally:
                with suppress(OSError):
                    draft.unlink(missing_ok=True)
            self._prune(made, keep)
        return made

    def wait(self) -> None:
        """Wait for one that is being made."""
        with self._making:
            pass

    def _clear(self) -> None:
        """Make the folder; take away what was left of a backup whose maker was killed."""
        make_folder(self.folder)
        for left in self.folder.iterdir():
            name = left.name.removeprefix(".").removesuffix(".new")
            if left.name == f".{name}.new" and self._name.fullmatch(name):
                left.unlink()

    def _check(self, draft: Path, sessions: int) -> None:
        from session_buddy.store.duckdb.copies import sessions_in  # whoever makes one has the library anyway

        found = sessions_in(draft)
        if found != sessions:
            raise StoreUnavailable(f"the copy has {found} sessions, the database {sessions}")

    def _prune(self, made: Backup, keep: int) -> None:
        try:
            # A clock that was set back must not have the new one taken for the oldest; nor may those from
            # a clock that was ahead outlive the good ones: they go first.
            others = [backup for backup in self.listed() if backup.path != made.path]
            for old in sorted(others, key=lambda backup: backup.made_at > made.made_at)[keep - 1 :]:
                old.path.unlink(missing_ok=True)
        except (StoreUnavailable, OSError) as error:
            log.warning("backup %s is made, but an older one cannot be removed: %s", made.path, error)

    def _read(self, path: Path) -> Backup | None:
        named = self._name.fullmatch(path.name)
        if named is None or not path.is_file():
            return None
        try:
            made_at = datetime.strptime(named[1], _LAYOUT).replace(tzinfo=UTC)
            return Backup(path, made_at, path.stat().st_size)
        except (ValueError, FileNotFoundError):
            return None


def _elsewhere(path: Path) -> Backup:
    """A copy that lies anywhere, under any name."""
    try:
        about = path.stat()
    except OSError as error:
        raise StoreUnavailable(f"backup {path} cannot be read: {error.strerror}") from None
    return Backup(path, datetime.fromtimestamp(about.st_mtime, UTC), about.st_size)
