"""Tokens: signed with a secret, each names a subject and what it may do."""

import base64
import json
import secrets
import time
from collections.abc import Collection
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple

from joserfc import jwt
from joserfc.jwk import OctKey

from session_buddy.access.callers import LOCAL, SCOPES, Caller, Scope, local_subject
from session_buddy.errors import ConfigurationError
from session_buddy.host.places import APP

_ISSUER: Final = APP
_ALGORITHM: Final = "HS256"
_MAX_SUBJECT: Final = 100


class Claims(NamedTuple):
    """What a token says whose signature is good; it may have expired.

    Attributes:
        id: its ``jti``, 16 hex digits.
        subject: whom it names.
        scopes: what it allows.
        made_at: when, in seconds since 1970.
        expires_at: until when it is good, likewise.
        audience: who alone may show it, and where; ``None``: whoever has it, as a bearer.
    """

    id: str
    subject: str
    scopes: frozenset[Scope]
    made_at: int
    expires_at: int
    audience: str | None = None

    @property
    def caller(self) -> Caller:
        """Whom it names, with all that it allows."""
        return Caller(self.subject, self.scopes, until=self.expires_at)


def issue(secret: str, subject: str, scopes: Collection[Scope], ttl_seconds: float) -> str:
    """A signed token for whoever has it.

    Raises:
        ConfigurationError: no or an over-long subject, no scope, or a life of zero or less.
    """
    if not 1 <= len(subject) <= _MAX_SUBJECT or not subject.isprintable():
        raise ConfigurationError(
            f"subject: {subject!r} is not valid: 1 to {_MAX_SUBJECT} printable characters"
        )
    if subject != local_subject() and (subject.startswith(LOCAL) or subject == APP or not subject.strip()):
        raise ConfigurationError(f"subject: {subject!r} is the server's own; choose another name")
    if not scopes or not set(scopes) <= set(SCOPES):
        raise ConfigurationError(
            f"scope: {' '.join(scopes)!r} is not valid: one or more of {', '.join(SCOPES)}"
        )
    if ttl_seconds <= 0:
        raise ConfigurationError(f"ttl: {ttl_seconds:g} seconds is not valid: more than 0 is allowed")
    now = int(time.time())
    return sign(secret, Claims("", subject, frozenset(scopes), now, now + int(ttl_seconds)))


def sign(secret: str, said: Claims) -> str:
    """A signed token that says so, with an id of its own; nothing of it is looked at."""
    claims = {
        "iss": _ISSUER,
        "sub": said.subject,
        "scope": " ".join(scope for scope in SCOPES if scope in said.scopes),
        "iat": said.made_at,
        "exp": said.expires_at,
        "jti": secrets.token_hex(8),
        **({"aud": said.audience} if said.audience else {}),
    }
    return jwt.encode({"alg": _ALGORITHM, "kid": kid_of(secret)}, claims, _key(secret))


def read(secret: str, token: str) -> Claims | None:
    """What a token says, ``None`` if it is not ours, was signed with another secret, or altered."""
    try:
        claims: dict[str, Any] = jwt.decode(token, _key(secret), algorithms=[_ALGORITHM]).claims
        if claims["iss"] != _ISSUER:
            return None
        granted = str(claims.get("scope", "")).split()
        return Claims(
            str(claims["jti"]),
            str(claims["sub"]),
            frozenset(scope for scope in SCOPES if scope in granted),
            int(claims["iat"]),
            int(claims["exp"]),
            str(claims["aud"]) if "aud" in claims else None,
        )
    except Exception:  # noqa: BLE001 - strangers write tokens: what the library cannot read is none of ours
        return None


def kid_of(secret: str) -> str:
    """What a token's header names its secret by; nobody can tell the secret from it."""
    return sha256(b"session-buddy token " + secret.encode()).hexdigest()[:16]


def named_kid(token: str) -> str | None:
    """By what a token says itself, which secret it was signed with; earlier versions did not say it."""
    try:
        header = token.partition(".")[0].encode()
        kid = json.loads(base64.urlsafe_b64decode(header + b"=" * (-len(header) % 4)))["kid"]
    except Exception:  # noqa: BLE001 - as above
        return None
    return kid if isinstance(kid, str) else None


@lru_cache(maxsize=64)
def _key(secret: str) -> OctKey:
    return OctKey.import_key(secret)
