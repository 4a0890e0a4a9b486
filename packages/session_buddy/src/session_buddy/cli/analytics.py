"""``analytics``: what sessions come to, in numbers, bars and a heatmap."""

from shutil import get_terminal_size
from typing import Annotated, Any, Final

import typer

from session_buddy.cli import completion, edge, filters, render
from session_buddy.cli.sessions import FormatOption
from session_buddy.cli.summary import of_cut, of_statistics
from session_buddy.client import ask
from session_buddy.history import zones
from session_buddy.history.keys import one_of
from session_buddy.history.query import span_text
from session_buddy.history.statistics import (
    ALL,
    DEFAULT_ROWS,
    GROUPS,
    MAX_ROWS,
    MEASURES,
    METRICS,
    NOTHING,
    Statistics,
    default_period,
    parse_period,
)

HELP: Final = f"Count sessions: how many, how long, who, when.\n\n{filters.QUERY}"
_METRICS: Final = "\n".join(f"  {name:<12} {measure.tells}" for name, measure in MEASURES.items())
EXAMPLES: Final = f"""\b
Metrics, of sessions that started in the period (concurrency: were open in it):
{_METRICS}
To a terminal: bars, or a heatmap. Piped: tab-separated, the group's name,
then its numbers, lengths in seconds; --format json says which is which.

\b
Examples:
  session-buddy analytics                                how many a day
  session-buddy analytics --by person --period 30d       of whom
  session-buddy analytics --metric duration 'host:web*'  median, 90 %, 95 %, 99 %
  session-buddy analytics --metric peak-hours --period "last month"
  session-buddy analytics --metric endings --by component -f csv"""


def analytics(
    words: filters.Words = None,
    *,
    metric: Annotated[
        str,
        typer.Option(metavar="NAME", help="What: see below.", autocompletion=completion.one_of(METRICS)),
    ] = "sessions",
    by: Annotated[
        str | None,
        typer.Option(
            metavar="GROUP",
            help=f"{', '.join(GROUPS)}; or {NOTHING}.",
            autocompletion=completion.one_of((*GROUPS, NOTHING)),
        ),
    ] = None,
    period: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="7d if not given; today, last week, 2026-01, monday..friday, all."),
    ] = None,
    component: filters.Component = None,
    user: filters.User = None,
    host: filters.Host = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=MAX_ROWS,
            metavar="N",
            help=f"At most so many rows, {DEFAULT_ROWS} if not given; 0: all.",
        ),
    ] = None,
    form: FormatOption = None,
    utc: filters.Utc = False,
) -> None:
    """Count sessions: how many, how long, who, when."""
    moment = filters.moment(utc=utc)
    counted = one_of("metric", metric, METRICS)
    query = filters.query_of(words or (), clock=moment, component=component, user=user, host=host)
    span = parse_period("period", period or default_period(counted), moment)
    options: dict[str, Any] = {
        "metric": counted,
        "period": ALL if span == (None, None) else span_text(span),
        "timezone": zones.written(zones.offsets_of(moment.zone, span.after, moment.now)),
        **({"limit": limit or MAX_ROWS} if limit is not None else {}),
        **({"by": by} if by is not None else {}),
    }
    asked = Statistics.parse(str(query), now=moment.now, **options)
    found = ask.statistics(str(query), **options)
    with edge.output() as stream:
        if not render.is_for_people(form, terminal=edge.on_terminal()):
            if form == "json":
                render.write_record(found, form, stream)
            else:
                columns = (*asked.within, *MEASURES[asked.metric].columns)
                render.write_rows(found["rows"], form, stream, columns)
                edge.tell_all(of_cut(found))
            return
        if found["sessions"]:
            from session_buddy.cli import charts  # Rich costs 50 ms that pipes need not pay

            charts.write(found, asked, stream)
    edge.tell_all(of_statistics(found, asked, moment, get_terminal_size().columns))
