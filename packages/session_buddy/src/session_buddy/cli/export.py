"""``export``: a history as a file for spreadsheets, notebooks and databases."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import Annotated, BinaryIO, Final, cast

import typer

from oneiric.visible import visible
from session_buddy.cli import edge, filters, progress
from session_buddy.client import exporting
from session_buddy.errors import ExportFailed, InvalidQuery
from session_buddy.history.export import FORMS, Form
from session_buddy.history.words import count

HELP: Final = f"Write whole histories to a file: CSV, JSON, Parquet.\n\n{filters.QUERY}"
EXAMPLES: Final = """\b
All that fit, oldest first. FILE ends in .csv, .json, .ndjson or .parquet, or
--format says what it is; - is standard output, as CSV unless --format says
otherwise. It has its name once it is whole, and nobody else can read it.
In a CSV a text that spreadsheets would take for a formula (it begins with =,
+, -, @, a tab or a line break) has a ' before it; the other forms have texts
as they are. Times are in UTC.

\b
Examples:
  session-buddy export all.parquet
  session-buddy export 2026.csv --since 2026-01-01 --until 2026-12-31
  session-buddy export crashed.json status:crashed 'host:web*'
  session-buddy export - --format ndjson | jq -r .person | sort | uniq -c"""
_STDOUT: Final = Path("-")


def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file, or - for standard output.", show_default=False)
    ],
    words: filters.Words = None,
    *,
    component: filters.Component = None,
    user: filters.User = None,
    host: filters.Host = None,
    since: filters.Since = None,
    until: filters.Until = None,
    form: Annotated[
        Form | None, typer.Option("--format", "-f", help="What it is; else its name says so.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace that file.")] = False,
    utc: filters.Utc = False,
) -> None:
    """Write whole histories to a file: CSV, JSON, Parquet."""
    query = filters.query_of(
        words or (),
        clock=filters.moment(utc=utc),
        component=component,
        username=user,
        host=host,
        since=since,
        until=until,
    )
    form = form or form_of(file)
    if file == _STDOUT:
        _print(str(query), form)
        return
    write(file, str(query), form, force=force)


def write(file: Path, query: str, form: Form | None = None, *, force: bool = False) -> int:
    """Write the sessions that a query finds to a file; how many there are.

    Raises:
        InvalidQuery: it is there already, or its name says no form.
        SessionBuddyError: it cannot be made, or written; nothing is left of it.
    """
    form = form or form_of(file)
    if not force:
        edge.require_free(file, "FILE")
    with edge.written(file) as stream:
        if edge.is_plain(file):
            sessions = _made(query, form, stream)
        else:
            with _spooled(query, form) as (sessions, whole):
                copyfileobj(whole, stream)
    if edge.on_terminal():
        edge.tell(f"{count(sessions, 'session')} written to {file} as {form}")
    return sessions


def form_of(file: Path) -> Form:
    """The form that a file's name says.

    Raises:
        InvalidQuery: it says none.
    """
    if file == _STDOUT:
        return "csv"
    suffix = file.suffix.removeprefix(".").lower()
    for form in FORMS:
        if form == suffix:
            return form
    allowed = f"a name that ends in {', '.join(f'.{form}' for form in FORMS)}, or --format says what it is"
    raise InvalidQuery("FILE", str(file), allowed)


def _print(query: str, form: Form) -> None:
    on_terminal = edge.on_terminal()
    if on_terminal and form == "parquet":
        edge.fail("Parquet is not for terminals: name a file, or pipe it", edge.MISTYPED)
    # Whole before anything of it is printed, and the server need not wait for a slow reader.
    with _spooled(query, form) as (_, whole), edge.output() as stream:
        if on_terminal:
            for line in whole:
                stream.write("\t".join(map(visible, line.decode().rstrip("\n").split("\t"))) + "\n")
        else:
            copyfileobj(whole, stream.buffer)


@contextmanager
def _spooled(query: str, form: Form) -> Iterator[tuple[int, BinaryIO]]:
    """How many sessions there are, and a file with them that has no name."""
    try:
        opened = TemporaryFile()  # noqa: SIM115 - closed below
    except OSError as error:
        raise ExportFailed(error.strerror or str(error)) from None
    with opened:
        whole = cast("BinaryIO", opened)
        sessions = _made(query, form, whole)
        whole.seek(0)
        yield sessions, whole


def _made(query: str, form: Form, file: BinaryIO) -> int:
    """Write the sessions that a query finds; how many there are."""
    whole: int | None = None

    def expect(size: int) -> None:
        nonlocal whole
        whole = size

    with progress.shown("Exporting", lambda: os.fstat(file.fileno()).st_size, lambda: whole, in_bytes=True):
        return exporting.export(query, form, file, expect)
