"""What the environment says: whether to track, and where to deliver."""

import os
from collections.abc import Mapping
from pathlib import Path

from oneiric.descriptors import read
from oneiric.paths import Paths
from oneiric.transport import Endpoint, Unreachable

_OFF = frozenset({"off", "0", "false", "no", "disabled"})
SYSTEM_SWITCH = Path("/etc/oneiric/off")
ENDPOINT = "SESSION_BUDDY_MCP_ENDPOINT"
# All that begin so and mean something, so that a mistyped one can be told.
PREFIX = "ONEIRIC_"
VARIABLES = frozenset(
    f"{PREFIX}{name}"
    for name in ("TRACKING", "REASON", "PERSON", "SHARED_ACCOUNTS", "ACTOR", "SESSION_ID", "CONNECT_SECONDS")
)
TOKEN_VARIABLES = ("SESSION_BUDDY_TOKEN", "SESSION_BUDDY_TOKEN_FILE")


class InvalidEndpoint(Unreachable):
    """``SESSION_BUDDY_MCP_ENDPOINT`` or its token file cannot be used."""


def off_reason(environ: Mapping[str, str], paths: Paths) -> str | None:
    """Why tracking is switched off; ``None`` while it is on."""
    value = environ.get("ONEIRIC_TRACKING", "")
    if value.lower() in _OFF:
        return f"ONEIRIC_TRACKING={value}"
    for switch in (SYSTEM_SWITCH, paths.config / "oneiric" / "off"):
        if os.path.exists(switch):
            return f"{switch} exists"
    return None


def named_url(environ: Mapping[str, str]) -> str | None:
    """The address of the server that ``environ`` names, in one spelling; ``None``: the local server."""
    return environ.get(ENDPOINT, "").strip().rstrip("/") or None


def named_endpoint(environ: Mapping[str, str]) -> Endpoint | None:
    """The endpoint that ``SESSION_BUDDY_MCP_ENDPOINT`` names, with its token; ``None``: the local server.

    Raises:
        InvalidEndpoint: says which variable, its value, and what is allowed.
    """
    url = named_url(environ)
    if url is None:
        return None
    scheme, _, rest = url.partition("://")
    if scheme not in ("http", "https") or not rest.strip("/"):
        raise InvalidEndpoint(f"{ENDPOINT}={url!r}: an address such as http://127.0.0.1:8678/mcp is expected")
    return Endpoint(url=url, token=_token(environ))


def _token(environ: Mapping[str, str]) -> str | None:
    if token := environ.get("SESSION_BUDDY_TOKEN", "").strip():
        if not token.isascii() or not token.isprintable():
            raise InvalidEndpoint("SESSION_BUDDY_TOKEN is no token: one line of ASCII is allowed")
        return token
    path = environ.get("SESSION_BUDDY_TOKEN_FILE")
    if not path:
        return None
    try:
        # Bytes: the codec of a text would be imported here, and the delivery thread comes by.
        return read(path, 65536).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidEndpoint(f"SESSION_BUDDY_TOKEN_FILE={path!r} cannot be read: {error}") from error
