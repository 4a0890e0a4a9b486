"""The log: one rotating file for all that the server and its libraries say; nothing to the terminal."""

import errno
import logging
import os
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final, TextIO

import structlog
from starlette.requests import ClientDisconnect

from oneiric.descriptors import make_folder
from oneiric.paths import Paths
from oneiric.visible import visible
from session_buddy.errors import ConfigurationError
from session_buddy.host.places import is_ours, working_folder

MAX_BYTES: Final = 5 * 1024 * 1024
KEPT: Final = 3
_NAME: Final = "session-buddy.log"
# Libraries say much about requests that are in order, and about mistakes of callers, which the tools log; a
# line for each request that is none would let strangers push all others out of the file.
_QUIET: Final = {
    "fastmcp": logging.ERROR,
    "mcp": logging.WARNING,
    "uvicorn.error": logging.ERROR,
    "asyncio": logging.WARNING,
}


def log_file(paths: Paths, folder: Path | None = None) -> Path:
    """Where the log is: ``logs/`` in this user's own checkout of this workspace, else the state folder."""
    here = folder or working_folder()
    if _is_own_checkout(here) and os.access(here, os.W_OK):
        return here / "logs" / _NAME
    return paths.state / "session-buddy" / _NAME


def _is_own_checkout(folder: Path) -> bool:
    """Whether this user alone has laid out a checkout: in another's, the log would go where they lead it."""
    logs = folder / "logs"
    parts = [folder, folder / "packages" / "session_buddy" / "pyproject.toml"]
    try:
        return all(map(is_ours, [*parts, logs] if os.path.lexists(logs) else parts))
    except OSError:
        return False


class _File(RotatingFileHandler):
    """Follows no link: it would write, and rotate, wherever somebody leads it."""

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, opener=_without_links)


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def set_up_logging(path: Path, level: str) -> None:
    """Send every logger's records of ``level`` and above to a rotating file at ``path``.

    Raises:
        ConfigurationError: the file cannot be written, or is a link.
    """
    try:
        make_folder(path.parent)
        handler = _File(path, maxBytes=MAX_BYTES, backupCount=KEPT, encoding="utf-8")
    except OSError as error:
        is_link = error.errno == errno.ELOOP
        problem = "is a link, and would be followed anywhere; remove it" if is_link else error.strerror
        raise ConfigurationError(f"log {path}: {problem}") from None
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        # First what is not told at this level: a call costs more than it.
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*_rendering()])
    )
    handler.addFilter(_tells_of_us)
    # A full disk must not print tracebacks between the lines of whoever started us.
    logging.raiseExceptions = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))


@contextmanager
def also_on(stream: TextIO, name: str) -> Iterator[None]:
    """Meanwhile, write warnings of this logger to a stream, too: somebody waits there."""
    handler = logging.StreamHandler(stream)
    handler.setLevel(logging.WARNING)
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _tells_of_us(record: logging.LogRecord) -> bool:
    """Whether a record tells of more than of somebody who hung up in the middle of a request, or had to.

    Shells do so when they leave; what they did not deliver is still in their outbox. A server that stops
    cancels what it has not answered in time, and says how many that are.
    """
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, BaseExceptionGroup):
        return error.split(ClientDisconnect)[1] is not None
    return not isinstance(error, (ClientDisconnect, CancelledError))


def _rendering() -> list[structlog.typing.Processor]:
    return [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        structlog.processors.LogfmtRenderer(
            key_order=["timestamp", "level", "logger", "event"], bool_as_flag=False
        ),
        lambda _logger, _name, line: visible(str(line)),
    ]
