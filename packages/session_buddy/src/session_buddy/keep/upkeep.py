"""What a server does for a history beside taking events in: heals it, backs it up, deletes what is old."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from oneiric.paths import Paths
from oneiric.sweep import Deliver
from session_buddy.errors import BackupsElsewhere
from session_buddy.host.settings import Settings
from session_buddy.intake.outbox import replay
from session_buddy.intake.writer import Writer
from session_buddy.keep.backups import Backup, Backups
from session_buddy.keep.deletion import Deletion
from session_buddy.keep.keeper import Keeper
from session_buddy.keep.losses import heal
from session_buddy.keep.retention import Retention
from session_buddy.store import Store, as_file

if TYPE_CHECKING:
    from session_buddy.store.duckdb import DuckDBStore


def upkeep_of(store: Store, writer: Writer, deletion: Deletion, settings: Settings) -> "Upkeep":
    """What a history needs, by where it lies."""
    retention = Retention(deletion, settings.deleted)
    if store.url.file is None:
        return Upkeep(store, retention)
    return FileUpkeep(as_file(store), writer, retention, settings)


class Upkeep:
    """Of a history on a database server: its administrators back it up."""

    def __init__(self, store: Store, retention: Retention) -> None:
        self._retention = retention
        self._url = store.url
        self._wiped = store.wiped

    def heal(self, deliver: Deliver, paths: Paths, now: datetime) -> None:
        """Make up for what the history lacks, if it does; arguments as of :func:`heal`."""
        del now
        if self._wiped:
            replay(paths.outbox, deliver)
            self._wiped = False

    def begin(self) -> None:
        """Make backups, and delete what is too old, from now on."""
        self._retention.start()

    @property
    def backups(self) -> Backups | None:
        """Those that are made here by themselves; ``None``: none are."""
        return None

    def back_up(self, replace: bool = False) -> Backup:  # noqa: FBT001, FBT002 - as pages ask
        """Make a backup now, with ``replace`` in the place of all others.

        Raises:
            StoreError: it cannot be made.
            BackupsElsewhere: it is made in another way.
        """
        del replace
        raise BackupsElsewhere(self._url)

    def close(self) -> None:
        """Begin nothing more, and wait for what is being done."""
        self._retention.close()


class FileUpkeep(Upkeep):
    """Of a history in a file."""

    def __init__(
        self, store: "DuckDBStore", writer: Writer, retention: Retention, settings: Settings
    ) -> None:
        super().__init__(store, retention)
        self._store = store
        self._writer = writer
        self._keep = settings.backup.keep
        self._every = timedelta(hours=settings.backup.every_hours)
        self._backups = Backups.of(store.url)
        self._keeper = Keeper(self._backups, self.back_up, self._every)

    def heal(self, deliver: Deliver, paths: Paths, now: datetime) -> None:
        """Make up for what the history lacks, until that has succeeded once."""
        heal(self._store, deliver, paths, now, lambda forget: self._writer.run(forget).result())

    @property
    def backups(self) -> Backups | None:
        """Those that are made here by themselves."""
        return self._backups if self._every else None

    def begin(self) -> None:
        """Make a backup whenever the last is too old, too."""
        super().begin()
        self._keeper.start()

    def back_up(self, replace: bool = False) -> Backup:  # noqa: FBT001, FBT002 - as pages ask
        """Make a backup now; see :class:`Upkeep`."""
        now = datetime.now(UTC)
        return self._backups.make(
            lambda path: self._writer.run(partial(self._store.backup, path)).result(),
            now,
            1 if replace else self._keep,
        )

    def close(self) -> None:
        """Begin nothing more, and wait for what is being done: who asked for a backup may have hung up."""
        super().close()
        self._keeper.close()
        self._backups.wait()
