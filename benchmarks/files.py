"""A million sessions as files: beside a plain COPY of the same columns, and as whole commands."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import duckdb
import psycopg

from benchmarks.measure import Effort, Row, duration, median, pairs, ratio
from benchmarks.queries import MOST
from benchmarks.starts import command
from session_buddy.history.export import FORMS, Form
from session_buddy.history.query import Query
from session_buddy.store import Store
from tests.world import World

ROUNDS = 3
# What an engineer would write: no texts that spreadsheets take for formulas are looked for.
_PLAIN = """
    SELECT session_id, person, person_evidence, username, uid, actor, agent, component, session_type,
        shell_type, status, exit_reason, exit_code, start_time, end_time,
        coalesce(duration_seconds, extract(epoch FROM (TIMESTAMP '{now}' - start_time))) AS duration_seconds,
        hostname, pid, python_version, platform, cwd, origin, parent_session_id, reason,
        coalesce(counted_commands, commands) AS commands, coalesce(counted_errors, errors) AS errors,
        subject AS reported_by, metadata
    FROM sessions WHERE status IS NOT NULL
"""
_DUCKDB = {"csv": "csv, HEADER", "json": "json, ARRAY true", "ndjson": "json", "parquet": "parquet"}
Plain = Callable[[Form, BinaryIO], object]


def files(store: Store, plain: Plain, what: str) -> Iterator[Row]:
    """Each form in turns with COPY by hand."""
    for form in FORMS:
        ours, hand = pairs(partial(_made, partial(_ours, store), form), partial(_made, plain, form), ROUNDS)
        yield ratio(f"{what}: export as {form} / plain COPY", ours, hand, MOST, "by hand")


def exported(world: World, what: str, effort: Effort) -> Iterator[Row]:
    """Whole commands, with a server."""
    for form in FORMS:
        file = str(world.home / f"all.{form}")
        taken = median(command(world, "session-buddy", "export", file, "--force"), min(effort.rounds, ROUNDS))
        yield duration(f"{what}: export as {form}", taken)
        Path(file).unlink()


def by_duckdb(bare: duckdb.DuckDBPyConnection) -> Plain:
    """COPY of a bare connection."""

    def plain(form: Form, file: BinaryIO) -> object:
        target = f"'/dev/fd/{file.fileno()}' (FORMAT {_DUCKDB[form]}, USE_TMP_FILE false)"
        return bare.execute(f"COPY ({_plain()}) TO {target}")

    return plain


def by_postgres(bare: psycopg.Connection[Any]) -> Plain:
    """COPY of a bare connection; there is none to Parquet, so what DuckDB makes of a CSV is left out."""

    def plain(form: Form, file: BinaryIO) -> object:
        lines = f"SELECT row_to_json(one) FROM ({_plain()}) AS one"  # noqa: S608 - ours
        select = lines if form in ("json", "ndjson") else _plain()
        with bare.cursor() as cursor, cursor.copy(f"COPY ({select}) TO STDOUT (FORMAT csv)".encode()) as copy:
            file.writelines(copy)
        return file.flush()

    return plain


def _plain() -> str:
    return _PLAIN.format(now=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}")


def _ours(store: Store, form: Form, file: BinaryIO) -> object:
    return store.export(Query(now=datetime.now(UTC)), form, file)


def _made(make: Plain, form: Form) -> None:
    with TemporaryFile() as opened:
        file = cast("BinaryIO", opened)
        make(form, file)
        if not os.fstat(file.fileno()).st_size:
            raise RuntimeError(f"{form}: nothing was written")
