"""``token show`` and ``token create``: what MCP clients and other hosts put into their configuration."""

import json
import re
from collections.abc import Sequence
from contextlib import closing
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from oneiric.paths import user_paths
from session_buddy.cli import edge
from session_buddy.cli.wording import App
from session_buddy.errors import ConfigurationError, StoreError
from session_buddy.host import process

if TYPE_CHECKING:
    from session_buddy.host.settings import Settings

app = App(name="token", help="Tokens for MCP clients, other users and other hosts.", no_args_is_help=True)

_YEAR_SECONDS: Final = 365 * 86400
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SHOW_EXAMPLES: Final = """\b
Examples:
  session-buddy token show
  claude mcp add --transport http session-buddy http://127.0.0.1:8678/mcp \\
      --header "Authorization: Bearer $(session-buddy token show)"
"""
_CREATE_EXAMPLES: Final = """\b
Examples:
  session-buddy token create --subject web1 --scope track --ttl 30d
  session-buddy token create --subject alice --scope track --scope read
The other side puts it into SESSION_BUDDY_TOKEN, or into the file that SESSION_BUDDY_TOKEN_FILE names,
and this server's address into SESSION_BUDDY_MCP_ENDPOINT."""


class Scope(StrEnum):
    """What a token may allow; an enumeration because Typer repeats no literals."""

    TRACK = "track"
    READ = "read"
    ADMIN = "admin"


@app.command(epilog=_SHOW_EXAMPLES)
def show() -> None:
    """Print a token for this user's MCP clients.

    It may track and read, for a year.
    """
    token = sign_own(["track", "read"], _YEAR_SECONDS)
    with edge.output() as stream:
        stream.write(f"{token}\n")
    if edge.on_terminal():
        edge.tell("In an MCP client's configuration:")
        edge.tell(json.dumps(_client_entry(token)))


@app.command(epilog=_CREATE_EXAMPLES)
def create(
    subject: Annotated[
        str, typer.Option(metavar="NAME", help="Whom the token names; sessions are reported in this name.")
    ],
    scope: Annotated[
        list[Scope],
        typer.Option(
            metavar="<track|read|admin>", help="What it allows; give it once for each. admin allows all."
        ),
    ],
    ttl: Annotated[str, typer.Option(metavar="TIME", help="How long it is good: 12h, 30d, 52w.")] = "30d",
) -> None:
    """Print a token for another user, host or program."""
    from session_buddy.access.secret import load_secret
    from session_buddy.access.tokens import issue  # settings and signing: 0.4 s that few commands need
    from session_buddy.host.layers import load_settings

    seconds, settings = _seconds(ttl), load_settings()
    secret = load_secret(settings, user_paths(), partial(_secret_of, settings))
    token = issue(secret, subject, [one.value for one in scope], seconds)
    with edge.output() as stream:
        stream.write(f"{token}\n")


def _secret_of(settings: "Settings") -> str | None:
    """The secret that servers of one database share."""
    url = settings.database_url()
    if url.file is not None:
        return None
    from session_buddy.store import open_store

    try:
        with closing(open_store(url, only_look=True)) as store:
            return store.secret
    except StoreError as error:
        raise ConfigurationError(f"{error}; or set SESSION_BUDDY_SECRET, here and at the servers") from None


def sign_own(scopes: Sequence[Literal["track", "read", "admin"]], ttl_seconds: float) -> str:
    """A token in this user's name, signed with this user's own secret, which every server of theirs accepts.

    Raises:
        ConfigurationError: the secret cannot be used.
    """
    from session_buddy.access.callers import local_subject
    from session_buddy.access.secret import own_secret
    from session_buddy.access.tokens import issue  # signing: 0.2 s that few commands need

    secret = own_secret(user_paths())
    return issue(secret, local_subject(), scopes, ttl_seconds)


def _seconds(text: str) -> float:
    parts = re.fullmatch(r"(\d{1,9})\s*([smhdw])", text.strip().lower())
    if parts is None or int(parts[1]) == 0:
        raise typer.BadParameter(f"{text!r} is not a time like 12h, 30d or 52w", param_hint="'--ttl'")
    return float(parts[1]) * _UNITS[parts[2]]


def _client_entry(token: str) -> dict[str, object]:
    from session_buddy.host.layers import load_settings

    info, settings = process.running(user_paths()), load_settings()
    url = info.url if info is not None else settings.url(settings.port)
    server = {"type": "http", "url": url, "headers": {"Authorization": f"Bearer {token}"}}
    return {"mcpServers": {"session-buddy": server}}
