"""This process's couriers: one for each server that its sessions are for, however many emitters there are."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from oneiric import config, endings, transport
from oneiric.delivery import Courier
from oneiric.paths import Paths
from oneiric.transport import Endpoint, Unreachable

EXIT_BUDGET_SECONDS = 0.2
_LONGEST_REMOTE_RETRY = 60.0

_couriers: dict[tuple[str, str], Courier] = {}


def courier_for(paths: Paths, environ: Mapping[str, str]) -> Courier:
    """The courier for an outbox and the server that ``environ`` names; after a fork the child's own."""
    key = os.fspath(paths.outbox), environ.get("SESSION_BUDDY_MCP_ENDPOINT", "")
    courier = _couriers.get(key)
    if courier is not None and courier.pid != os.getpid():
        # Forked by code in C, which runs no hook.
        _forget_parent()
        courier = None
    if courier is None:
        made = _new_courier(paths, environ)
        # Of two threads that get here at once one is the first; a lock would be held in a forked child.
        courier = _couriers.setdefault(key, made)
        if courier is made:
            endings.at_exit(partial(_flush_at_exit, courier))
    return courier


def live_sessions() -> set[str]:
    """Ids of the sessions that live in this process."""
    return {session.id for courier in list(_couriers.values()) for session in courier.live()}


def _flush_at_exit(courier: Courier) -> None:
    """Give what was just written a moment; most shells leave before a server could have answered."""
    # BaseException: Ctrl-C during this wait must not print a traceback.
    with suppress(BaseException):
        if courier.pid == os.getpid():
            courier.say_goodbye(EXIT_BUDGET_SECONDS)


def _new_courier(paths: Paths, environ: Mapping[str, str]) -> Courier:
    if url := environ.get("SESSION_BUDDY_MCP_ENDPOINT"):
        named = Endpoint(url=url)
        transport.prepare(named)
        return Courier(
            paths.outbox,
            _named_server(environ),
            longest_retry=_LONGEST_REMOTE_RETRY,
            destination=named.destination,
        )

    def local() -> Endpoint | None:
        server = transport.read_server_file(paths)
        return server.endpoint if server else None

    return Courier(paths.outbox, local)


def _named_server(environ: Mapping[str, str]) -> Callable[[], Endpoint | None]:
    """Locates the server that ``environ`` names now, whatever its host does with the variables later.

    The token's file is read for each contact: it may come late, and changes when the token does. One that
    can no longer be read (another folder, fewer rights) leaves the token that it held.
    """
    variables = {name: environ.get(name, "") for name in config.ENDPOINT_VARIABLES}
    latest: Endpoint | None = None

    def locate() -> Endpoint | None:
        nonlocal latest
        try:
            latest = config.named_endpoint(variables)
        except config.InvalidEndpoint as error:
            # Recorded all the same; the courier says why nothing is delivered.
            if latest is None:
                raise Unreachable(str(error)) from error
        return latest

    with suppress(Unreachable):
        locate()
    return locate


def _forget_parent() -> None:
    """After a fork: the child is not the session."""
    for courier in list(_couriers.values()):
        courier.forget()
    _couriers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
