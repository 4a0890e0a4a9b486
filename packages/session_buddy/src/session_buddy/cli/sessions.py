"""``list-sessions``, ``who`` and ``show-session``."""

from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any, Final, TextIO

import typer

from session_buddy.cli import completion, edge, filters, render, summary
from session_buddy.cli.columns import NOW, Layout, of_fields, sorted_by
from session_buddy.cli.render import Format
from session_buddy.client import ask
from session_buddy.errors import DeletedSession, UnknownSession
from session_buddy.history.fields import ALL, FIELDS, field_named
from session_buddy.history.keys import one_of
from session_buddy.history.query import DEFAULT_LIMIT, SORTS, Clock
from session_buddy.history.words import count

LIST_HELP: Final = f"List sessions, newest first.\n\n{filters.QUERY}"
WHO_HELP: Final = f"Show who is in now, idle for how long, and why.\n\n{filters.QUERY}"

LIST_EXAMPLES: Final = """\b
To a terminal: a table. Piped: tab-separated rows, newest first, without a
header; the fields are session id, component, type, status, exit reason,
start, end, seconds, account, host, person, how we know (docs/identity.md),
reason, actor, agent; "-" where unknown.

\b
Examples:
  session-buddy list-sessions user:ada -status:active 'host:web*'
  session-buddy list-sessions at:"monday 14:00..16:00"      who was in then
  session-buddy list-sessions --incomplete --since monday   killed or lost
  session-buddy list-sessions | head -1 | cut -f1           the newest id
  session-buddy list-sessions --limit 0 --output all.csv"""

SHOW_EXAMPLES: Final = """\b
Examples:
  session-buddy show-session mahavishnu-20260102-030405-1b9d6bcd
  session-buddy show-session 1b9d6bcd --format json
  session-buddy show-session latest"""

WHO_EXAMPLES: Final = """\b
Piped: the fields of list-sessions, then idle seconds, busy, origin.

\b
Examples:
  session-buddy who                            everybody
  session-buddy who 'idle:>30m' 'host:web*'    who forgot to leave"""
# Rows of who have these behind the fields of all rows.
_OF_WHO: Final = ("idle_seconds", "busy", "origin")

_FORMS: Final[dict[str, Format]] = {".csv": "csv", ".json": "json", ".ndjson": "ndjson"}

FormatOption = Annotated[
    Format | None,
    typer.Option("--format", "-f", help="How to print; the default depends on whether this is a terminal."),
]


def list_sessions(
    words: filters.Words = None,
    *,
    session_type: filters.Type = None,
    component: filters.Component = None,
    user: filters.User = None,
    host: filters.Host = None,
    status: filters.Status = None,
    since: filters.Since = None,
    until: filters.Until = None,
    at: filters.At = None,
    last: filters.Last = None,
    reason: filters.Reason = None,
    actor: filters.Actor = None,
    active: filters.Active = False,
    incomplete: filters.Incomplete = False,
    search: filters.Search = None,
    sort: Annotated[
        str,
        typer.Option(
            metavar="FIELD",
            help=f"{', '.join(SORTS[:4])} …",
            autocompletion=completion.one_of(SORTS),
        ),
    ] = "started",
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="At most so many; 0: all.")] = DEFAULT_LIMIT,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Which columns, as by --columns user,host; help lists all.",
            autocompletion=completion.some_of(FIELDS),
        ),
    ] = None,
    form: FormatOption = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to a file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace that file.")] = False,
    utc: filters.Utc = False,
) -> None:
    """List sessions, newest first."""
    if columns == "help":
        edge.say("\n".join(FIELDS))
        return
    moment = filters.moment(utc=utc)
    query = filters.query_of(
        words or (),
        clock=moment,
        active=active,
        incomplete=incomplete,
        last=last,
        at=at,
        session_type=session_type,
        component=component,
        username=user,
        host=host,
        status=status,
        since=since,
        until=until,
        reason=reason,
        actor=actor,
        search=search,
    )
    fields = _columns(columns)
    if output is not None and not force:
        edge.require_free(output)
    form = form or (_FORMS.get(output.suffix) if output else None)
    as_table = render.is_for_people(form, terminal=output is None and edge.on_terminal())
    by = one_of("sort", sort, SORTS)
    found = ask.list_sessions(str(query), fields or [ALL], limit, sort=by, reverse=reverse, count=as_table)
    records = (record for page in found.pages for record in page)
    with edge.output(output) as stream:
        if as_table:
            shown = _table(list(records), stream, of_fields(fields) if fields else sorted_by(by), moment)
        else:
            shown = render.write_rows(records, form, stream, fields)
    if found.truncated:
        edge.tell(f"More do not fit into one answer: {shown} are shown; without --sort all can be listed")
    elif output is not None and edge.on_terminal():
        edge.tell(f"{count(shown, 'session')} written to {output} as {form or 'tab-separated rows'}")
    elif as_table and edge.on_terminal():
        edge.tell(summary.of_list(shown, found.total, found.active, query, moment))


def _table(records: Sequence[dict[str, Any]], stream: TextIO, layout: Layout, moment: Clock) -> int:
    if records:
        from session_buddy.cli import table  # Rich costs 50 ms that pipes need not pay

        table.write_rows(records, stream, layout, moment)
    return len(records)


def who(
    words: filters.Words = None,
    *,
    component: filters.Component = None,
    user: filters.User = None,
    host: filters.Host = None,
    form: FormatOption = None,
    utc: filters.Utc = False,
) -> None:
    """Show who is in now, idle for how long, and why."""
    moment = filters.moment(utc=utc)
    query = filters.query_of(
        words or (), clock=moment, active=True, component=component, username=user, host=host
    )
    found = ask.list_sessions(str(query), [ALL], 0)
    records = [record for page in found.pages for record in page]
    with edge.output() as stream:
        as_table = render.is_for_people(form, terminal=stream.isatty())
        if as_table:
            _table(records, stream, NOW, moment)
        else:
            render.write_rows(records, form, stream, () if form else (*render.ROW_FIELDS, *_OF_WHO))
    # Not where a reader of rows had enough of them, either.
    if as_table:
        edge.tell_all(summary.of_people(records, query, moment, get_terminal_size().columns))


def _columns(columns: str | None) -> list[str]:
    """The fields that are meant; none: those of all lists."""
    return (
        [field_named("columns", name.strip()) for name in columns.split(",")] if columns is not None else []
    )


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
            help="The id, its last eight digits, a unique beginning; or latest.",
            autocompletion=completion.session,
        ),
    ],
    *,
    form: FormatOption = None,
    utc: filters.Utc = False,
) -> None:
    """Show one session, and what is around it."""
    for_people = render.is_for_people(form, terminal=edge.on_terminal())
    try:
        answer = ask.get_session(session_id, details=for_people or form in ("json", "ndjson"))
    except DeletedSession:
        raise
    except UnknownSession as error:
        if error.nearest:
            raise
        query = f" {session_id}" * (":" in session_id)
        edge.fail(f"{error}; `session-buddy list-sessions{query}` shows those that there are")
    with edge.output() as stream:
        if for_people:
            from session_buddy.cli import detail  # Rich costs 50 ms that pipes need not pay

            detail.write_session(answer, stream, filters.moment(utc=utc))
        else:
            render.write_record({**answer.pop("session"), **answer}, form, stream)
