"""This user's server for a bridge: found, or brought back as it was; never against ``mcp stop``."""

from collections.abc import Mapping
from threading import Lock
from typing import Final

from oneiric.paths import Paths
from oneiric.transport import Endpoint
from session_buddy.errors import ServerFailed
from session_buddy.host import process
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.histories import same
from session_buddy.host.server_file import ServerInfo, read_server_file
from session_buddy.host.stopping import STOPPED, read_stop_marker

_STARTING: Final = Lock()


def find_server(paths: Paths, flags: Mapping[str, object]) -> Endpoint:
    """Where this user's server listens; one is started with these options of ``mcp start`` if need be.

    Raises:
        ServerFailed: it hangs, was stopped, or does not come up.
    """
    info = process.running(paths)
    if info is None:
        with _STARTING:  # each of several first messages would start one
            info = process.running(paths) or _restart_as_before(paths, flags)
    process.require_answer(info)
    return info.endpoint


def unless_set(database: str) -> str | None:
    """A database as an option, unless the settings mean the same one: they may know its password."""
    from session_buddy.host.layers import load_settings  # 0.3 s

    return None if same(load_settings().database_url(), DatabaseUrl.parse(database)) else database


def _restart_as_before(paths: Paths, flags: Mapping[str, object]) -> ServerInfo:
    marker = read_stop_marker(paths)
    if marker is None:
        try:
            last = read_server_file(paths)  # of one that was killed
            options = {**flags, "unless_stopped": True}
            if last is not None and flags.get("db") is None:
                options["db"] = unless_set(last.database)
            return process.start_background(paths, options, process.last_settings(paths))[0]
        except ServerFailed:
            marker = read_stop_marker(paths)
            if marker is None:
                raise
    info = process.wait_running(paths, process.START_SECONDS) if marker == "restart" else None
    if info is None:
        raise ServerFailed(STOPPED)
    return info
