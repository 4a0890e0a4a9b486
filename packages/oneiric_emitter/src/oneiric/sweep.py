"""Deliver what others left in the outbox: orphans, and ends that came too late for their process.

Whoever comes next does it: another shell of this user, the server, the command line; one at a time. The
server delivers the journal of a process that it saw exit at once, beside any sweep: its own lock guards it.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from oneiric import compose, contract, descriptors, entries, log, outbox
from oneiric.entries import CorruptJournal, Entry, Moment, complete, end_for_orphan
from oneiric.journal import NEW_SUFFIX

Deliver = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]

KEEP_DONE = timedelta(days=7)
KEEP_DONE_BYTES = 20 * 1024 * 1024
FOREIGN_AFTER = timedelta(days=7)
ABANDONED_NEW_AFTER = timedelta(hours=1)
PRUNE_EVERY = timedelta(hours=1)
LONGEST_SWEEP = timedelta(minutes=5)


def sweep(folder: Path, deliver: Deliver, *, now: datetime, destination: str = "") -> bool:
    """Recover orphans in this machine's ``folder`` and deliver what waits there, in batches.

    Journals of other machines (a shared home) are delivered once they have an end or lay untouched for
    seven days; whether their owners live cannot be judged from here.

    Args:
        folder: the outbox of this machine.
        deliver: hands up to 500 events and 256 KiB to a server and returns its results, one an event;
            may raise, which ends the sweep and leaves the rest waiting.
        now: what ages are measured from.
        destination: whose journals; those for other servers wait for them, a week at most.

    Returns:
        Whether it was done; not while a sweep is under way that began elsewhere less than five minutes ago.
    """
    if not folder.exists():
        return True
    with _one_at_a_time(folder, now) as mine:
        if mine:
            hand_in(_ended(folder, now, destination), deliver)
            _prune(folder, now)
    return mine


@contextmanager
def _one_at_a_time(folder: Path, now: datetime) -> Iterator[bool]:
    """Whether to sweep; the lock file's time tells when the latest sweep began."""
    lock = folder / "sweep.lock"
    with descriptors.opened(lock, os.O_RDWR | os.O_CREAT) as descriptor:
        # Its holder may be stopped (Ctrl-Z) for hours; it saves work and guards nothing, so go ahead then.
        mine = descriptors.try_lock(descriptor) or abs(_age(lock, now)) > LONGEST_SWEEP
        if mine:
            os.utime(descriptor)
        yield mine


def _ended(folder: Path, now: datetime, destination: str) -> Iterator[tuple[Path, Entry]]:
    """Every journal that may be delivered, orphans with the end that they lacked."""
    for path in (*outbox.journals(folder), *_foreign(folder, now)):
        # Also those marked with the URL alone: the writer's token was unreadable, or names nobody.
        ours = {destination, destination.partition("-")[0]}
        for_us = outbox.parts_of(path)[1] in ours or _age(path, now) > FOREIGN_AFTER
        if for_us and (entry := recover(path)) is not None:
            yield path, entry
    for path in folder.glob(f"*{NEW_SUFFIX}"):
        # Its writer died before the session had begun.
        if _age(path, now) > ABANDONED_NEW_AFTER:
            with suppress(OSError, CorruptJournal), outbox.claim(path) as claimed:
                if claimed:
                    path.unlink()


def recover(path: Path, gone_at: Moment | None = None) -> Entry | None:
    """What a journal says that nobody holds, with an end; ``None`` where it is held, unreadable or gone."""
    try:
        with outbox.claim(path) as claimed:
            if not claimed and not _surely_dead(path):
                return None
            entry = entries.read(path)
            return entry if entry.end else complete(path, entry, end_for_orphan(entry, gone_at))
    except CorruptJournal as error:
        log.warning("journal %s is set aside in %s: %s", path.name, path.parent / "corrupt", error)
        with suppress(OSError):
            outbox.move(path, "corrupt")
    except FileNotFoundError:
        pass  # delivered meanwhile
    except OSError as error:
        log.warning("journal %s stays where it is: %s", path, error)
    return None


def _surely_dead(path: Path) -> bool:
    """A child forked behind our back keeps the lock of its dead parent; its pid and start time tell."""
    entry = entries.try_read(path)
    return entry is not None and entries.owner_gone(entry) is True


def hand_in(ended: Iterable[tuple[Path, Entry]], deliver: Deliver) -> None:
    """Deliver journals with their ends; each then lies where it belongs."""
    for batch in compose.batches(ended, lambda one: one[1].events):
        results = iter(deliver([event for _, entry in batch for event in entry.events]))
        for path, entry in batch:
            answers = [next(results) for _ in entry.events]
            accepted = all(answer["status"] in contract.ACCEPTED for answer in answers)
            if not accepted:
                why = [answer["error"] for answer in answers if answer["error"]]
                log.warning("journal %s is refused: %s", path.name, why)
            with suppress(OSError):
                outbox.move(path, "done" if accepted else "rejected")


def _foreign(folder: Path, now: datetime) -> Iterator[Path]:
    """Journals in other machines' folders that have an end, or that nobody touched for a week."""
    for other in folder.parent.iterdir():
        for path in outbox.journals(other) if other != folder else ():
            entry = entries.try_read(path)
            if entry is not None and (entry.end is not None or _age(path, now) > FOREIGN_AFTER):
                yield path


def _age(path: Path, now: datetime) -> timedelta:
    with suppress(OSError):
        return timedelta(seconds=now.timestamp() - path.stat().st_mtime)
    return timedelta(0)


def _prune(folder: Path, now: datetime) -> None:
    """Keep a week, and 20 MB at most, of what each machine's sessions had acknowledged; once an hour."""
    last = folder / "pruned"
    if last.exists() and abs(_age(last, now)) < PRUNE_EVERY:
        return
    last.touch(mode=0o600)
    for machine in folder.parent.iterdir():
        kept = 0
        for path in sorted(outbox.journals(machine / "done"), key=lambda path: _age(path, now)):
            with suppress(OSError):
                kept += path.stat().st_size
                if kept > KEEP_DONE_BYTES or _age(path, now) > KEEP_DONE:
                    path.unlink()
