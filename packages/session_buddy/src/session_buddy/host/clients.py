"""MCP clients of this user: where each keeps its servers, in which shape, and one of them put there."""

import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from oneiric.paths import Paths
from session_buddy.errors import ConfigurationError
from session_buddy.host.places import APP
from session_buddy.host.replacing import replace

Client = Literal["claude", "claude-code", "cursor", "vscode", "generic"]
Entry = dict[str, Any]


class Kind(NamedTuple):
    """How a client has its servers.

    Attributes:
        section: the name under which they stand.
        names_type: whether each says its transport.
        takes_http: whether one may be an address.
    """

    section: str = "mcpServers"
    names_type: bool = False
    takes_http: bool = True


KINDS: Final[dict[Client, Kind]] = {
    # Claude Desktop: addresses are added in its own settings.
    "claude": Kind(takes_http=False),
    "claude-code": Kind(names_type=True),
    "cursor": Kind(),
    "vscode": Kind("servers", names_type=True),
    "generic": Kind(),
}


def file_of(client: Client, paths: Paths, environ: Mapping[str, str]) -> Path | None:
    """The file in which a client keeps the servers of this user; ``None`` where that is anybody's guess."""
    folder = environ.get("CLAUDE_CONFIG_DIR", "")
    return {
        "claude": paths.config / "Claude" / "claude_desktop_config.json",
        "claude-code": (Path(folder) if folder else paths.home) / ".claude.json",
        "cursor": paths.home / ".cursor" / "mcp.json",
        "vscode": paths.config / "Code" / "User" / "mcp.json",
    }.get(client)


def document(client: Client, entry: Entry) -> dict[str, Any]:
    """A whole file with no other server in it."""
    kind = KINDS[client]
    shaped = {"type": "http" if "url" in entry else "stdio"} if kind.names_type else {}
    return {kind.section: {APP: {**shaped, **entry}}}


def merge(client: Client, file: Path, entry: Entry) -> bool:
    """Put the server into a client's file, whose other entries stay; whether that changed it.

    Raises:
        ConfigurationError: the file is no JSON that can be kept as it is, or cannot be changed; it was not.
    """
    try:
        before = _read(file)
        after = _merged(before or "", document(client, entry), file)
        if after == before:
            return False
        mode = stat.S_IMODE(file.stat().st_mode) if before is not None else 0o600
        if _read(file) != before:
            raise _as_it_was(file, "its program has just changed it; try again")
        replace(file, after, mode)
    except (OSError, UnicodeError) as error:
        raise _as_it_was(file, getattr(error, "strerror", None) or str(error)) from None
    return True


def _read(file: Path) -> str | None:
    """What is in it; ``None`` where there is none."""
    try:
        # A FIFO would keep its reader waiting for somebody who writes.
        with open(file, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise _as_it_was(file, "it is no regular file")
            return opened.read().decode()
    except FileNotFoundError:
        return None


def _merged(text: str, added: Mapping[str, Any], file: Path) -> str:
    ((section, servers),) = added.items()
    try:
        known = json.loads(text, object_pairs_hook=_once) if text.strip() else {}
        if not isinstance(known, dict) or not isinstance(known.setdefault(section, {}), dict):
            raise _as_it_was(file, f"its {section} is no object")
        if all(known[section].get(name) == entry for name, entry in servers.items()):
            return text
        known[section].update(servers)
        indent = re.search(r"^\{\r?\n([ \t]+)\"", text.lstrip())
        written = json.dumps(
            known, indent=indent[1] if indent else 2, ensure_ascii=text.isascii(), allow_nan=False
        )
    except (ValueError, RecursionError) as error:
        what = f"it is no plain JSON ({error}), as where it has comments"
        raise _as_it_was(file, f"{what}; put in there what this prints without --write") from None
    return written + "\n" * (text.endswith("\n") or not text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of two values of one name, one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def _as_it_was(file: Path, why: str) -> ConfigurationError:
    return ConfigurationError(f"{file} was left as it is: {why}")
