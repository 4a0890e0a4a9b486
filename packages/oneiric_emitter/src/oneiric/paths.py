"""Where things lie: the XDG folders of this user, the same for both ends; standard library only.

An account's folders count only where they are its own: with ``sudo`` another user's ``HOME`` or ``XDG_*``
variables may still stand in root's environment, and files written there would be in the wrong home.
"""

import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from oneiric.descriptors import read
from oneiric.digests import sha256
from oneiric.interrupts import suppress

_MAX_SOCKET_PATH = 100
_DARWIN = "Library/Application Support"


class Paths(NamedTuple):
    """This user's folders.

    Attributes:
        home: the home folder.
        data: database and backups.
        config: secret and settings.
        state: outbox, ``server.json``, log.
        runtime: the folder for sockets, ``None`` where the system gives none.
    """

    home: Path
    data: Path
    config: Path
    state: Path
    runtime: Path | None

    @property
    def outbox(self) -> Path:
        """This machine's journals."""
        return self.state / "oneiric" / "outbox" / machine_id()

    @property
    def server_file(self) -> Path:
        """``server.json``: where the running server says socket, address, pid and version."""
        return self.state / "session-buddy" / "server.json"

    @property
    def socket(self) -> Path:
        """The server's Unix socket; short enough for every platform."""
        folder = (self.runtime or self.state) / "session-buddy"
        path = folder / "session-buddy.sock"
        if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
            return path
        import tempfile

        digest = sha256(os.fsencode(path)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"session-buddy-{os.geteuid()}-{digest}" / "session-buddy.sock"


def user_paths(environ: Mapping[str, str] | None = None) -> Paths:
    """The folders of the effective user, from ``environ`` (default: the process's)."""
    env = os.environ if environ is None else environ
    home = _home(env)
    darwin = sys.platform == "darwin"

    def folder(variable: str, default: str) -> Path:
        named = env.get(variable, "")
        if os.path.isabs(named) and _is_own(named):
            return Path(named)
        return home / (_DARWIN if darwin else default)

    runtime = env.get("XDG_RUNTIME_DIR", "")
    return Paths(
        home=home,
        data=folder("XDG_DATA_HOME", ".local/share"),
        config=folder("XDG_CONFIG_HOME", ".config"),
        state=folder("XDG_STATE_HOME", ".local/state"),
        runtime=Path(runtime) if runtime and _owner(runtime) == os.geteuid() else None,
    )


@cache
def machine_id() -> str:
    """Twelve hex digits that name this machine; the raw id is confidential, so it is hashed.

    Two hosts that share a home folder must not judge each other's journals, so the name of the host is
    the fallback where the system has no machine id.
    """
    raw = b""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        # Bytes: the codec of a text would be imported here, on whatever thread and by whatever user.
        with suppress(OSError):
            raw = read(path, 4096).strip()
        if raw:
            break
    return sha256(b"oneiric:" + (raw or os.fsencode(os.uname().nodename))).hexdigest()[:12]


def _home(env: Mapping[str, str]) -> Path:
    home = env.get("HOME", "")
    if os.path.isabs(home) and _is_own(home):
        return Path(home)
    import pwd

    with suppress(KeyError):
        home = pwd.getpwuid(os.geteuid()).pw_dir or home
    return Path(home or "/")


def _is_own(path: str) -> bool:
    """Whether root may call ``path`` its own; everybody else's variables are taken as they are.

    A folder that is missing would be made in the nearest one that is there, so that one's owner counts.
    """
    if os.geteuid() != 0:
        return True
    owners = (_owner(os.fspath(folder)) for folder in (Path(path), *Path(path).parents))
    return next((owner for owner in owners if owner is not None), 0) == 0


def _owner(path: str) -> int | None:
    with suppress(OSError):
        return os.stat(path).st_uid
    return None
