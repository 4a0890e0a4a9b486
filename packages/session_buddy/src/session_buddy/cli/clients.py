"""``mcp config``: what an MCP client needs to know of this server, printed or put into its own file."""

import json
import os
import shlex
import stat
import sys
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from oneiric.config import ENDPOINT
from oneiric.paths import user_paths
from session_buddy.cli import edge
from session_buddy.client import ask
from session_buddy.errors import ConfigurationError, InvalidQuery
from session_buddy.host import clients, process
from session_buddy.host.clients import Client, Entry
from session_buddy.host.places import APP
from session_buddy.host.variables import PREFIX, STORAGE_URL

EXAMPLES: Final = """\b
Examples:
  session-buddy mcp config --client claude-code           prints it
  session-buddy mcp config --client cursor --write        puts it into ~/.cursor/mcp.json
  session-buddy mcp config --client vscode --transport http --write"""
_BRIDGE: Final = ["mcp", "start", "--transport", "stdio"]
_FOLDERS: Final = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME")


def config(
    *,
    client: Annotated[Client, typer.Option(help="Whose; generic prints what many take.")],
    transport: Annotated[
        Literal["stdio", "http"], typer.Option(help="http: by address, with a token that may read.")
    ] = "stdio",
    write: Annotated[
        bool, typer.Option("--write", help="Put it into the client's own file; other entries stay.")
    ] = False,
) -> None:
    """Print what an MCP client needs, or put it there."""
    kind, file = clients.KINDS[client], clients.file_of(client, user_paths(), os.environ)
    if transport == "http" and not kind.takes_http:
        raise InvalidQuery("transport", transport, f"the file of {client} takes commands alone: stdio")
    if write and file is None:
        raise InvalidQuery(
            "write", client, "where it keeps its servers is not known; print it, and put it there"
        )
    found = _bridge() if transport == "stdio" else _address(client)
    if write and file is not None:
        changed = clients.merge(client, file, found)
        edge.say(f"{APP} is in {file}" if changed else f"{APP} is in {file} already")
        if changed:
            edge.tell(f"{client} has it once it is started anew")
            if "headers" in found and file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                edge.tell(f"Others may read it, and it has a token now: chmod 600 {shlex.quote(str(file))}")
        return
    with edge.output() as stream:
        stream.write(json.dumps(clients.document(client, found), indent=2) + "\n")
    if file is not None and edge.on_terminal():
        edge.tell(f"It belongs into {file}; --write puts it there")


def _bridge() -> Entry:
    """The command of the stdio bridge, with the variables that say which server: clients pass on few."""
    program = Path(sys.executable).with_name(APP)
    command = [str(program)] if program.exists() else [sys.executable, "-m", "session_buddy"]
    kept = {}
    for name, value in sorted(os.environ.items()):
        if value and _is_secret(name, value):
            edge.tell(f"{name} is left out, since it has a secret: put that into your settings file")
        elif value and (name in _FOLDERS or name.startswith(PREFIX)):
            kept[name] = value
    return {"command": command[0], "args": [*command[1:], *_BRIDGE], "env": kept}


def _is_secret(name: str, value: str) -> bool:
    return name == f"{PREFIX}SECRET" or (name == STORAGE_URL and ("@" in value or "password" in value))


def _address(client: Client) -> Entry:
    """The server's address, and a token with which it lets a client read."""
    if named := ask.named_server():
        if named.token is None:
            raise ConfigurationError(f"{ENDPOINT} names {named.url}: {ask.IF_REFUSED}")
        return entry(named.url, named.token)
    from session_buddy.access.callers import local_subject
    from session_buddy.access.own import YEAR_SECONDS
    from session_buddy.client import tokens  # settings and signing: 0.4 s

    token = tokens.create(local_subject(), ["read"], YEAR_SECONDS, f"mcp config: {client}", edge.tell)
    return entry(own_url(), token)


def own_url() -> str:
    """The address of this user's server, or that at which it would be."""
    if info := process.running(user_paths()):
        return info.url
    from session_buddy.host.layers import load_settings  # 0.3 s

    settings = load_settings()
    return settings.url(settings.port)


def entry(url: str | None, token: str) -> Entry:
    """What a client needs of a server at an address."""
    return {"url": url, "headers": {"Authorization": f"Bearer {token}"}}
