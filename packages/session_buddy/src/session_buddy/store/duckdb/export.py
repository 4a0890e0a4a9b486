"""Sessions as files, written by DuckDB's own COPY."""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

import duckdb

from session_buddy.errors import ExportFailed
from session_buddy.history.export import Form
from session_buddy.store.duckdb.opening import CONFIG
from session_buddy.store.duckdb.statements import Cursor, one
from session_buddy.store.export import COLUMNS, QUOTED, Writer

WRITER: Final = Writer(
    time=lambda column: f"strftime({column}, '%Y-%m-%dT%H:%M:%S.%f+00:00')",
    typed_time=lambda column: f"{column} AT TIME ZONE 'UTC'",
    # Of two maps, the second's values count.
    metadata="""CASE WHEN end_metadata IS NULL THEN metadata ELSE CAST(to_json(map_concat(
        CAST(coalesce(metadata, '{}') AS MAP(VARCHAR, JSON)), CAST(end_metadata AS MAP(VARCHAR, JSON))
    )) AS JSON) END""",
    # As they came in: to sort a million would take 560 MB of memory, and a quarter of the time.
    order="",
)
_FORMS: Final[dict[Form, str]] = {
    "csv": f"FORMAT csv, HEADER true, FORCE_QUOTE ({', '.join(QUOTED)})",
    "json": "FORMAT json, ARRAY true",
    "ndjson": "FORMAT json",
    "parquet": "FORMAT parquet",
}
_TYPES: Final = {
    "text": "VARCHAR",
    "word": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "time": "TIMESTAMPTZ",
    "json": "JSON",
}
_WHOLE_LINE: Final = 16 * 1024 * 1024
# What COPY says where the file cannot be written: the system's number is in it.
_ERRNO: Final = re.compile(r'"errno":"(\d+)"')


def write(cursor: Cursor, select: str, parameters: Sequence[Any], form: Form, file: BinaryIO) -> int:
    """Write what a query of :mod:`session_buddy.store.export` finds; how many sessions that were.

    Raises:
        ExportFailed: the file cannot be written.
    """
    # The file is there already, and may have no name: it is written as it is, and no other beside it.
    target = f"COPY ({select}) TO '{_path(file)}' ({_FORMS[form]}, USE_TMP_FILE false)"
    with _trouble():
        (number,) = one(cursor, target, parameters)
    return int(number)


def parquet_of(rows: BinaryIO, file: BinaryIO) -> None:
    """Write a CSV with these columns, without a header, as Parquet.

    Raises:
        ExportFailed: the file cannot be written.
    """
    columns = ", ".join(f"'{name}': '{_TYPES[one.kind]}'" for name, one in COLUMNS.items())
    # An empty text in quotes is one.
    read = f"""read_csv('{_path(rows)}', columns = {{{columns}}}, auto_detect = false, header = false,
        delim = ',', quote = '"', escape = '"', new_line = '\\n', allow_quoted_nulls = false,
        max_line_size = {_WHOLE_LINE})"""
    with duckdb.connect(config=CONFIG) as database, _trouble():
        write(database, f"SELECT * FROM {read}", [], "parquet", file)  # noqa: S608 - names of ours


def _path(file: BinaryIO) -> str:
    return f"/dev/fd/{file.fileno()}"


@contextmanager
def _trouble() -> Iterator[None]:
    try:
        yield
    except duckdb.IOException as error:
        if number := _ERRNO.search(str(error)):
            raise ExportFailed(os.strerror(int(number[1]))) from error
        raise
    except duckdb.OutOfMemoryException as error:
        raise ExportFailed(os.strerror(errno.ENOMEM)) from error
    except RuntimeError as error:
        # How the library tells of Ctrl-C.
        if "interrupted" in str(error):
            raise KeyboardInterrupt from None
        raise
