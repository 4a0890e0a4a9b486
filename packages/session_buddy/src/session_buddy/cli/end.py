"""``end-session``: correct the record of sessions that are stuck."""

import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import typer

from session_buddy.cli import completion, edge, filters
from session_buddy.cli.columns import NOW
from session_buddy.client import ask, ending
from session_buddy.errors import InvalidQuery
from session_buddy.history.fields import ALL
from session_buddy.history.words import count

EXAMPLES: Final = """\b
A shell that runs is left alone: this is about its record. One that is alive
is refused without --force, and whoever left it may leave it properly.

\b
Examples:
  session-buddy end-session 1b9d6bcd --reason "host was rebuilt"
  session-buddy end-session --query 'host:old1 status:unreachable,lost'
  session-buddy list-sessions host:old1 -f ndjson | jq -r .session_id |
      session-buddy end-session -"""
_STDIN: Final = "-"
_AT_ONCE: Final = 100


def end_session(
    sessions: Annotated[
        list[str] | None,
        typer.Argument(metavar="SESSION", hidden=True, autocompletion=completion.session),
    ] = None,
    *,
    query: Annotated[
        str | None, typer.Option(metavar="QUERY", help="Those of a query that are open; asks before.")
    ] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; it stands in the record.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also those that are alive.")] = False,
    yes: edge.Yes = False,
) -> None:
    """End sessions in the history that are stuck.

    SESSION is an id, its last eight digits, a unique beginning; - reads them from standard input.
    """
    if bool(sessions) == (query is not None):
        raise InvalidQuery("end-session", " ".join(sessions or ()), "sessions, or --query, one of the two")
    named = [one for ref in sessions or () for one in (_read() if ref == _STDIN else [ref])]
    refs = named if query is None else _found(query, yes=yes)
    refused = False
    for first in range(0, len(refs), _AT_ONCE):
        for one in ending.end_sessions(refs[first : first + _AT_ONCE], reason, force=force):
            if one["status"] == "ended":
                edge.say(f"Ended {one['session_id']}")
            else:
                edge.tell(f"Error: {one['error']}")
                refused = True
    if refused:
        sys.exit(1)


def _read() -> Iterator[str]:
    """The first field of each line of standard input."""
    for line in sys.stdin:
        yield from line.split()[:1]


def _found(query: str, *, yes: bool) -> Sequence[str]:
    """The sessions that a query finds and that are open, once somebody has agreed."""
    moment = filters.moment(utc=False)
    asked = filters.query_of([query] if query.strip() else (), clock=moment, status=["active,lost"])
    found = ask.list_sessions(str(asked), [ALL], 0)
    records: list[dict[str, Any]] = [record for page in found.pages for record in page]
    if not records:
        edge.tell("No sessions found that are open.")
        return ()

    def show() -> None:
        from session_buddy.cli import table  # Rich costs 50 ms

        table.write_rows(records, sys.stdout, NOW, moment)

    edge.agree(f"End {count(len(records), 'session')} in the history?", yes=yes, before=show)
    return [record["session_id"] for record in records]
