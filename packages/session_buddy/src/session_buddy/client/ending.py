"""Sessions ended in the history, by a server, or in the file where none keeps it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from oneiric.transport import Endpoint
from session_buddy.client.api import asked
from session_buddy.client.ask import done, typed

_PATH: Final = "/api/v1/ends"
# Without a server no heartbeat is counted: a session heard of so recently counts as alive.
_ALIVE: Final = timedelta(minutes=1)


def end_sessions(refs: Sequence[str], reason: str | None, *, force: bool) -> list[dict[str, Any]]:
    """End sessions; what became of each, see :class:`session_buddy.intake.by_hand.EndedByHand`.

    Raises:
        SessionBuddyError: none was ended, and why.
    """

    def by(server: Endpoint) -> list[dict[str, Any]]:
        document = {"sessions": list(refs), "reason": reason, "force": force}
        return list(asked(server, _PATH, document)["results"])

    def open_file() -> list[dict[str, Any]]:
        from session_buddy.access.callers import local_caller
        from session_buddy.client import offline
        from session_buddy.host.layers import load_settings
        from session_buddy.intake.by_hand import end_by_hand
        from session_buddy.intake.liveness import runs_here

        now = datetime.now(UTC)
        with offline.opened(load_settings(), now, to_write=True) as store:
            ended = end_by_hand(
                refs,
                reason,
                force=force,
                caller=local_caller(),
                now=now,
                find=store.find,
                is_alive=lambda row: runs_here(row) or now - (row.last_seen or row.start_time) < _ALIVE,
                ingest=store.ingest,
            )
            return [dict(one) for one in ended]

    refs, reason = [typed(ref) for ref in refs], reason and typed(reason)
    return done(by, open_file)
