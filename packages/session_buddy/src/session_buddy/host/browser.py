"""This machine's browser, led to an address that is a secret."""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from oneiric.descriptors import make_folder
from session_buddy.errors import ConfigurationError
from session_buddy.host.places import is_ours
from session_buddy.host.replacing import replace

# Every user of this machine can read command lines: they have the name of such a file, which has the address.
_NAME: Final = "sign-in-{}.html"
_KEPT_SECONDS: Final = 60
_TEXT: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={0}">
<title>Session-Buddy</title>
<p><a href="{0}">Sign in</a>
"""


def has_display() -> bool:
    """Whether a browser would be seen: there is a screen, or ``BROWSER`` says what to run."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))


def lead(url: str, folder: Path) -> bool:
    """Have the browser go to an address; whether one was found and begun.

    Args:
        url: it stands in a file, which nobody else can read, and which the next call removes.
        folder: where that is; made, if need be.

    Raises:
        ConfigurationError: it cannot be written.
    """
    import webbrowser
    from html import escape

    file = folder / _NAME.format(os.urandom(4).hex())
    try:
        make_folder(folder)
        if not is_ours(folder):
            raise ConfigurationError(f"{folder} is another user's; remove it or set XDG_RUNTIME_DIR")
        _clear(folder)
        replace(file, _TEXT.format(escape(url)))
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from None
    with suppress(webbrowser.Error):
        # The first alone: what stands behind those that need a screen would take this terminal.
        if webbrowser.get().open(file.as_uri()):
            return True
    file.unlink(missing_ok=True)
    return False


def _clear(folder: Path) -> None:
    for file in folder.glob(_NAME.format("*")):
        with suppress(OSError):
            if file.stat().st_mtime < time.time() - _KEPT_SECONDS:
                file.unlink()
