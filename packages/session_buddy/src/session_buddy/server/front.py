"""Checks Host and Origin of each request, and passes it to MCP or to the routes beside it."""

from collections.abc import Iterable
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from session_buddy.server.listeners import is_local
from session_buddy.server.web.problems import problem

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SCHEMES: Final = ("http", "https")


class Front:
    """ASGI: refuses requests that a browser was tricked into sending; passes others to MCP or to the routes.

    A name that is not ours in ``Host`` means that somebody's domain was pointed at this address (DNS
    rebinding). An ``Origin`` other than the very address that was asked means that another site's page
    asks, or that of another port of this host. No browser comes through the Unix socket.
    ``allowed_hosts`` are names that are accepted beside those of the loopback and the address itself.
    """

    def __init__(self, mcp: ASGIApp, mcp_path: str, beside: ASGIApp, allowed_hosts: Iterable[str]) -> None:
        self._mcp = mcp
        self._mcp_path = mcp_path
        self._beside = beside
        self._allowed = _LOOPBACK.union(name.lower() for name in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            return await self._mcp(scope, receive, send)
        server = scope.get("server")
        if not is_local(server):
            headers = dict(scope["headers"])
            host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
            if not self._is_ours(host, server):
                detail = f"{host!r} is no name of this server: add it to allowed_hosts"
                return await problem(HTTPStatus.MISDIRECTED_REQUEST, detail)(scope, receive, send)
            if b"origin" in headers and not is_same(origin, host):
                detail = f"pages of {origin!r} may not ask this server"
                return await problem(HTTPStatus.FORBIDDEN, detail)(scope, receive, send)
        answering = self._mcp if scope["path"] == self._mcp_path else self._beside
        return await answering(scope, receive, send)

    def _is_ours(self, host: str, server: tuple[str, int] | None) -> bool:
        name = _name_of(host)
        return name in self._allowed or (server is not None and _same_address(name, server[0]))


def is_same(origin: str, host: str) -> bool:
    """Whether an ``Origin`` is the address that ``Host`` names, port included; a proxy may have added TLS."""
    scheme, _, rest = origin.lower().partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    return scheme in _SCHEMES and bool(rest) and rest in (host.lower(), host.lower().removesuffix(default))


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _same_address(name: str, address: str) -> bool:
    try:
        # A listener everywhere has no address that a request could have come to.
        return ip_address(name) == ip_address(address)
    except ValueError:
        return False
