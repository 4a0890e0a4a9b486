"""What one check found, and what the checks before it know."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Any, Literal, NamedTuple

from oneiric.paths import Paths
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.server_file import ServerInfo
from session_buddy.host.settings import Settings

State = Literal["ok", "warning", "broken", "skipped"]


class Finding(NamedTuple):
    """What a check found.

    Attributes:
        state: ``broken`` is red, ``warning`` yellow; ``skipped``: not looked at, and ``found`` says why.
        found: in words, without secrets.
        fix: a command, or a change of the environment, for the shell; empty where all is well.
        check: its name.
    """

    state: State
    found: str
    fix: str = ""
    check: str = ""


class Began(NamedTuple):
    """Which session began when, and on which host."""

    session_id: str
    start_time: datetime
    hostname: str | None


@dataclass
class Case:
    """This user's installation, as far as it has been looked at.

    Attributes:
        paths: this user's folders.
        now: the wall clock.
        broken: the checks that were red so far, or took too long.
        until: when the check that is at work has to be over, by the monotonic clock.
        settings: those in force, ``None`` where they are not valid.
        sources: where each setting that somebody set comes from, by its key.
        url: the database that the settings name, else this user's own; ``None`` where neither can be told.
        server: this user's server, if somebody listens on its socket.
        health: what that answered.
        newest: the session of the database that began last, in a file that no server keeps.
    """

    paths: Paths
    now: datetime
    broken: set[str] = field(default_factory=set)
    until: float = 0.0
    settings: Settings | None = None
    sources: dict[str, str] = field(default_factory=dict)
    url: DatabaseUrl | None = None
    server: ServerInfo | None = None
    health: dict[str, Any] | None = None
    newest: Began | None = None

    @property
    def seconds(self) -> float:
        """How long a request may take, so that the check can still say that nobody answered."""
        return max(self.until - time.monotonic() - 0.1, 0.05)

    @property
    def file(self) -> Path | None:
        """The database's file, if it is one."""
        return self.url.file if self.url else None

    @property
    def names_database(self) -> bool:
        """Whether somebody set which database is meant."""
        return bool(self.sources.keys() & {"storage_url", "db_path"})


def at(host: str | None) -> str:
    """What makes a command one on a host; empty for this one."""
    return "" if host in (None, "", "localhost", "127.0.0.1", "::1") else f"ssh {quote(host)} "


def nearest(path: Path) -> Path:
    """A path, or what of it is there and can be looked at."""
    for one in (path, *path.parents):
        try:
            one.stat()
        except OSError:
            continue
        return one
    return Path("/")
