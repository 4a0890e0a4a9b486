"""``dashboard``: this machine's browser, signed in at the server's page."""

import os
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from oneiric.paths import user_paths
from session_buddy.cli import edge
from session_buddy.client import sign_in
from session_buddy.host import browser

EXAMPLES: Final = """\b
The address is good once, within a minute. The browser stays signed in for
12 hours; it may end sessions for 10 minutes.

\b
Examples:
  session-buddy dashboard
  session-buddy dashboard --print-url | wl-copy"""
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def dashboard(
    *,
    print_url: Annotated[
        bool, typer.Option("--print-url", help="Print the address, and open no browser.")
    ] = False,
) -> None:
    """Open the page in a browser, signed in."""
    url = sign_in.link()
    parts = urlsplit(url)
    page = f"{parts.scheme}://{parts.netloc}"
    if not print_url and browser.has_display() and browser.lead(url, user_paths().socket.parent):
        edge.say(f"Opened {page} in your browser, signed in")
        edge.tell("Where it does not come up: session-buddy dashboard --print-url")
        return
    if not print_url:
        edge.tell("No browser can be opened here; this address is good once, within a minute:")
    with edge.output() as stream:
        stream.write(f"{url}\n")
    elsewhere = "SSH_CONNECTION" in os.environ or (edge.on_terminal() and not browser.has_display())
    if elsewhere and parts.hostname in _LOOPBACK:
        port, host = parts.port, os.uname().nodename
        edge.tell(f"From another machine, first: ssh -L {port}:127.0.0.1:{port} {host}")
