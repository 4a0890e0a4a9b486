"""Who may call a tool, and how one is refused: in one line that says what to do instead."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

import structlog
from fastmcp.exceptions import NotFoundError, ToolError, ValidationError
from fastmcp.server.dependencies import get_access_token
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from pydantic import ValidationError as PydanticError

from oneiric.events import InvalidEvent, invalid_event
from oneiric.visible import visible
from session_buddy.access.callers import RIGHTS, SCOPES, Caller
from session_buddy.errors import EventRefused, Forbidden, SessionBuddyError
from session_buddy.server.words import MAX_WORDS

log = structlog.stdlib.get_logger("session_buddy.server.mcp.refusals")

# Resources and prompts take the right that this tool takes.
READING: Final = "get_session"

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


def _refusal(tool: str, reason: str) -> ToolError:
    reason, tool = visible(reason), visible(tool[:MAX_WORDS])
    log.info("call refused", tool=tool, reason=reason)
    return ToolError(reason, log_level=logging.INFO)


def guarded(method: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Tell known errors as what they are: one line; of others the library logs a traceback."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(*args, **kwargs)
        except SessionBuddyError as error:
            raise _refusal(method.__name__, str(error)) from None

    return call


class OneLine(Middleware):
    """One for all, since each that there is costs every call some microseconds.

    Who may not call a tool is not shown it; that, and unknown arguments, are refused in one line.

    Args:
        takes: the arguments of each tool, by its name.
    """

    def __init__(self, takes: Mapping[str, Sequence[str]]) -> None:
        self._takes = takes

    async def on_call_tool(self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]) -> Any:  # noqa: ANN401, D102
        tool = context.message.name
        try:
            if tool in RIGHTS:
                caller = current_caller()
                log.debug("call", tool=tool, subject=caller.subject)
                caller.require(tool)
                self._require_known(tool, context.message.arguments or {})
            return await call_next(context)
        except SessionBuddyError as error:
            raise _refusal(tool, str(error)) from None
        except NotFoundError:
            raise _refusal(tool, f"no tool {tool[:MAX_WORDS]!r}; there are {', '.join(RIGHTS)}") from None
        except ValidationError as error:
            cause = error.__cause__
            text = str(invalid_event(cause)) if isinstance(cause, PydanticError) else str(error)
            raise _refusal(tool, text) from None

    async def on_list_tools(self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]) -> Any:  # noqa: ANN401, D102
        caller = current_caller()
        return [tool for tool in await call_next(context) if caller.may(tool.name)]

    async def _on_list(self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]) -> Any:  # noqa: ANN401
        return await call_next(context) if current_caller().may(READING) else []

    on_list_resources = on_list_resource_templates = on_list_prompts = _on_list

    def _require_known(self, tool: str, arguments: Mapping[str, Any]) -> None:
        """Pydantic would complain of each: 2 s where they are many."""
        known = self._takes[tool]
        for name, value in arguments.items():
            if name not in known:
                takes = f"{tool} takes {', '.join(known) or 'no arguments'}"
                raise EventRefused(str(InvalidEvent(name, value, takes)))
