"""``POST /api/backup``: make a backup now, for those who may do everything."""

from collections.abc import Awaitable, Callable
from typing import Final

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from session_buddy.access.callers import Caller
from session_buddy.errors import BackupsElsewhere, Forbidden, StoreError
from session_buddy.keep.backups import Backup

BACKUP_PATH: Final = "/api/backup"


def backup_page(
    make: Callable[[], Backup], caller_of: Callable[[Request], Caller | None]
) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint: ``201`` with ``name`` and ``path``; ``401``, ``403`` or ``503`` with ``error``.

    Args:
        make: makes one; takes its time.
        caller_of: who asks, ``None`` if that is not known.
    """
    # One at a time anyway: who waits for another holds no thread.
    limiter = CapacityLimiter(1)

    async def backup(request: Request) -> Response:
        caller = caller_of(request)
        if caller is None:
            return JSONResponse({"error": "a token is needed"}, status_code=401)
        try:
            caller.require("backup")
            made = await to_thread.run_sync(make, limiter=limiter)
        except Forbidden as error:
            return JSONResponse({"error": str(error)}, status_code=403)
        except (StoreError, BackupsElsewhere) as error:
            return JSONResponse({"error": str(error)}, status_code=503)
        return JSONResponse({"name": made.name, "path": str(made.path)}, status_code=201)

    return backup
