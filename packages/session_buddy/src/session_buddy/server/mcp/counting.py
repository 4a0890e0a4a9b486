"""What sessions come to: the tool that counts them."""

from typing import Annotated

from pydantic import Field

from session_buddy.history.statistics import DEFAULT_ROWS, GROUPS, MAX_ROWS, MEASURES, Statistics
from session_buddy.server.mcp import actions
from session_buddy.server.mcp.refusals import guarded
from session_buddy.server.mcp.telling import ToldStatistics, told
from session_buddy.server.register import Register
from session_buddy.server.words import OffsetsText, QueryText, Words


class Counting:
    """One method a tool."""

    def __init__(self, register: Register) -> None:
        self._register = register

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
            OffsetsText | None,
            Field(description="when days begin: Europe/Berlin, +01:00; UTC if not given"),
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
