"""What may be wrong with an installation: one check after the other, each bounded; nothing is changed."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from threading import Thread
from typing import Final

from oneiric.paths import user_paths
from oneiric.transport import TransportError
from session_buddy.client.doctor import history, machine, servers
from session_buddy.client.doctor.finding import Case, Finding
from session_buddy.errors import SessionBuddyError

__all__ = ["CHECKS", "Finding", "examine"]

# In this order, since what one finds the next ones know.
CHECKS: Final[Mapping[str, Callable[[Case], Finding]]] = {
    "packages": machine.packages,
    "emitter": machine.emitter,
    "settings": machine.settings,
    "folders": machine.folders,
    "server": servers.server,
    "port": servers.port,
    "disk": machine.disk,
    "database": history.database,
    "backups": history.backups,
    "named server": servers.named,
    "token": servers.token,
    "outbox": machine.outbox,
    "clock": history.clock,
    "locks": machine.locks,
}
_SECONDS: Final = 2.0
# Starting the command takes the better part of a second more.
_ALL_SECONDS: Final = 3.8


def examine() -> Iterator[Finding]:
    """Look at everything, within 3.8 s; what a check raises is a finding, too.

    No check may take more than half of the time that is left: whatever hangs, the sum stays below the whole,
    and there is time for those behind it.
    """
    case, end = Case(user_paths(), datetime.now(UTC)), time.monotonic() + _ALL_SECONDS
    for name, check in CHECKS.items():
        began = time.monotonic()
        case.until = began + min(_SECONDS, (end - began) / 2)
        finding = _bounded(check, case, case.until - began)
        if finding is None:
            said = f"it took longer than {case.until - began:.1f} s, and was not waited for"
        if finding is None or finding.state == "broken":
            case.broken.add(name)
        yield (finding or Finding("skipped", said))._replace(check=name)


def _bounded(check: Callable[[Case], Finding], case: Case, seconds: float) -> Finding | None:
    """What a check finds; ``None``: something hangs, a disk or a resolver, and keeps that thread alone."""
    found: list[Finding] = []
    thread = Thread(target=lambda: found.append(_safely(check, case)), daemon=True)
    thread.start()
    thread.join(max(seconds, 0))
    return found[0] if found else None


def _safely(check: Callable[[Case], Finding], case: Case) -> Finding:
    try:
        return check(case)
    except (SessionBuddyError, TransportError) as error:
        return Finding("skipped", f"it cannot be looked at: {error}")
    except OSError as error:
        return Finding("skipped", f"it cannot be looked at: {error.filename or ''} {error.strerror or error}")
    except Exception as error:  # noqa: BLE001 - the others are still to be looked at; its text may hold a secret
        return Finding("skipped", f"it cannot be looked at: {type(error).__name__}")
