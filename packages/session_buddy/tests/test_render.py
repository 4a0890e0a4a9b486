import csv
import io
import json
from typing import Any

import pytest

from session_buddy.cli import render
from session_buddy.cli.render import Format
from session_buddy.cli.text import hanging, local_time
from session_buddy.history.record import SessionRecord
from session_buddy.history.words import human_duration


def _record(**changes: Any) -> dict[str, Any]:
    return {
        "session_id": "shop-20260102-030405-1b9d6bcd",
        "component": "shop",
        "session_type": "admin_shell",
        "status": "ended",
        "unreachable": False,
        "exit_reason": "exit",
        "start_time": "2026-01-02T03:04:05+00:00",
        "end_time": "2026-01-02T03:05:17.500000+00:00",
        "last_activity": None,
        "duration_seconds": 72.5,
        "username": "ada",
        "hostname": "db1",
        "metadata": {"adapters": ["prefect", "agno"], "deep": {"level": 2}, "empty": {}},
        **changes,
    }


def _rows(form: Format | None, *records: dict[str, Any]) -> str:
    stream = io.StringIO()
    render.write_rows(records, form, stream)
    return stream.getvalue()


def _one(form: Format | None, record: dict[str, Any]) -> str:
    stream = io.StringIO()
    render.write_record(record, form, stream)
    return stream.getvalue()


def test_piped_rows_are_tab_separated_with_the_id_first_and_no_header() -> None:
    row = (
        "shop-20260102-030405-1b9d6bcd\tshop\tadmin_shell\tended\texit\t2026-01-02T03:04:05+00:00"
        "\t2026-01-02T03:05:17.500000+00:00\t72.5\tada\tdb1\t-\t-\t-\t-\t-\n"
    )
    assert _rows(None, _record(), _record()) == row * 2


def test_what_is_unknown_keeps_its_place_in_a_row() -> None:
    fields = _rows(None, _record(exit_reason=None, end_time=None)).rstrip("\n").split("\t")
    assert fields[4] == fields[6] == "-"
    assert len(fields) == len(render.ROW_FIELDS)


def test_csv_has_json_s_own_words_for_what_is_no_text() -> None:
    (row,) = csv.DictReader(io.StringIO(_rows("csv", _record(pid=7))))
    assert (row["unreachable"], row["duration_seconds"], row["pid"]) == ("false", "72.5", "7")
    assert (row["last_activity"], row["status"]) == ("", "ended")


def test_no_rows_print_nothing_where_there_is_no_header() -> None:
    assert _rows(None) == _rows("ndjson") == ""
    assert json.loads(_rows("json")) == []
    assert _rows("csv") == _rows("csv", _record()).splitlines(keepends=True)[0]


@pytest.mark.parametrize("form", [None, "json", "ndjson"])
def test_no_control_character_of_a_value_gets_out(form: Format | None) -> None:
    hostile = "a\x1b[31mb\tc\nd\re\x7ff\x9bg\u202eh\u2028i\ud800j\U000e0041k\u3164l\u115f"
    for text in (
        _rows(form, _record(username=hostile, metadata={hostile: hostile})),
        _one(form, _record(username=hostile, metadata={hostile: hostile})),
    ):
        printed = text.replace("\n", "") if form in {"json", None} else text.rstrip("\n")
        printed = printed.replace("\t", "") if form is None else printed.replace("\n", "", 1)
        assert printed.isprintable(), printed
        assert not {"\u3164", "\u115f"} & set(printed)
        text.encode()


def test_json_gives_back_the_records() -> None:
    records = [_record(username="a\x1b\x9b\u202eß\U000e0041\U0001f600"), _record(metadata={})]
    assert json.loads(_rows("json", *records)) == records
    assert [json.loads(line) for line in _rows("ndjson", *records).splitlines()] == records
    assert json.loads(_one("json", records[0])) == records[0]


@pytest.mark.parametrize("value", ["", "-", "a\x1b[31m\nb", 'a,"b"', "\u202e\U000e0041", "é"])
def test_csv_carries_values(value: str) -> None:
    [row] = csv.DictReader(io.StringIO(_rows("csv", _record(username=value)), newline=""))
    assert row["username"] == value


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_csv_on_a_terminal_is_shown() -> None:
    terminal = _Terminal()
    render.write_rows([_record(username="a\x1b[31m")], "csv", terminal)
    assert "a\\x1b[31m" in terminal.getvalue()


