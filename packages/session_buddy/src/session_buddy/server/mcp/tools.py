"""The MCP tools: what each takes and gives; the work is done by the register."""

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from typing import Annotated, Any, Final, Literal, ParamSpec, TypeVar

import structlog
from fastmcp import FastMCP
from fastmcp.exceptions import NotFoundError, ToolError, ValidationError
from fastmcp.server.dependencies import get_access_token
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.function_tool import FunctionTool
from mcp_types import ToolAnnotations
from pydantic import UUID4, AfterValidator, FailFast, Field, StringConstraints
from pydantic import ValidationError as PydanticError

from oneiric import contract
from oneiric.contract import Actor, Detector, EndStatus, ExitReason
from oneiric.events import (
    Activity,
    ComponentName,
    Elapsed,
    Environment,
    EventVersion,
    Hostname,
    InvalidEvent,
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
    invalid_event,
)
from oneiric.visible import visible
from session_buddy.access.callers import RIGHTS, SCOPES, Caller
from session_buddy.errors import EventRefused, Forbidden, SessionBuddyError
from session_buddy.history.around import SessionAnswer
from session_buddy.history.counted import StatisticsAnswer
from session_buddy.history.keys import KEYS
from session_buddy.history.page import SessionsAnswer
from session_buddy.history.query import DEFAULT_LIMIT, MAX_LIMIT, SORTS, Clock, Query
from session_buddy.history.statistics import (
    DEFAULT_ROWS,
    GROUPS,
    MAX_ROWS,
    MEASURES,
    Statistics,
)
from session_buddy.server.register import (
    EndAnswer,
    EventsAnswer,
    HealthAnswer,
    Register,
    StartAnswer,
)

log = structlog.stdlib.get_logger("session_buddy.server.mcp.tools")

_MAX_WORDS: Final = 200
_MAX_QUERY: Final = 8000


def _text(words: str) -> str:
    words.encode()  # JSON can carry half an emoji, which raises here, and nowhere later
    return words


# What somebody looks for; longer ones would only fill the log.
Words = Annotated[str, StringConstraints(max_length=_MAX_WORDS), AfterValidator(_text)]
# A query has many terms.
QueryText = Annotated[str, StringConstraints(max_length=_MAX_QUERY), AfterValidator(_text)]
# The command line says when an offset changed, of twenty years.
OffsetsText = Annotated[str, StringConstraints(max_length=_MAX_QUERY)]
QUERY_IN_SHORT: Final = (
    'which: user:ada -status:active component:shop,bank host:web* at:"monday 14:00" duration:>1h words;'
    f" keys: {', '.join(key.name for key in KEYS)}"
)

Ignored = Annotated[Any, Field(description="not looked at: a caller is known by its Authorization header")]

P = ParamSpec("P")
R = TypeVar("R")

TITLES: Final = {
    "track_session_start": "Report that a session started",
    "track_session_end": "Report that a session ended",
    "track_events": "Report a batch of session events",
    "list_sessions": "List sessions, newest first",
    "get_session": "Show one session",
    "session_statistics": "Count sessions: how many, how long, how many at once",
    "health_check": "Check the server and its database",
}


def current_caller() -> Caller:
    """Whom the current call's token names.

    Raises:
        Forbidden: the call came without one.
    """
    token = get_access_token()
    if token is None:
        raise Forbidden("a token is needed; make one with: session-buddy token create")
    return Caller(token.client_id, frozenset(scope for scope in SCOPES if scope in token.scopes))


def _refusal(tool: str, reason: str) -> ToolError:
    reason, tool = visible(reason), visible(tool[:_MAX_WORDS])
    log.info("call refused", tool=tool, reason=reason)
    return ToolError(reason, log_level=logging.INFO)


