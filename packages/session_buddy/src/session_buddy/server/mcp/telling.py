"""Answers as agents are told them; the command line, which shows them to people, gets them as they are."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, NotRequired, TypeVar, cast

from fastmcp.server.dependencies import get_context
from pydantic import Field
from typing_extensions import TypedDict

from oneiric.transport import CLIENT
from session_buddy.history.around import SessionAnswer
from session_buddy.history.page import SessionsAnswer
from session_buddy.history.timeline import TimelineAnswer
from session_buddy.server.mcp.actions import Action
from session_buddy.server.mcp.refusals import current_caller
from session_buddy.server.register import HealthAnswer

MOST_ACTIONS: Final = 3


class ForAgents(TypedDict):
    """What stands beside an answer."""

    suggested_actions: NotRequired[Annotated[list[Action], Field(description="calls that could come next")]]


class ToldSessions(SessionsAnswer, ForAgents):
    """Sessions in their order; total and total_active say how many fit, where that was asked."""


class ToldSession(SessionAnswer, ForAgents):
    """One session; with details its events, and those around it."""


class ToldTimeline(TimelineAnswer, ForAgents):
    """Events in order of time, begin in the window and end not; how many were in at both."""


class ToldHealth(HealthAnswer, ForAgents):
    """How the server is."""


T = TypeVar("T", bound=ForAgents)


def told(_kind: type[T], answer: Mapping[str, Any], actions: Sequence[Action]) -> T:
    """An answer with what this caller could do next.

    Args:
        answer: as the command line gets it.
        actions: the best first; those that the caller may not do are left out.
    """
    if _is_command_line():
        return cast("T", answer)
    caller = current_caller()
    may = [action for action in actions if caller.may(action["tool"])]
    return cast("T", {**answer, "suggested_actions": may[:MOST_ACTIONS]})


def _is_command_line() -> bool:
    """Whether our own client asks: it shows people what a file would have."""
    client = get_context().session.client_params
    return client is not None and client.client_info.name == CLIENT