@pytest.mark.parametrize("form", ["json", "ndjson", "csv"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16", "cp037"])
def test_what_programs_read_is_utf_8(form: Format, encoding: str) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding) as stream:
        render.write_rows([_record(username="日本é\u2028")], form, stream)
        stream.flush()
        text = raw.getvalue().decode()
    assert "日本é" in text
    assert form == "csv" or json.loads(text)


def test_two_paths_never_share_a_name() -> None:
    metadata = {"a.b": 1, "a": {"b": 2, "": 3, 'c"d': 4}, "": 5}
    names = [line.split("\t")[0] for line in _one(None, _record(metadata=metadata)).splitlines()]
    told = [name for name in names if name.startswith("metadata.")]
    assert told == ['metadata."a.b"', "metadata.a.b", 'metadata.a.""', 'metadata.a."c\\"d"', 'metadata.""']


def test_csv_has_every_field_and_nested_ones_as_json() -> None:
    [row] = csv.DictReader(io.StringIO(_rows("csv", _record(username='a,"b"'))))
    assert row["username"] == 'a,"b"'
    assert row["last_activity"] == ""
    assert json.loads(row["metadata"]) == _record()["metadata"]


def test_one_session_piped_is_a_field_a_line_with_dotted_names() -> None:
    lines = dict(line.split("\t") for line in _one(None, _record()).splitlines())
    assert lines["session_id"] == "shop-20260102-030405-1b9d6bcd"
    assert lines["metadata.adapters"] == "prefect, agno"
    assert lines["metadata.deep.level"] == "2"
    assert lines["metadata.empty"] == lines["last_activity"] == "-"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0s"),
        (0.9, "0s"),
        (59.9, "59s"),
        (60, "1m 00s"),
        (3599, "59m 59s"),
        (3600, "1h 00m"),
        (90000, "1d 01h"),
    ],
)
def test_durations_read_in_their_two_largest_units(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_local_time_names_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        assert local_time("2026-01-02T03:04:05+00:00") == "2026-01-02 04:04:05 CET"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_csv_has_the_fields_of_a_record_in_order() -> None:
    header = ",".join(SessionRecord.__annotations__) + "\n"
    assert _rows("csv") == _one("csv", {}).splitlines(keepends=True)[0] == header


@pytest.mark.parametrize("width", [30, 40, 60])
def test_long_values_go_on_behind_an_indent_and_break_between_words(width: int) -> None:
    words = ["a", "track_session_start,", "of-the_list,", "", "and", "so", "on"]
    lines = hanging(" ".join(words), 9, width)
    assert all(len(line) + (9 if at == 0 else 0) <= width for at, line in enumerate(lines))
    assert all(line.startswith(" " * 9) and line[9] != " " for line in lines[1:])
    assert " ".join(lines).split() == " ".join(words).split()


def test_a_word_longer_than_a_line_stays_whole() -> None:
    assert hanging("see " + "x" * 50, 4, 24) == ["see", "    " + "x" * 50]
    assert hanging("", 4, 24) == [""]


def _others(form: Format | None) -> str:
    stream = io.StringIO()
    rows = [{"name": "a\x1b[31m", "made_at": 7}, {"name": "größer", "made_at": 12345}]
    render.write_rows(rows, form, stream, ("name", "made_at"))
    return stream.getvalue()


def test_rows_of_something_else_have_its_fields() -> None:
    assert _others(None) == "a\\x1b[31m\t7\ngrößer\t12345\n"
    others = "".join(render.plain_table([{"name": "a\x1b[31m", "made_at": 7}], ("name", "made_at")))
    assert others == "name       made at\na\\x1b[31m  7\n"
    assert _others("csv") == "name,made_at\na\x1b[31m,7\ngrößer,12345\n"
    assert (
        _others("ndjson") == '{"name": "a\\u001b[31m", "made_at": 7}\n{"name": "größer", "made_at": 12345}\n'
    )
    assert [row["made_at"] for row in json.loads(_others("json"))] == [7, 12345]
