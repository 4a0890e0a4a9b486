"""Where this user's programs find the server: its Unix socket and ``server.json``, for as long as it runs."""

import json
import socket
from collections.abc import Mapping

import structlog

from oneiric.descriptors import identity, make_folder
from oneiric.paths import user_paths
from session_buddy.errors import ConfigurationError, SessionBuddyError
from session_buddy.host.replacing import replace
from session_buddy.host.server_file import ServerInfo, read_server_file
from session_buddy.server.listeners import open_unix

log = structlog.stdlib.get_logger("session_buddy.server.publication")


class Publication:
    """The socket and ``server.json``, recreated where somebody removed them.

    At a logout the system removes the runtime folder with the socket in it, which a user cannot recreate.
    ``settings`` are variables with which such a server can be started again.
    """

    def __init__(self, listener: socket.socket, info: ServerInfo, settings: Mapping[str, str]) -> None:
        self._listener = listener
        self._info = info
        self._settings = settings
        self._file = user_paths().server_file
        self._socket_file = identity(info.socket)
        self._failure = ""
        self._written: tuple[int, int] | None = None

    def publish(self) -> None:
        """Write ``server.json``, whole.

        Raises:
            ConfigurationError: it cannot be written.
        """
        said = {**self._info._asdict(), "socket": str(self._info.socket), "settings": self._settings}
        try:
            make_folder(self._file.parent)
            replace(self._file, json.dumps(said))
        except OSError as error:
            raise ConfigurationError(f"{self._file} cannot be written: {error.strerror}") from None
        self._written = identity(self._file)

    def renew(self) -> socket.socket | None:
        """Recreate what is gone; returns the new socket to listen at, if one had to be opened."""
        opened = None
        try:
            if identity(self._info.socket) != self._socket_file:
                path = user_paths().socket
                self._listener = opened = open_unix(path)
                self._info = self._info._replace(socket=path)
                self._socket_file = identity(path)
            # Another server's server.json is left alone.
            if opened is not None or read_server_file(user_paths()) is None:
                self.publish()
                log.warning(
                    "recreated socket or server.json", socket=str(self._info.socket), file=str(self._file)
                )
        except SessionBuddyError as problem:
            if str(problem) != self._failure:
                self._failure = str(problem)
                log.warning("cannot recreate socket or server.json", reason=self._failure)
        return opened

    def close(self) -> None:
        """Close the socket and remove both, as far as they are still this server's."""
        self._listener.close()
        for path, ours in ((self._info.socket, self._socket_file), (self._file, self._written)):
            if identity(path) == ours:
                path.unlink(missing_ok=True)
