"""Where things lie on this machine, and whose they are."""

import os
from pathlib import Path
from typing import Final

APP: Final = "session-buddy"


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
