"""Sessions as files, written by PostgreSQL's own COPY; as Parquet by DuckDB."""

from collections.abc import Iterable, Iterator, Sequence
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final

from typing_extensions import Buffer

from session_buddy.errors import ExportFailed
from session_buddy.history.export import Form
from session_buddy.store.export import COLUMNS, QUOTED, Writer
from session_buddy.store.postgres.statements import Postgres, marked

# DuckDB writes \u001B with a large letter, PostgreSQL with a small one.
_SMALL: Final = ("0b", "0e", "0f", "1a", "1b", "1c", "1d", "1e", "1f")


def _iso(column: str) -> str:
    return f"""to_char({column}, 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')"""


def _capital(line: str) -> str:
    """JSON with large letters in what stands for control characters; a backslash of a text itself is two."""
    text = rf"replace({line}, '\\', chr(1))"
    for digits in _SMALL:
        text = rf"replace({text}, '\u00{digits}', '\u00{digits.upper()}')"
    return rf"CASE WHEN strpos({line}, '\u00') > 0 THEN replace({text}, chr(1), '\\') ELSE {line} END"


WRITER: Final = Writer(
    time=_iso,
    typed_time=str,
    # As text: what else joins two objects spells them anew.
    metadata=f"""CASE WHEN end_metadata IS NULL THEN metadata ELSE CAST((
        SELECT {_capital("joined")} FROM (
            SELECT concat('{{', string_agg(
                concat(to_json(key), ':', coalesce(late.value, early.value)), ','
                ORDER BY early.place, late.place
            ), '}}') AS joined
            FROM json_each(coalesce(metadata, '{{}}')) WITH ORDINALITY AS early (key, value, place)
            FULL JOIN json_each(end_metadata) WITH ORDINALITY AS late (key, value, place) USING (key)
        ) AS whole
    ) AS json) END""",  # noqa: S608 - ours
    # Rows have no order of their own here, and an index has this one; the id as it is, not as it is shown.
    order="ORDER BY listed_at, sessions.session_id",
)
_QUOTED: Final = f"FORMAT csv, FORCE_QUOTE ({', '.join(QUOTED)})"
# JSON has no control characters: none of its lines is put in quotes.
_AS_IT_IS: Final = r"FORMAT csv, DELIMITER e'\x01', QUOTE e'\x02'"
_HEADER: Final = ",".join(f'"{name}"' if name in QUOTED else name for name in COLUMNS)


def write(connection: Postgres, select: str, parameters: Sequence[Any], form: Form, file: BinaryIO) -> int:
    """Write what a query of :mod:`session_buddy.store.export` finds; how many sessions that were.

    Raises:
        ExportFailed: the file cannot be written.
    """
    try:
        if form != "parquet":
            return _write(connection, select, parameters, form, file)
        # Not at the top: its library takes 0.2 s.
        from session_buddy.store.duckdb.export import parquet_of

        with TemporaryFile() as rows:
            number = _copy(connection, f"COPY ({select}) TO STDOUT ({_QUOTED})", parameters, rows)
            parquet_of(rows, file)
            return number
    except OSError as error:
        raise ExportFailed(error.strerror or str(error)) from error


def _write(connection: Postgres, select: str, parameters: Sequence[Any], form: Form, file: BinaryIO) -> int:
    if form == "csv":
        file.write(f"{_HEADER}\n".encode())
        return _copy(connection, f"COPY ({select}) TO STDOUT ({_QUOTED})", parameters, file)
    # Without the OFFSET each line would be made anew wherever it is named.
    lines = f"SELECT CAST(row_to_json(one) AS text) AS line FROM ({select}) AS one OFFSET 0"  # noqa: S608 - ours
    copy = f"COPY (SELECT {_capital('line')} FROM ({lines}) AS lines) TO STDOUT ({_AS_IT_IS})"  # noqa: S608 - ours
    if form == "ndjson":
        return _copy(connection, copy, parameters, file)
    file.write(b"[\n\t")
    number = _copy(connection, copy, parameters, file, between=b",\n\t")
    file.write(b"\n]\n")
    file.flush()
    return number


def _copy(
    connection: Postgres, sql: str, parameters: Sequence[Any], file: BinaryIO, between: bytes | None = None
) -> int:
    """Write the lines that a COPY gives, in place of their ends what stands ``between`` them; how many."""
    with connection.cursor() as cursor:
        with cursor.copy(marked(sql), parameters) as copy:
            # The server sends one message a line.
            file.writelines(copy if between is None else _joined(copy, between))
        file.flush()
        return cursor.rowcount


def _joined(lines: Iterable[Buffer], between: bytes) -> Iterator[Buffer]:
    first = True
    for line in lines:
        if not first:
            yield between
        first = False
        yield memoryview(line)[:-1]
