"""Who calls, and what each may do; standard library only."""

import os
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Literal

from session_buddy.errors import Forbidden

Scope = Literal["track", "read", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("track", "read", "admin")

# What each tool asks for, all of it; nothing: any valid token. ``admin`` stands for every right.
RIGHTS: Final[dict[str, tuple[Scope, ...]]] = {
    "track_session_start": ("track",),
    "track_session_end": ("track",),
    "track_events": ("track",),
    "list_sessions": ("read",),
    "get_session": ("read",),
    "session_statistics": ("read",),
    "session_timeline": ("read",),
    # What it answers tells of sessions.
    "end_session": ("track", "read"),
    "health_check": (),
}
_NAMED_NOWHERE: Final[tuple[Scope, ...]] = ("admin",)

LOCAL: Final = "local:"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a token names and what it allows.

    Attributes:
        subject: whom.
        scopes: what.
        limited: why it allows no more, as a clause; empty where nothing was taken from it.
        until: when it expires, in seconds since 1970; ``None``: never.
        browser: the id of the token, where a browser has it as a cookie.
    """

    subject: str
    scopes: frozenset[Scope]
    limited: str = ""
    until: int | None = None
    browser: str | None = None

    @property
    def is_admin(self) -> bool:
        """Whether this caller may do everything, and to anybody's sessions."""
        return "admin" in self.scopes

    def may(self, tool: str) -> bool:
        """Whether the rights allow a tool."""
        return self.has(RIGHTS.get(tool, _NAMED_NOWHERE))

    def require(self, what: str, needed: tuple[Scope, ...] | None = None) -> None:
        """Refuse what the rights do not allow.

        Args:
            what: a tool, or something else that is asked for, in words.
            needed: what that takes; of a tool it is known.

        Raises:
            Forbidden: names the scope that is missing.
        """
        needed = RIGHTS.get(what, _NAMED_NOWHERE) if needed is None else needed
        if not self.has(needed):
            why = f": {self.limited}" if self.limited else ""
            raise Forbidden(
                f"{what} needs a token with scope {' and '.join(needed)}; this one ({self.subject}) has"
                f" {' '.join(sorted(self.scopes)) or 'none'}{why}"
            )

    def has(self, needed: tuple[Scope, ...]) -> bool:
        """Whether the rights are all of these, or more."""
        return self.is_admin or self.scopes.issuperset(needed)


# The subject whose request is being answered.
asking: Final[ContextVar[str]] = ContextVar("asking", default="")

# Who shows no token, or none that is valid.
NOBODY: Final = Caller("nobody", frozenset())


def local_subject() -> str:
    """``local:<uid>@<host>``: this user, on this machine; one database may have those of many."""
    return f"{LOCAL}{os.geteuid()}@{os.uname().nodename}"


def local_caller() -> Caller:
    """This user, with all rights."""
    return Caller(local_subject(), frozenset(SCOPES))
