"""Records on a stream: rows for pipes, JSON and CSV for programs, tables for people."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from textwrap import indent
from typing import Final, Literal, TextIO

from oneiric.visible import visible
from session_buddy.history.record import SessionRecord
from session_buddy.history.words import Record, as_json, flatten, shown

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
    "reason",
    "actor",
    "agent",
)
"""The fields of a plain row, in order; what ``cut -f`` and ``awk`` count on."""


_GAP: Final = 2


def _speak_utf_8(form: Format | None, stream: TextIO) -> None:
    """What programs read is UTF-8, whatever the terminal's encoding is."""
    if form in ("json", "ndjson", "csv") and isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8")


def write_rows(
    records: Iterable[Record], form: Format | None, stream: TextIO, fields: Sequence[str] = ()
) -> int:
    """Write records to ``stream`` as programs read them, as they come; how many there were.

    Args:
        records: in their order.
        form: how; ``None``: plain tab-separated rows.
        stream: where; asked whether it is a terminal.
        fields: the columns of rows and of CSV, in order, where they are not those of all sessions.
    """
    _speak_utf_8(form, stream)
    number = 0

    def counted() -> Iterator[Record]:
        nonlocal number
        for number, record in enumerate(records, start=1):  # noqa: B007 - read behind it
            yield record

    stream.writelines(_lines(counted(), form, stream, fields))
    return number


def write_record(record: Record, form: Format | None, stream: TextIO) -> None:
    """Write every field of one session record to ``stream``, as programs read it."""
    _speak_utf_8(form, stream)
    if form is None:
        stream.write("".join(f"{shown(key)}\t{shown(value)}\n" for key, value in flatten(record)))
    elif form == "json":
        stream.write(as_json(record, indent=2) + "\n")
    else:
        stream.write("".join(_lines([record], form, stream)))


def is_for_people(form: Format | None, *, terminal: bool) -> bool:
    """Whether people are to read it: on a terminal, unless something else is asked for."""
    return form == "table" or (form is None and terminal)


def plain_table(records: Sequence[Record], fields: Sequence[str]) -> Iterator[str]:
    """Records that are no sessions, as a table."""
    titles = [name.replace("_", " ") for name in fields]
    lines = [titles, *([shown(record.get(name)) for name in fields] for record in records)]
    widths = [max(map(len, column)) + _GAP for column in zip(*lines, strict=True)]
    for line in lines:
        yield "".join(map(str.ljust, line, widths)).rstrip() + "\n"


def _lines(
    records: Iterable[Record], form: Format | None, stream: TextIO, fields: Sequence[str] = ()
) -> Iterator[str]:
    if form == "json":
        yield from _json(records)
    elif form == "ndjson":
        yield from (f"{as_json(record)}\n" for record in records)
    elif form == "csv":
        # A program is given values as they are, a terminal what can be seen.
        cell = (lambda value: visible(_csv_cell(value))) if stream.isatty() else _csv_cell
        columns = fields or list(SessionRecord.__annotations__)
        yield _csv_line(columns)
        yield from (_csv_line([cell(record.get(name)) for name in columns]) for record in records)
    else:
        columns = fields or ROW_FIELDS
        yield from ("\t".join(shown(record.get(name)) for name in columns) + "\n" for record in records)


def _json(records: Iterable[Record]) -> Iterator[str]:
    """A list, one record after the other."""
    before = "["
    for record in records:
        yield before + "\n" + indent(as_json(record, indent=2), "  ")
        before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def _csv_line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else as_json(value)
