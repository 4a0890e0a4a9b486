"""HTTP at both listeners until a signal says to stop: how many may connect, and how long each may take.

A connection needs a descriptor, and the process has as many as its limit says. Each listener has places of
its own, so that strangers at the TCP port keep nobody from the Unix socket, nor the database from its files.
"""

import asyncio
import resource
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import uvicorn
from anyio import to_thread
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from session_buddy.server.listeners import is_local
from session_buddy.server.signals import ending

# Without a byte of a request, or of an answer that is read.
SILENT_SECONDS: Final = 10
# In which a request has to be whole, however slowly its bytes come.
REQUEST_SECONDS: Final = 60
# Between two requests: longer than clients and proxies keep a connection, so that they close it first.
_KEPT_SECONDS: Final = 75
_GRACE_SECONDS: Final = 3
# Of a request's head: a query of 8,000 characters takes up to 96 kB of an address, and a timezone as many.
_HEAD_BYTES: Final = 1 << 18
# Of the connections that wait, so many are taken at once, each with a descriptor, before any is turned away.
_TCP_BACKLOG: Final = 64


class Places:
    """The connections that one listener may have; when full, one without a request makes way for a new one.

    Of those who have sent nothing yet and those who have, the group that is larger makes way: a crowd of
    strangers does not push out who is in the middle of a request, however fast they come.
    """

    def __init__(self, number: int) -> None:
        self._number = self._free = number
        self._silent: dict[Connection, None] = {}
        self._waiting: dict[Connection, None] = {}

    @property
    def taken(self) -> int:
        """How many connections there are."""
        return self._number - self._free

    def enter(self, connection: "Connection") -> None:
        """Take a place; where none is free, close the connection that has waited longest."""
        self._free -= 1
        self._silent[connection] = None
        if self._free < 0:
            # With no others that wait, it is the one that came.
            crowd = max(self._waiting, self._silent, key=len)
            longest = next(iter(crowd))
            del crowd[longest]
            longest.transport.abort()

    def leave(self, connection: "Connection") -> None:
        """Give the place back."""
        self._free += 1
        self.mark(connection, waits=False)

    def mark(self, connection: "Connection", *, waits: bool) -> None:
        """Whether a connection waits for its client, who was heard of just now."""
        self._silent.pop(connection, None)
        self._waiting.pop(connection, None)
        if waits:
            self._waiting[connection] = None


class Connection(H11Protocol):
    """One connection; it is closed when its client brings no request in time, or takes no answer."""

    def __init__(self, tcp: Places, unix: Places, **options: Any) -> None:  # noqa: ANN401 - the library's own
        super().__init__(**options)
        self._all = tcp, unix
        self._unread = 0
        self._patience = SILENT_SECONDS
        self._silence: asyncio.TimerHandle | None = None
        self._began: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the library has it
        """Take a place."""
        super().connection_made(transport)
        tcp, unix = self._all
        self._places = unix if is_local(self.server) else tcp
        self._places.enter(self)
        # For an answer that has to end though its client does not read.
        self.app_state = {**self.app_state, "abort": transport.abort}
        self._wait(SILENT_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._stop_waiting()
        self._places.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what a client sends; once it is a whole request, the client waits for us."""
        self._patience = SILENT_SECONDS
        if self._began is None:
            self._began = self.loop.time()
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._patience, self._began = _KEPT_SECONDS, None
        self._look()

    def pause_writing(self) -> None:
        """Wait for a client that does not read."""
        self.flow.pause_writing()
        self._look()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.flow.resume_writing()
        self._look()

    def _look(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        asked = cycle is not None and not cycle.more_body and not cycle.response_complete
        unread = self.transport.get_write_buffer_size()
        # While we do not read, what it sends waits for us.
        self._places.mark(self, waits=not (asked or unread or self.flow.read_paused))
        if unread:
            self._wait(SILENT_SECONDS)
        elif not asked:
            began = self._began
            left = self._patience if began is None else began + REQUEST_SECONDS - self.loop.time()
            self._wait(min(self._patience, left))
        else:
            self._stop_waiting()

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._unread = self.transport.get_write_buffer_size()
        self._silence = self.loop.call_later(seconds, self._end_silence)

    def _end_silence(self) -> None:
        # Slow is not silent: it reads; or has nothing to read, and we do not read what it sends.
        unread = self.transport.get_write_buffer_size()
        if unread < self._unread or (not unread and self.flow.read_paused):
            self._look()
        else:
            self.transport.abort()

    def _stop_waiting(self) -> None:
        if self._silence is not None:
            self._silence.cancel()


class Server(uvicorn.Server):
    """Answers at the Unix socket that :meth:`serve` is given, and at a port.

    The library's server would raise the signal again that ended it, and so kill the process. ``ready`` is
    called once requests are answered; ``renew`` every second, and may give another Unix socket to listen
    at; ``leave`` when it ends, before requests that are not answered are waited for.
    """

    def __init__(
        self,
        app: ASGIApp,
        tcp: socket.socket,
        ready: Callable[[], None],
        renew: Callable[[], socket.socket | None],
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._places = {"tcp": Places(files // 8), "unix": Places(files // 4)}
        self._protocol = partial(Connection, *self._places.values())
        config = uvicorn.Config(
            app,
            http=self._protocol,  # type: ignore[arg-type]  # called as a class is
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            # Believing a header about where a request comes from is a proxy's business, and we have none.
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=_HEAD_BYTES,
            timeout_keep_alive=_KEPT_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            callback_notify=self._check_published,
            timeout_notify=1,
        )
        super().__init__(config)
        self._tcp = tcp
        self._ready = ready
        self._renew = renew
        self._leave = leave
        self._renewal: asyncio.Task[None] | None = None

    def connections(self) -> dict[str, int]:
        """How many there are, by listener."""
        return {name: places.taken for name, places in self._places.items()}

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen at the Unix socket, then at the port."""
        await super().startup(sockets)
        await self._listen(self._tcp, _TCP_BACKLOG)
        await to_thread.run_sync(self._ready)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and wait for what is being answered."""
        self._leave()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """End the server at a signal."""
        # Not the loop's own handlers: with its end, the signals would kill again.
        for number in ending():
            signal.signal(number, self._stop)
        yield

    async def _listen(self, listener: socket.socket, backlog: int) -> None:
        protocol = partial(
            self._protocol, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        serving = asyncio.get_running_loop().create_server(protocol, sock=listener, backlog=backlog)
        self.servers.append(await serving)

    async def _check_published(self) -> None:
        # Not awaited: a folder on a network that hangs must not keep a signal from being heard.
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew_published())

    async def _renew_published(self) -> None:
        listener = await to_thread.run_sync(self._renew)
        if listener is not None:
            await self._listen(listener, self.config.backlog)

    def _stop(self, number: int, _: object) -> None:
        # A closing terminal may send SIGHUP twice.
        self.force_exit = self.should_exit and number != signal.SIGHUP
        self.should_exit = True