def _guarded(method: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Tell known errors as what they are: one line; of others the library logs a traceback."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(*args, **kwargs)
        except SessionBuddyError as error:
            raise _refusal(method.__name__, str(error)) from None

    return call


class Tools:
    """One method a tool."""

    def __init__(self, register: Register) -> None:
        self._register = register

    @_guarded
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
        token: Ignored = None,
    ) -> StartAnswer:
        """Report that a shell session started.

        The session's id is derived: {component}-{YYYYMMDD-HHMMSS in UTC}-{first 8 hex of event_id}. Reporting
        the same event again changes nothing.
        """
        return await self._register.start(_event(locals()), current_caller())

    @_guarded
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
        token: Ignored = None,
    ) -> EndAnswer:
        """Report that a session ended, and how.

        An end that arrives before its start answers not_found, is kept, and counts once the start arrives.
        Only the subject that started a session, or an admin, may end it.
        """
        return await self._register.end(_event(locals()), current_caller())

    @_guarded
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

    @_guarded
    async def list_sessions(
        self,
        *,
        query: Annotated[QueryText, Field(description=QUERY_IN_SHORT)] = "",
        session_type: Words | None = None,
        component: Words | None = None,
        username: Annotated[Words | None, Field(description="a person, an account, or who ran sudo")] = None,
        status: Annotated[
            Words | None, Field(description="active, ended, crashed, lost or unreachable")
        ] = None,
        since: Annotated[
            Words | None, Field(description="started since: 30m, 2h, 7d ago, yesterday, or an ISO 8601 time")
        ] = None,
        until: Annotated[Words | None, Field(description="started until then")] = None,
        at: Annotated[Words | None, Field(description="who was in then, e.g. monday 14:00..16:00")] = None,
        sort: Annotated[
            Words | None, Field(description=f"by {', '.join(SORTS)}; started if not given")
        ] = None,
        reverse: Annotated[bool, Field(description="the other way round")] = False,
        limit: Annotated[int, Field(description=f"at most so many, 1 to {MAX_LIMIT}")] = DEFAULT_LIMIT,
        cursor: Annotated[
            Words | None, Field(description="next_cursor of the answer before, for those behind")
        ] = None,
        fields: Annotated[
            list[Words] | None, Field(description="names of a session's fields; * for all; few, if not given")
        ] = None,
        count: Annotated[bool, Field(description="say how many fit in all")] = False,
    ) -> SessionsAnswer:
        """List sessions, newest first: who, on which machine, since when, how long, and how it ended.

        A session_id is component-date-time-digits, of its start in UTC. Times without a zone are UTC.
        truncated: more fit. next_cursor asks for those behind, of the newest first alone. An answer holds
        half a megabyte.
        """
        asked = Query.parse(
            query,
            clock=Clock(datetime.now(UTC), UTC),
            session_type=session_type,
            component=component,
            username=username,
            status=status,
            since=since,
            until=until,
            at=at,
            sort=sort,
            reverse=reverse,
            limit=limit,
            cursor=cursor,
        )
        return await self._register.answers.sessions(asked, fields, count=count)

    @_guarded
    async def get_session(
        self,
        *,
        session_id: Annotated[
            Words, Field(description="an id, its 8-hex suffix, a unique prefix of either, or latest")
        ],
        details: Annotated[
            bool, Field(description="its events, the sessions around it: nested, before, after")
        ] = False,
    ) -> SessionAnswer:
        """Show one session with everything that is known of it."""
        return await self._register.answers.session(session_id, details=details)

    @_guarded
    async def session_statistics(
        self,
        *,
        metric: Annotated[
            Words, Field(description="; ".join(f"{name}: {one.tells}" for name, one in MEASURES.items()))
        ] = "sessions",
        by: Annotated[
            Words | None, Field(description=f"by {', '.join(GROUPS)}, or none; of the metric, if not given")
        ] = None,
        period: Annotated[
            Words | None,
            Field(description="24h, 7d, today, last week, 2026-01, monday..friday, all; 7d if not given"),
        ] = None,
        query: Annotated[QueryText, Field(description=QUERY_IN_SHORT)] = "",
        timezone: Annotated[
            OffsetsText | None,
            Field(description="when days begin: Europe/Berlin, +01:00; UTC if not given"),
        ] = None,
        limit: Annotated[
            int | None,
            Field(description=f"at most so many rows, 1 to {MAX_ROWS}; {DEFAULT_ROWS} if not given"),
        ] = None,
    ) -> StatisticsAnswer:
        """Count sessions: how many, how long, how many people, how many at once, when, how they ended.

        Rows are groups: the largest first, times in order. A person is whom evidence proves, or the account.
        A period has the sessions that started in it; of concurrency those that were open in it.
        """
        asked = Statistics.parse(
            query,
            now=datetime.now(UTC),
            metric=metric,
            by=by,
            period=period,
            timezone=timezone,
            limit=limit,
        )
        return await self._register.answers.statistics(asked)

    @_guarded
    async def health_check(self) -> HealthAnswer:
        """Check that the server answers and its database can be read: version, uptime, live sessions."""
        return await self._register.health()


