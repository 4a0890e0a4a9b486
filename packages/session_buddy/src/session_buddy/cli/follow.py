"""``follow``: who comes and who goes, as it happens."""

from itertools import chain
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from session_buddy.cli import edge, filters, render
from session_buddy.cli.text import in_zone
from session_buddy.client import following
from session_buddy.history.query import Clock
from session_buddy.history.record import who
from session_buddy.history.words import Record, ending, human_duration, shown

if TYPE_CHECKING:
    from rich.console import Console

HELP: Final = f"Show starts and ends as they happen.\n\n{filters.QUERY}"
EXAMPLES: Final = """\b
Needs a server; waits for one that is restarted, and goes on where it was.
Piped: tab-separated, start or end, then the fields of list-sessions.

\b
Examples:
  session-buddy follow                               everybody
  session-buddy follow 'host:web*' -user:ci          some
  session-buddy follow --format ndjson | jq .change  for programs"""
# Of the person, the component and the host, in cells.
_NARROW: Final = (14, 12, 8)
_WIDE: Final = (20, 20, 16)
_WIDE_FROM: Final = 100


def follow(
    words: filters.Words = None,
    *,
    component: filters.Component = None,
    user: filters.User = None,
    host: filters.Host = None,
    form: Annotated[
        Literal["table", "ndjson"] | None,
        typer.Option(
            "--format", "-f", help="How to print; the default depends on whether this is a terminal."
        ),
    ] = None,
    utc: filters.Utc = False,
) -> None:
    """Show starts and ends as they happen."""
    moment = filters.moment(utc=utc)
    query = filters.query_of(words or (), clock=moment, component=component, username=user, host=host)
    for_people = render.is_for_people(form, terminal=edge.on_terminal())
    found = following.changes(str(query), edge.tell)
    next(found)
    if for_people:
        edge.tell("Waiting for starts and ends; Ctrl-C leaves.")
    with edge.output() as stream:
        if for_people:
            from session_buddy.cli.table import console_on  # Rich costs 50 ms that pipes need not pay

            console = console_on(stream)
        for one in chain.from_iterable(found):
            if for_people:
                _print(console, one["change"], one["session"], moment)
            else:
                record = {"change": one["change"], **one["session"]}
                render.write_rows([record], form, stream, ("change", *render.ROW_FIELDS))
            stream.flush()


def _print(console: "Console", word: str, record: Record, moment: Clock) -> None:
    """One line that fits the terminal."""
    from session_buddy.cli.table import print_line, style_of

    time, said = record["start_time"], record["reason"] or ""
    if word == "end":
        word, _, how = ending(record).partition(" ")
        time, said = record["end_time"], f"{human_duration(record['duration_seconds'])} {how}"
    widths = [8, 7, *(_NARROW if console.width < _WIDE_FROM else _WIDE), 8]
    widths.append(max(console.width - sum(widths) - 2 * len(widths), 1))
    names = (who(record), record["component"], record["hostname"], record["session_id"][-8:])
    cells = [f"{in_zone(time, moment.zone):%H:%M:%S}", word, *map(shown, names), shown(said) if said else ""]
    print_line(console, cells, widths, ["", style_of(word if word != "start" else "active"), *[""] * 5])
