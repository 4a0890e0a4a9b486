"""Who calls, and what each may do; standard library only."""

import os
from dataclasses import dataclass
from typing import Final, Literal

from session_buddy.errors import Forbidden

Scope = Literal["track", "read", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("track", "read", "admin")

# What each tool asks for; None: any valid token. ``admin`` stands for every right.
RIGHTS: Final[dict[str, Scope | None]] = {
    "track_session_start": "track",
    "track_session_end": "track",
    "track_events": "track",
    "list_sessions": "read",
    "get_session": "read",
    "session_statistics": "read",
    "session_timeline": "read",
    "end_session": "track",
    "health_check": None,
}

# The same of what is asked for beside the tools; what is named nowhere takes ``admin``.
PAGES: Final[dict[str, Scope]] = {
    "/api/changes": "read",
    "/api/export": "read",
    "/api/end-session": "track",
    "/api/backup": "admin",
    "/api/delete": "admin",
}
# What they answer tells of sessions.
ALSO_READ: Final = ("end_session", "/api/end-session")
_NEEDED: Final[dict[str, tuple[Scope, ...]]] = {
    what: (*((scope,) if scope else ()), *(("read",) if what in ALSO_READ else ()))
    for what, scope in (RIGHTS | PAGES).items()
}
_NAMED_NOWHERE: Final[tuple[Scope, ...]] = ("admin",)

LOCAL: Final = "local:"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a token names and what it allows.

    Attributes:
        subject: whom.
        scopes: what.
        limited: why it allows no more; empty where nothing was taken from it.
    """

    subject: str
    scopes: frozenset[Scope]
    limited: str = ""

    @property
    def is_admin(self) -> bool:
        """Whether this caller may do everything, and to anybody's sessions."""
        return "admin" in self.scopes

    def may(self, what: str) -> bool:
        """Whether the rights allow it."""
        return self.is_admin or self.scopes.issuperset(_NEEDED.get(what, _NAMED_NOWHERE))

    def require(self, what: str) -> None:
        """Refuse what the rights do not allow.

        Raises:
            Forbidden: names the scope that is missing.
        """
        if not self.may(what):
            needed = _NEEDED.get(what, _NAMED_NOWHERE)
            why = f": {self.limited}, and may only report" if self.limited else ""
            raise Forbidden(
                f"{what} needs a token with scope {' and '.join(needed)}; this one ({self.subject}) has"
                f" {' '.join(sorted(self.scopes)) or 'none'}{why}"
            )


def local_subject() -> str:
    """``local:<uid>@<host>``: this user, on this machine; one database may have those of many."""
    return f"{LOCAL}{os.geteuid()}@{os.uname().nodename}"


def local_caller() -> Caller:
    """This user, with all rights."""
    return Caller(local_subject(), frozenset(SCOPES))
