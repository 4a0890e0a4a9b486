"""The server: wires store, writer, liveness, listeners and tools together, and takes them down again."""

import gc
import os
import resource
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

import anyio
import structlog

from oneiric.paths import Paths, user_paths
from oneiric.sweep import Deliver, sweep
from oneiric.transport import call_tool
from session_buddy import __version__
from session_buddy.errors import ServerFailed, SessionBuddyError
from session_buddy.host.histories import make_own
from session_buddy.host.log import also_on, log_file, set_up_logging
from session_buddy.host.process import only_one
from session_buddy.host.server_file import ServerInfo
from session_buddy.host.settings import Settings
from session_buddy.host.stopping import STOPPED, clear_stop_marker, read_stop_marker, remove
from session_buddy.host.turn import turn
from session_buddy.intake.outbox import deliver_gone
from session_buddy.server import signals

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from session_buddy.host.database_url import DatabaseUrl
    from session_buddy.intake.accounts import Accounts
    from session_buddy.intake.liveness import Watch
    from session_buddy.intake.presence import Presence
    from session_buddy.intake.writer import Writer
    from session_buddy.keep.deletion import Deletion
    from session_buddy.keep.upkeep import Upkeep
    from session_buddy.server.gate import Authenticator
    from session_buddy.server.metrics.gathering import Metrics
    from session_buddy.server.register import Register
    from session_buddy.store import Store

# A batch of events makes 30,000 objects: to look for garbage as often as Python does by itself, after every
# 700 or 2,000, takes a quarter of the time that they take in all.
COLLECT_AFTER: Final = 50_000
_MANY_FILES: Final = 65_536
_FIRST_CALL_SECONDS: Final = 30
_TURN_SECONDS: Final = 20

log = structlog.stdlib.get_logger("session_buddy.server.wiring")


