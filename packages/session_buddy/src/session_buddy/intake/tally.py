"""What came in since this process began, as plain numbers: counted by who takes it in, read by anybody.

A number costs a tenth of what an object of a metrics library would, with a lock of its own; and nothing
below the server need know such a library.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from threading import Lock
from typing import Final, Literal, NamedTuple

from oneiric.events import SessionStart
from session_buddy.history.model import Arrival, SessionRow, Taken, changed

# Of events: no valid one, or another than the session began with; another's session; of a batch that one
# call may not carry; of a session that was deleted, which is answered as if it were known.
Cause = Literal["invalid", "forbidden", "too_large", "deleted"]

UNKNOWN_REASON: Final = "unknown"
_LASTED: Final = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 8 * 3600.0, 86400.0, 7 * 86400.0)
_DELAYED: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0, 3600.0, 86400.0)
_COMMITTED: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_GROUPED: Final = (1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 2000.0)


class Spread(NamedTuple):
    """How large values were, as they stood at one moment.

    Attributes:
        bounds: in ascending order.
        counts: how many values were at most as large as each bound, and larger than the one before; behind
            them how many were larger than all.
        total: of all values.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


class Histogram:
    """How many values were how large; one thread adds, any thread may look."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def spread(self) -> Spread:
        """What there is so far."""
        return Spread(self._bounds, tuple(self._counts), self._total)


class Tally:
    """What became of the events that came in.

    Attributes:
        started: sessions of which the start was new.
        ended: sessions that were over by what came in, by status and reason: as was first known, once each;
            again where a later sign of life had refuted that.
        durations: of those, in seconds.
        delays: seconds from when a start or an end happened, by its emitter's clock, to when it was on disk.
        commits: seconds that each group took.
        groups: how many events each had.
        failures: writes that the database did not take.
    """

    def __init__(self) -> None:
        self.started = 0
        self.ended: Counter[tuple[str, str]] = Counter()
        self.durations: Final = Histogram(_LASTED)
        self.delays: Final = {"start": Histogram(_DELAYED), "end": Histogram(_DELAYED)}
        self.commits: Final = Histogram(_COMMITTED)
        self.groups: Final = Histogram(_GROUPED)
        self.failures = 0
        self._refused: Counter[Cause] = Counter()
        self._refusing = Lock()

    @property
    def refused(self) -> dict[Cause, int]:
        """Events that were not taken in, by cause."""
        return dict(self._refused)

    def refuse(self, cause: Cause, events: int = 1) -> None:
        """Count events that are not taken in; from any thread."""
        if events:
            with self._refusing:
                self._refused[cause] += events

    def take(
        self, arrivals: Sequence[Arrival], taken: Sequence[Taken], seconds: float, now: datetime
    ) -> None:
        """Count a group that is on disk; by one thread.

        Args:
            arrivals: what came in.
            taken: what became of each.
            seconds: how long it took to write them.
            now: the time.
        """
        self.commits.add(seconds)
        self.groups.add(len(arrivals))
        for arrival, one in zip(arrivals, taken, strict=True):
            if one.kept and one.row is not None:
                self._keep(arrival, one.row, now)
            elif one.verdict in ("invalid", "forbidden"):
                self.refuse(one.verdict)
            elif one.error:
                self.refuse("deleted")

    def _keep(self, arrival: Arrival, row: SessionRow, now: datetime) -> None:
        starts = isinstance(arrival.event, SessionStart)
        # A clock that is ahead tells of no delay.
        late = max(0.0, (now - arrival.event.timestamp).total_seconds())
        self.delays["start" if starts else "end"].add(late)
        self.started += starts
        if row.status in (None, "active") or not (starts or _ends(row, arrival)):
            return
        self.ended[row.status, row.exit_reason or UNKNOWN_REASON] += 1
        self.durations.add(row.duration_seconds or 0.0)


def _ends(row: SessionRow, arrival: Arrival) -> bool:
    """Whether a session would go on without this end."""
    if len(row.ends) == 1:
        return True
    this = arrival.event_id, arrival.event.timestamp
    others = tuple(end for end in row.ends if (end.event_id, end.timestamp) != this)
    return changed(row, {"ends": others}).believed_end is None
