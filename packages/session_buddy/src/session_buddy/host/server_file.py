"""What a running server says of itself in ``server.json``, for whoever looks for it."""

from pathlib import Path
from typing import Any, NamedTuple

from oneiric.paths import Paths
from oneiric.transport import Endpoint, announced


class ServerInfo(NamedTuple):
    """What a running server says of itself."""

    socket: Path
    url: str
    pid: int
    version: str
    database: str
    started_at: str
    log: str

    @property
    def endpoint(self) -> Endpoint:
        """Its Unix socket."""
        return Endpoint(socket=self.socket)


def read_server_file(paths: Paths) -> ServerInfo | None:
    """The running server of this user; ``None`` where the file is missing, torn, or somebody else's."""
    said = announced(paths)
    try:
        # A newer server may say more than this version knows.
        texts: dict[str, Any] = {name: str(said[name]) for name in ServerInfo._fields}
        return ServerInfo(**{**texts, "socket": Path(texts["socket"]), "pid": int(texts["pid"])})
    except (KeyError, ValueError):
        return None
