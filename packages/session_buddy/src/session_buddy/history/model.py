"""What the rules speak of: an event that came in, a session's row, its ends, its heartbeat state."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, Self, TypeVar, get_args

from oneiric.contract import EndStatus, Status
from oneiric.events import Process, SessionEnd, SessionHeartbeat, SessionStart

Event = SessionStart | SessionHeartbeat | SessionEnd
Verdict = Literal["stored", "duplicate", "not_found", "forbidden", "invalid"]

# An inferred end is dated by a file's time, which comes from a coarser clock than a heartbeat's own.
REFUTES_AFTER: Final = timedelta(seconds=1)
# Two clocks of one process that differ by more: one of them was set.
MAX_SKEW: Final = timedelta(seconds=5)

# How an end is known, the weakest first: silence; that the process is gone; that it lives
# on as another program; a person's word; the emitter's own.
Evidence = Literal["lease", "gone", "exec", "operator", "emitter"]
_STRENGTH: Final = get_args(Evidence)
_BY_DETECTOR: Final[dict[str, Evidence]] = {
    "lease": "lease",
    "liveness": "gone",
    "outbox": "gone",
    "operator": "operator",
}
_BY_REASON: Final[dict[str | None, Evidence]] = {
    "lease_expired": "lease",
    "process_gone": "gone",
    "outbox_recovered": "gone",
    "operator": "operator",
}
# What heartbeats raise: each is the largest or latest that was told.
HEARTBEAT_STATE: Final = ("last_seen", "elapsed_seconds", "commands", "errors", "last_activity")

T = TypeVar("T", int, float, datetime)
S = TypeVar("S", "Beat", "SessionRow")


def without_host(subject: str) -> str:
    """A local user's subject as an earlier version had it: ``local:1000`` for ``local:1000@web1``."""
    return subject.partition("@")[0] if subject.startswith("local:") else subject


class Arrival(NamedTuple):
    """One validated event, who brought it and when (UTC); see :meth:`of`.

    ``subject`` is whom the caller's token names, e.g. ``local:1000@web1``; ``by_admin``: it may end
    anybody's session. ``event_id`` is empty for a heartbeat. ``body`` is the whole event as JSON, as it
    came.
    """

    event: Event
    subject: str
    by_admin: bool
    received_at: datetime
    session_id: str
    event_id: str
    body: str

    @classmethod
    def of(
        cls, event: Event, subject: str, received_at: datetime, *, by_admin: bool, body: str | None = None
    ) -> Self:
        """The arrival of an event that came as ``body``, or was made here."""
        event_id = str(getattr(event, "event_id", ""))
        body = event.model_dump_json(exclude_none=True) if body is None else body
        return cls(event, subject, by_admin, received_at, event.session_id, event_id, body)

    @property
    def size(self) -> int:
        """Bytes that the event takes."""
        return len(self.body.encode())


class End(NamedTuple):
    """One end that was reported for a session; several may be."""

    event_id: str
    timestamp: datetime
    status: EndStatus
    exit_reason: str | None
    exit_code: int | None
    signal: int | None
    detected_by: str
    subject: str
    by_admin: bool
    elapsed_seconds: float | None
    commands: int | None
    errors: int | None
    last_activity: datetime | None
    metadata: dict[str, Any]

    @property
    def evidence(self) -> Evidence:
        """How this end is known: by who says it, and by the reason where that is the emitter, the default."""
        if (self.detected_by, self.exit_reason) == ("outbox", "exec"):
            return "exec"
        return _BY_DETECTOR.get(self.detected_by) or _BY_REASON.get(self.exit_reason, "emitter")

    @property
    def inferred(self) -> bool:
        """Whether this end was concluded, not reported, so that a later sign of life refutes it."""
        return self.evidence in ("lease", "gone", "exec")

    @property
    def makes(self) -> EndStatus | Literal["lost"]:
        """The status of a session that ended so."""
        return "lost" if self.evidence == "lease" else self.status

    @property
    def weight(self) -> tuple[int, datetime, str]:
        """Of several ends the one of the greatest weight is believed."""
        return _STRENGTH.index(self.evidence), self.timestamp, self.event_id

    @property
    def source(self) -> tuple[int, str, bool]:
        """What sort of end it is, and who reported it; of ends alike in this the latest is believed."""
        return self.weight[0], self.subject, self.by_admin

    @property
    def order(self) -> tuple[datetime, float, str, str, str]:
        """A place among all ends, also among those that share an id."""
        elapsed = -1.0 if self.elapsed_seconds is None else self.elapsed_seconds
        return self.timestamp, elapsed, self.event_id, self.subject, repr(self)

    @property
    def as_first_written(self) -> "End":
        """As the first release has it, which wrote 0 where nothing was counted, and named no host."""
        subject = without_host(self.subject)
        return self._replace(commands=self.commands or 0, errors=self.errors or 0, subject=subject)


