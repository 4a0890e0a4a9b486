"""Where things lie on this machine, and whose they are."""

import os
from pathlib import Path
from typing import Final

from session_buddy.errors import ConfigurationError

APP: Final = "session-buddy"


def file_of(url: str) -> Path:
    """Which file a database is.

    Raises:
        ConfigurationError: no store goes by this URL.
    """
    scheme, separator, path = url.partition(":///")
    if not separator or scheme != "duckdb" or not path:
        raise ConfigurationError(f"storage_url: {url!r} is not valid: duckdb:///path is allowed")
    return Path(path)


def working_folder() -> Path:
    """Where we stand; where that folder is gone, one that has no settings and is no checkout."""
    try:
        return Path.cwd()
    except OSError:
        return Path("/nonexistent")


def is_ours(path: Path) -> bool:
    """Whether this user owns what lies there; if that is a link, the link too.

    Raises:
        OSError: nothing lies there, or it cannot be looked at.
    """
    return path.lstat().st_uid == path.stat().st_uid == os.geteuid()
