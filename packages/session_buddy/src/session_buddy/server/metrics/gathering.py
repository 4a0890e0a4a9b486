"""Reads the values of all metrics at each scrape, from the parts of the server that hold them."""

import platform
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, get_args

from anyio import CapacityLimiter, to_thread

from session_buddy import __version__
from session_buddy.errors import StoreError, TokenCause
from session_buddy.intake.outbox import backlog
from session_buddy.intake.presence import Presence
from session_buddy.intake.tally import Cause, Tally
from session_buddy.keep.backups import Backups
from session_buddy.server.metrics.families import One, Value, exposed
from session_buddy.server.register import Register

_TOKEN_CAUSES: Final = ("missing", *get_args(TokenCause))
# A rate needs a 0 to begin from. These are what shells and this server tell of; others come as they do.
_ENDS: Final = {
    "ended": ("exit", "eof", "sigterm", "sighup", "exec", "operator"),
    "crashed": ("exception", "process_gone", "outbox_recovered"),
    "lost": ("lease_expired",),
}


class Metrics:
    """Answers scrapes, one at a time, without blocking the event loop.

    A value that cannot be read just now is left out. ``backups`` is ``None`` where this server makes
    none; ``connections`` counts those that are open, by listener.
    """

    def __init__(
        self,
        *,
        register: Register,
        tally: Tally,
        presence: Presence,
        tokens_refused: Mapping[str, int],
        backups: Backups | None,
        outbox: Path,
        engine: str,
    ) -> None:
        self._register = register
        self._tally = tally
        self._presence = presence
        self._tokens_refused = tokens_refused
        self._backups = backups
        self._outbox = outbox
        self._engine = engine
        self._scrapes = CapacityLimiter(1)
        self.connections: Callable[[], Mapping[str, int]] = dict

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """Everything, as text, and its media type; in the format that is accepted."""
        values = {**await self._database(), **self._calls()}
        return await to_thread.run_sync(
            lambda: exposed({**values, **self._counted(), **self._waiting(), **self._backed_up()}, accept),
            limiter=self._scrapes,
        )

    async def _database(self) -> dict[str, Value]:
        known: dict[str, Value] = {
            "session_buddy_database_writable": self._register.why_not_written() is None
        }
        try:
            active = await self._register.answers.count_live()
            size = await self._register.answers.size()
        except StoreError:
            return {**known, "session_buddy_database_readable": 0}
        return {
            **known,
            "session_buddy_database_readable": 1,
            "session_buddy_database_size_bytes": size,
            "session_buddy_sessions_active": active,
            "active_sessions": active,
        }

    def _calls(self) -> dict[str, Value]:
        """What the event loop counts; read there."""
        return {
            "session_buddy_calls_total": dict(self._register.calls),
            "session_buddy_tokens_refused_total": _by(dict.fromkeys(_TOKEN_CAUSES, 0), self._tokens_refused),
            "session_buddy_http_connections": _by(self.connections()),
        }

    def _counted(self) -> dict[str, Value]:
        tally = self._tally
        ended: dict[Any, int] = {(status, why): 0 for status, reasons in _ENDS.items() for why in reasons}
        ended |= dict(tally.ended)
        durations = tally.durations.spread()
        refused = _by(dict.fromkeys(get_args(Cause), 0), tally.refused)
        delays = {(event,): delays.spread() for event, delays in tally.delays.items()}
        return {
            "session_buddy_sessions_started_total": tally.started,
            "session_start_total": tally.started,
            "session_buddy_sessions_ended_total": ended,
            "session_end_total": sum(ended.values()),
            "session_buddy_session_duration_seconds": durations,
            "session_duration_seconds": durations,
            "session_buddy_event_delay_seconds": delays,
            "session_buddy_commit_duration_seconds": tally.commits.spread(),
            "session_buddy_commit_events": tally.groups.spread(),
            "session_buddy_write_failures_total": tally.failures,
            "session_buddy_events_refused_total": refused,
            "session_buddy_sessions_unreachable": len(self._presence.silent(time.monotonic())),
            "session_buddy_build_info": {(__version__, platform.python_version(), self._engine): 1},
        }

    def _waiting(self) -> dict[str, Value]:
        try:
            found = backlog(self._outbox, {live.session_id for live in self._presence.everyone()})
        except OSError:
            return {}
        now = time.time()
        return {
            "session_buddy_outbox_journals": _by(found.journals),
            "session_buddy_outbox_oldest_seconds": max(0.0, now - (found.oldest or now)),
        }

    def _backed_up(self) -> dict[str, Value]:
        if self._backups is None:
            return {}
        try:
            number, last = len(self._backups.listed()), self._backups.last(datetime.now(UTC))
        except StoreError:
            # The folder cannot be read: there is none that anybody could make use of.
            number, last = 0, None
        return {
            "session_buddy_backups": number,
            "session_buddy_last_backup_timestamp_seconds": last.made_at.timestamp() if last else 0,
        }


def _by(*numbers: Mapping[Any, int]) -> dict[Any, One]:
    """Numbers by the values of one label."""
    return {(name,): number for some in numbers for name, number in some.items()}
