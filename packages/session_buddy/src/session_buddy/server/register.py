"""The register of sessions as tools and pages use it: report, end, ask how it is; ``answers`` reads the rest.

Sits between whoever carries calls (MCP tools, web pages) and writer, presence and store.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal

from anyio import CapacityLimiter, to_thread
from typing_extensions import TypedDict

from oneiric.events import SessionHeartbeat
from session_buddy import __version__
from session_buddy.access.callers import RIGHTS, Caller
from session_buddy.errors import BatchTooLarge, EventRefused, Forbidden, StoreUnavailable
from session_buddy.history.fold import not_yours, refreshed, speaks_for
from session_buddy.history.model import Arrival, SessionRow, Taken
from session_buddy.history.record import SessionRecord, to_record
from session_buddy.history.reference import parse_ref
from session_buddy.intake.accounts import Accounts
from session_buddy.intake.admission import Batch, EventResult, validate
from session_buddy.intake.by_hand import EndedByHand, end_by_hand, require_stuck
from session_buddy.intake.presence import Presence
from session_buddy.intake.writer import Writer
from session_buddy.server.answers import HEALTH_SECONDS, Answers
from session_buddy.server.hub import Hub
from session_buddy.store import Store

LOOK_UPS_AT_ONCE: Final = 8
# How a tool's caller says what ``--force`` is on the command line.
BY_TOOL: Final = "force: true"
# Of a call: answered; refused, which is its caller's to change; failed, which is the server's.
Outcome = Literal["answered", "refused", "failed"]


class Paced(TypedDict):
    """What every answer to an emitter carries."""

    server_instance: str
    next_heartbeat_seconds: float


class EventsAnswer(Paced):
    """One result for each event, in order."""

    results: list[EventResult]


class StartAnswer(Paced):
    """A session is tracked."""

    session_id: str
    status: Literal["tracked"]
    error: str | None


class EndAnswer(Paced):
    """A session has ended, or its start has not arrived yet (the end is kept until it does)."""

    session_id: str
    status: Literal["ended", "not_found"]
    error: str | None


class HealthAnswer(Paced):
    """How the server is; given after a read of the database."""

    status: Literal["ok"]
    version: str
    database: str
    uptime_seconds: float
    live_sessions: int
    tools: list[str]


class Register:
    """Takes calls; none of its methods blocks the event loop.

    ``calls`` counts them by tool or route and by what became of them; it is counted on the event loop.
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        presence: Presence,
        *,
        accounts: Accounts | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._accounts = accounts or Accounts()
        self._store = store
        self._writer = writer
        self._presence = presence
        self._clock = clock
        self._now = now
        self._began = clock()
        self.answers = Answers(store, writer, presence, clock=clock, now=now)
        self.calls: Final[Counter[tuple[str, Outcome]]] = Counter()
        self.hub = Hub(self.answers)
        self._look_ups = CapacityLimiter(LOOK_UPS_AT_ONCE)
        self._by_hand = CapacityLimiter(1)

    def __repr__(self) -> str:
        return f"<Register({self._store!r}, live={len(self._presence)})>"

    def note_invalid(self) -> None:
        """Count a call whose arguments are no valid event, so that it never came here."""
        self._writer.tally.refuse("invalid")

    def let_go(self) -> None:
        """End all waiting requests and streams, and accept no more; call it on the event loop."""
        self.answers.feed.close()
        self.hub.close()

    async def track(self, batch: Sequence[object], caller: Caller) -> EventsAnswer:
        """Take a batch of raw events; each is answered by itself.

        Raises:
            BatchTooLarge: more than 500 events or 1 MiB.
            StoreError: the database cannot be written; the events may be sent again.
        """
        valid = await self._validated(batch, caller)
        taken = await self._take(valid.arrivals)
        return EventsAnswer(results=valid.results(taken), **self._paced())

    async def start(self, raw: Mapping[str, Any], caller: Caller) -> StartAnswer:
        """Store one start.

        Raises:
            EventRefused: names the field; or says that the session was deleted.
            StoreError: the database cannot be written.
        """
        result = await self._take_one(raw, caller)
        return StartAnswer(
            session_id=result["session_id"] or "", status="tracked", error=None, **self._paced()
        )

    async def end(self, raw: Mapping[str, Any], caller: Caller) -> EndAnswer:
        """Store one end.

        Raises:
            EventRefused: names the field.
            Forbidden: the session was started by another subject.
            StoreError: the database cannot be written.
        """
        result = await self._take_one(raw, caller)
        status: Literal["ended", "not_found"] = "not_found" if result["status"] == "not_found" else "ended"
        return EndAnswer(session_id=result["session_id"] or "", status=status, error=None, **self._paced())

    async def to_be_ended(self, ref: str, *, force: bool, caller: Caller) -> SessionRecord:
        """The session to be ended by hand, if that can be done.

        Raises:
            InvalidQuery, UnknownSession, AmbiguousSession: as of ``answers.session``.
            Forbidden: the session was started by another subject.
            SessionBuddyError: it is over; it is alive, and nothing forces it.
        """

        def look() -> SessionRecord:
            row = self._heard_of(parse_ref(ref))
            if not speaks_for(caller.subject, caller.is_admin, row.subject):
                raise Forbidden(not_yours(row, caller.subject))
            alive = row.status == "active" and self._is_alive(row)
            require_stuck(row, alive=alive and not force, forced_by=BY_TOOL)
            return to_record(row, self._now(), silent=not alive)

        return await to_thread.run_sync(look, limiter=self._by_hand)

    async def end_by_hand(
        self,
        refs: Sequence[str],
        reason: str | None,
        *,
        force: bool,
        caller: Caller,
        forced_by: str = "--force",
    ) -> list[EndedByHand]:
        """End sessions that are stuck, in the history alone; see :func:`intake.by_hand.end_by_hand`.

        Raises:
            InvalidQuery: too many, or too long a reason.
            StoreError: the database cannot be read, or written.
        """
        work = partial(
            end_by_hand,
            refs,
            reason,
            force=force,
            caller=caller,
            now=self._now(),
            find=self._heard_of,
            is_alive=self._is_alive,
            ingest=self._writer.ingest,
            forced_by=forced_by,
        )
        return await to_thread.run_sync(work, limiter=self._by_hand)

    async def health(self) -> HealthAnswer:
        """How the server is, from a real read of the database, and from what became of its latest write.

        Raises:
            StoreError: the database cannot be read, or written.
        """
        if (trouble := self.why_not_written()) is not None:
            raise StoreUnavailable(trouble)
        return HealthAnswer(
            status="ok",
            version=__version__,
            database=str(self._store.url),
            uptime_seconds=round(self._clock() - self._began, 3),
            live_sessions=await self.answers.count_live(),
            tools=sorted(RIGHTS),
            **self._paced(),
        )

    def why_not_written(self) -> str | None:
        """What is wrong with the latest write, or with one that is under way; ``None``: nothing."""
        trouble = self._writer.trouble
        if trouble is None and self._writer.waits() > HEALTH_SECONDS:
            return f"database {self._store.url} has taken no write for {HEALTH_SECONDS:g} s"
        return trouble

    def _heard_of(self, ref: str) -> SessionRow:
        """The session of a name, with its latest heartbeat."""
        row = self._store.find(ref)
        return refreshed(row, self._presence.state([row.session_id]).get(row.session_id))

    def _is_alive(self, row: SessionRow) -> bool:
        return self._presence.is_alive(row.session_id, self._clock())

    async def _take_one(self, raw: Mapping[str, Any], caller: Caller) -> EventResult:
        valid = await self._validated([raw], caller)
        (result,) = valid.results(await self._take(valid.arrivals))
        if result["error"]:
            # Also of a duplicate: the session was deleted.
            raise (Forbidden if result["status"] == "forbidden" else EventRefused)(result["error"])
        return result

    async def _validated(self, batch: Sequence[object], caller: Caller) -> Batch:
        # Before anybody waits: a batch that is too large is refused at once.
        try:
            valid = validate(batch, caller, self._now())
            if self._accounts.lack_names(batch):
                named = await to_thread.run_sync(self._accounts.named, batch, limiter=self._look_ups)
                valid = validate(named, caller, self._now())
        except BatchTooLarge:
            self._writer.tally.refuse("too_large", len(batch))
            raise
        self._writer.tally.refuse("invalid", valid.invalid)
        return valid

    async def _take(self, arrivals: Sequence[Arrival]) -> list[Taken]:
        """Heartbeats of live sessions go to memory; everything else to disk before it is answered."""
        heard = [self._hear(arrival) for arrival in arrivals]
        rest = [arrival for arrival, taken in zip(arrivals, heard, strict=True) if taken is None]
        written = await asyncio.wrap_future(self._writer.submit(rest)) if rest else []
        stored = iter(written)
        return [next(stored) if taken is None else taken for taken in heard]

    def _hear(self, arrival: Arrival) -> Taken | None:
        event = arrival.event
        if not isinstance(event, SessionHeartbeat):
            return None
        heard = self._presence.hear(event, arrival.subject, self._clock(), by_admin=arrival.by_admin)
        return Taken("stored", event.session_id, None) if heard else None

    def _paced(self) -> Paced:
        return Paced(
            server_instance=self._store.instance, next_heartbeat_seconds=self._presence.heartbeat_seconds
        )
