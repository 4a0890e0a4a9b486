"""What waits in this user's outbox, brought to whoever keeps the history.

A shell that has just left, or found no server, leaves its journal to whoever comes next; a shell that is
open and has not been heard yet is as much a part of "who is where".
"""

import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from oneiric import compose, outbox
from oneiric.outbox import Entry
from oneiric.sweep import Deliver, replay, sweep
from oneiric.transport import TransportError
from session_buddy.errors import SessionBuddyError

# A start takes 20 KiB at most and a call 1 MiB.
_SESSIONS_A_CALL: Final = 20

log = logging.getLogger(__name__)


def hand_over(folder: Path, deliver: Deliver, now: datetime) -> None:
    """Deliver all that lies in an outbox: ended and orphaned sessions, then those that live.

    What cannot be delivered stays, with a warning: an answer without it is better than none.

    Args:
        folder: the outbox of this machine.
        deliver: takes events and returns what became of each, as ``track_events`` does; may raise.
        now: the time that ages are measured from.
    """
    try:
        sweep(folder, deliver, now=now)
        left = [entry for path in outbox.journals(folder) if (entry := outbox.try_read(path))]
        for first in range(0, len(left), _SESSIONS_A_CALL):
            deliver([event for entry in left[first : first + _SESSIONS_A_CALL] for event in _said(entry)])
    except OSError as error:
        log.warning("the outbox %s cannot be read, its sessions are missing: %s", folder, error)
    except (SessionBuddyError, TransportError) as error:
        log.warning("the sessions that wait in %s are missing: %s", folder, error)


def _said(entry: Entry) -> Iterator[dict[str, Any]]:
    """What a journal says; with an end, another sweep is at it just now, and twice does no harm."""
    yield from entry.events
    if entry.end is None and entry.pulse is not None:
        session_id = outbox.session_id_of(entry.start)
        yield compose.heartbeat(session_id, entry.pulse["timestamp"], outbox.activity_of(entry.pulse))


def replay_delivered(folder: Path, deliver: Deliver, gap: str) -> int:
    """Deliver again what this user's shells were told is safe, where a history may have lost it.

    Args:
        folder: the outbox of this machine; what was reported from others is not in it.
        deliver: as for :func:`hand_over`.
        gap: why the history may be incomplete, see :class:`session_buddy.store.Gap`.

    Returns:
        How many events came back.
    """
    back = 0

    def counted(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        nonlocal back
        results = deliver(batch)
        back += sum(result["status"] == "stored" for result in results)
        return results

    journals = replay(folder, counted)
    if journals:
        log.info("%s: of %d delivered journals, %d events were missing and are back", gap, journals, back)
    return back
