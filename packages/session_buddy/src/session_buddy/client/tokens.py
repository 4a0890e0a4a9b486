"""Makes, lists and revokes tokens, and replaces secrets, in the files or the database that hold them.

Servers read them again within a second, so no server has to be asked.
"""

import difflib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from oneiric.paths import user_paths
from session_buddy.access.callers import Scope
from session_buddy.access.registry import SECRET, Registry, State, Token, find, kept, revoked, rotated
from session_buddy.access.secret import OwnShelf, new_secret
from session_buddy.access.tokens import issue, kid_of, read
from session_buddy.errors import ConfigurationError, StoreError, TokenRefused, UnknownToken
from session_buddy.host.layers import load_settings
from session_buddy.host.settings import Settings
from session_buddy.host.shelf import Shelf, Texts


class Ledger:
    """All tokens that are known here: those of the history, and this user's own.

    Secrets are ``configured``, if the settings name one, and those of the shelves; a new token for
    somebody else goes into the first shelf.

    Raises:
        SessionBuddyError: a shelf cannot be read.
    """

    def __init__(self, configured: str | None, shelves: Sequence[Shelf]) -> None:
        self._configured = configured
        self._shelves = shelves
        self._registries = [Registry.of(shelf.read()) for shelf in shelves]
        present = [*(one.secret for one in self._registries), *([configured] if configured else [])]
        self._kids = {kid_of(secret) for secret in present}
        tokens = [token for registry in self._registries for token in registry.tokens]
        self.tokens = sorted(tokens, key=lambda one: (one.made_at, one.id), reverse=True)

    def __repr__(self) -> str:
        return f"<Ledger tokens={len(self.tokens)}>"

    def state(self, token: Token) -> State:
        """Whether a token is valid now, or why not."""
        return token.state(self._kids, time.time())

    def record(self, token: Token) -> dict[str, Any]:
        """``{id, subject, scopes, name, made_at, expires_at, state, revoked_at}``, times as ISO 8601."""
        record = asdict(token) | {"scopes": " ".join(token.scopes), "state": self.state(token)}
        del record["audience"]
        for name in ("made_at", "expires_at", "revoked_at"):
            if record[name] is not None:
                record[name] = datetime.fromtimestamp(record[name], UTC).isoformat(timespec="seconds")
        return record

    def named(self, ref: str) -> Token:
        """The token whose id begins so.

        Raises:
            UnknownToken: there is none.
            AmbiguousToken: there are several.
        """
        return find(ref, self.tokens)

    def of_subject(self, subject: str) -> list[Token]:
        """The tokens of a subject that could still be used.

        Raises:
            UnknownToken: none ever named it.
        """
        found = [one for one in self.tokens if one.subject == subject]
        if not found:
            near = difflib.get_close_matches(subject, {one.subject for one in self.tokens})
            raise UnknownToken(subject, near, whose="of ")
        return [one for one in found if self.state(one) not in {"revoked", "expired"}]

    def pasted(self, token: str) -> Token:
        """What is known of a token, given its text; also of one that stands in no list.

        Raises:
            TokenRefused: it is none of this history's.
        """
        found = [registry.claims_of(token) for registry in self._registries]
        if self._configured and (claims := read(self._configured, token)):
            found.append((claims, self._configured))
        for claims, secret in filter(None, found):
            known = [one for one in self.tokens if one.id == claims.id]
            return known[0] if known else Token.of(claims, secret)
        raise TokenRefused("what standard input has is no token that a secret in use here has signed")

    def revoke(self, tokens: Sequence[Token]) -> None:
        """Have tokens be refused from now on.

        Raises:
            SessionBuddyError: that cannot be written.
        """
        for shelf in self._shelves:
            here = [one for one in tokens if self._shelf_of(one) is shelf]
            if here:
                shelf.change(lambda texts, here=here: revoked(texts, here))  # type: ignore[misc]

    def rotate(self, *, at_once: bool) -> None:
        """Sign new tokens with new secrets; with ``at_once``, all tokens of before are refused.

        Raises:
            ConfigurationError: the settings name the secret; one cannot be written.
        """
        if self._configured:
            raise ConfigurationError(
                "SESSION_BUDDY_SECRET, or `secret` in a settings file, says what tokens are signed with: put"
                " another one there, and restart the servers"
            )
        for shelf in self._shelves:
            shelf.change(lambda texts: rotated(texts, new_secret(), at_once=at_once))

    def _shelf_of(self, token: Token) -> Shelf:
        """Where a token stands, or its secret; what the configured one signed stands with the history's."""
        for shelf, registry in zip(self._shelves, self._registries, strict=True):
            if registry.named([token.id]):
                return shelf
        for shelf, registry in zip(self._shelves, self._registries, strict=True):
            if token.kid in {kid_of(registry.secret), *(one.kid for one in registry.earlier)}:
                return shelf
        return self._shelves[0]


@contextmanager
def ledger() -> Iterator[Ledger]:
    """All tokens of the history that the settings name.

    Raises:
        SessionBuddyError: they cannot be read.
    """
    settings = load_settings()
    with _shelves(settings) as shelves:
        yield Ledger(_configured(settings), shelves)


def create(
    subject: str, scopes: Sequence[Scope], ttl_seconds: float, name: str | None, warn: Callable[[str], None]
) -> str:
    """A token for others, good for ``ttl_seconds``; ``warn`` is told where it could not be put into the list.

    Raises:
        ConfigurationError: the secret cannot be used, or one of the arguments.
    """
    settings = load_settings()
    configured = _configured(settings)
    token = issue(configured, subject, scopes, ttl_seconds) if configured else ""

    def make(texts: Texts) -> Texts:
        nonlocal token
        secret = configured or texts[SECRET]
        token = token or issue(secret, subject, scopes, ttl_seconds)
        return kept(secret, token, name)

    try:
        with _shelves(settings) as shelves:
            shelves[0].change(make)
    except (StoreError, ConfigurationError) as error:
        if configured:
            warn(f"This token is in no list, so only `session-buddy token revoke -` can revoke it: {error}")
        elif isinstance(error, StoreError):
            raise ConfigurationError(
                f"{error}; or set SESSION_BUDDY_SECRET, here and at the servers"
            ) from None
        else:
            raise
    return token


@contextmanager
def _shelves(settings: Settings) -> Iterator[list[Shelf]]:
    """Where secrets and tokens stand: with the history, where it lies at a database server, and here."""
    own, url = OwnShelf(user_paths()), settings.database_url()
    if url.file is not None:
        yield [own]
        return
    from session_buddy.store import open_store  # the models of events, which a file does without

    with closing(open_store(url, only_look=True)) as store:
        yield [*([store.keys] if store.keys else []), own]


def _configured(settings: Settings) -> str | None:
    return settings.secret.get_secret_value() if settings.secret else None
