"""Records on a stream: rows for pipes, JSON and CSV for programs, tables for people."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, TextIO

from oneiric.visible import visible
from session_buddy.cli.text import Record, as_json, flatten, shown
from session_buddy.history.record import SessionRecord

Format = Literal["table", "json", "csv", "ndjson"]

ROW_FIELDS: Final = (
    "session_id",
    "component",
    "session_type",
    "status",
    "exit_reason",
    "start_time",
    "end_time",
    "duration_seconds",
    "username",
    "hostname",
    "person",
    "person_evidence",
)
"""The fields of a plain row, in order; what ``cut -f`` and ``awk`` count on."""


_GAP: Final = 2


def _speak_utf_8(form: Format | None, stream: TextIO) -> None:
    """What programs read is UTF-8, whatever the terminal's encoding is."""
    if form in ("json", "ndjson", "csv") and isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8")


def write_rows(
    records: Sequence[Record], form: Format | None, stream: TextIO, fields: Sequence[str] = ()
) -> None:
    """Write a list of records to ``stream``.

    Args:
        records: newest first.
        form: how; ``None`` means a table on a terminal and plain tab-separated rows elsewhere.
        stream: where; asked whether it is a terminal and how wide.
        fields: the columns, in order, where the records are no sessions.
    """
    _speak_utf_8(form, stream)
    as_table = form == "table" or (form is None and stream.isatty())
    if as_table and fields:
        stream.writelines(_table(records, fields))
    elif as_table:
        from session_buddy.cli import table  # Rich costs 50 ms that pipes need not pay

        table.write_rows(records, stream)
    else:
        stream.write("".join(_lines(records, form, stream, fields)))


def write_record(record: Record, form: Format | None, stream: TextIO) -> None:
    """Write every field of one session record to ``stream``; ``form`` as in :func:`write_rows`."""
    _speak_utf_8(form, stream)
    if form == "table" or (form is None and stream.isatty()):
        from session_buddy.cli import table  # Rich costs 50 ms that pipes need not pay

        table.write_record(record, stream)
    elif form is None:
        stream.write("".join(f"{shown(key)}\t{shown(value)}\n" for key, value in flatten(record)))
    elif form == "json":
        stream.write(as_json(record, indent=2) + "\n")
    else:
        stream.write("".join(_lines([record], form, stream)))


def _table(records: Sequence[Record], fields: Sequence[str]) -> Iterator[str]:
    titles = [name.replace("_", " ") for name in fields]
    lines = [titles, *([shown(record.get(name)) for name in fields] for record in records)]
    widths = [max(map(len, column)) + _GAP for column in zip(*lines, strict=True)]
    for line in lines:
        yield "".join(map(str.ljust, line, widths)).rstrip() + "\n"


def _lines(
    records: Sequence[Record], form: Format | None, stream: TextIO, fields: Sequence[str] = ()
) -> Iterator[str]:
    if form == "json":
        yield as_json(records, indent=2) + "\n"
    elif form == "ndjson":
        yield from (f"{as_json(record)}\n" for record in records)
    elif form == "csv":
        # A program is given values as they are, a terminal what can be seen.
        cell = (lambda value: visible(_csv_cell(value))) if stream.isatty() else _csv_cell
        yield _csv(records, fields or list(SessionRecord.__annotations__), cell)
    else:
        columns = fields or ROW_FIELDS
        yield from ("\t".join(shown(record.get(name)) for name in columns) + "\n" for record in records)


def _csv(records: Sequence[Record], fields: Sequence[str], cell: Callable[[object], str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows([cell(record.get(name)) for name in fields] for record in records)
    return text.getvalue()


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else as_json(value)
