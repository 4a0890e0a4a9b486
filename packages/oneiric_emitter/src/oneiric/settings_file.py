"""A settings file as it lies there, maybe in anybody's clone: read without waiting, and never much of it.

What is in it, :mod:`oneiric.settings_yaml` says.
"""

import os
import stat
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 64 * 1024


class InvalidFile(ValueError):  # noqa: N818 - reads as the fact it states
    """The file cannot be read, or holds no settings; where, and what is allowed there."""


def read(path: Path, name: str | None = None, *, own: bool = False) -> bytes | None:
    """Read a settings file.

    Args:
        path: the file.
        name: what errors call it, if not by its path.
        own: pass it over unless this user owns it; if it is a link, the link too.

    Returns:
        ``None`` where there is none, or none of this user's.

    Raises:
        InvalidFile: it cannot be read, is no regular file, or larger than 64 KiB.
    """
    name = name or str(path)
    if own and not _is_own(path):
        return None
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidFile(f"{name} cannot be read: it is no regular file")
            raw = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidFile(f"{name} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise InvalidFile(f"{name} cannot be read: {MAX_BYTES} bytes are allowed")
    return raw


def _is_own(path: Path) -> bool:
    try:
        return path.lstat().st_uid == path.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _without_waiting(path: str, flags: int) -> int:
    # A FIFO would keep its reader waiting for somebody who writes.
    return os.open(path, flags | os.O_NONBLOCK)
