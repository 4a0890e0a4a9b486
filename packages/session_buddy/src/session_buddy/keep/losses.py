"""What a history lost: brought back where a journal of this user's shells has it, and told where none has."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from oneiric.contract import Status
from oneiric.paths import Paths
from oneiric.sweep import Deliver
from session_buddy.intake.outbox import hand_over, replay

if TYPE_CHECKING:
    from session_buddy.store.duckdb import DuckDBStore

_FIRST: Final = 10

# Not structlog: without a server nothing sets it up, and it would print among the rows.
log = logging.getLogger("session_buddy.keep.losses")


class Losses(NamedTuple):
    """What became of the sessions that a history is known to have held.

    Attributes:
        held: how many they were.
        missing: those that it has not got back, by id.
        report: the file that lists them, ``None`` if there is nothing to list, or it could not be written.
        reverted: those that it has as they were earlier, by id; in words, what they were and are.
    """

    held: int
    missing: Sequence[str] = ()
    report: Path | None = None
    reverted: Mapping[str, str] = MappingProxyType({})

    def __str__(self) -> str:
        """In a sentence."""
        if not self.reverted:
            return self._of_missing()
        listed = f"; listed in {self.report}" if self.report and not self.missing else ""
        return f"{self._of_missing()}; {counted(len(self.reverted))} went back to an earlier state{listed}"

    def _of_missing(self) -> str:
        if not self.missing:
            return f"none is missing of {counted(self.held)} that it held"
        more = len(self.missing) - _FIRST
        first = ", ".join(self.missing[:_FIRST]) + (f" and {more} more" if more > 0 else "")
        listed = f"; listed in {self.report}" if self.report else ""
        return (
            f"{counted(len(self.missing))} of {self.held} could not come back,"
            f" no journal has them: {first}{listed}"
        )


def heal(
    store: "DuckDBStore",
    deliver: Deliver,
    paths: Paths,
    now: datetime,
    write: Callable[[Callable[[], None]], object] = lambda forget: forget(),
) -> bool:
    """Bring back what this user's journals have, delivered or waiting, and log what they have not.

    Args:
        store: the history.
        deliver: takes events into it.
        paths: this user's folders.
        now: the time.
        write: has something done while nobody else writes.

    Returns:
        Whether it had a gap, which it has no more.
    """
    if store.gap is None:
        return False
    bring_back(store, deliver, paths, now)
    if store.gap.sessions:
        losses = count(store, store.gap.sessions, store.gap.beside)
        log.log(logging.WARNING if losses.missing else logging.INFO, "%s: %s", store.gap.reason, losses)
    write(store.forget_gap)
    return True


def bring_back(store: "DuckDBStore", deliver: Deliver, paths: Paths, now: datetime) -> None:
    """Take in what this user's journals have, if the history has a gap; arguments as of :func:`heal`."""
    if store.gap is None:
        return
    if results := replay(paths.outbox, deliver, set(store.gap.sessions)):
        back = sum(result["status"] == "stored" for result in results)
        log.info("%s: of %d events, %d were missing and are back", store.gap.reason, len(results), back)
    hand_over(paths.outbox, deliver, now)


def count(
    store: "DuckDBStore", held: Sequence[str], beside: Path | None, before: Mapping[str, Status] | None = None
) -> Losses:
    """Which of the sessions that a history held it has not; they are listed in ``<beside>.missing.txt``.

    So are those that it has as they were earlier, where ``before`` says what they were.
    """
    missing = sorted(store.missing(held))
    reverted = _reverted(before, store.statuses()) if before else {}
    lines = [*missing, *(f"{session_id} {change}" for session_id, change in reverted.items())]
    return Losses(len(held), missing, _listed(lines, beside) if lines and beside else None, reverted)


def _reverted(before: Mapping[str, Status], now: Mapping[str, Status]) -> dict[str, str]:
    both = sorted(before.keys() & now.keys())
    back = [one for one in both if _stage(now[one]) < _stage(before[one])]
    return {session_id: f"{before[session_id]}, now {now[session_id]} again" for session_id in back}


def _stage(status: Status) -> int:
    """How far a session has come: what is lost may still turn out to live, or to have ended."""
    return ("active", "lost").index(status) if status in {"active", "lost"} else 2


def counted(sessions: int) -> str:
    """So many sessions, in words."""
    return f"{sessions} session{'' if sessions == 1 else 's'}"


def _listed(lines: Sequence[str], beside: Path) -> Path | None:
    path = beside.with_name(f"{beside.name}.missing.txt")
    try:
        path.touch(mode=0o600)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        log.warning("%s cannot be written: %s", path, error.strerror)
        return None
    return path
