"""The MCP tools of a server: which there are, what each is called, and what its call may change."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from fastmcp import FastMCP
from fastmcp.tools.function_tool import FunctionTool
from mcp_types import ToolAnnotations

from session_buddy.access.callers import RIGHTS
from session_buddy.server.mcp.ending import Ending
from session_buddy.server.mcp.reading import Reading
from session_buddy.server.mcp.refusals import OneLine
from session_buddy.server.mcp.tracking import Tracking
from session_buddy.server.register import Register

Method = Callable[..., Awaitable[Any]]


class Tool(NamedTuple):
    """One tool.

    Each may be called again with the same arguments, which changes nothing more, and none reaches beyond
    the history. ``writes``: a call changes the history; ``destroys``: it changes what others have
    reported.
    """

    title: str
    method: Method
    writes: bool = False
    destroys: bool = False

    @property
    def annotations(self) -> ToolAnnotations:
        """What a client may show the person who allows a call."""
        return ToolAnnotations(
            title=self.title,
            read_only_hint=not self.writes,
            destructive_hint=self.destroys,
            idempotent_hint=True,
            open_world_hint=False,
        )


TOOLS: Final[dict[str, Tool]] = {
    "track_session_start": Tool("Report that a session started", Tracking.track_session_start, writes=True),
    "track_session_end": Tool("Report that a session ended", Tracking.track_session_end, writes=True),
    "track_events": Tool("Report a batch of session events", Tracking.track_events, writes=True),
    "list_sessions": Tool("List sessions, newest first", Reading.list_sessions),
    "get_session": Tool("Show one session", Reading.get_session),
    "session_statistics": Tool(
        "Count sessions: how many, how long, how many at once", Reading.session_statistics
    ),
    "session_timeline": Tool("Show what happened in a window of time", Reading.session_timeline),
    "end_session": Tool("End a stuck session in the history", Ending.end_session, writes=True, destroys=True),
    "health_check": Tool("Check the server and its database", Reading.health_check),
}
TAKES: Final = {
    name: [one for one in inspect.signature(tool.method).parameters if one != "self"]
    for name, tool in TOOLS.items()
}


def add_tools(mcp: FastMCP[Any], register: Register) -> list[str]:
    """Register every tool of the rights table with a server; returns their names."""
    rooms = (Tracking(register), Reading(register), Ending(register))
    for name in RIGHTS:
        about = TOOLS[name]
        (method,) = (getattr(room, name) for room in rooms if hasattr(room, name))
        tool = FunctionTool.from_function(method, name=name, title=about.title, annotations=about.annotations)
        tool.parameters, tool.output_schema = inlined(tool.parameters), inlined(tool.output_schema)
        mcp.add_tool(tool)
    mcp.add_middleware(OneLine(TAKES, register))
    return list(RIGHTS)


def inlined(schema: Any, definitions: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
    """A JSON schema without references, which many clients do not follow; no type of ours contains itself.

    Nor with titles, which are the names once more: a fifth of what an agent's context would hold of it.

    The library's own way, ``dereference_refs``, loads an HTTP client for it: 0.04 s of each start.
    """
    if isinstance(schema, list):
        return [inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    definitions = schema.get("$defs", definitions or {})
    rest = {
        name: inlined(one, definitions)
        for name, one in schema.items()
        if name not in ("$ref", "$defs") and not (name == "title" and isinstance(one, str))
    }
    name = schema.get("$ref", "").rpartition("/")[2]
    return {**inlined(definitions[name], definitions), **rest} if name else rest
