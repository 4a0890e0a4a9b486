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
    try:
        endpoint = config.named_endpoint(environ)
    except config.InvalidEndpoint as error:
        # Recorded all the same; the courier says why nothing is delivered.
        return Courier(paths.outbox, _nowhere(str(error)), longest_retry=_LONGEST_REMOTE_RETRY)
    if endpoint is not None:
        transport.prepare(endpoint)
        return Courier(
            paths.outbox,
            lambda: endpoint,
            longest_retry=_LONGEST_REMOTE_RETRY,
            destination=endpoint.destination,
        )

    def local() -> Endpoint | None:
        server = transport.read_server_file(paths)
        return server.endpoint if server else None

    return Courier(paths.outbox, local)


def _nowhere(problem: str) -> Callable[[], Endpoint | None]:
    def locate() -> Endpoint | None:
        raise Unreachable(problem)

    return locate


def _forget_parent() -> None:
    """After a fork: the child is not the session."""
    for courier in list(_couriers.values()):
        courier.forget()
    _couriers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
