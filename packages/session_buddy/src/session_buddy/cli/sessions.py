"""``list-sessions`` and ``show-session``."""

from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from session_buddy.cli import edge, render
from session_buddy.cli.render import Format
from session_buddy.client import ask
from session_buddy.errors import InvalidQuery, UnknownSession
from session_buddy.history.query import DEFAULT_LIMIT, StatusFilter, parse_since

_MOST: Final = 1_000_000

LIST_EXAMPLES: Final = """\b
To a terminal: a table. Piped: tab-separated rows, newest first, without a header; the fields are
session id, component, type, status, exit reason, start, end, seconds, account, host, person, how we
know (docs/identity.md); "-" where unknown.

\b
Examples:
  session-buddy list-sessions --type admin_shell --since 2h
  session-buddy list-sessions --status active --user alice
  session-buddy list-sessions | head -1 | awk '{print $1}'     the newest session's id
  session-buddy list-sessions --format json --limit 1000"""

SHOW_EXAMPLES: Final = """\b
Examples:
  session-buddy show-session mahavishnu-20260102-030405-1b9d6bcd
  session-buddy show-session 1b9d6bcd --format json"""

FormatOption = Annotated[
    Format | None,
    typer.Option("--format", "-f", help="How to print; the default depends on whether this is a terminal."),
]


def _absolute(since: str | None) -> str | None:
    """A time as it was typed, made one that means the same on a server in another time zone."""
    if since is None:
        return None
    try:
        return parse_since(since, datetime.now(UTC)).isoformat()
    except InvalidQuery as error:
        raise typer.BadParameter(f"{since!r} is not {error.allowed}") from None


def list_sessions(
    *,
    session_type: Annotated[
        str | None, typer.Option("--type", metavar="NAME", help="Sessions of one type, e.g. admin_shell.")
    ] = None,
    component: Annotated[
        str | None, typer.Option(metavar="NAME", help="Sessions of one component, e.g. mahavishnu.")
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Sessions of one person, account, or user of sudo.")
    ] = None,
    status: Annotated[StatusFilter | None, typer.Option(help="Sessions in one state.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            callback=_absolute,
            help="Started at or after: 7d (seven days ago), 2h, 30m, a date, or an ISO 8601 time.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=_MOST, metavar="N", help="At most so many, the newest.")
    ] = DEFAULT_LIMIT,
    form: FormatOption = None,
) -> None:
    """List sessions, newest first."""
    records, more = ask.list_sessions(
        limit, session_type=session_type, component=component, username=user, status=status, since=since
    )
    if not records and form is None and edge.on_terminal():
        edge.tell("No sessions found.")
        return
    with edge.output() as stream:
        render.write_rows(records, form, stream)
    if more and edge.on_terminal():
        edge.tell(f"The newest {limit}; list-sessions --limit N lists more")


def _not_empty(session_id: str) -> str:
    if not session_id.strip():
        raise typer.BadParameter("give an id, its last eight digits, or a unique beginning")
    return session_id


def show_session(
    session_id: Annotated[
        str,
        typer.Argument(
            metavar="SESSION",
            callback=_not_empty,
            help="The id, its last eight digits, or a unique beginning.",
            autocompletion=ask.recent_ids,
        ),
    ],
    form: FormatOption = None,
) -> None:
    """Show every field of one session."""
    try:
        record = ask.get_session(session_id)
    except UnknownSession as error:
        if error.nearest:
            raise
        edge.fail(f"{error}; `session-buddy list-sessions` shows those that there are")
    with edge.output() as stream:
        render.write_record(record, form, stream)
