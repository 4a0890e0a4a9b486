"""What an emitter tells of itself; asking costs nothing and loses nothing."""

from collections.abc import Mapping

from oneiric import outbox
from oneiric.edge import Edge, attempt, explanation
from oneiric.paths import user_paths
from oneiric.recorder import Recorder
from oneiric.transport import Misdirected, TransportError, Unauthorized


class Status(Edge):
    """The part of an emitter that only looks."""

    _environ: Mapping[str, str]
    _recorder: Recorder

    @property
    def session_id(self) -> str | None:
        """The live session's id; ``None`` before the start, after the end, and in a forked child."""
        session = self._recorder.session
        return session.id if session else None

    @property
    def available(self) -> bool:
        """Whether a start would be recorded: tracking is on and the outbox can be written."""
        return self._obstacle() is None

    @property
    def unavailable_reason(self) -> str | None:
        """Why nothing can be recorded, or could be the last time that it was tried; ``None`` while it can."""
        return self._obstacle() or (None if self.session_id else self._failure)

    @property
    def connected(self) -> bool:
        """Whether the latest call to a server was answered."""
        delivery = self._recorder.delivery
        return delivery is not None and delivery.server.connected

    @property
    def problem(self) -> str | None:
        """Why nothing was delivered lately; ``None`` while delivery works or was not tried."""
        if (delivery := self._recorder.delivery) is None:
            return None
        error = delivery.server.error
        said = str(error) if isinstance(error, TransportError) else repr(error)
        return delivery.worker.thread_error or (said if error else None)

    @property
    def turned_away(self) -> bool:
        """Whether a server answered and takes neither our token nor our name for it: see :attr:`problem`."""
        delivery = self._recorder.delivery
        return delivery is not None and isinstance(delivery.server.error, Unauthorized | Misdirected)

    @property
    def outbox(self) -> dict[str, int]:
        """How many journals are open (live, or not delivered yet), were rejected, or cannot be read."""
        return attempt(lambda: outbox.counts(user_paths(self._environ).outbox), lambda _: {})

    def _obstacle(self) -> str | None:
        return None if self._recorder.session else attempt(self._recorder.obstacle, explanation)
