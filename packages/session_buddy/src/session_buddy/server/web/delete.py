"""``POST /api/v1/deletions``: delete sessions for good."""

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

from anyio import to_thread
from pydantic import Field, StringConstraints

from session_buddy.history.tombstones import wanted_of
from session_buddy.keep.deletion import Done, Found
from session_buddy.server.web.routes import Asked, Given, route

if TYPE_CHECKING:
    from collections.abc import Callable


class DeletionWanted(Given):
    """Whose, or how old.

    Attributes:
        user: of whom.
        ended_before: that ended before.
        force: whether also such as are active.
        dry_run: only count them.
        number: that of the answer before, where there is more left.
    """

    user: Annotated[str, StringConstraints(max_length=500)] | None = None
    ended_before: datetime | None = None
    force: bool = False
    dry_run: bool = False
    number: Annotated[int, Field(ge=0, lt=2**63)] = 0


async def _answer(asked: Asked[DeletionWanted]) -> dict[str, Any]:
    given, deletion = asked.given, asked.services.deletion
    wanted, now = wanted_of(given.user, given.ended_before), datetime.now(UTC)
    work: Callable[[], Found | Done]
    if given.dry_run:
        work = partial(deletion.look, wanted, now, force=given.force)
    else:
        subject = asked.caller.subject
        work = partial(deletion.some, wanted, subject, now, number=given.number, force=given.force)
    return dict(await to_thread.run_sync(work, limiter=asked.services.upkeep))


DELETIONS: Final = route(
    "POST",
    "/api/v1/deletions",
    "delete some thousand sessions for good; where more are `left`, ask again with that `number`",
    _answer,
    needs=("admin",),
    gives=Done | Found,
)
