"""What a server's log says of a failure that nothing else keeps; the log is one record a line."""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

_TAIL_BYTES: Final = 256 * 1024
_EVENT: Final = re.compile(r'event=(?:"((?:[^"\\]|\\.)*)"|(\S*))')


def backup_failed(log: Path) -> str:
    """Why the latest attempt at a backup failed; empty where it did not, or nothing is known of it."""
    said = [one for one in _said_by(log, "session_buddy.keep.keeper") if "backup" in one]
    before, _, why = (said or [""])[-1].partition("no backup could be made; it is tried again: ")
    return "" if before else why


def refused(log: Path, journal: str) -> str:
    """Why a server did not take a journal; empty where nothing is known of it."""
    begin = f"journal {journal} is refused: "
    said = [one.removeprefix(begin) for one in _said_by(log, "") if one.startswith(begin)]
    return said[-1] if said else ""


def _said_by(log: Path, logger: str) -> list[str]:
    """The texts of the latest records of a logger, or of all."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
        found = [_EVENT.search(line) for line in lines if f"logger={logger}" in line]
        return [re.sub(r"\\(.)", r"\1", one[1] or one[2] or "") for one in found if one]
    return []
