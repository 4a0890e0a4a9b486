"""The outbox: the folder of a machine's journals, and where they go from there.

What lies in the folder itself is not yet acknowledged; acknowledged journals lie in ``done/``, refused ones
in ``rejected/``, unreadable ones in ``corrupt/``. The folder is the whole state: an end always travels with
its start, so nothing else need be remembered. What the file system refuses is raised as :class:`OSError`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from oneiric.descriptors import identity, make_folder, opened, try_lock, write
from oneiric.entries import opened_own
from oneiric.interrupts import suppress
from oneiric.journal import NEW_SUFFIX

SUFFIX = ".jsonl"
_TO = ".to-"
# One block of a disk, which most of them fit into.
_JOURNAL_BYTES = 4096

Kind = Literal["done", "rejected", "corrupt"]


def try_out(folder: Path, home: Path) -> None:
    """Write what a journal takes, and take it away again."""
    make_folder(folder, home)
    path = folder / f"{os.urandom(8).hex()}{NEW_SUFFIX}"
    with opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL) as descriptor:
        try:
            write(descriptor, bytes(_JOURNAL_BYTES), 0)
        finally:
            path.unlink()


def path_for(folder: Path, session_id: str, destination: str = "") -> Path:
    """Where the journal of a session lies."""
    return folder / f"{session_id}{_TO + destination if destination else ''}{SUFFIX}"


def parts_of(path: Path) -> tuple[str, str]:
    """Whose journal it is, the session's id; for whom (:attr:`oneiric.transport.Endpoint.destination`)."""
    return parts_of_name(path.name)


def parts_of_name(name: str) -> tuple[str, str]:
    """The same of its name alone; thousands are looked at so in a tenth of the time."""
    session_id, _, destination = name.removesuffix(SUFFIX).partition(_TO)
    return session_id, destination


def journals(folder: Path) -> list[Path]:
    """The journals in a folder, in the order of their names."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def counts(folder: Path) -> dict[str, int]:
    """How many journals are open (live, or not delivered yet), were rejected, or cannot be read."""
    kinds = {"open": "", "rejected": "rejected", "corrupt": "corrupt"}
    return {name: len(journals(folder / kind)) for name, kind in kinds.items()}


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold a journal, where nobody else does; :class:`CorruptJournal`: it is no file of this user."""
    with opened_own(path, os.O_RDWR) as descriptor:
        yield try_lock(descriptor) and identity(path) == identity(descriptor)


def move(path: Path, kind: Kind) -> None:
    """Move a journal to the folder ``kind``; killed before that, it is sent again and recognised."""
    target = path.parent / kind
    target.mkdir(mode=0o700, exist_ok=True)
    with suppress(OSError):
        os.utime(path)  # from here on its age says how long it lies there
    os.replace(path, target / path.name)
