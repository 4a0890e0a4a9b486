"""Tokens: signed with a secret, each names a subject and what it may do."""

import secrets
import time
from collections.abc import Collection
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import OctKey

from session_buddy.access.callers import LOCAL, SCOPES, Caller, Scope, local_subject
from session_buddy.errors import ConfigurationError
from session_buddy.host.places import APP

_ISSUER: Final = APP
_ALGORITHM: Final = "HS256"
_MAX_SUBJECT: Final = 100


def issue(secret: str, subject: str, scopes: Collection[Scope], ttl_seconds: float) -> str:
    """A signed token.

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
    claims = {
        "iss": _ISSUER,
        "sub": subject,
        "scope": " ".join(scope for scope in SCOPES if scope in scopes),
        "iat": now,
        "exp": now + int(ttl_seconds),
        "jti": secrets.token_hex(8),
    }
    return jwt.encode({"alg": _ALGORITHM}, claims, OctKey.import_key(secret))


def verify(secret: str, token: str) -> Caller | None:
    """Whom a token names, ``None`` if it is not ours, altered or expired."""
    try:
        claims: dict[str, Any] = jwt.decode(token, OctKey.import_key(secret), algorithms=[_ALGORITHM]).claims
        rules = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": _ISSUER}, sub={"essential": True}, exp={"essential": True}
        )
        rules.validate(claims)
    except Exception:  # noqa: BLE001 - strangers write tokens: what the library cannot read is none of ours
        return None
    granted = str(claims.get("scope", "")).split()
    return Caller(str(claims["sub"]), frozenset(scope for scope in SCOPES if scope in granted))
