"""What shells report: the tools of scope ``track``."""

from typing import Annotated, Any, Literal

from pydantic import UUID4, FailFast, Field

from oneiric import contract
from oneiric.contract import Actor, Detector, EndStatus, ExitReason
from oneiric.events import (
    Activity,
    ComponentName,
    Elapsed,
    Environment,
    EventVersion,
    Hostname,
    Metadata,
    Origin,
    Person,
    Pid,
    Process,
    Reason,
    SessionId,
    SessionType,
    ShellType,
    Timestamp,
    User,
    Username,
)
from session_buddy.server.mcp.refusals import current_caller, guarded
from session_buddy.server.register import EndAnswer, EventsAnswer, Register, StartAnswer

_Ignored = Annotated[Any, Field(description="not looked at: a caller is known by its Authorization header")]


class Tracking:
    """One method a tool."""

    def __init__(self, register: Register) -> None:
        self._register = register

    @guarded
    async def track_session_start(
        self,
        *,
        event_version: EventVersion,
        event_id: UUID4,
        event_type: Literal["session_start"],
        component_name: ComponentName,
        shell_type: ShellType,
        timestamp: Timestamp,
        pid: Pid,
        user: User,
        hostname: Hostname,
        environment: Environment,
        metadata: Metadata | None = None,
        session_type: SessionType = contract.DEFAULT_SESSION_TYPE,
        process: Process | None = None,
        parent_session_id: SessionId | None = None,
        reason: Reason | None = None,
        actor: Actor | None = None,
        agent: Username | None = None,
        person: Person | None = None,
        origin: Origin | None = None,
        token: _Ignored = None,
    ) -> StartAnswer:
        """Report that a shell session started.

        The session's id is derived: {component}-{YYYYMMDD-HHMMSS in UTC}-{first 8 hex of event_id}. Reporting
        the same event again changes nothing.
        """
        return await self._register.start(_event(locals()), current_caller())

    @guarded
    async def track_session_end(
        self,
        *,
        session_id: SessionId,
        timestamp: Timestamp,
        elapsed_seconds: Elapsed | None = None,
        event_type: Literal["session_end"] = "session_end",
        metadata: Metadata | None = None,
        event_id: Annotated[str | None, Field(max_length=36)] = None,
        status: EndStatus = "ended",
        exit_reason: ExitReason | None = None,
        exit_code: int | None = None,
        signal: Annotated[int | None, Field(ge=1, le=64)] = None,
        detected_by: Detector = "emitter",
        activity: Activity | None = None,
        token: _Ignored = None,
    ) -> EndAnswer:
        """Report that a session ended, and how.

        An end that arrives before its start answers not_found, is kept, and counts once the start arrives.
        Only the subject that started a session, or an admin, may end it.
        """
        return await self._register.end(_event(locals()), current_caller())

    @guarded
    async def track_events(
        self,
        # A page of complaints about each of a million would take 15 s.
        events: Annotated[list[dict[str, Any]], FailFast()],
    ) -> EventsAnswer:
        """Report up to 500 session_start, session_heartbeat and session_end events, 1 MiB at most.

        Each event is answered by itself, in order: stored, duplicate, not_found, forbidden, or invalid with
        the field and what is allowed. What is answered stored is on disk.
        """
        return await self._register.track(events, current_caller())


def _event(arguments: dict[str, Any]) -> dict[str, Any]:
    """A tool's arguments as the event that they are."""
    left_out = ("self", "token")
    return {name: value for name, value in arguments.items() if value is not None and name not in left_out}
