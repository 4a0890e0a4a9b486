"""Histories as files: the same from both engines, whoever asks, whole or not at all."""

import json
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import duckdb
import pytest

from session_buddy.history.export import FORMS, Form
from session_buddy.history.record import to_record
from session_buddy.store import Store, open_store
from session_buddy.store.export import COLUMNS
from tests.engines import DuckDBFile, PostgresDatabase
from tests.samples import arrival, asked, end_event, heartbeat_event, session_id_of, start_event

HOSTILE = (
    "=1+1",
    "+x",
    "-",
    "@SUM(A1)",
    "\tx",
    "\rx",
    "\nx",
    "＝1",  # noqa: RUF001 - full width
    'a "quoted", text',
    "two\r\nlines\n",
    "#12 first",
    "\\.",
    "\\u001b is no escape, \x1b\x0b\x7f is",
    "\u202eright to left\u200b",
    "😀é",
    "NULL",
    "' quoted",
    " ",
)


@cache
def events() -> list[dict[str, Any]]:
    """A history with all that a row can hold."""
    starts = [start_event(number, reason=text) for number, text in enumerate(HOSTILE)]
    starts[0] |= {"metadata": {"=x": 1, "n": None, "deep": {"ü\x1b": [1.5, True, '"\\']}, "b": 1}}
    starts[1] |= {"origin": {"tty": "/dev/pts/3", "ssh_client": "10.0.0.5"}, "metadata": {}}
    starts[2] |= {"actor": "agent", "agent": "cline", "user": {"username": "@bob", "home": "", "uid": 1000}}
    ids = [session_id_of(raw) for raw in starts]
    ends = [
        end_event(ids[0], 3.5, metadata={"b": {"x": 2}, "z": "late"}, exit_code=3, elapsed_seconds=12.25),
        end_event(ids[1], 7200, commands=4, errors=1, metadata={"only": "late"}),
        end_event(ids[2], 1e9, exit_reason="eof"),
    ]
    return [*starts, *ends, heartbeat_event(ids[3], commands=7, errors=2)]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(DuckDBFile(tmp_path / "history" / "sessions.duckdb").url)) as store:
        store.ingest([arrival(raw) for raw in events()])
        yield store


def exported(store: Store, form: Form, query: str = "") -> tuple[int, bytes]:
    with TemporaryFile() as file:
        number = store.export(asked(query), form, file)
        file.seek(0)
        return number, file.read()


def read_parquet(path: Path) -> tuple[list[str], list[tuple[Any, ...]]]:
    with duckdb.connect() as database:
        found = database.execute(
            "SELECT * REPLACE (start_time::VARCHAR AS start_time, end_time::VARCHAR AS end_time)"
            " FROM read_parquet(?)",
            [str(path)],
        )
        return [f"{name} {kind}" for name, kind, *_ in found.description or ()], found.fetchall()


def expected(store: Store) -> list[dict[str, Any]]:
    """What lists say of the same."""
    now = asked().now
    assert now is not None
    rows = sorted(store.select(asked(limit=1000)), key=lambda row: (row.listed_at, row.session_id))
    return [{name: to_record(row, now)[name] for name in COLUMNS} for row in rows]  # type: ignore[literal-required]


def test_each_form_has_the_values_of_lists(file: Store, tmp_path: Path) -> None:
    known = expected(file)
    count, text = exported(file, "json")
    found = json.loads(text)
    assert (count, len(found)) == (len(HOSTILE), len(HOSTILE))
    for one in found:
        for name in ("start_time", "end_time"):
            one[name] = one[name] and one[name].replace(".000000", "")
    assert found == known


def test_both_engines_write_the_same(file: Store, database: PostgresDatabase, tmp_path: Path) -> None:
    with closing(open_store(database.url)) as other:
        other.ingest([arrival(raw) for raw in events()])
        for query in ("", "host:nowhere", "-status:active user:ann,@bob"):
            for form in FORMS:
                ours, theirs = exported(file, form, query), exported(other, form, query)
                if form == "parquet":
                    (tmp_path / "ours").write_bytes(ours[1])
                    (tmp_path / "theirs").write_bytes(theirs[1])
                    assert read_parquet(tmp_path / "ours") == read_parquet(tmp_path / "theirs")
                    assert ours[0] == theirs[0]
                else:
                    assert ours == theirs
