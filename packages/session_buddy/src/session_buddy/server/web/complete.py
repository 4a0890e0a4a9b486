"""``GET /api/v1/complete``: what a query that is being typed may go on as."""

from typing import Annotated, Final

from pydantic import Field
from typing_extensions import TypedDict

from session_buddy.history.completion import RECENT, last_term, names_in, needed, offers
from session_buddy.history.query import Query
from session_buddy.server.web.routes import Asked, Given, route
from session_buddy.server.words import QueryText

# Nobody reads through more values; of keys there are not many more.
_MOST_VALUES: Final = 20


class CompleteWanted(Given):
    """A query, as far as it is typed."""

    query: Annotated[QueryText, Field(description="as far as it is typed: its last term goes on")] = ""


class Completion(TypedDict):
    """What the query may be next; ``tells``: what a key looks at, empty for values."""

    query: str
    tells: str


class CompleteAnswer(TypedDict):
    """What fits, the whole query each; at most 20 values."""

    completions: list[Completion]


async def _complete(asked: Asked[CompleteWanted]) -> CompleteAnswer:
    typed, answers = asked.given.query, asked.services.register.answers
    term, names = last_term(typed), list[str]()
    if looked_at := needed(term):
        fields, query = looked_at
        of_them = Query.parse(query, clock=answers.clock, limit=RECENT)
        found = await answers.sessions(of_them, fields)
        names = names_in(found["sessions"], fields)
    fit, before = offers(term, names), typed.removesuffix(term)
    values = len(fit) if any(one.tells for one in fit) else _MOST_VALUES
    return CompleteAnswer(
        completions=[Completion(query=f"{before}{one.text}", tells=one.tells) for one in fit[:values]]
    )


COMPLETE: Final = route("GET", "/api/v1/complete", "what a query that is being typed may go on as", _complete)
