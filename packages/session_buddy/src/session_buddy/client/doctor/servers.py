"""Checks of servers: this user's own, its port, and one that the environment names with its token."""

import json
import os
import socket
import time
from base64 import urlsafe_b64decode
from contextlib import suppress
from importlib.metadata import version
from shlex import quote
from typing import Any, Final
from urllib.parse import urlsplit

from oneiric.config import ENDPOINT, TOKEN_VARIABLES, InvalidEndpoint, named_endpoint, named_url
from oneiric.transport import CallRefused, Misdirected, TransportError, Unauthorized, call_tool
from session_buddy.client.doctor.finding import Case, Finding
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.histories import same
from session_buddy.host.holders import listener_on, program_of
from session_buddy.host.layers import user_file
from session_buddy.host.process import running

_SECONDS: Final = 1.8
_RESTART: Final = "session-buddy mcp restart"
_UNNAME: Final = f"unset {ENDPOINT}"


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
        health = call_tool(info.endpoint, "health_check", {}, _SECONDS)
    except CallRefused as error:
        return Finding("broken", f"pid {info.pid}: {error}", _RESTART)
    except TransportError:
        said = f"pid {info.pid} hangs: it has not answered for {time.monotonic() - began:.1f} s"
        return Finding("broken", said, "session-buddy mcp stop --force")
    case.health, kept = health, DatabaseUrl.parse(info.database)
    if case.names_database and case.url and not same(kept, case.url):
        said = f"pid {info.pid} keeps {kept.name}; the settings name {case.url.name}"
        return Finding("broken", said, _RESTART)
    mine = version("session-buddy")
    if info.version != mine:
        return Finding("warning", f"it is version {info.version}, this is {mine}", _RESTART)
    return Finding("ok", f"version {mine}, pid {info.pid}, answers; it keeps {kept.name}")


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
        if pid is None and not _is_taken(error):
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


def _is_taken(error: OSError) -> bool:
    import errno

    return error.errno == errno.EADDRINUSE


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


def named(_case: Case) -> Finding:  # noqa: PLR0911 - one a finding
    """The server that the environment names: an address, reachable, and a Session-Buddy."""
    address = named_url(os.environ)
    if address is None:
        return Finding("ok", "none is named; shells report to this user's own server")
    try:
        parts = urlsplit(address)
        shown = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
        endpoint = named_endpoint({ENDPOINT: address})
        socket.getaddrinfo(parts.hostname, parts.port or 80)
        call_tool(endpoint._replace(token=_token()), "health_check", {}, _SECONDS)  # type: ignore[union-attr]
    except InvalidEndpoint:
        return Finding("broken", f"{ENDPOINT} is no address such as http://127.0.0.1:8678/mcp", _UNNAME)
    except socket.gaierror as error:
        return Finding("broken", f"{shown}: its name is not known: {error.strerror}", _UNNAME)
    except ValueError:
        return Finding("broken", f"{ENDPOINT} cannot be read as an address", _UNNAME)
    except Unauthorized:
        return Finding("ok", f"{shown} answers, and wants a token, see token")
    except Misdirected as error:
        return Finding("broken", f"{shown}: {error}", _UNNAME)
    except CallRefused:
        return Finding("ok", f"{shown} answers")
    except TransportError:
        return Finding("broken", f"{shown} cannot be reached, or is no Session-Buddy", _UNNAME)
    return Finding("ok", f"{shown} answers")


def _token() -> str | None:
    """The token that goes with it, ``None`` where there is none that can be used."""
    with suppress(InvalidEndpoint):
        found = named_endpoint({**os.environ, ENDPOINT: "http://localhost/mcp"})
        return found.token if found else None
    return None


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
        return Finding("broken", str(error), _new(case, "NAME"))
    if endpoint is None or endpoint.token is None:
        return Finding("broken", "none is set, and the named server wants one", _new(case, "NAME"))
    said = _claims(endpoint.token)
    subject, until = str(said.get("sub", "NAME")), said.get("exp")
    if isinstance(until, int | float) and until < time.time():
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(until))
        return Finding("broken", f"that of {subject} has expired, at {when}", _new(case, subject))
    try:
        call_tool(endpoint, "health_check", {}, _SECONDS)
    except Unauthorized:
        return Finding("broken", f"that of {subject} is not accepted", _new(case, subject))
    except CallRefused as error:
        return Finding("ok", f"that of {subject} is accepted ({error})")
    except TransportError as error:
        return Finding("skipped", f"it could not be tried: {error}")
    left = f"; valid for {(until - time.time()) / 86400:.0f} more days" if until else ""
    return Finding("ok", f"that of {subject} is accepted{left}")


def _claims(text: str) -> dict[str, Any]:
    with suppress(ValueError, LookupError, RecursionError):
        claims = json.loads(urlsafe_b64decode(text.split(".")[1] + "=="))
        return claims if isinstance(claims, dict) else {}
    return {}


def _new(case: Case, subject: str) -> str:
    """How to get another one; it is made on the server's host, which may be this one."""
    make = f"session-buddy token create --subject {quote(subject)} --scope track"
    host = urlsplit(named_url(os.environ) or "").hostname
    there = "" if case.server and host in ("127.0.0.1", "localhost", "::1") else f"ssh {quote(host or '')} "
    file = os.environ.get("SESSION_BUDDY_TOKEN_FILE")
    if file and not os.environ.get("SESSION_BUDDY_TOKEN"):
        return f"{there}{make} > {quote(file)}"
    return f'export SESSION_BUDDY_TOKEN="$({there}{make})"'
