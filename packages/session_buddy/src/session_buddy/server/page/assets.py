"""The style and the script: under an address that changes with what is in them, so browsers keep them."""

from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

from starlette.responses import Response

from session_buddy.server.web.problems import problem
from session_buddy.server.web.routes import Asked, Nothing, route

_TYPES: Final = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "charts.css": "text/css",
    "charts.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_KEPT: Final = "public, max-age=31536000, immutable"


@cache
def addresses() -> dict[str, str]:
    """The address of each file, by its name."""
    return {name: f"/assets/{sha256(_read(name)).hexdigest()[:12]}/{name}" for name in _TYPES}


@cache
def _read(name: str) -> bytes:
    return (files("session_buddy.server.page") / "assets" / name).read_bytes()


async def _answer(asked: Asked[Nothing]) -> Response:
    name = asked.request.path_params["name"]
    if name not in _TYPES:
        return problem(404, f"there is no {name!r} here")
    headers = {"cache-control": _KEPT, "x-content-type-options": "nosniff"}
    return Response(_read(name), headers=headers, media_type=_TYPES[name])


# Without a token: the page that asks to sign in needs them, too, and they hold no data.
ASSETS: Final = route(
    "GET",
    "/assets/{digest}/{name}",
    "the style and the script of the page",
    _answer,
    needs=None,
    gives=tuple(dict.fromkeys(_TYPES.values())),
)