class OneLine(Middleware):
    """Who may not call a tool, and arguments that it does not take, are refused in one line."""

    async def on_call_tool(self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]) -> Any:  # noqa: ANN401, D102
        tool = context.message.name
        try:
            if tool in RIGHTS:
                caller = current_caller()
                log.debug("call", tool=tool, subject=caller.subject)
                caller.require(tool)
                _require_known(tool, context.message.arguments or {})
            return await call_next(context)
        except SessionBuddyError as error:
            raise _refusal(tool, str(error)) from None
        except NotFoundError:
            raise _refusal(tool, f"no tool {tool[:_MAX_WORDS]!r}; there are {', '.join(RIGHTS)}") from None
        except ValidationError as error:
            cause = error.__cause__
            text = str(invalid_event(cause)) if isinstance(cause, PydanticError) else str(error)
            raise _refusal(tool, text) from None


_TAKES: Final = {
    tool: [name for name in inspect.signature(getattr(Tools, tool)).parameters if name != "self"]
    for tool in RIGHTS
}


def _require_known(tool: str, arguments: Mapping[str, Any]) -> None:
    """Pydantic would complain of each: 2 s where they are many."""
    known = _TAKES[tool]
    for name, value in arguments.items():
        if name not in known:
            takes = f"{tool} takes {', '.join(known) or 'no arguments'}"
            raise EventRefused(str(InvalidEvent(name, value, takes)))


def inlined(schema: Any, definitions: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
    """A JSON schema without references, which many clients do not follow; no type of ours contains itself.

    The library's own way, ``dereference_refs``, loads an HTTP client for it: 0.04 s of each start.
    """
    if isinstance(schema, list):
        return [inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    definitions = schema.get("$defs", definitions or {})
    rest = {name: inlined(one, definitions) for name, one in schema.items() if name not in ("$ref", "$defs")}
    name = schema.get("$ref", "").rpartition("/")[2]
    return {**inlined(definitions[name], definitions), **rest} if name else rest


def add_tools(mcp: FastMCP[Any], register: Register) -> list[str]:
    """Register every tool of the rights table with a server; returns their names."""
    tools = Tools(register)
    for name, scope in RIGHTS.items():
        annotations = ToolAnnotations(
            title=TITLES[name],
            read_only_hint=scope in ("read", None),
            destructive_hint=False,
            idempotent_hint=True,
            open_world_hint=False,
        )
        tool = FunctionTool.from_function(
            getattr(tools, name), name=name, title=TITLES[name], annotations=annotations
        )
        tool.parameters, tool.output_schema = inlined(tool.parameters), inlined(tool.output_schema)
        mcp.add_tool(tool)
    mcp.add_middleware(OneLine())
    return list(RIGHTS)


def _event(arguments: dict[str, Any]) -> dict[str, Any]:
    """A tool's arguments as the event that they are."""
    left_out = ("self", "token")
    return {name: value for name, value in arguments.items() if value is not None and name not in left_out}
