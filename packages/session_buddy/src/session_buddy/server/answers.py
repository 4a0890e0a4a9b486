"""Reads the history for tools and routes, with what only the server knows: who is silent, who is busy."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from tempfile import TemporaryFile
from typing import BinaryIO, Final, TypeVar, cast

from anyio import CapacityLimiter, to_thread

from session_buddy.access.callers import asking
from session_buddy.errors import ExportFailed, StoreUnavailable
from session_buddy.history.around import SessionAnswer, answer
from session_buddy.history.bars import Bar, Cut, Sliced
from session_buddy.history.changes import ChangesAnswer, Place, told
from session_buddy.history.counted import StatisticsAnswer, counted
from session_buddy.history.export import EXPORT_SECONDS, Form
from session_buddy.history.fold import refreshed
from session_buddy.history.model import SessionRow
from session_buddy.history.page import SessionsAnswer, listed
from session_buddy.history.query import Clock, Query
from session_buddy.history.record import SessionRecord, to_record
from session_buddy.history.reference import parse_ref
from session_buddy.history.statistics import Statistics
from session_buddy.history.timeline import TimelineAnswer, Window, timeline
from session_buddy.intake.presence import Presence
from session_buddy.intake.writer import Writer
from session_buddy.server.feed import Feed
from session_buddy.store import Store

# Threads that read the database at once; a look-up waits for no list, a health check for neither.
LISTS_AT_ONCE: Final = 2
READS_AT_ONCE: Final = 2
# Less than a command waits for an answer, and more than a query may take.
READ_SECONDS: Final = 25.0
HEALTH_SECONDS: Final = 4.0

# With more bars a picture cannot be read.
MOST_BARS: Final = 2000

T = TypeVar("T")


class Answers:
    """Reads the database without blocking the event loop; ``feed`` wakes requests that wait for changes."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        presence: Presence,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._writer = writer
        self._presence = presence
        self._clock = clock
        self._now = now
        self.feed = Feed()
        store.tell(self.feed.changed)
        self.lists = CapacityLimiter(LISTS_AT_ONCE)
        self.reads = CapacityLimiter(READS_AT_ONCE)
        self._followers = CapacityLimiter(READS_AT_ONCE)
        self._health_checks = CapacityLimiter(1)
        # A file of a million sessions keeps a thread busy for many seconds: it takes no place of a list.
        self._exports = CapacityLimiter(1)
        self._turns: dict[tuple[str, CapacityLimiter], asyncio.Semaphore] = {}

    @property
    def clock(self) -> Clock:
        """Now, for those who name no zone: UTC."""
        return Clock(self._now(), UTC)

    async def sessions(
        self, query: Query, fields: Sequence[str] | None = None, *, count: bool = False
    ) -> SessionsAnswer:
        """The sessions that fit, in their order, as many as one answer holds; with ``count``, how many fit.

        Raises:
            InvalidQuery: a field is unknown, see :func:`session_buddy.history.fields.chosen`.
        """
        query = await self._present_with_heartbeats(query)
        counted = self._store.count if count else None
        ask = partial(listed, query, fields, self._store.select, self._records, counted)
        return await self._read(ask, self.lists)

    async def statistics(self, asked: Statistics) -> StatisticsAnswer:
        """Count the sessions that fit.

        Raises:
            InvalidQuery: there are too many groups.
        """
        asked = replace(
            asked, query=await self._present_with_heartbeats(asked.query, needed=asked.needs_heartbeats)
        )
        return await self._read(lambda: counted(asked, self._store.measured(asked)), self.lists)

    async def timeline(self, query: Query, window: Window) -> TimelineAnswer:
        """What happened in a window of time to the sessions that fit; at most the query's ``limit`` of it."""
        query = await self._present_with_heartbeats(query)
        ask = partial(timeline, query, window, self._store.select, self._records, self._store.count)
        return await self._read(ask, self.lists)

    async def drawn(self, query: Query, cut: Cut) -> list[Bar] | Sliced:
        """What a timeline draws of a window: a bar a session; of more than :data:`MOST_BARS` what changed."""
        among = cut.window.of(await self._present_with_heartbeats(query))

        def ask() -> list[Bar] | Sliced:
            bars = self._store.bars(replace(among, limit=MOST_BARS + 1))
            return bars if len(bars) <= MOST_BARS else self._store.sliced(among, cut)

        return await self._read(ask, self.lists)

    async def session(self, ref: str, *, details: bool = False) -> SessionAnswer:
        """One session, by id, 8-hex suffix or unique prefix, or the latest; details are what is around it.

        Raises:
            InvalidQuery: nothing is named.
            UnknownSession: names the nearest ids.
            AmbiguousSession: lists those that fit.
        """
        around = self._store.around if details else None
        return await self._read(
            lambda: answer(self._store.find(parse_ref(ref)), around, self._records), self.reads
        )

    async def changes(self, query: Query, place: str | None, seconds: float = 0.0) -> ChangesAnswer:
        """What has happened behind a place to the sessions that fit now; ``None``: only the place of now.

        Where there is nothing, it waits ``seconds`` for something.

        Raises:
            InvalidQuery: it is no place.
        """
        ends = self._clock() + seconds
        seen = Place.parse(place) if place else None
        while True:
            count = self.feed.count
            answer = await self._read(partial(self._since, query, seen), self._followers)
            if seen is None or answer["changes"] or answer["another_history"]:
                return answer
            seen = Place.parse(answer["place"])
            if not await self.feed.wait(count, ends - self._clock()):
                return answer

    def _since(self, query: Query, seen: Place | None) -> ChangesAnswer:
        instance = self._store.instance
        known = seen if seen and seen.instance == instance else None
        found = self._store.changes(known.commit_id, known.session_id) if known else None
        if found is None:
            now = Place(instance, self._store.last_commit())
            return ChangesAnswer(place=str(now), changes=[], another_history=seen is not None)
        among = frozenset(session_id for session_id, _ in found.events)
        asked = replace(self._present(query), among=among, limit=len(among))
        rows = self._store.select(asked) if among else []
        records = {record["session_id"]: record for record in self._records(rows)}
        place = Place(instance, found.commit_id, found.session_id)
        return ChangesAnswer(place=str(place), changes=told(found.events, records), another_history=False)

    async def export(self, query: Query, form: Form) -> tuple[BinaryIO, int]:
        """The sessions that fit, as a file, and how many there are; see :meth:`Store.export`.

        The file has no name, so that nothing is left of it when it is closed, however this process ends.

        Raises:
            StoreError: it cannot be made, or not in time.
        """
        query = await self._present_with_heartbeats(query, needed=True)

        def made() -> tuple[BinaryIO, int]:
            file = self._file()
            try:
                number = self._store.export(query, form, file)
                file.seek(0)
            except BaseException:
                file.close()
                raise
            return file, number

        return await self._read(made, self._exports, EXPORT_SECONDS)

    def _file(self) -> BinaryIO:
        """A file where there is room: beside the database, if that is one."""
        beside = self._store.url.file
        try:
            return cast("BinaryIO", TemporaryFile(dir=beside and beside.parent))
        except OSError as error:
            raise ExportFailed(error.strerror or str(error)) from None

    async def count_live(self) -> int:
        """How many sessions are active; raises :class:`StoreUnavailable` after four seconds."""
        return await self._read(self._store.count_live, self._health_checks, HEALTH_SECONDS)

    async def size(self) -> int:
        """How many bytes the database takes; raises :class:`StoreUnavailable` after four seconds."""
        return await self._read(self._store.size, self._health_checks, HEALTH_SECONDS)

    async def _read(self, ask: Callable[[], T], limiter: CapacityLimiter, seconds: float = READ_SECONDS) -> T:
        """What the database answers, on a thread that keeps its place until it is done."""
        begun = False

        def begin() -> T:
            nonlocal begun
            begun = True
            return ask()

        read = asyncio.ensure_future(self._in_turn(begin, limiter))
        read.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.wait_for(asyncio.shield(read), seconds)
        except TimeoutError:
            if not begun:
                # Nobody waits for it any more, and whoever asks next would.
                read.cancel()
            raise StoreUnavailable(f"database {self._store.url} has not answered for {seconds:g} s") from None

    async def _in_turn(self, ask: Callable[[], T], limiter: CapacityLimiter) -> T:
        """Of one subject as many wait for a place as there are: nobody waits behind all that another asks."""
        places = asyncio.Semaphore(int(limiter.total_tokens))
        async with self._turns.setdefault((asking.get(), limiter), places):
            return await to_thread.run_sync(ask, limiter=limiter, abandon_on_cancel=True)

    async def _present_with_heartbeats(self, query: Query, *, needed: bool = False) -> Query:
        if needed or query.needs_heartbeats:
            # Heartbeats are written only now and then.
            await asyncio.wrap_future(self._writer.flush())
        return self._present(query)

    def _present(self, query: Query) -> Query:
        """A query with the ids of silent and busy sessions, which only the server knows."""
        return replace(query, silent=self._presence.silent(self._clock()), busy=self._presence.busy())

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
