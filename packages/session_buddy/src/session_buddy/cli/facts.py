"""What ``mcp status`` tells of this user's server: facts, and those facts for people."""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from oneiric.config import named_url
from oneiric.transport import CallRefused
from session_buddy.cli import edge
from session_buddy.cli.text import hanging, local_time
from session_buddy.client import ask
from session_buddy.errors import ServerFailed, SessionBuddyError
from session_buddy.history.words import human_duration, shown
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.server_file import ServerInfo
from session_buddy.keep.backups import Backups

ANSWER_SECONDS: Final = 5.0
_INDENT: Final = 20


def _joined(listens_on: Sequence[Mapping[str, Any]]) -> str:
    from session_buddy.host.holders import Address  # 30 ms of psutil

    return ", ".join(str(Address(**address)) for address in listens_on)


def _when(iso: str | None) -> str:
    return local_time(iso) if iso else "none so far"


# The server's own start-up lines have these names, too.
_LINES: Final[Mapping[str, tuple[str, Callable[[Any], str]]]] = {
    "address": ("Address", str),
    "listens_on": ("Listens on", _joined),
    "socket": ("Socket", str),
    "database": ("Database", str),
    "last_backup": ("Last backup", _when),
    "backups_error": ("Last backup", str),
    "uptime_seconds": ("Uptime", human_duration),
    "live_sessions": ("Live sessions", str),
    "tools": ("Tools registered", ", ".join),
    "log": ("Log", str),
}


def of_server(info: ServerInfo | None) -> dict[str, Any]:
    """What is known of a server, ready for JSON.

    ``running`` is whether it answers and can read its database; where a process is there that does not,
    ``error`` says why.
    """
    if info is None:
        return {"running": False}
    known = {"pid": info.pid, "version": info.version, "address": info.url, "log": info.log}
    try:
        health = ask.call(info.endpoint, "health_check", {}, timeout=ANSWER_SECONDS)
    except (ServerFailed, CallRefused) as error:
        return {"running": False, **known, "error": str(error)}
    from session_buddy.host.holders import addresses_of  # 30 ms of psutil

    found = {name: health[name] for name in ("uptime_seconds", "database", "live_sessions", "tools")}
    return {
        "running": True,
        **known,
        **found,
        "listens_on": [address._asdict() for address in addresses_of(info.pid)],
        "socket": str(info.socket),
        **_last_backup(info),
    }


def _last_backup(info: ServerInfo) -> dict[str, str | None]:
    """When the last backup of its file was made, ``None`` if there is none; or why that is unknown."""
    file = DatabaseUrl.parse(info.database).file
    if file is None:
        return {}
    try:
        last = Backups(file).last(datetime.now(UTC))
    except SessionBuddyError as error:
        return {"backups_error": str(error)}
    return {"last_backup": last.made_at.isoformat() if last else None}


def tell_named(this: str) -> None:
    """Where the environment names another server, say so, and what ``this`` command does all the same."""
    address = named_url(os.environ)
    if address is not None:
        edge.tell(f"SESSION_BUDDY_MCP_ENDPOINT names another server, {address}; {this}.")


def in_words(found: Mapping[str, Any]) -> str:
    """The facts of a running server as lines that fit the terminal."""
    lines = [f"Session-Buddy {found['version']} is running (pid {found['pid']})."]
    for name, (label, text) in _LINES.items():
        if found.get(name, []) != []:
            value = "\n".join(hanging(shown(text(found[name])), _INDENT, edge.width()))
            lines.append(f"  {label + ':':<{_INDENT - 2}}{value}")
    return "\n".join(lines)
