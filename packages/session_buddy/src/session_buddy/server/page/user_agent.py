"""The name of a browser by its User-Agent header, for people to tell browsers apart."""

from collections.abc import Mapping
from typing import Final

# The first that is found counts: most say that they are Chrome and Safari, too.
_BROWSERS: Final = {
    "Edg/": "Edge",
    "EdgA/": "Edge",
    "OPR/": "Opera",
    "Vivaldi/": "Vivaldi",
    "SamsungBrowser/": "Samsung Internet",
    "Firefox/": "Firefox",
    "FxiOS/": "Firefox",
    "CriOS/": "Chrome",
    "Chrome/": "Chrome",
    "Safari/": "Safari",
    "curl/": "curl",
}
_SYSTEMS: Final = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
    "BSD": "BSD",
}


def name_of(user_agent: str) -> str:
    """E.g. ``Firefox on Linux``, of a header ``User-Agent``."""
    system = _found(_SYSTEMS, user_agent)
    return (_found(_BROWSERS, user_agent) or "unknown") + (f" on {system}" if system else "")


def _found(names: Mapping[str, str], user_agent: str) -> str:
    return next((name for mark, name in names.items() if mark in user_agent), "")
