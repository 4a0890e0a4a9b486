"""What waits in this user's outbox, brought to whoever keeps the history.

A shell that has just left, or found no server, leaves its journal to whoever comes next; a shell that is
open and has not been heard yet is as much a part of "who is where".
"""

import logging
from datetime import datetime
from pathlib import Path
from typing import Any

from oneiric import compose, entries, outbox
from oneiric.entries import Entry
from oneiric.sweep import Deliver, sweep
from oneiric.transport import TransportError
from session_buddy.errors import SessionBuddyError

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
        ours = [path for path in outbox.journals(folder) if not outbox.destination_of(path)]
        left = [_said(entry) for path in ours if (entry := entries.try_read(path))]
        for batch in compose.batches(left, list):
            deliver([event for events in batch for event in events])
    except OSError as error:
        log.warning("the outbox %s cannot be read, its sessions are missing: %s", folder, error)
    except (SessionBuddyError, TransportError) as error:
        log.warning("the sessions that wait in %s are missing: %s", folder, error)


def _said(entry: Entry) -> list[dict[str, Any]]:
    """What a journal says; with an end, another sweep is at it just now, and twice does no harm."""
    if entry.end is not None or entry.pulse is None:
        return entry.events
    activity = entries.activity_of(entry.pulse)
    session_id, elapsed = compose.session_id_of(entry.start), entries.elapsed_of(entry.pulse)
    beat = compose.heartbeat(session_id, entry.pulse["timestamp"], elapsed, activity)
    return [*entry.events, beat]
