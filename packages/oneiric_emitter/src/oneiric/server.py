"""The server as this process knows it: where it is, whether it answers, when to ask it again."""

import os
import time
from collections.abc import Callable
from typing import Any

from oneiric import contract, transport
from oneiric.transport import Endpoint, Unreachable

CALL_SECONDS = 5.0
_FIRST_RETRY = 0.5


class Server:
    """Takes events, or says why not.

    Args:
        locate: where the server is now, ``None`` where there is none.
        longest_retry: seconds between two tries at most; short where a try costs a look at one local file.

    Attributes:
        connected: the latest call was answered.
        error: why the latest call was not.
        instance: which server answered last.
        pace: seconds between two heartbeats, as the server wishes.
        retry_at: when to try again after a failure.
    """

    def __init__(
        self,
        locate: Callable[[], Endpoint | None],
        located: Endpoint | None = None,
        *,
        destination: str = "",
        longest_retry: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = lambda: os.urandom(1)[0] / 255,
    ) -> None:
        self.destination = destination
        self.connected = False
        self.error: Exception | None = None
        self.instance = ""
        self.pace = contract.DEFAULT_HEARTBEAT_SECONDS
        self.retry_at = 0.0
        self._locate = locate
        self._endpoint = located or Endpoint()
        self._longest_retry = longest_retry
        self._monotonic = monotonic
        self._jitter = jitter
        self._failures = 0

    def find(self) -> None:
        """Look where the server is now; calls go there from here on.

        The file of a token is read again: it may come late, and changes when the token does. One that can no
        longer be read (another folder, fewer rights) leaves the token that it held.

        Raises :class:`Unreachable` where it is nowhere.
        """
        try:
            found = self._locate()
        except Unreachable:
            if not self._endpoint.url:
                raise
        else:
            if found is None:
                raise Unreachable("no server is running")
            self._endpoint = found

    def call(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Send events in one call; what became of each, or :class:`TransportError`: no sensible answer."""
        answer = transport.call_tool(self._endpoint, "track_events", {"events": events}, CALL_SECONDS)
        try:
            self.pace = max(1.0, float(answer["next_heartbeat_seconds"]))
            self.instance = str(answer["server_instance"])
            results: list[dict[str, Any]] = answer["results"]
        except (KeyError, TypeError, ValueError) as error:
            raise Unreachable(f"the answer to track_events lacks {error}") from error
        if len(results) != len(events):
            raise Unreachable(f"{len(events)} events brought {len(results)} results")
        self.connected, self.error, self._failures = True, None, 0
        return results

    def failed(self, error: Exception) -> None:
        """Note why nothing is delivered, and when to try again: later with each failure."""
        self.connected, self.error = False, error
        delay = min(self._longest_retry, _FIRST_RETRY * 2 ** min(self._failures, 10))
        self._failures += 1
        self.retry_at = self._monotonic() + delay * (0.5 + self._jitter())
