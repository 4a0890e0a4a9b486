"""What tokens are signed with: the configured secret, and this user's own, made when it is first needed."""

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from oneiric.descriptors import make_folder
from oneiric.paths import Paths
from session_buddy.errors import ConfigurationError
from session_buddy.host.places import APP
from session_buddy.host.settings import Settings, wrong_with


def load_secret(settings: Settings, paths: Paths, of_history: Callable[[], str | None]) -> str:
    """What tokens for others are signed with: the configured secret, the history's, or this user's own.

    Raises:
        ConfigurationError: as :func:`own_secret`.
    """
    if settings.secret is not None:
        return settings.secret.get_secret_value()
    return of_history() or own_secret(paths)


def accepted_secrets(settings: Settings, paths: Paths, of_history: str | None) -> list[str]:
    """What a server accepts signatures of: the configured secret, the history's, and this user's own.

    The own one too, so that this user's clients go on when a server is started with another
    ``SESSION_BUDDY_SECRET``: only this user can read it.

    Raises:
        ConfigurationError: there is neither.
    """
    try:
        own = [own_secret(paths)]
    except ConfigurationError:
        if settings.secret is None and of_history is None:
            raise
        own = []
    configured = settings.secret and settings.secret.get_secret_value()
    return [secret for secret in (configured, of_history, *own) if secret]


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
    make_folder(path.parent)
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
