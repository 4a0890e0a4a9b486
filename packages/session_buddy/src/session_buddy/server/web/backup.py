"""``POST /api/backup``: make a backup now, for those who may do everything."""

from collections.abc import Callable
from typing import Final

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse

from session_buddy.access.callers import Caller
from session_buddy.errors import Forbidden, StoreError
from session_buddy.keep.backups import Backup

BACKUP_PATH: Final = "/api/backup"


class BackupEndpoint:
    """The endpoint.

    Args:
        make: makes one; takes its time.
        caller_of: who asks, ``None`` if that is not known.
    """

    def __init__(self, make: Callable[[], Backup], caller_of: Callable[[Request], Caller | None]) -> None:
        self._make = make
        self._caller_of = caller_of
        # One at a time anyway: who waits for another holds no thread.
        self._limiter = CapacityLimiter(1)

    async def __call__(self, request: Request) -> JSONResponse:
        """``201`` with ``name`` and ``path``; ``401``, ``403`` or ``503`` with ``error``."""
        caller = self._caller_of(request)
        if caller is None:
            return JSONResponse({"error": "a token is needed"}, status_code=401)
        try:
            caller.require("backup")
            backup = await to_thread.run_sync(self._make, limiter=self._limiter)
        except Forbidden as error:
            return JSONResponse({"error": str(error)}, status_code=403)
        except StoreError as error:
            return JSONResponse({"error": str(error)}, status_code=503)
        return JSONResponse({"name": backup.name, "path": str(backup.path)}, status_code=201)
