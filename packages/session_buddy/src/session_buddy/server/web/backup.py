"""``POST /api/backup``: make a backup now, for those who may do everything."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request

from session_buddy.access.callers import Caller
from session_buddy.keep.backups import Backup
from session_buddy.server.web.pages import CallerOf, Endpoint, page

BACKUP_PATH: Final = "/api/backup"


def backup_page(make: Callable[[], Backup], caller_of: CallerOf) -> Endpoint:
    """The endpoint: ``201`` with ``name`` and ``path``.

    Args:
        make: makes one; takes its time.
        caller_of: who asks, ``None`` if that is not known.
    """
    # One at a time anyway: who waits for another holds no thread.
    limiter = CapacityLimiter(1)

    async def answer(_: Request, __: Caller) -> dict[str, Any]:
        made = await to_thread.run_sync(make, limiter=limiter)
        return {"name": made.name, "path": str(made.path)}

    return page(BACKUP_PATH, caller_of, answer, HTTPStatus.CREATED)
