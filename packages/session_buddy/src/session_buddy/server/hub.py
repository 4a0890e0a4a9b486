"""Tells all streams what happens: one task reads it and encodes it once, however many streams there are."""

import asyncio
import json
import resource
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Self

import structlog

from session_buddy import __version__
from session_buddy.errors import StoreClosed, StoreError, TooManyStreams
from session_buddy.history.changes import Change, ChangesAnswer, Place
from session_buddy.history.query import Query
from session_buddy.server.answers import Answers

MOST_STREAMS: Final = 64
# The part of them that one subject leaves to others.
LEFT: Final = 1 / 8
# Each stream keeps a connection; all together not more than half of those that may come over TCP.
_FILES_A_STREAM: Final = 16
# What one message holds.
MOST_CHANGES: Final = 100
MOST_BYTES: Final = 256 * 1024
# So many messages wait for one client.
MOST_WAITING: Final = 8
# Between two messages: what happens meanwhile is told together.
PACE_SECONDS: Final = 0.25
# Proxies close a connection on which nothing comes.
KEEP_ALIVE_SECONDS: Final = 15.0
# After which a client connects again.
_RETRY_MILLISECONDS: Final = 3000
_UNREADABLE_SECONDS: Final = 1.0
# In which a client has to take the end of its stream when the server goes down.
_LAST_SECONDS: Final = 0.2

_EVERYTHING: Final = Query()
_KEEP_ALIVE: Final = b":\n\n"
# Without data, browsers do not tell a page of an event.
_MISSED: Final = b"event: missed\ndata: {}\n\n"

log = structlog.stdlib.get_logger("session_buddy.server.hub")


class Stream:
    """The messages for one client, as they are sent.

    ``may`` says before each message whether the client may still read; ``abort`` closes the connection;
    ``subject`` is whose it is.
    """

    def __init__(self, may: Callable[[], bool], abort: Callable[[], None], subject: str) -> None:
        self.subject: Final = subject
        self._may = may
        self.abort = abort
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()

    def __repr__(self) -> str:
        return f"<Stream(waiting={self._waiting.qsize()})>"

    def tell(self, message: bytes) -> None:
        """Have a message sent; of a client that lags behind, all that waits is replaced by ``missed``."""
        if self._waiting.qsize() >= MOST_WAITING:
            while not self._waiting.empty():
                self._waiting.get_nowait()
            message = _MISSED
        self._waiting.put_nowait(message)

    def end(self) -> None:
        """Have it end behind what waits."""
        self._waiting.put_nowait(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        message = await self._waiting.get()
        if message is None or not self._may():
            raise StopAsyncIteration
        return message


class Hub:
    """All streams of a server, and the task that reads what happens; it runs while there are streams.

    Who opens a stream and then reads the history misses nothing: the changes told begin at a place before
    ``hello``. It runs on one event loop. ``pace`` are seconds between two messages; after ``keep_alive``
    seconds without any, a comment is sent.
    """

    def __init__(
        self, answers: Answers, *, pace: float = PACE_SECONDS, keep_alive: float = KEEP_ALIVE_SECONDS
    ) -> None:
        self._answers = answers
        self._pace = pace
        self._keep_alive = keep_alive
        self._most = min(MOST_STREAMS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _FILES_A_STREAM)
        self._streams: set[Stream] = set()
        self._task: asyncio.Task[None] | None = None
        self._hello = b""
        self._closed = False

    def __repr__(self) -> str:
        return f"<Hub(streams={len(self._streams)}, runs={self._task is not None})>"

    async def open(self, may: Callable[[], bool], abort: Callable[[], None], subject: str) -> Stream:
        """A stream that begins now; to be given to :meth:`leave` at its end.

        Raises:
            TooManyStreams: there are as many as there may be, or of this subject.
            StoreError: the database cannot be read; the server goes down.
        """
        if self._task is None:
            now = await self._answers.changes(_EVERYTHING, None)
            self._begin(now["place"])
        if self._closed:
            raise StoreClosed("the server is going down; connect again later")
        theirs = sum(one.subject == subject for one in self._streams)
        if len(self._streams) >= self._most:
            raise TooManyStreams(self._most)
        if theirs >= self._most * (1 - LEFT):
            raise TooManyStreams(theirs, f" of {subject}")
        stream = Stream(may, abort, subject)
        stream.tell(self._hello)
        self._streams.add(stream)
        return stream

    def leave(self, stream: Stream) -> None:
        """Forget a stream; with the last one the task ends."""
        self._streams.discard(stream)
        if not self._streams:
            self._stop()

    def close(self) -> None:
        """End all streams, and let none begin; connections whose clients do not read are soon closed."""
        self._closed = True
        self._stop()
        self._end_all()
        asyncio.get_running_loop().call_later(_LAST_SECONDS, self._cut_off)

    def _begin(self, place: str) -> None:
        # Another stream may have come meanwhile.
        if self._task is None and not self._closed:
            self._hello = hello(place)
            self._task = asyncio.create_task(self._run(place))
            self._task.add_done_callback(self._has_ended)

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _has_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()):
            log.error("all streams end; their clients connect again", exc_info=error)
            self._task = None
            self._end_all()

    def _end_all(self) -> None:
        for stream in self._streams:
            stream.end()

    def _cut_off(self) -> None:
        for stream in self._streams:
            stream.abort()

    async def _run(self, place: str) -> None:
        while True:
            try:
                answer = await self._answers.changes(_EVERYTHING, place, self._keep_alive)
            except StoreError:
                # What is stored meanwhile is told afterwards.
                self._tell(_KEEP_ALIVE)
                await asyncio.sleep(_UNREADABLE_SECONDS)
                continue
            place = answer["place"]
            for message in self._messages(answer):
                self._tell(message)
                await asyncio.sleep(self._pace)

    def _messages(self, answer: ChangesAnswer) -> Iterator[bytes]:
        if answer["another_history"]:
            self._hello = hello(answer["place"])
            yield self._hello
        elif answer["changes"]:
            yield from messages(answer["changes"])
        else:
            yield _KEEP_ALIVE

    def _tell(self, message: bytes) -> None:
        for stream in self._streams:
            stream.tell(message)


def hello(place: str) -> bytes:
    """The first message: which server this is, and which history it has."""
    said = _json({"version": __version__, "instance": Place.parse(place).instance})
    return b"retry: %d\nevent: hello\ndata: %s\n\n" % (_RETRY_MILLISECONDS, said)


def messages(changes: Sequence[Change]) -> Iterator[bytes]:
    """What happened as messages: of so many changes each, and so many bytes, but one change at least."""
    parts: list[bytes] = []
    size = 0
    for change in changes:
        part = _json(change)
        if parts and (len(parts) == MOST_CHANGES or size + len(part) > MOST_BYTES):
            yield _message(parts, b"true")
            parts, size = [], 0
        parts.append(part)
        size += len(part)
    yield _message(parts, b"false")


def _message(parts: Sequence[bytes], more: bytes) -> bytes:
    return b'event: changes\ndata: {"changes":[%s],"more":%s}\n\n' % (b",".join(parts), more)


def _json(said: Any) -> bytes:  # noqa: ANN401 - what can be told
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