def serve(settings: Settings, announce: Callable[[list[str]], None], *, unless_stopped: bool = False) -> None:
    """Run the server in the foreground until SIGTERM, SIGINT or SIGHUP; returns when everything is closed.

    Args:
        settings: see :class:`Settings`.
        announce: is given the start-up lines, once the server answers.
        unless_stopped: leave, if ``mcp stop`` came in between.

    Raises:
        AlreadyRunning: this user's server is up.
        PortTaken: another program listens on the port.
        ConfigurationError: host, port or secret cannot be used.
        StoreError: the database cannot be used.
        ServerFailed: it was stopped.
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
            _run(settings, paths, file, announce, stack)
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
    # The MCP library would colour the terminal with its own log, read a .env of whatever folder this is, and
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


def _run(
    settings: Settings, paths: Paths, file: Path, announce: Callable[[list[str]], None], stack: ExitStack
) -> None:
    """Open everything, serve, and let ``stack`` close it in the opposite order."""
    # Not at the top: a command line that only wants to say "already running" does without these.
    from session_buddy.access.keyring import keyring_of
    from session_buddy.intake.accounts import Accounts
    from session_buddy.intake.presence import Presence
    from session_buddy.intake.writer import Writer
    from session_buddy.keep.upkeep import upkeep_of
    from session_buddy.server.gate import Authenticator
    from session_buddy.server.listeners import open_tcp, open_unix
    from session_buddy.server.publication import Publication
    from session_buddy.server.register import Register
    from session_buddy.server.serving import Server
    from session_buddy.store import open_known

    tcp = stack.enter_context(open_tcp(settings.host, settings.port))
    url = settings.database_url(paths)
    # The folder where it was started may be on a disk that somebody wants to unmount.
    os.chdir("/")
    # Until it can be asked, commands that want to open the database wait.
    our_turn = stack.enter_context(ExitStack())
    our_turn.enter_context(turn(paths, _TURN_SECONDS))
    with also_on(sys.stderr, "session_buddy.store"):
        store = stack.enter_context(closing(open_known(url, paths, query_seconds=settings.query_seconds)))
    keyring = stack.enter_context(closing(keyring_of(settings, paths, store.keys)))
    authenticator = Authenticator(keyring, store.instance)
    presence = Presence(settings.heartbeat_seconds, settings.lease_seconds)
    presence.learn(store.live(), monotonic())
    writer = stack.enter_context(Writer(store, presence))
    deletion = _deletion(store, writer, presence, paths, settings)
    upkeep = upkeep_of(store, writer, deletion, settings)
    accounts = Accounts()
    watch = stack.enter_context(closing(_watch(writer, presence, paths, upkeep, accounts)))
    # Closed before the watch, which begins it: no backup begins while the server goes down.
    stack.enter_context(closing(upkeep))
    register = Register(store, writer, presence, accounts=accounts)
    metrics = _metrics(register, writer, presence, authenticator, upkeep, paths=paths, url=url)
    port = tcp.getsockname()[1]
    app, tools = _application(
        register, authenticator, upkeep, deletion, metrics=metrics, settings=settings, port=port
    )
    # Left by a killed server: with our socket open, clients would read its address and database as ours.
    remove(paths.server_file)
    unix = open_unix(paths.socket)
    info = ServerInfo(
        socket=paths.socket,
        url=settings.url(port),
        pid=os.getpid(),
        version=__version__,
        database=str(store.url),
        started_at=datetime.now(UTC).isoformat(),
        log=str(file),
    )
    publication = stack.enter_context(closing(Publication(unix, info, settings.variables(port))))

    def ready() -> None:
        # A whole call, socket to database: what is announced has been seen to work, and the first caller
        # does not wait for what the libraries load on their first call.
        call_tool(info.endpoint, "health_check", {}, _FIRST_CALL_SECONDS)
        publication.publish()
        make_own(url, paths)
        our_turn.close()
        watch.start()
        log.info("server started", url=info.url, socket=str(info.socket), database=info.database, tools=tools)
        announce(_greeting(info, tools, tcp))

    # Whoever wants the database waits until it is closed.
    stack.callback(lambda: our_turn.enter_context(turn(paths, 0)))
    stack.callback(signals.ignore)
    server = Server(app, tcp, ready, publication.renew, register.let_go)
    metrics.connections = server.connections
    anyio.run(server.serve, [unix])


def _application(
    register: "Register",
    authenticator: "Authenticator",
    upkeep: "Upkeep",
    deletion: "Deletion",
    *,
    metrics: "Metrics",
    settings: Settings,
    port: int,
) -> tuple["ASGIApp", list[str]]:
    """Everything that answers, and the names of the tools."""
    from session_buddy.access.links import Links
    from session_buddy.server.app import MCP_PATH, mcp_app
    from session_buddy.server.front import Front
    from session_buddy.server.gate import Gate
    from session_buddy.server.table import ROUTES
    from session_buddy.server.web.guard import application
    from session_buddy.server.web.routes import Services

    mcp, tools = mcp_app(register, authenticator)
    links = Links(settings.url(port).removesuffix("/mcp"))
    services = Services(
        register, upkeep.back_up, deletion, authenticator.caller_of, metrics, authenticator.browsers, links
    )
    front = Front(mcp, MCP_PATH, application(ROUTES, services), settings.host_names)
    return Gate(front, authenticator.local_token, authenticator.why_not), tools


def _metrics(
    register: "Register",
    writer: "Writer",
    presence: "Presence",
    authenticator: "Authenticator",
    upkeep: "Upkeep",
    *,
    paths: Paths,
    url: "DatabaseUrl",
) -> "Metrics":
    from session_buddy.server.metrics.gathering import Metrics

    return Metrics(
        register=register,
        tally=writer.tally,
        presence=presence,
        tokens_refused=authenticator.refused,
        backups=upkeep.backups,
        outbox=paths.outbox,
        engine="duckdb" if url.file else "postgresql",
    )


def _deletion(
    store: "Store", writer: "Writer", presence: "Presence", paths: Paths, settings: Settings
) -> "Deletion":
    from session_buddy.keep.deletion import Deletion

    return Deletion(
        store,
        paths.outbox,
        settings.retain,
        write=lambda action: writer.run(action).result(),
        learn=lambda rows: presence.learn(rows, monotonic()),
    )


def _watch(
    writer: "Writer", presence: "Presence", paths: Paths, upkeep: "Upkeep", accounts: "Accounts"
) -> "Watch":
    from session_buddy.intake.admission import locally
    from session_buddy.intake.exits import Exits
    from session_buddy.intake.liveness import Watch

    deliver = locally(writer.ingest, accounts, tally=writer.tally)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    exits = Exits(files // 2)
    presence.on_arrival = exits.wake
    return Watch(
        presence,
        writer.ingest,
        partial(deliver_gone, paths.outbox, deliver=deliver),
        partial(_sweep, deliver, paths, upkeep),
        exits,
    )


def _sweep(deliver: Deliver, paths: Paths, upkeep: "Upkeep") -> None:
    """Take the outbox in, if nobody else does; before that, until it has succeeded once, what was lost.

    Then backups begin, and what is too old is deleted.
    """
    now = datetime.now(UTC)
    try:
        upkeep.heal(deliver, paths, now)
    finally:
        upkeep.begin()
        sweep(paths.outbox, deliver, now=now)


def _greeting(info: ServerInfo, tools: list[str], tcp: socket.socket) -> list[str]:
    from session_buddy.host.holders import Address

    address = Address(*tcp.getsockname()[:2])
    # For whoever would not expect that other machines can connect.
    public = [f"Listens on: {address}"] if address.everywhere else []
    return [
        f"Session-Buddy {info.version} started (pid {info.pid})",
        f"Address: {info.url}",
        *public,
        f"Socket: {info.socket}",
        f"Database: {info.database}",
        f"Tools registered: {', '.join(tools)}",
        f"Log: {info.log}",
    ]
