"""Requests that wait until something is stored; all are woken together, by any writer."""

import asyncio
from contextlib import suppress
from typing import Final

# What comes within this time is told at once.
_GATHER_SECONDS: Final = 0.05
# Of a database server others may store without a word.
_LOOK_SECONDS: Final = 5.0


class Feed:
    """Lets requests wait for changes; ``count`` is how many there were since the server started."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<Feed(waiting={len(self._waiting)})>"

    def changed(self) -> None:
        """Wake all that wait; from any thread."""
        self.count += 1
        for event, loop in list(self._waiting.items()):
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(event.set)

    def close(self) -> None:
        """Wake all that wait, and let no request wait from now on."""
        self._closed = True
        self.changed()

    async def wait(self, seen: int, seconds: float) -> bool:
        """Wait until there are more changes than ``seen``, or for so long; whether to look again then."""
        if seconds <= 0 or self._closed:
            return False
        event = asyncio.Event()
        self._waiting[event] = asyncio.get_running_loop()
        try:
            if self.count == seen:
                with suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), min(seconds, _LOOK_SECONDS))
        finally:
            del self._waiting[event]
        await asyncio.sleep(_GATHER_SECONDS)
        return True
