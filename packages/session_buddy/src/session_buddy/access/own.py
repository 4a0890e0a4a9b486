"""This user's own token, which is the same each time, and such as serve for one call."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from oneiric.paths import user_paths
from session_buddy.access.callers import Scope, local_subject
from session_buddy.access.registry import SECRET, Registry, kept
from session_buddy.access.secret import OwnShelf, open_to_others, own_secret, secret_file
from session_buddy.access.tokens import issue, read
from session_buddy.errors import ConfigurationError
from session_buddy.host.replacing import replace
from session_buddy.host.shelf import Texts

NAME: Final = "token show"
YEAR_SECONDS: Final = 365 * 86400
_RENEW_SECONDS: Final = 30 * 86400
_SCOPES: Final[tuple[Scope, ...]] = ("track", "read")


def sign_own(scopes: Sequence[Scope], ttl_seconds: float) -> str:
    """A token in this user's name for one call, which stands in no list.

    It is signed with this user's own secret, which every server of theirs accepts.

    Raises:
        ConfigurationError: the secret cannot be used.
    """
    return issue(own_secret(user_paths()), local_subject(), scopes, ttl_seconds)


def own_token() -> str:
    """The same until it ends within 30 days, was revoked, or its secret was replaced; then a new one.

    It may track and read, for a year.

    Raises:
        ConfigurationError: it cannot be read, or made.
    """
    shelf, file = OwnShelf(user_paths()), secret_file(user_paths()).with_name("token")
    token = _found(file, Registry.of(shelf.read()))

    def make(texts: Texts) -> Texts:
        nonlocal token
        registry = Registry.of(texts)
        # Another one may have made it while we waited for the lock.
        token = _found(file, registry)
        if token is not None:
            return {}
        token = issue(texts[SECRET], local_subject(), _SCOPES, YEAR_SECONDS)
        # A home that several machines share has the token of each.
        others = [line for line in _lines(file) if _names_another(line, registry)]
        replace(file, "".join(f"{line}\n" for line in (*others, token)))
        return kept(texts[SECRET], token, NAME)

    if token is None:
        shelf.change(make)
    if token is None:
        raise ConfigurationError(f"{file}: no token was made")
    return token


def _found(file: Path, registry: Registry) -> str | None:
    until = time.time() + _RENEW_SECONDS
    for line in _lines(file):
        claims = read(registry.secret, line)
        if claims is None or claims.subject != local_subject() or claims.expires_at <= until:
            continue
        # One that is not in the list, nobody could revoke by its id.
        if any(one.revoked_at is None for one in registry.named([claims.id])):
            return line
    return None


def _names_another(token: str, registry: Registry) -> bool:
    claims = read(registry.secret, token)
    return claims is not None and claims.subject != local_subject()


def _lines(file: Path) -> list[str]:
    with suppress(FileNotFoundError):
        if open_to_others(file) is None:
            return file.read_text(encoding="ascii", errors="replace").split()
    return []
