"""Who may call a tool, and how one is refused: in one line that says what to do instead."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Final, ParamSpec, Self, TypeVar

import structlog
from fastmcp.exceptions import NotFoundError, ToolError, ValidationError
from fastmcp.server.dependencies import get_access_token
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from pydantic import ValidationError as PydanticError

from oneiric.events import InvalidEvent, invalid_event
from oneiric.visible import visible
from session_buddy.access.callers import RIGHTS, SCOPES, Caller
from session_buddy.errors import EventRefused, Forbidden, SessionBuddyError, StoreError
from session_buddy.server.register import Outcome, Register
from session_buddy.server.words import MAX_WORDS

log = structlog.stdlib.get_logger("session_buddy.server.mcp.refusals")

# Resources and prompts take the right that this tool takes.
READING: Final = "get_session"
_ONE_EVENT: Final = ("track_session_start", "track_session_end")
UNKNOWN: Final = "unknown"

P = ParamSpec("P")
R = TypeVar("R")


def current_caller() -> Caller:
    """Whom the current call's token names.

    Raises:
        Forbidden: the call came without one.
    """
    token = get_access_token()
    if token is None:
        raise Forbidden("a token is needed; make one with: session-buddy token create")
    return Caller(token.client_id, frozenset(scope for scope in SCOPES if scope in token.scopes))


class _Refusal(ToolError):  # noqa: N818 - reads as the fact it states
    """A call is not answered; the reason is what its caller is told."""

    def __init__(self, tool: str, reason: str, outcome: Outcome = "refused") -> None:
        reason, tool = visible(reason), visible(tool[:MAX_WORDS])
        log.info("call refused", tool=tool, reason=reason)
        super().__init__(reason, log_level=logging.INFO)
        self.outcome = outcome

    @classmethod
    def of(cls, tool: str, error: SessionBuddyError) -> Self:
        """The refusal that tells a known error."""
        return cls(tool, str(error), "failed" if isinstance(error, StoreError) else "refused")


def guarded(method: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Tell known errors as what they are: one line; of others the library logs a traceback."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(*args, **kwargs)
        except SessionBuddyError as error:
            raise _Refusal.of(method.__name__, error) from None

    return call


class OneLine(Middleware):
    """Refuses calls in one line; a single middleware, since each costs every call some microseconds.

    Tools that a caller may not call are not listed for them. ``takes`` has the arguments of each tool.
    """

    def __init__(self, takes: Mapping[str, Sequence[str]], register: Register) -> None:
        self._takes = takes
        self._register = register

    async def on_call_tool(self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]) -> Any:  # noqa: ANN401, D102
        tool = context.message.name
        try:
            found = await self._call(context, call_next)
        except Exception as error:
            outcome = error.outcome if isinstance(error, _Refusal) else "failed"
            self._register.calls[tool if tool in RIGHTS else UNKNOWN, outcome] += 1
            raise
        self._register.calls[tool, "answered"] += 1
        return found

    async def _call(self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]) -> Any:  # noqa: ANN401
        tool = context.message.name
        try:
            if tool in RIGHTS:
                caller = current_caller()
                log.debug("call", tool=tool, subject=caller.subject)
                caller.require(tool)
                self._require_known(tool, context.message.arguments or {})
            return await call_next(context)
        except SessionBuddyError as error:
            if isinstance(error, EventRefused):
                self._note_invalid(tool)
            raise _Refusal.of(tool, error) from None
        except NotFoundError:
            raise _Refusal(tool, f"no tool {tool[:MAX_WORDS]!r}; there are {', '.join(RIGHTS)}") from None
        except ValidationError as error:
            cause = error.__cause__
            text = str(invalid_event(cause)) if isinstance(cause, PydanticError) else str(error)
            self._note_invalid(tool)
            raise _Refusal(tool, text) from None

    async def on_list_tools(self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]) -> Any:  # noqa: ANN401, D102
        caller = current_caller()
        return [tool for tool in await call_next(context) if caller.may(tool.name)]

    async def _on_list(self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]) -> Any:  # noqa: ANN401
        return await call_next(context) if current_caller().may(READING) else []

    on_list_resources = on_list_resource_templates = on_list_prompts = _on_list

    def _note_invalid(self, tool: str) -> None:
        # Their arguments are one event, which the register never sees.
        if tool in _ONE_EVENT:
            self._register.note_invalid()

    def _require_known(self, tool: str, arguments: Mapping[str, Any]) -> None:
        """Pydantic would complain of each: 2 s where they are many."""
        known = self._takes[tool]
        for name, value in arguments.items():
            if name not in known:
                takes = f"{tool} takes {', '.join(known) or 'no arguments'}"
                raise EventRefused(str(InvalidEvent(name, value, takes)))
