"""The server: wires store, writer, liveness, listeners and tools together, and takes them down again."""

import gc
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

import anyio
import structlog

from oneiric.paths import Paths, user_paths
from oneiric.sweep import sweep
from oneiric.transport import ServerInfo, call_tool, read_server_file
from session_buddy import __version__
from session_buddy.errors import ConfigurationError, SessionBuddyError
from session_buddy.host.log import log_file, set_up_logging
from session_buddy.host.places import file_of
from session_buddy.host.process import only_one
from session_buddy.host.settings import Settings
from session_buddy.keep.backups import Backup, Backups
from session_buddy.keep.keeper import Keeper

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from session_buddy.intake.writer import Writer
    from session_buddy.store import Store

# A batch of events makes 30,000 objects: to look for garbage as often as Python does by itself, after every
# 700 or 2,000, takes a quarter of the time that they take in all.
COLLECT_AFTER: Final = 50_000
_MANY_FILES: Final = 65_536
_GRACE_SECONDS: Final = 3
_FIRST_CALL_SECONDS: Final = 30
_ENDING: Final = (signal.SIGTERM, signal.SIGINT)

log = structlog.stdlib.get_logger("session_buddy.server.wiring")


def serve(settings: Settings, announce: Callable[[str], None] = print) -> None:
    """Run the server in the foreground until SIGTERM or SIGINT; returns when everything is closed.

    Args:
        settings: see :class:`Settings`.
        announce: is given each start-up line, once the server answers.

    Raises:
        AlreadyRunning: this user's server is up.
        PortTaken: another program listens on the port.
        ConfigurationError: host, port or secret cannot be used.
        StoreError: the database cannot be used.
    """
    _prepare_process()
    paths = user_paths()
    with ExitStack() as stack:
        stack.enter_context(only_one(paths))
        _forget_killed(paths.server_file)
        file = log_file(paths)
        set_up_logging(file, settings.log_level)
        try:
            _run(settings, paths, file, announce, stack)
        except SessionBuddyError as problem:
            log.warning("server did not start", reason=str(problem))
            raise
        except Exception:
            log.exception("server failed")
            raise
    log.info("server stopped")


def _prepare_process() -> None:
    os.umask(0o077)
    # The MCP library would colour the terminal with its own log, and read a .env of whatever folder this is.
    os.environ.update(FASTMCP_LOG_ENABLED="false", FASTMCP_ENV_FILE=os.devnull)
    # Idle connections of strangers must not use up what the Unix socket's listener needs.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MANY_FILES if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    gc.set_threshold(COLLECT_AFTER)
    # Until the server takes over, a SIGTERM unwinds what was opened so far.
    signal.signal(signal.SIGTERM, _leave)


def _leave(*_: object) -> None:
    _ignore_signals()
    sys.exit(0)


def _ignore_signals() -> None:
    """From now on things are closed: a second signal must not stop that half-way."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


def _forget_killed(path: Path) -> None:
    """Remove a killed server's ``server.json``: beside our socket, it would pass its pid off as ours."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be removed: {error.strerror}") from None


