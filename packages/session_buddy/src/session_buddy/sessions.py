"""The rules: what a set of events says about a session. Events in, rows out, no I/O, no clock of its own.

A session is a pure function of its events: in any order, however often repeated, the same row. Only the
heartbeat state (``last_seen``, ``commands``, ``errors``, ``last_activity``) is state; it is merged by
taking the larger value.
"""

from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, Self

from oneiric import contract
from oneiric.contract import EndStatus, Status
from oneiric.events import Activity, Process, SessionEnd, SessionHeartbeat, SessionStart

Event = SessionStart | SessionHeartbeat | SessionEnd
Verdict = Literal["stored", "duplicate", "not_found", "forbidden", "invalid"]

# Of ends alike only the last can be believed; the few before it are kept to be known when they come again.
ENDS_ALIKE: Final = 8

# An inferred end is dated by a file's time, which comes from a coarser clock than a heartbeat's own.
REFUTES_AFTER: Final = timedelta(seconds=1)

# What is believed about an end, the strongest first; an emitter's own word is stronger than all.
_WEAKER: Final = ("operator", "outbox_recovered", "process_gone", "lease_expired")
_INFERRED: Final = frozenset(_WEAKER[1:])
_CONCLUDES: Final = dict(zip(("operator", "outbox", "liveness", "lease"), _WEAKER, strict=True))


class Arrival(NamedTuple):
    """One validated event, who brought it and when; see :meth:`of`.

    Attributes:
        event: the event.
        subject: whom the caller's token names, e.g. ``local:1000``.
        by_admin: whether the caller may end anybody's session.
        received_at: when it came in, UTC.
        session_id: the session that the event is about.
        event_id: the event's own id, ``""`` for a heartbeat.
        body: the whole event as JSON, unknown fields included.
    """

    event: Event
    subject: str
    by_admin: bool
    received_at: datetime
    session_id: str
    event_id: str
    body: str

    @classmethod
    def of(cls, event: Event, subject: str, received_at: datetime, *, by_admin: bool) -> Self:
        """The arrival of an event, with what follows from the event alone."""
        event_id = str(getattr(event, "event_id", ""))
        body = event.model_dump_json(exclude_none=True)
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
    commands: int
    errors: int
    last_activity: datetime | None
    metadata: dict[str, Any]

    @property
    def inferred(self) -> bool:
        """Whether somebody concluded this end, so that a later sign of life refutes it."""
        return self._concluded_as in _INFERRED

    @property
    def makes(self) -> EndStatus | Literal["lost"]:
        """The status of a session that ended so."""
        return "lost" if self._concluded_as == "lease_expired" else self.status

    @property
    def weight(self) -> tuple[int, datetime, str]:
        """Of several ends the one of the greatest weight is believed."""
        concluded = self._concluded_as
        strength = -_WEAKER.index(concluded) if concluded in _WEAKER else 1
        return strength, self.timestamp, self.event_id

    @property
    def source(self) -> tuple[int, str, bool]:
        """What sort of end it is, and who reported it; of ends alike in this the latest is believed."""
        return self.weight[0], self.subject, self.by_admin

    @property
    def order(self) -> tuple[datetime, str, str, str]:
        """A place among all ends, also among those that share an id."""
        return self.timestamp, self.event_id, self.subject, repr(self)

    @property
    def _concluded_as(self) -> str | None:
        """What counts is who says it: the finder of a free lock, say, also concludes an ``exec``.

        The emitter is also named where nobody is: then the reason tells.
        """
        return _CONCLUDES.get(self.detected_by, self.exit_reason)


class SessionRow(NamedTuple):
    """A session as stores keep it; times are UTC.

    While only an end is known, ``start_event_id`` and ``status`` are ``None``, and ``start_time`` is the one
    in the id; such a row is joined when its start comes, and shown to nobody before.
    """

    session_id: str
    start_time: datetime
    start_event_id: str | None = None
    subject: str | None = None
    component: str | None = None
    session_type: str | None = None
    shell_type: str | None = None
    username: str | None = None
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
    metadata: dict[str, Any] | None = None
    last_seen: datetime | None = None
    commands: int = 0
    errors: int = 0
    last_activity: datetime | None = None
    ends: tuple[End, ...] = ()
    status: Status | None = None
    exit_reason: str | None = None
    end_time: datetime | None = None

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
        return max(filter(self._stands, self.ends), key=lambda end: end.weight, default=None)

    def _stands(self, end: End) -> bool:
        if not end.inferred or self.last_seen is None or self.last_seen <= self.start_time:
            return True
        return self.last_seen <= end.timestamp + REFUTES_AFTER


class Taken(NamedTuple):
    """What became of one arrival.

    Attributes:
        verdict: ``stored``, ``duplicate`` (it says nothing new), ``not_found`` (an end is kept until its
            start comes), ``forbidden``, ``invalid``.
        session_id: the session that the event is about.
        row: the session as it then stands, ``None`` if nothing is known of it.
        kept: whether the event is new to the history.
        field: for ``invalid``, the offending field.
        error: for ``forbidden`` and ``invalid``, one line that says what is allowed.
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
    commands: int
    errors: int
    last_activity: datetime | None


def fold(row: SessionRow | None, arrival: Arrival) -> Taken:
    """Take one event into a session's row (``None``: the session is unknown so far)."""
    event = arrival.event
    if isinstance(event, SessionStart):
        return _fold_start(row, event, arrival)
    if isinstance(event, SessionEnd):
        return _fold_end(row, event, arrival)
    return _fold_heartbeat(row, event, arrival)


