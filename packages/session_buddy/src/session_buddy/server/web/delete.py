"""``POST /api/delete``: delete sessions for good, for those who may do everything."""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final

from anyio import CapacityLimiter, to_thread
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request

from session_buddy.access.callers import Caller
from session_buddy.history.tombstones import wanted_of
from session_buddy.keep.deletion import Deletion
from session_buddy.server.web.pages import CallerOf, Endpoint, page

DELETE_PATH: Final = "/api/delete"


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    user: Annotated[str, StringConstraints(max_length=500)] | None = None
    ended_before: datetime | None = None
    force: bool = False
    dry_run: bool = False
    number: Annotated[int, Field(ge=0, lt=2**63)] = 0


def delete_page(deletion: Deletion, caller_of: CallerOf) -> Endpoint:
    """The endpoint: a :class:`session_buddy.keep.deletion.Done`, or with ``dry_run`` a ``Found``.

    It takes an object with ``user`` or ``ended_before``, ``force``, and ``number``, that of the answer before
    where there is more left.

    Args:
        deletion: deletes.
        caller_of: who asks, ``None`` if that is not known.
    """
    limiter = CapacityLimiter(1)

    async def answer(request: Request, caller: Caller) -> dict[str, Any]:
        asked = _Asked.model_validate_json(await request.body())
        wanted, now = wanted_of(asked.user, asked.ended_before), datetime.now(UTC)
        if asked.dry_run:
            look = partial(deletion.look, wanted, now, force=asked.force)
            return dict(await to_thread.run_sync(look, limiter=limiter))
        work = partial(deletion.some, wanted, caller.subject, now, number=asked.number, force=asked.force)
        return dict(await to_thread.run_sync(work, limiter=limiter))

    return page(DELETE_PATH, caller_of, answer)
