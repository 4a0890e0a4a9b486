"""Store, writer, liveness, listeners and tools, opened and given to each other, and closed again."""

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
from typing import Final

import anyio
import structlog

from oneiric.paths import Paths
from oneiric.sweep import Deliver, sweep
from oneiric.transport import call_tool
from session_buddy import __version__
from session_buddy.access.keyring import keyring_of
from session_buddy.access.links import Links
from session_buddy.host.histories import make_own
from session_buddy.host.holders import Address
from session_buddy.host.log import also_on
from session_buddy.host.server_file import ServerInfo
from session_buddy.host.settings import Settings
from session_buddy.host.stopping import remove
from session_buddy.host.turn import turn
from session_buddy.intake.accounts import Accounts
from session_buddy.intake.admission import locally
from session_buddy.intake.exits import Exits
from session_buddy.intake.liveness import Watch
from session_buddy.intake.outbox import deliver_gone
from session_buddy.intake.presence import Presence
from session_buddy.intake.writer import Writer
from session_buddy.keep.deletion import Deletion
from session_buddy.keep.upkeep import Upkeep, upkeep_of
from session_buddy.server import signals
from session_buddy.server.app import MCP_PATH, mcp_app
from session_buddy.server.front import Front
from session_buddy.server.gate import Authenticator, Gate
from session_buddy.server.listeners import open_tcp, open_unix
from session_buddy.server.metrics.gathering import Metrics
from session_buddy.server.page.html import refusal
from session_buddy.server.publication import Publication
from session_buddy.server.register import Register
from session_buddy.server.serving import Server
from session_buddy.server.table import ROUTES
from session_buddy.server.web.guard import application
from session_buddy.server.web.routes import Services
from session_buddy.store import open_known

_FIRST_CALL_SECONDS: Final = 30
_TURN_SECONDS: Final = 20

# The start and the end of a server are told under one name.
log = structlog.stdlib.get_logger("session_buddy.server.wiring")


def run(
    settings: Settings, paths: Paths, file: Path, announce: Callable[[list[str]], None], stack: ExitStack
) -> None:
    """Open everything, serve until a signal says to stop, and let ``stack`` close it in the opposite order.

    ``file`` is the log's, for ``server.json``; ``announce`` is given the start-up lines.
    """
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
    deletion = Deletion(
        store,
        paths.outbox,
        settings.retain,
        write=lambda action: writer.run(action).result(),
        learn=lambda rows: presence.learn(rows, monotonic()),
    )
    upkeep = upkeep_of(store, writer, deletion, settings)
    accounts = Accounts()
    watch = stack.enter_context(closing(_watch(writer, presence, paths, upkeep, accounts)))
    # Closed before the watch, which begins it: no backup begins while the server goes down.
    stack.enter_context(closing(upkeep))
    register = Register(store, writer, presence, accounts=accounts)
    metrics = Metrics(
        register=register,
        tally=writer.tally,
        presence=presence,
        tokens_refused=authenticator.refused,
        backups=upkeep.backups,
        outbox=paths.outbox,
        engine="duckdb" if url.file else "postgresql",
    )
    port = tcp.getsockname()[1]
    mcp, tools = mcp_app(register, authenticator)
    links = Links(settings.url(port).removesuffix("/mcp"))
    services = Services(
        register, upkeep.back_up, deletion, authenticator.caller_of, metrics, authenticator.browsers, links
    )
    front = Front(mcp, MCP_PATH, application(ROUTES, services, refusal), settings.host_names)
    app = Gate(front, authenticator.local_token, authenticator.why_not)
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

    # Commands that want to open the database wait until it is closed.
    stack.callback(lambda: our_turn.enter_context(turn(paths, 0)))
    stack.callback(signals.ignore)
    server = Server(app, tcp, ready, publication.renew, register.let_go)
    metrics.connections = server.connections
    anyio.run(server.serve, [unix])


def _watch(writer: Writer, presence: Presence, paths: Paths, upkeep: Upkeep, accounts: Accounts) -> Watch:
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


def _sweep(deliver: Deliver, paths: Paths, upkeep: Upkeep) -> None:
    """Take the outbox in, unless another process does; before that, until it succeeds once, restore losses.

    Then backups begin, and what is too old is deleted.
    """
    now = datetime.now(UTC)
    try:
        upkeep.heal(deliver, paths, now)
    finally:
        upkeep.begin()
        sweep(paths.outbox, deliver, now=now)


def _greeting(info: ServerInfo, tools: list[str], tcp: socket.socket) -> list[str]:
    address = Address(*tcp.getsockname()[:2])
    # Not everybody expects that other machines can connect.
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