def _fold_start(row: SessionRow | None, event: SessionStart, arrival: Arrival) -> Taken:
    fresh = _started(event, arrival)
    if row is None:
        return Taken("stored", fresh.session_id, fresh, kept=True)
    if row.start_event_id == fresh.start_event_id:
        return Taken("duplicate", row.session_id, row)
    if row.started:
        known = f"session {row.session_id} has another start event"
        error = f"event_id: '{arrival.event_id}' is not valid: {known}"
        return Taken("invalid", row.session_id, row, field="event_id", error=error)
    ends = tuple(end for end in row.ends if _counts(end.subject, end.by_admin, arrival.subject))
    return Taken("stored", row.session_id, _settled(fresh._replace(ends=ends)), kept=True)


def _fold_end(row: SessionRow | None, event: SessionEnd, arrival: Arrival) -> Taken:
    row = row or SessionRow(session_id=event.session_id, start_time=contract.start_time_of(event.session_id))
    end = _end(event, arrival)
    if row.started and not _counts(end.subject, end.by_admin, row.subject):
        return _forbidden(row, arrival)
    ends = _with_end(row.ends, end)
    verdict: Verdict = "stored" if row.started else "not_found"
    if ends == row.ends:
        return Taken("duplicate" if row.started else verdict, row.session_id, row)
    return Taken(verdict, row.session_id, _settled(row._replace(ends=ends)), kept=True)


def _with_end(ends: tuple[End, ...], end: End) -> tuple[End, ...]:
    """The ends with one more: of each source the latest few, so that they are the same in any order."""
    if not ends or end in ends:
        return ends or (end,)
    ordered = sorted((*ends, end), key=lambda one: one.order)
    alike = [one for one in ordered if one.source == end.source]
    return tuple(one for one in ordered if one not in alike[:-ENDS_ALIKE])


def _fold_heartbeat(row: SessionRow | None, event: SessionHeartbeat, arrival: Arrival) -> Taken:
    if row is None or not row.started:
        return Taken("not_found", event.session_id, row)
    if not _counts(arrival.subject, arrival.by_admin, row.subject):
        return _forbidden(row, arrival)
    seen = row._replace(last_seen=later(row.last_seen, event.timestamp))
    return Taken("stored", row.session_id, _settled(_with_activity(seen, event.activity)))


def with_heartbeats(row: SessionRow, old: SessionRow | None) -> SessionRow:
    """A row folded from the history alone, with the heartbeat state that an older row had."""
    if old is None or not row.started or not old.started:
        return row
    seen = row._replace(last_seen=later(row.last_seen, old.last_seen))
    activity = Activity(commands=old.commands, errors=old.errors, last_activity=old.last_activity)
    return _settled(_with_activity(seen, activity))


def refreshed(row: SessionRow, beat: Beat | None) -> SessionRow:
    """A stored row with the heartbeat state that is not stored yet."""
    if beat is None or row.status != "active":
        return row
    activity = Activity(commands=beat.commands, errors=beat.errors, last_activity=beat.last_activity)
    return _with_activity(row._replace(last_seen=later(row.last_seen, beat.last_seen)), activity)


def _with_activity(row: SessionRow, activity: Activity) -> SessionRow:
    return row._replace(
        commands=max(row.commands, activity.commands),
        errors=max(row.errors, activity.errors),
        last_activity=later(row.last_activity, activity.last_activity),
    )


def _counts(subject: str, by_admin: bool, owner: str | None) -> bool:  # noqa: FBT001 - a fact about the subject
    return by_admin or subject == owner


def _forbidden(row: SessionRow, arrival: Arrival) -> Taken:
    error = f"session {row.session_id} was started by {row.subject}; {arrival.subject} may not speak for it"
    return Taken("forbidden", row.session_id, row, error=error)


def _settled(row: SessionRow) -> SessionRow:
    """The row with what follows from the rest of it."""
    end = row.believed_end if row.started else None
    if end is None:
        status: Status | None = "active" if row.started else None
        return row._replace(status=status, exit_reason=None, end_time=None)
    return row._replace(status=end.makes, exit_reason=end.exit_reason, end_time=end.timestamp)


def _started(event: SessionStart, arrival: Arrival) -> SessionRow:
    process = event.process
    return SessionRow(
        session_id=arrival.session_id,
        start_time=event.timestamp,
        start_event_id=arrival.event_id,
        subject=arrival.subject,
        component=event.component_name,
        session_type=event.session_type,
        shell_type=event.shell_type,
        username=event.user.username,
        hostname=event.hostname,
        pid=event.pid,
        boot_id=process.boot_id if process else None,
        pid_namespace=process.pid_namespace if process else None,
        process_started_at=process.started_at if process else None,
        python_version=event.environment.python_version,
        platform=event.environment.platform,
        cwd=event.environment.cwd,
        origin=event.origin.model_dump(mode="json", exclude_none=True) if event.origin else None,
        parent_session_id=event.parent_session_id,
        reason=event.reason,
        actor=event.actor,
        metadata=event.metadata,
        last_seen=event.timestamp,
        status="active",
    )


def _end(event: SessionEnd, arrival: Arrival) -> End:
    activity = event.activity or Activity()
    return End(
        event_id=arrival.event_id,
        timestamp=event.timestamp,
        status=event.status,
        exit_reason=event.exit_reason,
        exit_code=event.exit_code,
        signal=event.signal,
        detected_by=event.detected_by,
        subject=arrival.subject,
        by_admin=arrival.by_admin,
        commands=activity.commands,
        errors=activity.errors,
        last_activity=activity.last_activity,
        metadata=event.metadata,
    )


def later(one: datetime | None, other: datetime | None) -> datetime | None:
    """The later of two times, as far as they are known."""
    return max((time for time in (one, other) if time is not None), default=None)
