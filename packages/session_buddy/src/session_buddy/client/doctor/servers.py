"""Checks of servers: this user's own, its port, and one that the environment names with its token."""

import errno
import json
import os
import socket
import time
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from shlex import quote
from typing import Any, Final
from urllib.parse import urlsplit

from oneiric.config import ENDPOINT, TOKEN_VARIABLES, InvalidEndpoint, named_endpoint, named_url
from oneiric.transport import (
    CallRefused,
    Endpoint,
    Misdirected,
    TransportError,
    Unauthorized,
    call_tool,
    page,
)
from session_buddy.access.callers import SCOPES
from session_buddy.client.doctor.finding import Case, Finding, at
from session_buddy.client.doctor.postgres import mended
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.histories import same
from session_buddy.host.holders import listener_on, program_of
from session_buddy.host.layers import user_file
from session_buddy.host.process import running
from session_buddy.host.server_file import ServerInfo

_RESTART: Final = "session-buddy mcp restart"
_UNNAME: Final = f"unset {ENDPOINT}"
_DOWN: Final = "answers, and says that it is down"
_NOT_OURS: Final = "does not answer as Session-Buddy does"
# What every version tells of its health without a token, and with one.
_HEALTH: Final = ({"status": "ok"}, {"status": "down"})
_TOLD: Final = {"status", "version", "database", "uptime_seconds", "live_sessions"}


def server(case: Case) -> Finding:  # noqa: PLR0911 - one a finding
    """Whether it runs and answers, and is of this version and of the database that is meant."""
    path = case.paths.socket
    info = case.server = running(case.paths)
    if info is None:
        with suppress(OSError):
            owner = path.stat().st_uid
            if owner != os.geteuid():
                return Finding("broken", f"{path} is a socket of uid {owner}", f"sudo rm {quote(str(path))}")
        return Finding("ok", "not running; commands open the database themselves")
    began = time.monotonic()
    try:
        health = call_tool(info.endpoint, "health_check", {}, case.seconds)
    except CallRefused as error:
        kept = DatabaseUrl.parse(info.database)
        return Finding("broken", f"pid {info.pid}: {error}", mended(kept, str(error)) or _RESTART)
    except TransportError as error:
        return _silent(info, error, time.monotonic() - began)
    if not health.keys() >= _TOLD:
        return _other(info)
    case.health, kept = health, DatabaseUrl.parse(info.database)
    if case.names_database and case.url and not same(kept, case.url):
        said = f"pid {info.pid} keeps {kept.name}; the settings name {case.url.name}"
        return Finding("broken", said, _RESTART)
    mine = version("session-buddy")
    if info.version != mine:
        return Finding("warning", f"it is version {info.version}, this is {mine}", _RESTART)
    return Finding("ok", f"version {mine}, pid {info.pid}, answers; it keeps {kept.name}")


def _silent(info: ServerInfo, error: TransportError, seconds: float) -> Finding:
    """What is wrong with a server that was there, and from which no answer came."""
    why = error.__cause__
    # Also where its queue of connections is full.
    if isinstance(why, TimeoutError | BlockingIOError):
        said = f"pid {info.pid} hangs: it has not answered for {seconds:.1f} s"
        return Finding("broken", said, "session-buddy mcp stop --force")
    if isinstance(why, ConnectionRefusedError | FileNotFoundError):
        said = f"pid {info.pid} takes no connections any more: it ends just now, or was killed"
        return Finding("broken", said, "session-buddy mcp start --background")
    return _other(info)


def _other(info: ServerInfo) -> Finding:
    program = program_of(info.pid) or "unknown program"
    said = f"pid {info.pid} ({program}) listens on {info.socket}, and does not answer as Session-Buddy does"
    return Finding("broken", said, f"rm {quote(str(info.socket))}")


def port(case: Case) -> Finding:
    """Whether the server's port is its own, or free for it."""
    if case.server is not None:
        return Finding("ok", f"{case.server.url} is the server's (pid {case.server.pid})")
    if case.settings is None:
        return Finding("skipped", "which one it is cannot be told, see settings")
    host, number = case.settings.host, case.settings.port
    try:
        _bind(host, number)
    except PermissionError:
        return Finding("broken", f"port {number} is for root alone", _another(case, 8678))
    except OSError as error:
        pid = listener_on(number)
        if pid is None and error.errno != errno.EADDRINUSE:
            return Finding(
                "broken", f"{host}:{number} cannot be used: {error.strerror}", _set(case, "host", "127.0.0.1")
            )
        holder = f"pid {pid} ({program_of(pid) or 'unknown program'})" if pid else "another user's process"
        return Finding("broken", f"port {number} is held by {holder}", _another(case, number + 1))
    return Finding("ok", f"{host}:{number} is free" if number else "any that is free")


def _bind(host: str, number: int) -> None:
    family, kind, _, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tried.bind(address)


def _another(case: Case, first: int) -> str:
    """Have the server use the next port that is free."""
    for number in range(max(first, 1024), 65536):
        with suppress(OSError):
            _bind(case.settings.host if case.settings else "127.0.0.1", number)
            return _set(case, "port", str(number))
    return _set(case, "port", "0")


def _set(case: Case, key: str, value: str) -> str:
    """Set a value where it counts: in the user's file, unless a stronger place sets it."""
    source = case.sources.get(key, "")
    if source and not source.startswith(str(user_file())):
        return f"export SESSION_BUDDY_{key.upper()}={value}"
    return f"session-buddy config set {key} {value}"


