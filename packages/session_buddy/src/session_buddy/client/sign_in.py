"""A link that signs a browser in, as a server gives it."""

from typing import Final

from session_buddy.client.api import asked
from session_buddy.client.ask import local_server, named_server
from session_buddy.errors import ServerFailed
from session_buddy.host.process import require_answer

_PATH: Final = "/api/v1/links"


def link() -> str:
    """An address that is good once, within a minute.

    Raises:
        ServerFailed: no server runs, or it refuses.
    """
    if named := named_server():
        # A proxy may have it under this name, with TLS: only who comes through it knows.
        address = (named.url or "").rstrip("/").removesuffix("/mcp")
        return str(asked(named, _PATH, {"address": address})["url"])
    server = local_server()
    if server is None:
        raise ServerFailed(
            "no server of this history runs, which shows the page: session-buddy mcp start --background"
        )
    require_answer(server)
    return str(asked(server.endpoint, _PATH, {})["url"])
