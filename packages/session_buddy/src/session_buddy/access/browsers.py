"""Browsers that are signed in: each has a token of its own as a cookie, made for this history alone."""

import time
from dataclasses import dataclass
from typing import Final

from session_buddy.access.callers import Caller, Scope
from session_buddy.access.keyring import Keyring, is_graced
from session_buddy.access.registry import Registry, Token, kept, revoked
from session_buddy.access.tokens import Claims, sign
from session_buddy.errors import TokenRefused, TooManySignIns, UnknownToken
from session_buddy.host.shelf import Texts

LIFE_SECONDS: Final = 12 * 3600
# How long behind the sign-in a browser may end sessions.
FRESH_SECONDS: Final = 600
# Of one subject, within the life of a cookie.
MOST: Final = 100
MOST_SCOPES: Final[frozenset[Scope]] = frozenset({"track", "read"})
# Its name, by the first eight digits of the instance.
COOKIE: Final = "session_buddy_{instance}"
_LABEL: Final = "browser: "
_STALE: Final = "it may end sessions for 10 minutes, and `session-buddy dashboard` gives 10 more"


@dataclass(frozen=True, slots=True)
class Browser:
    """One that is signed in; times in seconds since 1970.

    Attributes:
        id: of its token.
        name: e.g. ``Firefox on Linux``.
        since: when it was signed in.
        until: when that ends.
        seen: when it last asked this server; ``None``: not since that was started.
    """

    id: str
    name: str
    since: float
    until: int
    seen: float | None


class Browsers:
    """Signs browsers in and out, and knows them by their cookies.

    A cookie is a token with an audience, so it is refused as a bearer's token, and at another history that
    signs with the same secret.

    Args:
        keyring: what tokens are judged by, and listed with.
        instance: which history this is.

    Attributes:
        cookie: its name. A browser sends it to all ports of a host, so each history has another.
    """

    def __init__(self, keyring: Keyring, instance: str) -> None:
        self._keyring = keyring
        self._audience = f"browser:{instance}"
        self._seen: dict[str, float] = {}
        self.cookie: Final = COOKIE.format(instance=instance[:8])

    def sign_in(self, caller: Caller, name: str, now: float) -> tuple[str, int]:
        """The value of a new browser's cookie, and for how many seconds it is good.

        It may read and, if the caller may, report; no longer than the caller's own token is good.

        Raises:
            TooManySignIns: there were so many.
            SessionBuddyError: it cannot be listed.
        """
        until = int(now) + LIFE_SECONDS
        if caller.until is not None:
            until = min(until, caller.until)
        scopes = MOST_SCOPES if caller.is_admin else MOST_SCOPES & caller.scopes
        secret = self._keyring.secrets[0]
        token = sign(secret, Claims("", caller.subject, scopes, int(now), until, self._audience))

        def listed(texts: Texts) -> Texts:
            browsers = [one for one in Registry.of(texts).tokens if one.audience]
            good = [one for one in browsers if one.expires_at > now]
            if sum(one.subject == caller.subject for one in good) >= MOST:
                raise TooManySignIns(caller.subject, MOST)
            # What has expired is refused without the list.
            gone = {key: "" for one in browsers if one not in good for key in one.texts}
            return gone | kept(secret, token, f"{_LABEL}{name}")

        self._keyring.change(listed)
        return token, until - int(now)

    def caller(self, cookie: str, now: float | None = None) -> Caller | None:
        """Whom a cookie names, and what it allows now; ``None``: it is not good, or no more."""
        now = time.time() if now is None else now
        try:
            claims, replaced_at = self._keyring.accepted(cookie, now, self._audience)
        except TokenRefused:
            return None
        if not is_graced(replaced_at, now):
            return None
        self._seen[claims.id] = now
        scopes, limited = claims.scopes, ""
        if "track" in scopes and now >= claims.made_at + FRESH_SECONDS:
            scopes, limited = scopes - {"track"}, _STALE
        return Caller(claims.subject, scopes, limited, claims.expires_at, claims.id)

    def of(self, subject: str, now: float) -> list[Browser]:
        """Those that are signed in as somebody, the latest first."""
        signed_in = [one for one in self._signed_in(now) if one.subject == subject]
        self._seen = {one.id: self._seen[one.id] for one in self._signed_in(now) if one.id in self._seen}
        return [
            Browser(
                one.id,
                (one.name or "").removeprefix(_LABEL),
                one.made_at,
                one.expires_at,
                self._seen.get(one.id),
            )
            for one in sorted(signed_in, key=lambda one: one.made_at, reverse=True)
        ]

    def sign_out(self, browser: str, subject: str, now: float) -> None:
        """Have a browser's cookie be refused from now on, by each server within a second.

        Raises:
            UnknownToken: no browser of this subject is signed in under this id.
            SessionBuddyError: it cannot be written.
        """
        found = [one for one in self._signed_in(now) if (one.id, one.subject) == (browser, subject)]
        if not found:
            raise UnknownToken(browser, whose="of a browser that is signed in, ")
        self._keyring.change(lambda texts: revoked(texts, found))

    def _signed_in(self, now: float) -> list[Token]:
        known = [one for one in self._keyring.tokens if one.audience == self._audience]
        return [one for one in known if one.revoked_at is None and one.expires_at > now]
