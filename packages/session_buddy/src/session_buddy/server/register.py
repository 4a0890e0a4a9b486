"""The register of sessions as tools and pages use it: report, end, list, look up, ask how it is.

Sits between whoever carries calls (MCP tools, web pages) and writer, presence and store.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal, TypeVar

from anyio import CapacityLimiter, to_thread
from typing_extensions import TypedDict

from oneiric.events import SessionHeartbeat
from session_buddy import __version__
from session_buddy.access.callers import RIGHTS, Caller
from session_buddy.errors import EventRefused, Forbidden, StoreUnavailable
from session_buddy.history.around import SessionAnswer, answer
from session_buddy.history.fold import refreshed
from session_buddy.history.model import Arrival, SessionRow, Taken
from session_buddy.history.page import SessionsAnswer, listed
from session_buddy.history.query import Query
from session_buddy.history.record import SessionRecord, to_record
from session_buddy.history.reference import parse_ref
from session_buddy.intake.accounts import Accounts
from session_buddy.intake.admission import Batch, EventResult, validate
from session_buddy.intake.presence import Presence
from session_buddy.intake.writer import Writer
from session_buddy.store import Store

# Threads that read the database at once; a look-up waits for no list, a health check for neither.
LISTS_AT_ONCE: Final = 2
READS_AT_ONCE: Final = 2
LOOK_UPS_AT_ONCE: Final = 8
# Less than a command waits for an answer, and more than a query may take.
READ_SECONDS: Final = 25.0
HEALTH_SECONDS: Final = 4.0

T = TypeVar("T")


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
    """Answers calls; none of its methods blocks the event loop."""

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
        self._lists = CapacityLimiter(LISTS_AT_ONCE)
        self._reads = CapacityLimiter(READS_AT_ONCE)
        self._health_checks = CapacityLimiter(1)
        self._look_ups = CapacityLimiter(LOOK_UPS_AT_ONCE)

    def __repr__(self) -> str:
        return f"<Register({self._store!r}, live={len(self._presence)})>"

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
        """Take one start.

        Raises:
            EventRefused: names the field.
            StoreError: the database cannot be written.
        """
        result = await self._take_one(raw, caller)
        return StartAnswer(
            session_id=result["session_id"] or "", status="tracked", error=None, **self._paced()
        )

    async def end(self, raw: Mapping[str, Any], caller: Caller) -> EndAnswer:
        """Take one end.

        Raises:
            EventRefused: names the field.
            Forbidden: the session was started by another subject.
            StoreError: the database cannot be written.
        """
        result = await self._take_one(raw, caller)
        status: Literal["ended", "not_found"] = "not_found" if result["status"] == "not_found" else "ended"
        return EndAnswer(session_id=result["session_id"] or "", status=status, error=None, **self._paced())

    async def sessions(
        self, query: Query, fields: Sequence[str] | None = None, *, count: bool = False
    ) -> SessionsAnswer:
        """The sessions that fit, in their order, as many as one answer holds.

        Args:
            query: which.
            fields: what is shown of each, see :func:`session_buddy.history.fields.chosen`.
            count: whether to say how many fit in all.

        Raises:
            InvalidQuery: a field is unknown.
        """
        if query.needs_pulse:
            # What is told by heartbeats is written only now and then.
            await asyncio.wrap_future(self._writer.flush())
        query = replace(query, silent=self._presence.silent(self._clock()), busy=self._presence.busy())
        counted = self._store.count if count else None
        ask = partial(listed, query, fields, self._store.select, self._records, counted)
        return await self._read(ask, self._lists)

    async def session(self, ref: str, *, details: bool = False) -> SessionAnswer:
        """One session, by id, 8-hex suffix or unique prefix, or the latest; details are what is around it.

        Raises:
            InvalidQuery: nothing is named.
            UnknownSession: names the nearest ids.
            AmbiguousSession: lists those that fit.
        """
        around = self._store.around if details else None
        return await self._read(
            lambda: answer(self._store.find(parse_ref(ref)), around, self._records), self._reads
        )

    async def health(self) -> HealthAnswer:
        """How the server is, from a real read of the database, and from what became of its latest write.

        Raises:
            StoreError: the database cannot be read, or written.
        """
        if self._writer.trouble is not None:
            raise StoreUnavailable(self._writer.trouble)
        if self._writer.waits() > HEALTH_SECONDS:
            raise StoreUnavailable(f"database {self._store.url} has taken no write for {HEALTH_SECONDS:g} s")
        live = await self._read(self._store.count_live, self._health_checks, HEALTH_SECONDS)
        return HealthAnswer(
            status="ok",
            version=__version__,
            database=str(self._store.url),
            uptime_seconds=round(self._clock() - self._began, 3),
            live_sessions=live,
            tools=sorted(RIGHTS),
            **self._paced(),
        )

    async def _read(self, ask: Callable[[], T], limiter: CapacityLimiter, seconds: float = READ_SECONDS) -> T:
        """What the database answers, on a thread that keeps its place until it is done."""
        asking = asyncio.ensure_future(to_thread.run_sync(ask, limiter=limiter, abandon_on_cancel=True))
        asking.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.wait_for(asyncio.shield(asking), seconds)
        except TimeoutError:
            raise StoreUnavailable(f"database {self._store.url} has not answered for {seconds:g} s") from None

    async def _take_one(self, raw: Mapping[str, Any], caller: Caller) -> EventResult:
        valid = await self._validated([raw], caller)
        (result,) = valid.results(await self._take(valid.arrivals))
        if result["status"] == "invalid":
            raise EventRefused(result["error"])
        if result["status"] == "forbidden":
            raise Forbidden(result["error"])
        return result

    async def _validated(self, batch: Sequence[object], caller: Caller) -> Batch:
        # Before anybody waits: a batch that is too large is refused at once.
        valid = validate(batch, caller, self._now())
        if not self._accounts.lack_names(batch):
            return valid
        named = await to_thread.run_sync(self._accounts.named, batch, limiter=self._look_ups)
        return validate(named, caller, self._now())

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

    def _records(self, rows: Sequence[SessionRow]) -> list[SessionRecord]:
        now, silent, busy = self._now(), self._presence.silent(self._clock()), self._presence.busy()
        beats = self._presence.state(row.session_id for row in rows)
        return [
            to_record(
                refreshed(row, beats.get(row.session_id)),
                now,
                silent=row.session_id in silent,
                busy=row.session_id in busy,
            )
            for row in rows
        ]

    def _paced(self) -> Paced:
        return Paced(
            server_instance=self._store.instance, next_heartbeat_seconds=self._presence.heartbeat_seconds
        )
