"""``mcp start|stop|restart|status|health``: the server as users handle it."""

import json
import shlex
import sys
import time
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Final, Literal

import typer

from oneiric.paths import user_paths
from oneiric.transport import Endpoint
from session_buddy.cli import edge, facts
from session_buddy.cli.wording import App
from session_buddy.client import ask
from session_buddy.errors import AlreadyRunning, ConfigurationError, ServerFailed, SessionBuddyError
from session_buddy.host import process, stopping
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.histories import databases, own, same
from session_buddy.host.server_file import ServerInfo
from session_buddy.host.variables import PORT

NOT_RUNNING: Final = 3
_RIVAL_SECONDS: Final = 1.0
_CHECK_SECONDS: Final = 60.0
_LOCAL_ONLY: Final = (
    "mcp health, list-sessions and show-session ask that one, this command looks at the local one only"
)
_IF_REFUSED: Final = "it does not know this user's secret any more: session-buddy mcp restart"

app = App(name="mcp", help="The MCP server: start, stop and look at it.", no_args_is_help=True)

Host = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Address to listen on; 127.0.0.1 unless set otherwise.")
]
Port = Annotated[
    int | None,
    typer.Option(min=0, max=65535, metavar="N", help="TCP port to listen on; 8678 unless set otherwise."),
]
Database = Annotated[
    str | None, typer.Option(metavar="PATH", help="Database: a path, or a URL like duckdb:////path.")
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    typer.Option(help="How much the log says; info unless set otherwise."),
]

_START_EXAMPLES: Final = """\b
Examples:
  session-buddy mcp start                        in the foreground; Ctrl-C stops it
  session-buddy mcp start --background           returns once the server answers
  session-buddy mcp start --port 9000 --db /srv/sessions.duckdb
  session-buddy mcp start --transport stdio      what an agent's MCP client runs"""

_STOP_EXAMPLES: Final = """\b
Examples:
  session-buddy mcp stop
  session-buddy mcp stop --force        ends one that does not answer"""

_RESTART_EXAMPLES: Final = """\b
Examples:
  session-buddy mcp restart
  session-buddy mcp restart --port 9000"""

_HEALTH_EXAMPLES: Final = """\b
Examples:
  session-buddy mcp health || session-buddy mcp restart"""

_STATUS_EXAMPLES: Final = """\b
Examples:
  session-buddy mcp status
  session-buddy mcp status --format json | jq .live_sessions"""


@app.command(epilog=_START_EXAMPLES)
def start(
    *,
    background: Annotated[
        bool, typer.Option("--background", "-b", help="Return once the server answers.")
    ] = False,
    transport: Annotated[
        Literal["http", "stdio"],
        typer.Option(help="stdio: serve one MCP client, through the running server."),
    ] = "http",
    host: Host = None,
    port: Port = None,
    db: Database = None,
    log_level: LogLevel = None,
    unless_stopped: Annotated[bool, typer.Option("--unless-stopped", hidden=True)] = False,
) -> None:
    """Start the server. One that runs already is left alone."""
    flags = {"host": host, "port": port, "db": db, "log_level": log_level}
    if transport == "stdio":
        _bridge(flags)
    elif (info := process.running(user_paths())) is not None:
        _tell_already(info, flags)
    elif background:
        _start_background(flags)
    else:
        _serve(flags, unless_stopped=unless_stopped)


@app.command(epilog=_STOP_EXAMPLES)
def stop(
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Kill it if it does not stop by itself within 5 s.")
    ] = False,
) -> None:
    """Stop the server; acknowledged events are on disk."""
    _stop(force=force)
    facts.tell_named(_LOCAL_ONLY)