class SessionRow(NamedTuple):
    """A session as stores keep it; times are UTC.

    While only an end is known, ``start_event_id`` and ``status`` are ``None``, and ``start_time`` is the one
    in the id; such a row is joined when its start comes, and shown to nobody before.

    Attributes:
        received_at: when the start came in, by the server's clock.
        listed_at: its place in lists: when it started, or came in where its own clock was wrong.
        elapsed_seconds: how long it lasted at its latest heartbeat, by a clock that nobody sets.
        listed_until: where in lists it ended, as ``listed_at``; ``None`` while active, as the next four.
        duration_seconds: how long it lasted.
        counted_commands: the most that heartbeats or ends told.
        counted_errors: likewise.
        end_metadata: what the end that counts added to the metadata.
        tombstone: the number of the deletion that the session fell to; such a row has nothing else of it but
            ``session_id``, ``start_time`` and ``listed_at``, and is shown to nobody.
        search_text: what words are looked for in, see :func:`session_buddy.history.search.search_text`.
    """

    session_id: str
    start_time: datetime
    listed_at: datetime
    received_at: datetime | None = None
    start_event_id: str | None = None
    subject: str | None = None
    component: str | None = None
    session_type: str | None = None
    shell_type: str | None = None
    username: str | None = None
    uid: int | None = None
    person: str | None = None
    person_evidence: str | None = None
    person_also: list[dict[str, str]] | None = None
    sudo_user: str | None = None
    hostname: str | None = None
    pid: int | None = None
    boot_id: str | None = None
    pid_namespace: str | None = None
    process_started_at: int | None = None
    python_version: str | None = None
    platform: str | None = None
    cwd: str | None = None
    origin: dict[str, Any] | None = None
    parent_session_id: str | None = None
    reason: str | None = None
    actor: str | None = None
    agent: str | None = None
    metadata: dict[str, Any] | None = None
    last_seen: datetime | None = None
    elapsed_seconds: float | None = None
    commands: int | None = None
    errors: int | None = None
    last_activity: datetime | None = None
    ends: tuple[End, ...] = ()
    status: Status | None = None
    exit_reason: str | None = None
    end_time: datetime | None = None
    exit_code: int | None = None
    listed_until: datetime | None = None
    duration_seconds: float | None = None
    counted_commands: int | None = None
    counted_errors: int | None = None
    search_text: str | None = None
    end_metadata: dict[str, Any] | None = None
    tombstone: int | None = None

    @property
    def started(self) -> bool:
        """Whether the session's start is known."""
        return self.start_event_id is not None

    @property
    def process(self) -> Process | None:
        """What names the session's process for good, ``None`` where its emitter could not tell."""
        if self.boot_id is None or self.pid_namespace is None or self.process_started_at is None:
            return None
        return Process(
            boot_id=self.boot_id, pid_namespace=self.pid_namespace, started_at=self.process_started_at
        )

    @property
    def believed_end(self) -> End | None:
        """The end that counts, ``None`` while the session lives."""
        if not self.ends:
            return None
        standing = [end for end in self.ends if self._stands(end)]
        return max(standing, key=lambda end: end.weight) if standing else None

    @property
    def clock_skew(self) -> bool:
        """Whether its clock was wrong: set while it was open, or ahead of the server's when it started."""
        start, end = self.start_time, self.believed_end
        return (
            was_set(start, self.last_seen, self.elapsed_seconds)
            or (self.received_at is not None and start - self.received_at > MAX_SKEW)
            or (
                end is not None
                and (end.timestamp < start or was_set(start, end.timestamp, end.elapsed_seconds))
            )
        )

    def _stands(self, end: End) -> bool:
        if not end.inferred or self.last_seen is None:
            return True
        if self.elapsed_seconds is not None and end.elapsed_seconds is not None:
            return self.elapsed_seconds - end.elapsed_seconds <= REFUTES_AFTER.total_seconds()
        return self.last_seen <= self.start_time or self.last_seen - end.timestamp <= REFUTES_AFTER


# Where each field stands in a row.
PLACES: Final = {name: place for place, name in enumerate(SessionRow._fields)}


def changed(row: SessionRow, changes: Mapping[str, Any]) -> SessionRow:
    """The row with other values; ``_replace`` takes four times as long of so many fields."""
    values = list(row)
    for name, value in changes.items():
        values[PLACES[name]] = value
    return SessionRow._make(values)


class Taken(NamedTuple):
    """What became of one arrival.

    Attributes:
        verdict: ``stored``, ``duplicate`` (it says nothing new), ``not_found`` (an end is kept until its
            start comes), ``forbidden``, ``invalid``.
        session_id: the session that the event is about.
        row: the session as it then stands, ``None`` if nothing is known of it.
        kept: whether the event is new to the history.
        field: for ``invalid``, the offending field.
        error: for ``forbidden`` and ``invalid``, one line that says what is allowed; for ``duplicate``, that
            the session was deleted, when and by whom.
    """

    verdict: Verdict
    session_id: str
    row: SessionRow | None
    kept: bool = False
    field: str | None = None
    error: str | None = None


class Beat(NamedTuple):
    """The heartbeat state of one live session, as it is written now and then."""

    session_id: str
    last_seen: datetime
    commands: int | None
    errors: int | None
    last_activity: datetime | None
    elapsed_seconds: float | None = None

    @classmethod
    def of(cls, event: SessionHeartbeat) -> Self:
        """What one heartbeat tells."""
        did = event.activity
        return cls(
            event.session_id,
            event.timestamp,
            did.commands,
            did.errors,
            did.last_activity,
            event.elapsed_seconds,
        )


def raised(known: S, state: Beat | SessionRow) -> S:
    """``known``, its heartbeat state raised to what ``state`` has."""
    highest: dict[str, Any] = {
        name: greatest(getattr(known, name), getattr(state, name)) for name in HEARTBEAT_STATE
    }
    return known._replace(**highest)


def was_set(start: datetime, now: datetime | None, elapsed_seconds: float | None) -> bool:
    """Whether a clock that showed ``start`` and shows ``now`` was set meanwhile, so many seconds later."""
    if now is None or elapsed_seconds is None:
        return False
    return abs((now - start).total_seconds() - elapsed_seconds) > MAX_SKEW.total_seconds()


def greatest(*values: T | None) -> T | None:
    """The largest or latest of the values that are known."""
    return max((value for value in values if value is not None), default=None)
