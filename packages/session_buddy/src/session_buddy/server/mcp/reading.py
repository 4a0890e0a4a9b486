"""What is asked of the history: the tools of scope ``read``, and how the server is."""

from typing import Annotated, Final, cast

from fastmcp.tools import ToolResult
from pydantic import Field

from session_buddy.errors import InvalidQuery
from session_buddy.history.keys import KEYS
from session_buddy.history.query import DEFAULT_LIMIT, MAX_LIMIT, SORTS, Query
from session_buddy.history.statistics import DEFAULT_ROWS, GROUPS, MAX_ROWS, MEASURES, Statistics
from session_buddy.history.timeline import DEFAULT_EVENTS, MOST_EVENTS, Window, rendered
from session_buddy.server.mcp import actions
from session_buddy.server.mcp.refusals import guarded
from session_buddy.server.mcp.telling import (
    ToldHealth,
    ToldSession,
    ToldSessions,
    ToldStatistics,
    ToldTimeline,
    told,
)
from session_buddy.server.register import Register
from session_buddy.server.words import OffsetsText, QueryText, SessionRef, Words

_QUERY_IN_SHORT: Final = (
    'which: user:ada -status:active component:shop,bank host:web* at:"monday 14:00" duration:>1h words;'
    f" keys: {', '.join(key.name for key in KEYS)}"
)


class Reading:
    """One method a tool."""

    def __init__(self, register: Register) -> None:
        self._register = register

    @guarded
    async def list_sessions(
        self,
        *,
        query: Annotated[QueryText, Field(description=_QUERY_IN_SHORT)] = "",
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
    ) -> ToldSessions:
        """List sessions, newest first: who, on which machine, since when, how long, and how it ended.

        A session_id is component-date-time-digits, of its start in UTC. Times without a zone are UTC.
        truncated: more fit. next_cursor asks for those behind, of the newest first alone. An answer holds
        half a megabyte.
        """
        given = {name: value for name, value in locals().items() if name != "self" and value}
        asked = Query.parse(
            query,
            clock=self._register.answers.clock,
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
        answer = await self._register.answers.sessions(asked, fields, count=count)
        return told(ToldSessions, answer, actions.of_list(answer, given))

    @guarded
    async def get_session(
        self,
        *,
        session_id: SessionRef,
        details: Annotated[
            bool, Field(description="its events, the sessions around it: nested, before, after")
        ] = False,
    ) -> ToldSession:
        """Show one session with everything that is known of it."""
        answer = await self._register.answers.session(session_id, details=details)
        return told(ToldSession, answer, actions.of_session(answer, details=details))

    @guarded
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
        query: Annotated[QueryText, Field(description="which, as list_sessions takes it")] = "",
        timezone: Annotated[
            OffsetsText | None, Field(description="when days begin: Europe/Berlin, +01:00; UTC if not given")
        ] = None,
        limit: Annotated[
            int | None,
            Field(description=f"at most so many rows, 1 to {MAX_ROWS}; {DEFAULT_ROWS} if not given"),
        ] = None,
    ) -> ToldStatistics:
        """Count sessions: how many, how long, how many people, how many at once, when, how they ended.

        Rows are groups: the largest first, times in order. A person is whom evidence proves, or the account.
        A period has the sessions that started in it; of concurrency those that were open in it.
        """
        asked = Statistics.parse(
            query,
            now=self._register.answers.clock.now,
            metric=metric,
            by=by,
            period=period,
            timezone=timezone,
            limit=limit,
        )
        answer = await self._register.answers.statistics(asked)
        return told(ToldStatistics, answer, actions.of_statistics(answer, query))

    @guarded
    async def session_timeline(
        self,
        *,
        since: Annotated[
            Words | None,
            Field(description="where it begins: 2h ago, monday 14:00; an hour ago, if not given"),
        ] = None,
        until: Annotated[Words | None, Field(description="where it ends; now, if not given")] = None,
        at: Annotated[Words | None, Field(description="both in one: yesterday, monday 14:00..16:00")] = None,
        query: Annotated[QueryText, Field(description="which sessions, as of list_sessions")] = "",
        limit: Annotated[
            int, Field(description=f"at most so many events, 1 to {MOST_EVENTS}")
        ] = DEFAULT_EVENTS,
    ) -> ToldTimeline:
        """What happened in a window of time: who was in when it began, who came, who went and how.

        The text has a line for each event, in order of time, UTC. truncated: more happened; begin later, or
        raise limit.
        """
        if not 1 <= limit <= MOST_EVENTS:
            raise InvalidQuery("limit", limit, f"a number from 1 to {MOST_EVENTS}")
        clock = self._register.answers.clock
        window = Window.parse(clock, since=since, until=until, at=at)
        asked = Query.parse(query, clock=clock, limit=limit)
        answer = await self._register.answers.timeline(asked, window)
        structured = told(ToldTimeline, answer, actions.of_timeline(answer, query, limit))
        return cast("ToldTimeline", ToolResult(rendered(answer), structured))

    @guarded
    async def health_check(self) -> ToldHealth:
        """Check that the server answers and its database can be read: version, uptime, live sessions."""
        answer = await self._register.health()
        return told(ToldHealth, answer, actions.of_health(answer["live_sessions"]))