@app.command(epilog=_RESTART_EXAMPLES)
def restart(host: Host = None, port: Port = None, db: Database = None, log_level: LogLevel = None) -> None:
    """Stop the server, start it in the background.

    It starts with the settings as they are now, also if none ran. If it cannot, the one that ran runs on,
    or again.
    """
    from session_buddy.client.local import unless_set
    from session_buddy.host.layers import load_settings  # 0.3 s

    flags: dict[str, Any] = {"host": host, "port": port, "db": db, "log_level": log_level}
    load_settings(**flags).database_url()  # wrong settings stop no server
    paths = user_paths()
    ran, settings = process.running(paths), process.last_settings(paths)
    _stop(restarting=True)
    try:
        _start_background(flags)
    except SessionBuddyError as error:
        stopping.clear_stop_marker(paths)
        if ran is None:
            raise
        try:
            process.start_background(paths, {"db": unless_set(ran.database)}, settings)
        except SessionBuddyError as second:
            raise ServerFailed(f"{error}; nor can the one that ran be started again: {second}") from None
        raise ServerFailed(f"{error}; the server runs again as it did") from None


def _stop(*, force: bool = False, restarting: bool = False) -> None:
    pid = stopping.stop(user_paths(), force=force, restarting=restarting)
    if pid is None:
        edge.say("Session-Buddy is not running.")
    else:
        edge.say(f"Session-Buddy (pid {pid}) is stopped.")


@app.command(epilog=_STATUS_EXAMPLES)
def status(
    form: Annotated[
        Literal["text", "json"], typer.Option("--format", "-f", help="json: one object, for programs.")
    ] = "text",
) -> None:
    """Say whether the server runs, and where.

    Exit code 0 if it runs, answers and can read its database, 3 if not.
    """
    found = facts.of_server(process.running(user_paths()))
    if form == "json":
        edge.say(json.dumps(found))
    elif found["running"]:
        edge.say(facts.in_words(found))
    elif "error" in found:
        edge.tell(f"Error: {found['error']} (pid {found['pid']}, log {found['log']})")
    else:
        edge.say("Session-Buddy is not running. Start it with: session-buddy mcp start")
    facts.tell_named(_LOCAL_ONLY)
    if not found["running"]:
        raise typer.Exit(NOT_RUNNING)


@app.command(epilog=_HEALTH_EXAMPLES)
def health() -> None:
    """Call the server over TCP, read its database.

    A real MCP call with a token, to the server that SESSION_BUDDY_MCP_ENDPOINT names, else to this user's
    own. Exit code 0 or 1.
    """
    named = ask.named_server()
    server = named or _over_tcp()
    hint = ask.IF_REFUSED if named else _IF_REFUSED
    answer = ask.call(server, "health_check", {}, if_refused=hint, timeout=facts.ANSWER_SECONDS)
    edge.say(
        f"Healthy: {server.url} answers, database {answer['database']} is readable,"
        f" {answer['live_sessions']} live sessions."
    )


def _over_tcp() -> Endpoint:
    """This user's server by its TCP address, with a token that serves for one call."""
    info = process.running(user_paths())
    if info is None:
        raise ServerFailed("Session-Buddy is not running; start it with `session-buddy mcp start`")
    process.require_answer(info)
    from session_buddy.access.own import sign_own  # signing: 0.2 s

    return Endpoint(url=info.url, token=sign_own(["read"], _CHECK_SECONDS))


def _start_background(flags: dict[str, Any]) -> None:
    facts.tell_named(_LOCAL_ONLY)
    notices = _database_notices(flags)
    info, is_new = process.start_background(user_paths(), flags, tell=edge.tell)
    if is_new:
        edge.say(f"Session-Buddy is running at {info.url} (pid {info.pid}, database {info.database}).")
        from session_buddy.host.holders import addresses_of  # 30 ms of psutil

        addresses = addresses_of(info.pid)
        # The address names one way in.
        if any(address.everywhere for address in addresses):
            edge.say(f"Listens on: {', '.join(map(str, addresses))}")
        edge.tell_all(notices)
    else:
        _tell_already(info, flags)