def _run(
    settings: Settings, paths: Paths, file: Path, announce: Callable[[str], None], stack: ExitStack
) -> None:
    """Open everything, serve, and let ``stack`` close it in the opposite order."""
    # Not at the top: a command line that only wants to say "already running" does without these.
    from session_buddy.access.secret import accepted_secrets
    from session_buddy.intake.liveness import Watch
    from session_buddy.intake.presence import Presence
    from session_buddy.intake.writer import Writer
    from session_buddy.server.app import build_app
    from session_buddy.server.gate import Authenticator, Gate
    from session_buddy.server.listeners import open_tcp, open_unix
    from session_buddy.server.register import Register
    from session_buddy.store.known import open_known

    authenticator = Authenticator(accepted_secrets(settings, paths))
    tcp = stack.enter_context(open_tcp(settings.host, settings.port))
    store = stack.enter_context(closing(open_known(settings.database_url(paths), paths)))
    presence = Presence(settings.heartbeat_seconds, settings.lease_seconds)
    presence.learn(store.live(), monotonic())
    writer = stack.enter_context(Writer(store, presence))
    backups = Backups(file_of(store.url))
    # Whoever asked for a backup may have hung up; the thread that makes it is waited for here.
    stack.callback(backups.wait)
    make_backup = partial(_back_up, backups, store, writer, settings.backup.keep)
    keeper = Keeper(backups, make_backup, timedelta(hours=settings.backup.every_hours))
    watch = Watch(presence, writer.ingest, partial(_sweep, store, writer, paths, keeper))
    stack.enter_context(closing(watch))
    # Closed before the watch, which starts it: no backup begins while the server goes down.
    stack.enter_context(closing(keeper))
    register = Register(store, writer, presence)
    app, tools = build_app(register, authenticator, settings.allowed_hosts, make_backup)
    unix = stack.enter_context(_unlinked_after(open_unix(paths.socket), paths.socket))
    info = _describe(settings, paths, store, tcp, file)

    def ready() -> None:
        # A whole call, socket to database: what is announced has been seen to work, and the first caller
        # does not wait for what the libraries load on their first call.
        call_tool(info.endpoint, "health_check", {}, _FIRST_CALL_SECONDS)
        stack.enter_context(_published(paths, info))
        watch.start()
        log.info("server started", url=info.url, socket=str(info.socket), database=info.database, tools=tools)
        for line in _greeting(info, tools, tcp):
            announce(line)

    stack.callback(_ignore_signals)
    anyio.run(_serve, Gate(app, paths.socket, authenticator.local_token), [unix, tcp], ready)


def _sweep(store: "Store", writer: "Writer", paths: Paths, keeper: Keeper) -> bool:
    """Take the outbox in, if nobody else does; before that, until it has succeeded once, what was lost.

    Then backups begin.
    """
    from session_buddy.intake.admission import locally
    from session_buddy.keep.losses import make_up

    now = datetime.now(UTC)
    try:
        if store.gap is not None:
            make_up(store, writer.ingest, paths, now)
            writer.run(store.forget_gap).result()
    finally:
        keeper.start()
        swept = sweep(paths.outbox, locally(writer.ingest, now), now=now)
    return swept


def _back_up(backups: Backups, store: "Store", writer: "Writer", keep: int) -> Backup:
    now = datetime.now(UTC)
    return backups.make(lambda path: writer.run(partial(store.backup, path)).result(), now, keep)


async def _serve(app: "ASGIApp", listeners: list[socket.socket], ready: Callable[[], None]) -> None:
    """Answer at the listeners until a signal says to stop; ``ready`` is called once they answer."""
    import uvicorn

    class Server(uvicorn.Server):
        """Ends quietly: the library's would raise the signal again and so end the process by it."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            await anyio.to_thread.run_sync(ready)

        @contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            # Not the loop's own handlers: with its end, the signals would kill again.
            for number in _ENDING:
                signal.signal(number, self.stop)
            yield

        def stop(self, *_: object) -> None:
            self.force_exit = self.should_exit
            self.should_exit = True

    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        # Believing a header about where a request comes from is a proxy's business, and we have none.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    await Server(config).serve(sockets=listeners)


def _describe(settings: Settings, paths: Paths, store: "Store", tcp: socket.socket, file: Path) -> ServerInfo:
    return ServerInfo(
        socket=paths.socket,
        url=settings.url(tcp.getsockname()[1]),
        pid=os.getpid(),
        version=__version__,
        database=store.url,
        started_at=datetime.now(UTC).isoformat(),
        log=str(file),
    )


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


@contextmanager
def _published(paths: Paths, info: ServerInfo) -> Iterator[None]:
    """``server.json`` while the server answers; written whole, removed if it is still ours."""
    path = paths.server_file
    draft = path.with_name(f".server.{info.pid}.json")
    try:
        draft.write_text(json.dumps({**info._asdict(), "socket": str(info.socket)}), encoding="utf-8")
        draft.chmod(0o600)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        said = read_server_file(paths)
        if said is not None and said.pid == info.pid:
            path.unlink(missing_ok=True)


@contextmanager
def _unlinked_after(listener: socket.socket, path: Path) -> Iterator[socket.socket]:
    with listener:
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)
