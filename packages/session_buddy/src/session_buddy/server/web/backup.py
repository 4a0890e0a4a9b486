"""``POST /api/v1/backups``: make a backup now."""

from http import HTTPStatus
from typing import Final

from anyio import to_thread
from typing_extensions import TypedDict

from session_buddy.server.web.routes import Asked, Given, route


class BackupWanted(Given):
    """How.

    Attributes:
        replace: whether all others go.
    """

    replace: bool = False


class BackupMade(TypedDict):
    """A backup, and where it is."""

    name: str
    path: str


async def _answer(asked: Asked[BackupWanted]) -> BackupMade:
    services = asked.services
    made = await to_thread.run_sync(services.back_up, asked.given.replace, limiter=services.upkeep)
    return BackupMade(name=made.name, path=str(made.path))


BACKUPS: Final = route(
    "POST",
    "/api/v1/backups",
    "make a backup, with `replace` in the place of all others",
    _answer,
    needs=("admin",),
    done=HTTPStatus.CREATED,
)