def _serve(flags: dict[str, Any], *, unless_stopped: bool) -> None:
    from session_buddy.host.layers import load_settings  # 0.3 s
    from session_buddy.server.wiring import serve  # 2 s that only the server needs

    facts.tell_named(_LOCAL_ONLY)
    settings, notices = load_settings(**flags), _database_notices(flags)
    deadline = time.monotonic() + process.START_SECONDS
    while True:
        try:
            serve(settings, partial(_announce, notices), unless_stopped=unless_stopped)
        except AlreadyRunning:
            # It may be coming up, and then it is the one; or going down, and then it is our turn.
            info = process.wait_running(user_paths(), _RIVAL_SECONDS)
            if info is not None:
                return _tell_already(info, flags)
            if time.monotonic() > deadline:
                raise
        else:
            # Its terminal may be gone: that is no failure any more.
            with suppress(edge.Unprintable):
                # ^C stands on the last line.
                edge.say("\nSession-Buddy is stopped." if edge.on_terminal() else "Session-Buddy is stopped.")
            return None


def _announce(notices: list[str], lines: list[str]) -> None:
    """Print the server's start-up lines; behind the first, what only the command line says."""
    first, *others = lines
    if edge.on_terminal():
        first += "\nCtrl-C stops it"
    try:
        try:
            edge.say(first)
        finally:
            edge.tell_all(notices)
        edge.say("\n".join(others))
    except edge.Unprintable as problem:
        edge.tell(f"Warning: {problem}; the server runs all the same, its log has what it says")


def _bridge(flags: dict[str, Any]) -> None:
    from session_buddy.client.bridge import Bridge, lines  # 60 ms of http.client
    from session_buddy.client.local import find_server

    if sys.stdin is None or sys.stdout is None:
        raise ConfigurationError(
            "--transport stdio needs standard input and output, one of them is closed: open both"
        )

    paths = user_paths()
    if ask.named_server() is None and (ask.names_database() or any(flags.values())):
        info = process.running(paths)
        edge.tell_all(_database_notices(flags) if info is None else _differing(info, flags))
    messages = lines(sys.stdin.fileno(), sys.stdout.fileno())
    with edge.output() as stream:
        Bridge(lambda: ask.named_server() or find_server(paths, flags), stream.buffer).run(messages)


def _database_notices(flags: dict[str, Any]) -> list[str]:
    """What to say once a server has a database that was not there, or that is another than before."""
    from session_buddy.host.layers import load_settings  # 0.3 s

    url, paths = load_settings(**flags).database_url(), user_paths()
    before, notices = own(paths), []
    if same(url, before):
        return []
    if url.file and not url.file.exists():
        notices.append(f"There was no database {url.name}: it is made.")
    if databases(paths):
        notices.append(f"Your own history is {url.name} from now on; before, it was {before.name}.")
    return notices


def _tell_already(info: ServerInfo, flags: dict[str, Any]) -> None:
    """Where a server runs, there is nothing to start; it fails if that one has other settings."""
    process.require_answer(info)
    edge.say(f"Session-Buddy is already running at {info.url} (pid {info.pid}, database {info.database}).")
    if differing := _differing(info, flags):
        from session_buddy.host.layers import load_settings  # loaded by now

        # As it was typed, but for a password.
        shown = load_settings(**flags).database_url().name if "://" in str(flags["db"]) else flags["db"]
        apply = shlex.join(["session-buddy", "mcp", "restart", *process.options_of({**flags, "db": shown})])
        edge.fail(f"{'; '.join(differing)}; to apply what is set now: {apply}")


def _differing(info: ServerInfo, flags: dict[str, Any]) -> list[str]:
    """Which settings of a server that runs are not those in force here; nothing is known of an older one."""
    from session_buddy.host.layers import load_settings  # 0.3 s

    settings = load_settings(**flags)
    has = process.last_settings(user_paths())
    wanted = settings.variables(settings.port or int(has.get(PORT, 0)))
    changed = {name: value for name, value in wanted.items() if has.get(name, value) != value}
    differing = [
        f"it has {name}={shlex.quote(has[name])}, not {shlex.quote(value)}" for name, value in changed.items()
    ]
    wants, keeps = settings.database_url(), DatabaseUrl.parse(info.database)
    if not same(wants, keeps):
        differing.append(f"it keeps {keeps.name}, not {wants.name}")
    return differing
