"""Where the server listens: this user's Unix socket, and TCP."""

import errno
import os
import socket
import stat
from pathlib import Path

from oneiric.descriptors import make_folder
from session_buddy.errors import AlreadyRunning, ConfigurationError, PortTaken
from session_buddy.host import process
from session_buddy.host.holders import listener_on, program_of


def open_tcp(host: str, port: int) -> socket.socket:
    """A socket that listens on ``host`` and ``port`` (0: any free one).

    Raises:
        PortTaken: another program listens there.
        ConfigurationError: the host is not this machine's, or the port not ours to take.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no name of a host"
        raise ConfigurationError(f"host: {host!r} is not valid: {why} (SESSION_BUDDY_HOST)") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        raise _refused(host, port, error) from None
    return listener


def is_local(address: tuple[str, int | None] | None) -> bool:
    """Whether a connection came through the Unix socket, which its own address tells: it has no port.

    The peer's address would not do, since a peer that has hung up has none.
    """
    return address is not None and address[1] is None


def _refused(host: str, port: int, error: OSError) -> ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        pid = listener_on(port)
        return PortTaken(port, pid, program_of(pid) if pid else None)
    if error.errno == errno.EACCES:
        return ConfigurationError(f"port: {port} is not ours to take: {error.strerror} (SESSION_BUDDY_PORT)")
    return ConfigurationError(f"host: {host!r} is not valid: {error.strerror} (SESSION_BUDDY_HOST)")


def open_unix(path: Path) -> socket.socket:
    """A socket at ``path``, in a folder that only this user may enter; one where nobody listens is replaced.

    Raises:
        AlreadyRunning: somebody listens there.
        ConfigurationError: the folder is another's, or the socket cannot be made.
    """
    try:
        _own_folder(path.parent)
        if process.listener(path) is not None:
            raise AlreadyRunning
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        raise ConfigurationError(f"socket {path}: {error.strerror or error}") from None
    return listener


def _own_folder(folder: Path) -> None:
    make_folder(folder)
    status = folder.lstat()
    if status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(
            f"socket folder {folder} is a link, or another user's; remove it or set XDG_RUNTIME_DIR"
        )
    folder.chmod(0o700)
