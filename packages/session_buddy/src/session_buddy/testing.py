"""For tests: valid events, made with one call and changed where needed, and a real server as a process."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from oneiric.events import SessionStart, parse_event
from oneiric.paths import user_paths
from oneiric.transport import ServerInfo, read_server_file
from session_buddy.history.model import Arrival

MOMENT: Final = datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)
OWNER: Final = "local:1000"

_SERVE: Final = """
import sys
from session_buddy.errors import SessionBuddyError
from session_buddy.server.wiring import serve
from session_buddy.host.settings import load_settings
try:
    serve(load_settings(), lambda line: print(line, flush=True))
except SessionBuddyError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def start_event(after: float = 0.0, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    """A raw start event with an id of its own, ``after`` seconds after :data:`MOMENT`; ``changes`` win."""
    event: dict[str, Any] = {
        "event_type": "session_start",
        "event_version": "1.0",
        "event_id": str(uuid.uuid4()),
        "component_name": "shop",
        "shell_type": "ShopShell",
        "timestamp": moment(after),
        "pid": 4321,
        "user": {"username": "ann", "home": "/home/ann"},
        "hostname": "web1",
        "environment": {"python_version": "3.11.7", "platform": "Linux", "cwd": "/srv"},
        "metadata": {"version": "1.2", "adapters": ["a", "b"]},
    }
    return event | changes


def end_event(session_id: str, after: float = 60.0, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    """A raw end event of a session, ``after`` seconds after :data:`MOMENT`."""
    event: dict[str, Any] = {
        "event_type": "session_end",
        "event_id": str(uuid.uuid4()),
        "session_id": session_id,
        "timestamp": moment(after),
        "exit_reason": "exit",
    }
    return event | changes


def heartbeat_event(session_id: str, after: float = 30.0, **activity: Any) -> dict[str, Any]:  # noqa: ANN401 - counts
    """A raw heartbeat of a session, ``after`` seconds after :data:`MOMENT`."""
    return {
        "event_type": "session_heartbeat",
        "session_id": session_id,
        "timestamp": moment(after),
        "activity": activity,
    }


def arrival(raw: dict[str, Any], subject: str = OWNER, *, by_admin: bool = False) -> Arrival:
    """A raw event as it reaches the rules."""
    return Arrival.of(parse_event(raw), subject, MOMENT + timedelta(hours=1), by_admin=by_admin)


def session_id_of(raw: dict[str, Any]) -> str:
    """The id of the session that a raw start event begins."""
    return SessionStart.model_validate(raw).session_id


def moment(after: float) -> str:
    """A time, ``after`` seconds after :data:`MOMENT`, as events carry it."""
    return (MOMENT + timedelta(seconds=after)).isoformat()


class ServerProcess:
    """A server in a process of its own, at home in the environment's ``HOME``; ended when it is left.

    Args:
        environ: names home and settings; on top of this process's environment.
        popen: starts the process; takes what :class:`subprocess.Popen` takes.

    Attributes:
        lines: what it printed until it was up.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        popen: Callable[..., "subprocess.Popen[str]"] = subprocess.Popen,
    ) -> None:
        self.environ = os.environ | dict(environ or {})
        self.lines: list[str] = []
        self.process = popen(
            [sys.executable, "-P", "-c", _SERVE],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environ,
            cwd=self.environ["HOME"],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()

    def until_up(self) -> ServerInfo:
        """Wait until it answers; returns what it says of itself.

        Raises:
            RuntimeError: it ended instead; carries its complaint.
        """
        for line in self.process.stdout or ():
            self.lines.append(line.rstrip())
            if line.startswith("Log:") and (info := read_server_file(user_paths(self.environ))):
                return info
        raise RuntimeError(self.refusal())

    def refusal(self) -> str:
        """Wait until it ends by itself; returns what it said on the error stream."""
        return self.process.communicate()[1]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal and wait; returns its exit status."""
        self.process.send_signal(number)
        self.process.communicate()
        return self.process.returncode