def named(case: Case) -> Finding:  # noqa: PLR0911 - one a finding
    """The server that the environment names: an address, reachable, a Session-Buddy, and not down."""
    address = named_url(os.environ)
    if address is None:
        return Finding("ok", "none is named; shells report to this user's own server")
    try:
        parts = urlsplit(address)
        shown = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
        bare = named_endpoint({ENDPOINT: address})
        socket.getaddrinfo(parts.hostname, parts.port or 80)
        wrong = _wrong(case, bare) if bare else ""
    except InvalidEndpoint:
        return Finding("broken", f"{ENDPOINT} is no address such as http://127.0.0.1:8678/mcp", _UNNAME)
    except socket.gaierror as error:
        return Finding("broken", f"{shown}: its name is not known: {error.strerror}", _UNNAME)
    except ValueError:
        return Finding("broken", f"{ENDPOINT} cannot be read as an address", _UNNAME)
    except Misdirected as error:
        return Finding("broken", f"{shown}: {error}", _UNNAME)
    except TransportError as error:
        return Finding("broken", f"{shown}: {_unanswered(error)}", _UNNAME)
    if wrong == _DOWN:
        return Finding("broken", f"{shown} {wrong}", f"{at(parts.hostname)}session-buddy doctor")
    return Finding("broken", f"{shown} {wrong}", _UNNAME) if wrong else Finding("ok", f"{shown} answers")


def _wrong(case: Case, bare: Endpoint) -> str:
    """What is wrong with a server that is reached, empty if nothing is.

    It is shown no token before it has proved what it is: it says of its health what Session-Buddy says, and
    where it lets nobody in without a token, as is the rule, its refusal names the command that makes one.
    """
    try:
        told = call_tool(bare, "health_check", {}, case.seconds)
    except (Unauthorized, CallRefused) as error:
        if isinstance(error, Misdirected):
            raise
        health = _json(page(bare, "/health", None, case.seconds)[1])
        if health == {"status": "down"}:
            return _DOWN
        if not isinstance(error, Unauthorized):
            return f"{_NOT_OURS}: {error}"
        # A proxy may pass on the tools alone; an earlier version refuses in other words.
        names_us = (
            health in _HEALTH or b"session-buddy token" in page(bare, _tools(bare), b"{}", case.seconds)[1]
        )
        return "" if names_us else _NOT_OURS
    return "" if told.keys() >= _TOLD else _NOT_OURS


def _tools(endpoint: Endpoint) -> str:
    """Where the tools are, as it stands behind the path of an address without ``/mcp``."""
    path = urlsplit(endpoint.url or "").path.rstrip("/")
    return "" if path and not path.endswith("/mcp") else "/mcp"


def _json(answer: bytes) -> object:
    with suppress(ValueError, RecursionError):
        return json.loads(answer)
    return None


def _unanswered(error: TransportError) -> str:
    """Why no answer came from a named server, or none that is one."""
    why = error.__cause__
    if isinstance(why, TimeoutError):
        return "nobody answers there in time"
    if isinstance(why, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(why, OSError) and not isinstance(why, ConnectionResetError):
        return f"it cannot be reached: {why.strerror or why}"
    return f"who is there {_NOT_OURS}"


def token(case: Case) -> Finding:  # noqa: PLR0911 - one a finding
    """Whether the named server accepts it, whom it names, and for how long."""
    address = named_url(os.environ)
    if address is None:
        set_ = [name for name in TOKEN_VARIABLES if os.environ.get(name)]
        return Finding("ok", f"none is needed here{f'; {set_[0]} is not used' if set_ else ''}")
    if "named server" in case.broken:
        return Finding("skipped", "it cannot be tried, see named server")
    try:
        endpoint = named_endpoint(os.environ)
    except InvalidEndpoint as error:
        return Finding("broken", str(error), _new(case, {}))
    if endpoint is None or endpoint.token is None:
        try:
            call_tool(endpoint or Endpoint(), "health_check", {}, case.seconds)
        except TransportError:
            return Finding("broken", "none is set, and the named server wants one", _new(case, {}))
        return Finding("ok", "none is set, and the named server wants none from here")
    said = _claims(endpoint.token)
    subject, until = str(said.get("sub", "NAME")), said.get("exp")
    if isinstance(until, int | float) and until < time.time():
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(until))
        return Finding("broken", f"that of {subject} has expired, at {when}", _new(case, said))
    try:
        told = call_tool(endpoint, "health_check", {}, case.seconds)
    except Unauthorized:
        return Finding("broken", f"that of {subject} is not accepted", _new(case, said))
    except TransportError as error:
        return Finding("skipped", f"it could not be tried: {error}")
    if not told.keys() >= _TOLD:
        return Finding("broken", f"the named server {_NOT_OURS}", _UNNAME)
    left = f"; valid for {(until - time.time()) / 86400:.0f} more days" if until else ""
    return Finding("ok", f"that of {subject} is accepted{left}")


def _claims(text: str) -> dict[str, Any]:
    with suppress(ValueError, LookupError, RecursionError):
        claims = json.loads(urlsafe_b64decode(text.split(".")[1] + "=="))
        return claims if isinstance(claims, dict) else {}
    return {}


def _new(case: Case, claims: Mapping[str, Any]) -> str:
    """How to get another one, for whom and for what the present one is; made on the server's host."""
    given = str(claims.get("scope", "")).split()
    scopes = " ".join(f"--scope {one}" for one in SCOPES if one in given) or "--scope track"
    make = f"session-buddy token create --subject {quote(str(claims.get('sub', 'NAME')))} {scopes}"
    host = urlsplit(named_url(os.environ) or "").hostname or ""
    there = at(host) if case.server else f"ssh {quote(host)} "
    file = os.environ.get("SESSION_BUDDY_TOKEN_FILE")
    if file and not os.environ.get("SESSION_BUDDY_TOKEN"):
        return f"{there}{make} > {quote(file)}"
    return f'export SESSION_BUDDY_TOKEN="$({there}{make})"'
