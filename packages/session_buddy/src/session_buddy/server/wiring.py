"""The server as a process: made ready, run in the foreground, and what is logged of its end."""

import gc
import os
import resource
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

import structlog

from oneiric.paths import user_paths
from session_buddy.errors import ServerFailed, SessionBuddyError
from session_buddy.host.log import log_file, set_up_logging
from session_buddy.host.process import only_one
from session_buddy.host.settings import Settings
from session_buddy.host.stopping import STOPPED, clear_stop_marker, read_stop_marker
from session_buddy.server import signals

# A batch of events makes 30,000 objects: to look for garbage as often as Python does by itself, after every
# 700 or 2,000, takes a quarter of the time that they take in all.
COLLECT_AFTER: Final = 50_000
_MANY_FILES: Final = 65_536

log = structlog.stdlib.get_logger("session_buddy.server.wiring")


def serve(settings: Settings, announce: Callable[[list[str]], None], *, unless_stopped: bool = False) -> None:
    """Run the server in the foreground until SIGTERM, SIGINT or SIGHUP; returns when everything is closed.

    ``announce`` is given the start-up lines, once the server answers.

    Raises:
        AlreadyRunning: this user's server is up.
        PortTaken: another program listens on the port.
        ConfigurationError: host, port or secret cannot be used.
        StoreError: the database cannot be used.
        ServerFailed: ``unless_stopped``, and ``mcp stop`` came before.
    """
    _prepare_process()
    paths = user_paths()
    with ExitStack() as stack:
        stack.enter_context(only_one(paths, "server"))
        if not unless_stopped:
            clear_stop_marker(paths)
        elif read_stop_marker(paths):
            raise ServerFailed(STOPPED)
        file = log_file(paths)
        set_up_logging(file, settings.log_level)
        try:
            # Not at the top: a command line that only wants to say "already running" does without these.
            from session_buddy.server.assembly import run

            run(settings, paths, file, announce, stack)
        except SessionBuddyError as problem:
            log.warning("server did not start", reason=str(problem))
            raise
        except Exception:
            # A library may make an error of its own of an exit that comes while it is imported.
            if not signals.has_left():
                log.exception("server failed")
                raise
    log.info("server stopped")


def _prepare_process() -> None:
    os.umask(0o077)
    # The MCP library would colour the terminal with its own log, read a .env of the current folder, and
    # do what the variables of this user's other servers say.
    for name in [name for name in os.environ if name.upper().startswith("FASTMCP_")]:
        del os.environ[name]
    os.environ.update(FASTMCP_LOG_ENABLED="false", FASTMCP_ENV_FILE=os.devnull)
    # Each connection takes a descriptor.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MANY_FILES if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    gc.set_threshold(COLLECT_AFTER)
    signals.leave_at_once()
