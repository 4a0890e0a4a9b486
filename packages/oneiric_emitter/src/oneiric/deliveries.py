"""This process's deliveries: one for each server that its sessions are for, whatever emitters there are."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from oneiric import config, endings, transport
from oneiric.delivery import Delivery
from oneiric.paths import Paths
from oneiric.server import Server
from oneiric.transport import Endpoint

EXIT_BUDGET_SECONDS = 0.2
_LONGEST_REMOTE_RETRY = 60.0

# By the outbox, and by what names the server and who we are there.
_deliveries: dict[tuple[str, ...], Delivery] = {}


def delivery_for(paths: Paths, environ: Mapping[str, str]) -> Delivery:
    """The delivery from an outbox to the server that ``environ`` names; after a fork the child's own."""
    url = config.named_url(environ)
    as_whom = [environ.get(name, "") for name in config.TOKEN_VARIABLES] if url else []
    key = os.fspath(paths.outbox), url or "", *as_whom
    delivery = _deliveries.get(key)
    if delivery is not None and not delivery.made_here:
        # Forked by code in C, which runs no hook.
        _drop_parents()
        delivery = None
    if delivery is None:
        if not _deliveries:
            endings.at_exit(_flush_at_exit)
        # Of two threads that get here at once one is the first; a lock would be held in a forked child.
        delivery = _deliveries.setdefault(key, Delivery(paths.outbox, _server(paths, environ)))
    return delivery


def live_sessions() -> set[str]:
    """Ids of the sessions that live in this process."""
    return {session.id for delivery in list(_deliveries.values()) for session in delivery.sessions.live()}


def _flush_at_exit() -> None:
    """Give what was just written a moment, one for all servers; most shells leave before one could answer."""
    deadline = time.monotonic() + EXIT_BUDGET_SECONDS
    # BaseException: Ctrl-C during this wait must not print a traceback.
    with suppress(BaseException):
        for delivery in list(_deliveries.values()):
            if delivery.made_here:
                delivery.worker.flush_at_exit(deadline - time.monotonic())


def _server(paths: Paths, environ: Mapping[str, str]) -> Server:
    url = config.named_url(environ)
    if url is None:
        return Server(lambda: transport.local_endpoint(paths))
    transport.prepare(url)
    # As they are now, whatever the host does with them later.
    variables = {name: environ.get(name, "") for name in (config.ENDPOINT, *config.TOKEN_VARIABLES)}
    located = None
    # Recorded all the same; the server's error will say why nothing is delivered.
    with suppress(config.InvalidEndpoint):
        located = config.named_endpoint(variables)
    destination = (located or Endpoint(url=url)).destination
    locate = partial(config.named_endpoint, variables)
    return Server(locate, located, destination=destination, longest_retry=_LONGEST_REMOTE_RETRY)


def _drop_parents() -> None:
    """After a fork: the child is not the session, and lets go of the journals; takes no lock."""
    for delivery in list(_deliveries.values()):
        for session in list(delivery.sessions.values()):
            session.journal.close()
    _deliveries.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_parents)
