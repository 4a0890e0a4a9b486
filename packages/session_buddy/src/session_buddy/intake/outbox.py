"""What waits in this user's outbox, brought to whoever keeps the history.

A shell that has just left, or found no server, leaves its journal to whoever comes next; a shell that is
open and has not been heard yet is as much a part of "who is where".
"""

import logging
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, get_args

from oneiric import compose, entries, outbox
from oneiric.entries import Entry, Moment
from oneiric.sweep import Deliver, hand_in, recover, sweep
from oneiric.transport import TransportError
from session_buddy.errors import SessionBuddyError

log = logging.getLogger(__name__)


class Backlog(NamedTuple):
    """What lies in an outbox.

    Attributes:
        journals: how many, by what they wait for: ``live`` for the end of a session that is known to be open,
            ``waiting`` for being delivered here, ``elsewhere`` for a server that was named; ``rejected`` and
            ``corrupt`` for a person to look at.
        oldest: when the longest waiting of those to be delivered here was last written, as Unix time.
    """

    journals: dict[str, int]
    oldest: float | None


def backlog(folder: Path, live: Collection[str]) -> Backlog:
    """What lies in an outbox, where the history knows the sessions of these ids to be open."""
    journals = dict.fromkeys(("live", "waiting", "elsewhere"), 0)
    oldest: float | None = None
    with suppress(FileNotFoundError), os.scandir(folder) as found:
        for file in found:
            if not file.name.endswith(outbox.SUFFIX):
                continue
            session_id, destination = outbox.parts_of_name(file.name)
            state = "elsewhere" if destination else "live" if session_id in live else "waiting"
            if state == "waiting":
                with suppress(FileNotFoundError):  # delivered meanwhile
                    written = file.stat(follow_symlinks=False).st_mtime
                    oldest = written if oldest is None else min(oldest, written)
            journals[state] += 1
    for kind in ("rejected", "corrupt"):
        journals[kind] = len(outbox.journals(folder / kind))
    return Backlog(journals, oldest)


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
        ours = [path for path in outbox.journals(folder) if not outbox.parts_of(path)[1]]
        left = [_said(entry) for path in ours if (entry := entries.try_read(path))]
        for batch in compose.batches(left, list):
            deliver([event for events in batch for event in events])
    except OSError as error:
        log.warning("the outbox %s cannot be read, its sessions are missing: %s", folder, error)
    except (SessionBuddyError, TransportError) as error:
        log.warning("the sessions that wait in %s are missing: %s", folder, error)


def deliver_gone(folder: Path, gone: Mapping[str, Moment | None], deliver: Deliver) -> None:
    """Deliver the journals of sessions whose processes are gone; those that lack an end get it.

    ``gone`` says when the process of each session was seen to exit; ``None``: before anybody looked.
    """
    paths = ((outbox.path_for(folder, session_id), gone_at) for session_id, gone_at in gone.items())
    hand_in(((path, entry) for path, gone_at in paths if (entry := recover(path, gone_at))), deliver)


def replay(folder: Path, deliver: Deliver, held: Collection[str] = ()) -> list[dict[str, Any]]:
    """Deliver again what lies in ``done/``, for a lost or restored database; what became of each event.

    Of the journals for servers that were named, those of the sessions that the database ``held``.
    """
    paths = outbox.journals(folder / "done")
    parts = [(path, *outbox.parts_of(path)) for path in paths]
    ours = [path for path, session_id, destination in parts if not destination or session_id in held]
    found = [entry for path in ours if (entry := entries.try_read(path))]
    results = []
    for batch in compose.batches(found, lambda entry: entry.events):
        results += deliver([event for entry in batch for event in entry.events])
    return results


def remove(folder: Path, session_ids: Collection[str]) -> int:
    """Remove what this user's journals still have of sessions, on any machine of a shared home.

    The journal of a shell that is open is its own: it goes with its end, which no history takes any more.

    Returns:
        How many of those there are.
    """
    held = 0
    for machine in folder.parent.glob("*"):
        for place in (machine, *(machine / kind for kind in get_args(outbox.Kind))):
            for path in outbox.journals(place):
                if outbox.parts_of(path)[0] in session_ids and not _removed(
                    path, held_by_shells=place == machine
                ):
                    held += 1
    return held


def _removed(path: Path, *, held_by_shells: bool) -> bool:
    """Whether a journal is gone; not while its shell holds it."""
    try:
        if held_by_shells:
            with outbox.claim(path) as claimed:
                if not claimed:
                    return False
                path.unlink()
        else:
            path.unlink()
    except FileNotFoundError:
        pass  # delivered meanwhile
    except (OSError, entries.CorruptJournal) as error:
        log.warning("journal %s cannot be removed: %s", path, error)
    return True


def _said(entry: Entry) -> list[dict[str, Any]]:
    """What a journal says; with an end, another sweep is at it just now, and twice does no harm."""
    if entry.end is not None or entry.pulse is None:
        return entry.events
    activity = entries.activity_of(entry.pulse)
    session_id, elapsed = compose.session_id_of(entry.start), entries.elapsed_of(entry.pulse)
    beat = compose.heartbeat(session_id, entry.pulse["timestamp"], elapsed, activity)
    return [*entry.events, beat]
