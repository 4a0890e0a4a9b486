"""Who may do what: the secret, the tokens signed with it, the table of rights."""

import os
import secrets
import stat
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from oneiric.paths import Paths
from session_buddy.errors import ConfigurationError, Forbidden
from session_buddy.settings import APP, Settings, wrong_with

Scope = Literal["track", "read", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("track", "read", "admin")

# What each tool asks for; None: any valid token. ``admin`` stands for every right.
RIGHTS: Final[dict[str, Scope | None]] = {
    "track_session_start": "track",
    "track_session_end": "track",
    "track_events": "track",
    "list_sessions": "read",
    "get_session": "read",
    "health_check": None,
}

_LOCAL: Final = "local:"
_ISSUER: Final = APP
_ALGORITHM: Final = "HS256"
_MAX_SUBJECT: Final = 100


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a token names and what it allows."""

    subject: str
    scopes: frozenset[Scope]

    @property
    def is_admin(self) -> bool:
        """Whether this caller may do everything, and to anybody's sessions."""
        return "admin" in self.scopes

    def require(self, tool: str) -> None:
        """Refuse what the rights do not allow.

        Raises:
            Forbidden: names the scope that is missing.
        """
        needed = RIGHTS.get(tool, "admin")
        if needed is not None and needed not in self.scopes and not self.is_admin:
            raise Forbidden(
                f"{tool} needs a token with scope {needed}; this one ({self.subject}) has"
                f" {' '.join(sorted(self.scopes)) or 'none'}"
            )


def local_subject() -> str:
    """``local:<uid>``: this user, on this machine."""
    return f"{_LOCAL}{os.geteuid()}"


def local_caller() -> Caller:
    """This user, with all rights."""
    return Caller(local_subject(), frozenset(SCOPES))


def issue(secret: str, subject: str, scopes: Collection[Scope], ttl_seconds: float) -> str:
    """A signed token.

    Raises:
        ConfigurationError: no or an over-long subject, no scope, or a life of zero or less.
    """
    if not 1 <= len(subject) <= _MAX_SUBJECT or not subject.isprintable():
        raise ConfigurationError(
            f"subject: {subject!r} is not valid: 1 to {_MAX_SUBJECT} printable characters"
        )
    if subject != local_subject() and (subject.startswith(_LOCAL) or subject == APP or not subject.strip()):
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
        claims = jwt.decode(token, OctKey.import_key(secret), algorithms=[_ALGORITHM]).claims
        rules = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": _ISSUER}, sub={"essential": True}, exp={"essential": True}
        )
        rules.validate(claims)
    except (JoseError, ValueError):
        return None
    granted = str(claims.get("scope", "")).split()
    return Caller(str(claims["sub"]), frozenset(scope for scope in SCOPES if scope in granted))


def load_secret(settings: Settings, paths: Paths) -> str:
    """What tokens for others are signed with: the configured secret, else this user's own.

    Raises:
        ConfigurationError: as :func:`own_secret`.
    """
    return own_secret(paths) if settings.secret is None else settings.secret.get_secret_value()


def accepted_secrets(settings: Settings, paths: Paths) -> list[str]:
    """What a server accepts signatures of: the configured secret, and this user's own.

    The own one too, so that this user's clients go on when a server is started with another
    ``SESSION_BUDDY_SECRET``: only this user can read it.

    Raises:
        ConfigurationError: there is neither.
    """
    try:
        own = [own_secret(paths)]
    except ConfigurationError:
        if settings.secret is None:
            raise
        own = []
    return own if settings.secret is None else [settings.secret.get_secret_value(), *own]


def own_secret(paths: Paths) -> str:
    """This user's secret, made when it is first asked for (file mode 0600).

    Raises:
        ConfigurationError: the file is readable by others, no good secret, or cannot be read or made.
    """
    path = paths.config / APP / "secret"
    try:
        if not path.exists():
            _make(path)
        return _read(path)
    except OSError as error:
        raise ConfigurationError(f"secret {path}: {error.strerror}; or set SESSION_BUDDY_SECRET") from None


def _make(path: Path) -> None:
    """Write a new secret so that it is there whole or not at all, and the first of two makers wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".secret.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()


def _read(path: Path) -> str:
    status = path.stat()
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(
            f"secret {path} may be read by others, who could sign tokens with it:"
            " remove it, and a new one is made"
        )
    secret = path.read_text(encoding="ascii", errors="replace").strip()
    if problem := wrong_with(secret):
        raise ConfigurationError(f"secret {path}: {problem}: remove it, and a new one is made")
    return secret
