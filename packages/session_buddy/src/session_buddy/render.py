"""Records as text: rows for pipes, JSON and CSV for programs, tables for people.

Values come from other people's machines, so no control character of theirs reaches a terminal. Only the
standard library is imported here; :mod:`session_buddy.table` brings Rich when a table is asked for.
"""

import csv
import io
import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TextIO

Format = Literal["table", "json", "csv", "ndjson"]
Record = Mapping[str, Any]

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
)
"""The fields of a plain row, in order; what ``cut -f`` and ``awk`` count on."""

# session_buddy.records has the same: that module costs 0.2 s, and a test compares.
FIELDS: Final = (
    "session_id",
    "component",
    "session_type",
    "shell_type",
    "status",
    "unreachable",
    "exit_reason",
    "exit_code",
    "signal",
    "detected_by",
    "start_time",
    "end_time",
    "last_seen",
    "last_activity",
    "duration_seconds",
    "clock_skew",
    "username",
    "hostname",
    "pid",
    "python_version",
    "platform",
    "cwd",
    "origin",
    "parent_session_id",
    "reason",
    "actor",
    "commands",
    "errors",
    "reported_by",
    "metadata",
)
"""All fields of a record, the columns of CSV."""

MISSING: Final = "-"
_MIN_WRAP: Final = 20
_GAP: Final = 2

# Control and invisible characters, line separators, the marks that turn the direction of writing, surrogates.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]",
)


def visible(value: object) -> str:
    r"""``value`` as one line in which nothing acts on the terminal.

    >>> visible("red\x1b[31m\talert")
    'red\\x1b[31m\\talert'
    >>> visible(None)
    '-'
    """
    text = MISSING if value is None or value == "" else value if isinstance(value, str) else _plain(value)
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def human_duration(seconds: float) -> str:
    """A length of time in its two largest units.

    >>> [human_duration(length) for length in (0.4, 12, 312, 3720, 273600)]
    ['0s', '12s', '5m 12s', '1h 02m', '3d 04h']
    """
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days}d {hours_left:02}h"
    if hours:
        return f"{hours}h {minutes_left:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"


def local_time(iso: str, layout: str = "%Y-%m-%d %H:%M:%S %Z") -> str:
    """An ISO 8601 time in this machine's zone, the zone named."""
    return local(iso).strftime(layout)


def local(iso: str) -> datetime:
    """An ISO 8601 time in this machine's zone; as it is where the zone would lead out of the calendar."""
    time = datetime.fromisoformat(iso)
    try:
        return time.astimezone()
    except OverflowError:
        return time


def hanging(text: str, indent: int, width: int) -> list[str]:
    """``text`` as lines of at most ``width``, broken between words, all but the first behind an indent.

    The first line's own indent is the caller's. A word longer than a line stays whole, for the terminal to
    break, so that a copied id or path stays whole too.

    >>> hanging("track_events, list_sessions, get_session", 2, 30)
    ['track_events, list_sessions,', '  get_session']
    """
    room = max(width - indent, _MIN_WRAP)
    lines = textwrap.wrap(
        text,
        room,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        expand_tabs=False,
    )
    return [line if at == 0 else " " * indent + line for at, line in enumerate(lines or [""])]


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
    as_table = form == "table" or (form is None and stream.isatty())
    if as_table and fields:
        stream.writelines(_table(records, fields))
    elif as_table:
        from session_buddy import table  # Rich costs 50 ms that pipes need not pay

        table.write_rows(records, stream)
    else:
        stream.write("".join(_lines(records, form, fields)))


def write_record(record: Record, form: Format | None, stream: TextIO) -> None:
    """Write every field of one session record to ``stream``; ``form`` as in :func:`write_rows`."""
    if form == "table" or (form is None and stream.isatty()):
        from session_buddy import table  # Rich costs 50 ms that pipes need not pay

        table.write_record(record, stream)
    elif form is None:
        stream.write("".join(f"{visible(key)}\t{visible(value)}\n" for key, value in flatten(record)))
    elif form == "json":
        stream.write(_json(record, indent=2) + "\n")
    else:
        stream.write("".join(_lines([record], form)))


def flatten(record: Record, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The fields of a record, those of nested objects under dotted names.

    >>> list(flatten({"pid": 7, "metadata": {"adapters": ["a", "b"], "deep": {}}}))
    [('pid', 7), ('metadata.adapters', ['a', 'b']), ('metadata.deep', None)]
    """
    for key, value in record.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", None if isinstance(value, Mapping) else value


def _table(records: Sequence[Record], fields: Sequence[str]) -> Iterator[str]:
    titles = [name.replace("_", " ") for name in fields]
    lines = [titles, *([visible(record.get(name)) for name in fields] for record in records)]
    widths = [max(map(len, column)) + _GAP for column in zip(*lines, strict=True)]
    for line in lines:
        yield "".join(map(str.ljust, line, widths)).rstrip() + "\n"


def _lines(records: Sequence[Record], form: Format | None, fields: Sequence[str] = ()) -> Iterator[str]:
    if form == "json":
        yield _json(records, indent=2) + "\n"
    elif form == "ndjson":
        yield from (f"{_json(record)}\n" for record in records)
    elif form == "csv":
        yield _csv(records, fields or FIELDS)
    else:
        shown = fields or ROW_FIELDS
        yield from ("\t".join(visible(record.get(name)) for name in shown) + "\n" for record in records)


def _csv(records: Sequence[Record], fields: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows([_csv_cell(record.get(name)) for name in fields] for record in records)
    return text.getvalue()


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    return visible(_json(value) if isinstance(value, Mapping | list) else value)


def _plain(value: object) -> str:
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(str(item) for item in value) or MISSING
    return value if isinstance(value, str) else _json(value)


def _json(value: object, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # Line feeds that are left stand between values; inside a string JSON has escaped them already.
    return _UNPRINTABLE.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text)
