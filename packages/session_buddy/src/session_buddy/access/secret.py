"""This user's own secret, which tokens are signed with, and what is kept of tokens beside it."""

import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from oneiric.descriptors import make_folder, release, try_lock
from oneiric.paths import Paths
from session_buddy.access.registry import SECRET
from session_buddy.errors import ConfigurationError
from session_buddy.host.places import APP
from session_buddy.host.replacing import draft_of, replace
from session_buddy.host.settings import wrong_with
from session_buddy.host.shelf import Texts

_LOCK_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.02


def new_secret() -> str:
    """A secret that nobody can guess."""
    return secrets.token_urlsafe(48)


def own_secret(paths: Paths) -> str:
    """This user's secret, made when it is first asked for (file mode 0600).

    Raises:
        ConfigurationError: the file is readable by others, no good secret, or cannot be read or made.
    """
    path = secret_file(paths)
    try:
        if not path.exists():
            _make(path)
        return _read(path)
    except OSError as error:
        raise ConfigurationError(f"secret {path}: {error.strerror}; or set SESSION_BUDDY_SECRET") from None


def secret_file(paths: Paths) -> Path:
    """Where this user's secret is."""
    return paths.config / APP / "secret"


class OwnShelf:
    """The secret's file, and ``tokens.json`` beside it; see :class:`session_buddy.host.shelf.Shelf`."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._secret = secret_file(paths)
        self._tokens = self._secret.with_name("tokens.json")

    def __repr__(self) -> str:
        return f"<OwnShelf({self._tokens})>"

    @property
    def has_tokens(self) -> bool:
        """Whether anything is kept of tokens."""
        return os.path.lexists(self._tokens)

    def stamp(self) -> object:
        """What names both files and their content."""
        return tuple(map(_stamp_of, (self._secret, self._tokens)))

    def read(self) -> Texts:
        """All of it; the secret is made if there is none."""
        with self._trouble():
            return {SECRET: own_secret(self._paths), **self._kept()}

    def change(self, work: Callable[[Texts], Texts]) -> None:
        """Write what ``work`` makes of all of it; one process at a time."""
        with self._trouble(), self._locked():
            texts = self.read()
            changes = work(texts)
            kept = {key: text for key, text in (texts | changes).items() if text and key != SECRET}
            # First what the present secret is needed for: whoever is killed in between has both.
            if changes.keys() - {SECRET}:
                written = {key: json.loads(text) for key, text in kept.items()}
                replace(self._tokens, json.dumps(written, indent=1) + "\n")
            if SECRET in changes:
                replace(self._secret, changes[SECRET] + "\n")

    def _kept(self) -> Texts:
        with suppress(FileNotFoundError):
            if (problem := open_to_others(self._tokens)) is not None:
                raise ConfigurationError(f"{self._tokens} {problem}: chmod 600")
            try:
                written = json.loads(self._tokens.read_text(encoding="utf-8"))
                return {str(key): json.dumps(value) for key, value in written.items()}
            except (ValueError, AttributeError):
                raise ConfigurationError(
                    f"{self._tokens} is damaged: put it right, or remove it; then revoked tokens are good"
                ) from None
        return {}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        make_folder(self._tokens.parent)
        descriptor = os.open(
            self._tokens.with_name(".tokens.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            deadline = time.monotonic() + _LOCK_SECONDS
            while not try_lock(descriptor):
                if time.monotonic() > deadline:
                    raise ConfigurationError(f"{self._tokens}: another process holds it; try again")
                time.sleep(_LOOK_SECONDS)
            yield
        finally:
            release(descriptor)

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigurationError(f"{self._tokens}: {error.strerror}") from None


def open_to_others(path: Path) -> str | None:
    """What is wrong with a file of this user alone, ``None`` if nothing is."""
    status = path.stat()
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return "may be read by others"
    return None


def _stamp_of(path: Path) -> tuple[int, ...] | None:
    with suppress(OSError):
        status = path.stat()
        return status.st_ino, status.st_mtime_ns, status.st_size
    return None


def _make(path: Path) -> None:
    """Write a new secret so that it is there whole or not at all, and the first of two makers wins."""
    make_folder(path.parent)
    draft = draft_of(path, new_secret() + "\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()


def _read(path: Path) -> str:
    if (problem := open_to_others(path)) is not None:
        raise ConfigurationError(
            f"secret {path} {problem}, who could sign tokens with it: remove it, and a new one is made"
        )
    secret = path.read_text(encoding="ascii", errors="replace").strip()
    if problem := wrong_with(secret):
        raise ConfigurationError(f"secret {path}: {problem}: remove it, and a new one is made")
    return secret
