"""Every error that a user can act on; the text of each is the one line that users read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

RESTORE: Final = "put a backup in its place: session-buddy backup restore latest"
USE_ANOTHER: Final = "use another database: session-buddy mcp restart --db DATABASE"


class SessionBuddyError(Exception):
    """Base of all known errors: what is wrong, with which value, and what to do next."""


class ConfigurationError(SessionBuddyError):
    """A setting, a settings file or the secret cannot be used."""


class PortTaken(ConfigurationError):  # noqa: N818 - reads as the fact it states
    """Another program listens on the server's port; which one, where the system tells."""

    def __init__(self, port: int, pid: int | None = None, program: str | None = None) -> None:
        holder = f"pid {pid} ({program or 'unknown program'})" if pid else "a process of another user"
        super().__init__(
            f"port {port} is taken by {holder}; stop it, or choose another with --port or SESSION_BUDDY_PORT"
        )


class AlreadyRunning(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """A server of this user is up, or a restore at work.

    Attributes:
        pid: the server's process, ``None`` while it is still starting and has not said.
    """

    def __init__(self, pid: int | None = None, url: str | None = None) -> None:
        self.pid = pid
        super().__init__(
            f"Session-Buddy is already running at {url} (pid {pid})"
            if pid
            else "a server or a restore of this user is at work"
        )


class ServerFailed(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """The server went down in the middle of an operation or did not come up."""


class StoreError(SessionBuddyError):
    """The database cannot be used."""


class StoreLocked(StoreError):  # noqa: N818 - reads as the fact it states
    """Another process holds the database file; which one, where the system tells."""

    def __init__(self, database: str, holder_pid: int | None = None, program: str | None = None) -> None:
        holder = f"pid {holder_pid} ({program or 'unknown program'})" if holder_pid else "another process"
        super().__init__(f"database {database} is held by {holder}; stop it, or {USE_ANOTHER}")


class StoreUnavailable(StoreError):  # noqa: N818 - reads as the fact it states
    """The database, or its folder, cannot be read or written: permissions, a full disk, damage."""


class QueryTooLong(StoreError):  # noqa: N818 - reads as the fact it states
    """A query took longer than it may, and was stopped; the database is well."""

    def __init__(self, seconds: float, *, may_be_raised: bool = True) -> None:
        or_raise = ", or raise query_seconds (SESSION_BUDDY_QUERY_SECONDS)" * may_be_raised
        said = f"the query took longer than {seconds:g} s and was stopped; narrow it, as by started:>7d"
        super().__init__(f"{said}{or_raise}")


class ExportFailed(StoreError):  # noqa: N818 - reads as the fact it states
    """The file of an export cannot be written: a full disk, rights."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the export cannot be written: {why}; nothing is left of it")


class NotADatabase(StoreError):  # noqa: N818 - reads as the fact it states
    """The file, or what a database server has, is no Session-Buddy database; it was left as it is.

    Attributes:
        fact: what it is, without what to do about it, which is not the same for a backup.
    """

    def __init__(self, fact: str, *, is_file: bool = False) -> None:
        self.fact = fact
        instead = f"{RESTORE}, or {USE_ANOTHER}" if is_file else USE_ANOTHER
        super().__init__(f"{fact}; it was left as it is; {instead}")


class NewerDatabase(StoreError):  # noqa: N818 - reads as the fact it states
    """A later version of Session-Buddy wrote the database; it was left as it is.

    Attributes:
        fact: its schema number and ours, without what to do about it.
    """

    def __init__(self, database: str, found: int, known: int) -> None:
        self.fact = (
            f"database {database} was written by a newer Session-Buddy (schema {found}; this knows {known})"
        )
        super().__init__(f"{self.fact}; upgrade session-buddy, or {USE_ANOTHER}")


class OlderDatabase(StoreError):  # noqa: N818 - reads as the fact it states
    """An earlier version of Session-Buddy made the database's tables; they were left as they are.

    Attributes:
        found: their schema number, 0 where there are none yet.
    """

    def __init__(self, database: str, found: int, known: int) -> None:
        self.found = found
        super().__init__(
            f"database {database} is of an older Session-Buddy (schema {found}; this knows {known});"
            " a server of this version brings it up to date: session-buddy mcp restart"
            if found
            else f"database {database} holds no history yet; its tables are made by: session-buddy mcp start"
        )


class StoreClosed(StoreError):  # noqa: N818 - reads as the fact it states
    """The store or its writer was closed; nothing more is taken."""


class UnknownBackup(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """No backup has this name; ``names`` are those that there are, newest first."""

    def __init__(self, name: str, folder: Path, names: Sequence[str]) -> None:
        there_are = f"there are {', '.join(names)}" if names else "there are none"
        super().__init__(f"no backup {name!r} in {folder}; {there_are}")


class BackupsElsewhere(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """A database server has the history, and its own ways to keep copies."""

    def __init__(self, url: object) -> None:
        super().__init__(
            f"{url} is backed up as all databases of its server are, e.g.: pg_dump -Fc -f FILE {str(url)!r}"
        )


class RestoreRefused(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """A backup cannot be put in the database's place now; nothing was touched."""


class MigrationRefused(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """A history was not taken over."""


class UnknownSession(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """No session has this id.

    Attributes:
        nearest: up to three ids that look like it, the nearest first.
    """

    def __init__(self, ref: str, nearest: Sequence[str] = ()) -> None:
        self.nearest = list(nearest)
        hint = f"; the nearest: {', '.join(nearest)}" if nearest else ""
        super().__init__(f"no session {ref!r}{hint}")


class DeletedSession(UnknownSession):
    """The session, or any that started so long ago, was deleted; says when, by whom, with how many others."""

    def __init__(self, why: str) -> None:
        self.nearest = []
        SessionBuddyError.__init__(self, why)


class DeletionRefused(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """Nothing was deleted."""


class AmbiguousSession(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """Several sessions begin like this; ``candidates`` are their ids, newest first."""

    def __init__(self, ref: str, candidates: Sequence[str]) -> None:
        super().__init__(f"{ref!r} fits several sessions: {', '.join(candidates)}; give more of the id")


class InvalidQuery(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """A filter has a value that is not allowed.

    Attributes:
        field: which filter, or where in the query: ``query at 6``.
        value: that it has.
        allowed: what is allowed.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field = field
        self.value = value
        self.allowed = allowed
        super().__init__(f"{field}: {value!r} is not valid: {allowed}")


class Forbidden(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """The caller's token does not give this right."""


class TooManyStreams(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """As many clients as a server lets do so are told what happens, or as many of one subject."""

    def __init__(self, most: int, whose: str = "") -> None:
        super().__init__(
            f"{most} streams{whose} are open, as many as may be; close one, or ask GET /api/v1/changes"
        )


class TooManyExports(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """As many files as one subject may have made and not yet taken."""

    def __init__(self, subject: str, most: int) -> None:
        super().__init__(
            f"{most} exports are under way to {subject}, as many as may be; take them, or ask again later"
        )


class NotConfirmed(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """A person has to agree before something is done, and has not, or cannot be asked."""


class EventRefused(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """An event that was reported by itself is not valid; nothing was stored."""


class BatchTooLarge(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """One call carries more events, or more bytes, than a server takes at once."""


class UnknownToken(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """No token has this id, or, with ``whose``, this subject; a token itself is never given."""

    def __init__(self, ref: str, nearest: Sequence[str] = (), *, whose: str = "") -> None:
        hint = f"the nearest: {', '.join(nearest)}" if nearest else "session-buddy token list has them"
        super().__init__(f"no token {whose}{ref!r}; {hint}")


class AmbiguousToken(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """Several tokens' ids begin like this."""

    def __init__(self, ref: str, candidates: Sequence[str]) -> None:
        super().__init__(f"{ref!r} fits several tokens: {', '.join(candidates)}; give more of the id")


class TooManySignIns(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """So many browsers were signed in for one subject of late that it looks like a mistake."""

    def __init__(self, subject: str, number: int) -> None:
        super().__init__(
            f"{number} browsers were signed in as {subject} within 12 hours, which is all; wait for the first"
        )


TokenCause = Literal["unknown", "expired", "revoked", "replaced"]


class TokenRefused(SessionBuddyError):  # noqa: N818 - reads as the fact it states
    """A token is not taken; why, without a word of it.

    Attributes:
        cause: the same in one word.
    """

    def __init__(self, reason: str, cause: TokenCause = "unknown") -> None:
        super().__init__(reason)
        self.cause: Final = cause
