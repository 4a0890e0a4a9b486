"""Which sessions: the words of a query, and the options that are other spellings of it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from session_buddy.cli import completion
from session_buddy.errors import InvalidQuery
from session_buddy.history.keys import KEYS, NAMES
from session_buddy.history.query import Clock, Query, filtered, require_sense, terms_of
from session_buddy.history.syntax import of_argument

# Who left, or was lost, without a word of their own.
_INCOMPLETE: Final = "exit:process_gone,outbox_recovered,lease_expired"

Words = Annotated[
    list[str] | None,
    # Its help would show the type of a Python list: it stands above the options.
    typer.Argument(metavar="QUERY", hidden=True, autocompletion=completion.term),
]
QUERY: Final = (
    "QUERY is words, and terms such as user:ada, host:web* or duration:>1h. All must fit; with - before it,"
    " a term must not: -status:active. A word stands behind -- for that: -- -rollback."
    f" Keys: {' '.join(key.name for key in KEYS)}."
)


def _named(key: str, text: str, *names: str, metavar: str = "NAME") -> Any:  # noqa: ANN401 - as Typer has it
    """The option that is another spelling of a key."""
    return typer.Option(*names, metavar=metavar, help=text, autocompletion=completion.values_of(key))


Type = Annotated[list[str] | None, _named("type", "Of one type.", "--type")]
Component = Annotated[list[str] | None, _named("component", "Of one component.")]
User = Annotated[list[str] | None, _named("user", "A person, account, or user of sudo.")]
Host = Annotated[list[str] | None, _named("host", "On one machine.")]
Status = Annotated[
    list[str] | None, _named("status", "active, ended, crashed, lost or unreachable.", metavar="STATE")
]
Actor = Annotated[list[str] | None, _named("actor", "human, agent or automation.", metavar="WHO")]
Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Started since: 2h, 7d, 9:00, monday, 2026-01-31.")
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Started until then.")]
At = Annotated[
    str | None, typer.Option(metavar="TIME", help='In at a time, or in a span: "monday 14:00..16:00".')
]
Last = Annotated[str | None, typer.Option(metavar="LENGTH", help="Started in the last 2h, 30m, 7d.")]
Reason = Annotated[
    list[str] | None, typer.Option(metavar="WORD", help="A word of the reason, e.g. a ticket.")
]
Active = Annotated[bool, typer.Option("--active", help="Those that are in now.")]
Incomplete = Annotated[
    bool, typer.Option("--incomplete", help="Killed or lost: no word of their own at the end.")
]
Search = Annotated[list[str] | None, typer.Option(metavar="WORD", help="Words of who, where and why.")]
Utc = Annotated[bool, typer.Option("--utc", help="Times are UTC, not this machine's.")]


def moment(*, utc: bool) -> Clock:
    """Now, in the zone that was asked for."""
    return Clock(datetime.now(UTC), UTC if utc else None)


def query_of(
    words: Sequence[str],
    *,
    clock: Clock,
    active: bool = False,
    incomplete: bool = False,
    at: str | None = None,
    **options: Sequence[str] | str | None,
) -> Query:
    """The query that words and options make together, asked at ``clock``.

    Raises:
        InvalidQuery: names the word or option, its value and what is allowed.
    """
    if active and at:
        raise InvalidQuery("at", at, "--active is who is in now, --at who was in then; give one of them")
    given = [*words, *["status:active"] * active, *[_INCOMPLETE] * incomplete]
    terms = [term for word in given for term in terms_of(of_argument(word, NAMES), clock)]
    for name, value in {**options, "at": at}.items():
        if values := [value] if isinstance(value, str) else value:
            terms.append(filtered(name, values, clock))
    require_sense(terms)
    return Query(tuple(terms), clock.now)
