"""Which session a session was started from: told to children, believed of living ancestors alone."""

import os
from collections.abc import Mapping

from oneiric import contract, deliveries, facts
from oneiric.interrupts import suppress

VARIABLE = "ONEIRIC_SESSION_ID"


class Lineage:
    """A parent is looked for in ``environ``; children are told of a session in the process's own alone."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._inherited: str | None = None
        self._announced: str | None = None

    @property
    def parent(self) -> str | None:
        """The session that this process was started from, if its process is an ancestor that lives."""
        session_id, _, pid = self._environ.get(VARIABLE, "").rpartition(":")
        with suppress(ValueError):
            contract.start_time_of(session_id)
            if facts.is_ancestor(int(pid)):
                return session_id
        return None

    def announce(self, session_id: str) -> None:
        """Let children know their parent."""
        if self._environ is os.environ:
            self._inherited = os.environ.get(VARIABLE)
            os.environ[VARIABLE] = self._announced = f"{session_id}:{os.getpid()}"

    def withdraw(self) -> None:
        """Restore what stood there before, unless that is a session of this process that is over."""
        if self._announced and os.environ.get(VARIABLE) == self._announced:
            del os.environ[VARIABLE]
            before, _, pid = (self._inherited or "").rpartition(":")
            if self._inherited and (pid != str(os.getpid()) or before in deliveries.live_sessions()):
                os.environ[VARIABLE] = self._inherited
