"""A file's text replaced: all of it, or nothing."""

import os
from pathlib import Path


def replace(file: Path, text: str, mode: int = 0o600) -> None:
    """Put ``text`` in the place of what is in a file, or in the one that it is a link to.

    Args:
        file: it and its folders are made where they are not there.
        text: the whole of it.
        mode: who may do what with it; what may hold a secret is read by nobody else.

    Raises:
        OSError: it cannot be done; the file is as it was.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = Path(os.path.realpath(file))
    draft = draft_of(target, text, mode)
    try:
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def draft_of(file: Path, text: str, mode: int = 0o600) -> Path:
    """A new file beside another, whole and on disk, under a name of its own; arguments as of :func:`replace`.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    draft = file.with_name(f".{file.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        opened = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(opened, "w", encoding="utf-8", newline="") as new:
            new.write(text)
            new.flush()
            os.fchmod(opened, mode)
            os.fsync(opened)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft
