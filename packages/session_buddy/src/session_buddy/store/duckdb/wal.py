"""The write-ahead log beside a DuckDB file: where it is, how it is set aside, which sessions it names."""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from oneiric.contract import COMPONENT_PATTERN, SESSION_ID_PATTERN, session_id_for

# How events begin, as the store writes them; what is a value in another object is metadata, and no event.
_START: Final = re.compile(
    rb'(?<!":)\{"event_type":"session_start","event_version":"[^"]*","event_id":"([^"]{36})",'
    rb'"component_name":"(%b)","shell_type":"(?:[^"\\]|\\.)*","session_type":"[^"]*","timestamp":"([^"]*)"'
    % COMPONENT_PATTERN.encode()
)
_END: Final = re.compile(
    rb'(?<!":)\{"event_type":"session_end","session_id":"(%b)"' % SESSION_ID_PATTERN.encode()
)


def log_of(database: Path) -> Path:
    """Where a database has its log."""
    return database.with_name(f"{database.name}.wal")


def is_unclean(database: Path) -> bool:
    """Whether the last process to write it did not close it."""
    try:
        return log_of(database).stat().st_size > 0
    except OSError:
        return False


def aside_of(path: Path) -> Path:
    """A name for a file that is set aside now."""
    return path.with_name(f"{path.name}.{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")


def set_aside(path: Path) -> Path:
    """Give a file a name that says when; returns it."""
    return path.rename(aside_of(path))


def sessions_named_in(log: Path) -> tuple[str, ...]:
    """The sessions that started or ended in a log, as far as it can be read; texts lie in it as they are."""
    try:
        content = log.read_bytes()
    except OSError:
        return ()
    ended = (session_id.decode() for session_id in _END.findall(content))
    return tuple(dict.fromkeys((*_started(content), *ended)))


def _started(content: bytes) -> Iterator[str]:
    for event_id, component, timestamp in _START.findall(content):
        with suppress(ValueError):  # damaged
            started = datetime.fromisoformat(timestamp.decode())
            yield session_id_for(component.decode(), started, event_id.decode())
