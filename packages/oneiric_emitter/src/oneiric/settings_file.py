"""A settings file as it lies there, maybe in anybody's clone: read without waiting, and never much of it.

What is in it, :mod:`oneiric.settings_yaml` says.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from oneiric.descriptors import opened

MAX_BYTES: Final = 64 * 1024


class InvalidFile(ValueError):  # noqa: N818 - reads as the fact it states
    """The file cannot be read, or holds no settings; where, and what is allowed there."""


def read(path: Path, name: str | None = None, *, own: bool = False) -> bytes | None:
    """What is in a settings file, which errors call ``name``; ``None`` where there is none.

    Where it has to be this user's ``own``, the file, and the link that it may be, are no other's.

    Raises:
        InvalidFile: it cannot be read, is no regular file, or larger than 64 KiB.
    """
    name = name or str(path)
    if own and not _is_own(path):
        return None
    try:
        # A FIFO would keep its reader waiting for somebody who writes.
        with opened(path, os.O_RDONLY | os.O_NONBLOCK) as file:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise InvalidFile(f"{name} cannot be read: it is no regular file")
            raw = os.read(file, MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidFile(f"{name} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise InvalidFile(f"{name} cannot be read: {MAX_BYTES} bytes are allowed")
    return raw


def _is_own(path: Path) -> bool:
    with suppress(OSError):
        return path.lstat().st_uid == path.stat().st_uid == os.geteuid()
    return False
