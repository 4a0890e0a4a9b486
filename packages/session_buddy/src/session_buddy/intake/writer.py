"""The one thread that writes: what waits goes into one transaction, and is acknowledged after its commit."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, Self, TypeVar

import structlog

from oneiric.events import Activity, SessionHeartbeat
from session_buddy.errors import StoreClosed, StoreError, StoreUnavailable
from session_buddy.history.model import Arrival, Beat, Taken
from session_buddy.intake.presence import Presence
from session_buddy.intake.tally import Tally
from session_buddy.store import Store

MAX_GROUP_EVENTS: Final = 2000
FLUSH_SECONDS: Final = 30.0

T = TypeVar("T")

log = structlog.stdlib.get_logger("session_buddy.intake.writer")


class _Job:
    """Arrivals that one caller waits for."""

    def __init__(self, arrivals: Sequence[Arrival]) -> None:
        self.arrivals = arrivals
        self.future: Future[list[Taken]] = Future()


class _Action:
    """What somebody wants to have done, once the heartbeat state is on disk."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self.run = run
        self.future: Future[Any] = Future()


class Writer:
    """Takes events from any thread or event loop and writes them in groups.

    A group that fails as a whole is tried again caller by caller and then event by event, so that nothing
    that one caller sends can hurt another. When the database itself cannot be written, all callers are told
    why, and the next group is tried as if nothing had been.

    Attributes:
        trouble: why the latest write failed, ``None`` if it did not. Every ``store.probe_seconds`` at the
            least something is written, on this thread's own account: who asks for it causes no write.
        tally: what was taken in; counted before it is answered.
    """

    def __init__(
        self,
        store: Store,
        presence: Presence,
        *,
        clock: Callable[[], float] = time.monotonic,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._store = store
        self._presence = presence
        self._clock = clock
        self._flush_seconds = flush_seconds
        self._flushed_at = clock()
        self.trouble: str | None = None
        self.tally: Final = Tally()
        self._began: float | None = None
        self._queue: SimpleQueue[_Job | _Action | None] = SimpleQueue()
        self._closing = Lock()
        self._closed = False
        self._thread = Thread(target=self._run, name="session-buddy-writer", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Writer(waiting={self._queue.qsize()})>"

    def waits(self) -> float:
        """How many seconds ago a write began that is not over, 0 if there is none."""
        began = self._began
        return 0.0 if began is None else self._clock() - began

    def submit(self, arrivals: Sequence[Arrival]) -> Future[list[Taken]]:
        """Hand in events; the future is done once they are on disk.

        The future raises StoreUnavailable if the database cannot be written, StoreClosed after :meth:`close`.
        """
        job = _Job(arrivals)
        self._put(job)
        return job.future

    def ingest(self, arrivals: Sequence[Arrival]) -> list[Taken]:
        """:meth:`submit` them, and wait."""
        return self.submit(arrivals).result()

    def flush(self) -> Future[None]:
        """Have the heartbeat state written now; the future is done once it is on disk."""
        return self.run(lambda: None)

    def run(self, action: Callable[[], T]) -> Future[T]:
        """Have something done to the store while nobody else writes, the heartbeat state on disk.

        All callers wait as long as it takes. The future has what it returns or raises, StoreUnavailable if
        the heartbeat state cannot be written, and StoreClosed after :meth:`close`.
        """
        item = _Action(action)
        self._put(item)
        return item.future

    def close(self) -> None:
        """Write what waits and the heartbeat state, then end the thread; closing twice is allowed."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        # A database server that is there and does not answer would keep us for ever.
        self._thread.join(self._store.patience)
        if self._thread.is_alive():
            log.warning("the database does not answer; what was not acknowledged is not written")
            self._store.abort()
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, item: _Job | _Action) -> None:
        with self._closing:
            if self._closed:
                item.future.set_exception(StoreClosed("the server is going down; send it again later"))
                return
            self._queue.put(item)

    # the thread

    def _run(self) -> None:
        closing = False
        while not closing:
            items, closing = self._next_group()
            jobs = [
                item
                for item in items
                if isinstance(item, _Job) and item.future.set_running_or_notify_cancel()
            ]
            if jobs:
                self._write(jobs)
            actions = [item for item in items if isinstance(item, _Action)]
            if actions or closing or self._clock() - self._flushed_at >= self._flush_seconds:
                self._write_beats(self._presence.unwritten(), actions)
                self._flushed_at = self._clock()
            elif not jobs:
                self._write_beats([], [])

    def _next_group(self) -> tuple[list[_Job | _Action], bool]:
        """What waits, at most about :data:`MAX_GROUP_EVENTS` events, and whether it is the last."""
        items: list[_Job | _Action] = []
        events = 0
        try:
            item = self._queue.get(timeout=min(self._flush_seconds, self._store.probe_seconds))
            while item is not None:
                items.append(item)
                events += len(item.arrivals) if isinstance(item, _Job) else 0
                if events >= MAX_GROUP_EVENTS:
                    return items, False
                item = self._queue.get_nowait()
        except Empty:
            return items, False
        return items, True

    def _write(self, jobs: list[_Job]) -> None:
        try:
            taken = self._ingest([arrival for job in jobs for arrival in job.arrivals])
        except StoreUnavailable as error:
            log.warning("nothing could be written", reason=str(error), callers=len(jobs))
            for job in jobs:
                job.future.set_exception(error)
        except Exception:
            if len(jobs) == 1:
                log.exception("a batch is written one by one")
                self._write_singly(jobs[0])
                return
            for job in jobs:
                self._write([job])
        else:
            results = iter(taken)
            log.debug("written", events=len(taken), callers=len(jobs))
            for job in jobs:
                job.future.set_result([next(results) for _ in job.arrivals])

    def _write_singly(self, job: _Job) -> None:
        try:
            job.future.set_result([self._one(arrival) for arrival in job.arrivals])
        except StoreError as error:
            job.future.set_exception(error)

    def _one(self, arrival: Arrival) -> Taken:
        try:
            return self._ingest([arrival])[0]
        except (StoreUnavailable, StoreClosed):
            raise
        except (MemoryError, OSError) as error:
            # Not the event's fault: none is so large.
            raise StoreUnavailable(f"the server cannot write now: {str(error) or repr(error)}") from error
        except Exception as error:
            # Told to send it again, its caller would be held up by it for ever, with all that comes after it;
            # refused, it is kept: its journal is set aside, and named.
            log.exception("an event is refused", session_id=arrival.session_id)
            reason = str(error) if isinstance(error, StoreError) else "the server cannot store it"
            self.tally.refuse("invalid")
            return Taken("invalid", arrival.session_id, None, field="", error=reason)

    def _ingest(self, arrivals: Sequence[Arrival]) -> list[Taken]:
        """Store the events, after the heartbeats of their sessions that only memory knows."""
        beats = self._presence.unwritten({arrival.session_id for arrival in arrivals})
        ahead = [arrival_of(beat) for beat in beats]
        began = self._clock()
        try:
            with self._noting_trouble():
                taken = self._store.ingest([*ahead, *arrivals])[len(ahead) :]
        except BaseException:
            self._presence.still_unwritten(beats)
            raise
        self.tally.take(arrivals, taken, self._clock() - began, datetime.now(UTC))
        self._inform_presence(taken)
        if refused := [one for one in taken if one.verdict == "invalid"]:
            log.warning("events are refused", events=len(refused), first=refused[0].error)
        return taken

    @contextmanager
    def _noting_trouble(self) -> Iterator[None]:
        """What becomes of a write, as far as it is not the fault of what is written."""
        self._began = self._clock()
        try:
            yield
        except (StoreUnavailable, MemoryError, OSError) as error:
            self.trouble = str(error) or repr(error)
            self.tally.failures += 1
            raise
        finally:
            self._began = None
        self.trouble = None

    def _inform_presence(self, taken: Sequence[Taken]) -> None:
        rows = {one.session_id: one.row for one in taken if one.row is not None}
        late = self._presence.learn(rows.values(), self._clock())
        if not late:
            return
        try:
            self._inform_presence(self._store.ingest([arrival_of(beat) for beat in late]))
        except Exception:
            # What the callers wait for is on disk; the next heartbeat of such a session goes to the store.
            log.exception("late heartbeats could not be written", sessions=len(late))

    def _write_beats(self, beats: Sequence[Beat], actions: Sequence[_Action]) -> None:
        known = self.trouble
        try:
            with self._noting_trouble():
                self._store.touch(beats)
        except Exception as error:
            if known != str(error):
                unforeseen = not isinstance(error, StoreError)
                log.warning(
                    "nothing could be written", reason=str(error), sessions=len(beats), exc_info=unforeseen
                )
            self._presence.still_unwritten(beats)
            _finish(actions, error)
        else:
            _finish(actions, None)


def _finish(actions: Sequence[_Action], error: Exception | None) -> None:
    for action in actions:
        if not action.future.set_running_or_notify_cancel():
            continue
        if error is not None:
            action.future.set_exception(error)
            continue
        try:
            action.future.set_result(action.run())
        except Exception as trouble:  # noqa: BLE001 - it is the caller's
            action.future.set_exception(trouble)


def arrival_of(beat: Beat) -> Arrival:
    """Heartbeat state that is known, as an event that tells it."""
    activity = Activity(commands=beat.commands, errors=beat.errors, last_activity=beat.last_activity)
    event = SessionHeartbeat(
        event_type="session_heartbeat",
        session_id=beat.session_id,
        timestamp=beat.last_seen,
        elapsed_seconds=beat.elapsed_seconds,
        activity=activity,
    )
    return Arrival.of(event, "", beat.last_seen, by_admin=True)
