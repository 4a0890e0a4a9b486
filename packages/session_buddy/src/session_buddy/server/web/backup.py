"""``POST /api/backup``: make a backup now, for those who may do everything."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from anyio import CapacityLimiter, to_thread
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from session_buddy.access.callers import Caller
from session_buddy.keep.backups import Backup
from session_buddy.server.web.pages import CallerOf, Endpoint, page

BACKUP_PATH: Final = "/api/backup"


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    replace: bool = False


def backup_page(make: Callable[[bool], Backup], caller_of: CallerOf) -> Endpoint:
    """The endpoint: ``201`` with ``name`` and ``path``.

    It takes nothing, or an object with ``replace``: whether all others go.

    Args:
        make: makes one, in the place of all others if so asked; takes its time.
        caller_of: who asks, ``None`` if that is not known.
    """
    # One at a time anyway: who waits for another holds no thread.
    limiter = CapacityLimiter(1)

    async def answer(request: Request, _: Caller) -> dict[str, Any]:
        asked = _Asked.model_validate_json(await request.body() or b"{}")
        made = await to_thread.run_sync(make, asked.replace, limiter=limiter)
        return {"name": made.name, "path": str(made.path)}

    return page(BACKUP_PATH, caller_of, answer, HTTPStatus.CREATED)
