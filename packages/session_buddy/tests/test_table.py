import io
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.cells import cell_len

from session_buddy.cli import table

LONG_ID = "c" * 64 + "-20260102-030405-1b9d6bcd"


class Terminal(io.StringIO):
    """A stream that says it is a terminal, without colours."""

    def isatty(self) -> bool:
        return True


def _record(**changes: Any) -> dict[str, Any]:
    return {
        "session_id": "shop-20260102-030405-1b9d6bcd",
        "component": "shop",
        "session_type": "admin_shell",
        "status": "ended",
        "unreachable": False,
        "exit_reason": "exit",
        "start_time": "2026-01-02T03:04:05+00:00",
        "last_activity": None,
        "duration_seconds": 3720.0,
        "username": "ada",
        "hostname": "db1",
        "metadata": {"note": "x" * 200},
        **changes,
    }


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("NO_COLOR", "1")
    # Rich believes COLUMNS of such a terminal only beside LINES.
    monkeypatch.setenv("LINES", "25")
    return Terminal()


def _lines(stream: io.StringIO) -> list[str]:
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_a_wide_terminal_shows_every_column(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    table.write_rows([_record()], terminal)
    header, row = _lines(terminal)
    assert header.split("  ")[0] == "session id"
    for text in ("shop-20260102-030405-1b9d6bcd", "ada", "db1", "admin_shell", "ended (exit)", "1h 02m"):
        assert text in row
    assert re.search(r"  (2026-)?01-0\d \d\d:\d\d  ", row)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_a_narrow_terminal_loses_columns_and_says_which(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    table.write_rows([_record()], terminal)
    lines = _lines(terminal)
    assert all(cell_len(line) <= width for line in lines)
    assert "shop-20260102-030405-1b9d6bcd" in lines[1]
    hidden = " ".join(lines[2:])
    assert ("type" in hidden) == ("admin_shell" not in lines[1])
    assert ("reason" in hidden or "status" in hidden) == ("(exit)" not in lines[1])
    assert ("session-buddy show-session ID" in hidden) == bool(hidden)


def test_an_id_wider_than_the_terminal_is_not_cut(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table.write_rows([_record(session_id=LONG_ID)], terminal)
    table.write_record(_record(session_id=LONG_ID), terminal)
    assert terminal.getvalue().count(LONG_ID) == 2


def test_a_file_gets_a_table_of_any_width() -> None:
    stream = io.StringIO()
    table.write_rows([_record(session_id=LONG_ID)], stream)
    [_, row] = _lines(stream)
    assert LONG_ID in row
    assert "admin_shell" in row


def test_live_sessions_tell_how_long_they_are_idle(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    idle = _record(status="active", exit_reason=None, unreachable=True)
    busy = _record(status="active", exit_reason=None, last_activity=datetime.now(UTC).isoformat())
    table.write_rows([idle, busy, _record(exit_reason=None)], terminal)
    _, silent, live, ended = _lines(terminal)
    assert "active (unreachable)" in silent
    assert silent.endswith("  1h 02m")
    assert live.endswith("  <30s")
    assert "ended  " in ended
    assert ended.endswith("  -")


def test_nobody_is_idle_for_longer_than_the_session_lasts(terminal: Terminal) -> None:
    young = _record(status="active", exit_reason=None, duration_seconds=42.0)
    assert table._idle(young, datetime.now(UTC)) == "42s"
    assert table._idle({**young, "duration_seconds": 12.0}, datetime.now(UTC)) == "<30s"


def _fitted(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, width: int, *rows: Any) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    table.write_rows(rows, terminal)
    return _lines(terminal)


def test_reasons_leave_before_a_column_does(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    crashed = _record(status="crashed", exit_reason="outbox_recovered")
    header, first, second, hint = _fitted(terminal, monkeypatch, 110, crashed, _record())
    assert header.endswith("idle")
    assert "crashed  " in first
    assert "ended    " in second
    assert hint.startswith("Too narrow for: reason; ")


def test_a_long_name_is_cut_before_a_column_leaves(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = _record(username="字" * 50, exit_reason=None)
    header, first, second = _fitted(terminal, monkeypatch, 140, long, _record(exit_reason=None))
    assert header.endswith("idle")
    assert f"  {'字' * 14} …  " in first
    assert first.startswith(long["session_id"])
    assert second.startswith(long["session_id"])
    assert "字" * 50 in _fitted(terminal, monkeypatch, 250, long)[-1]


def test_the_start_stays_longest(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    header, *_ = _fitted(terminal, monkeypatch, 48, _record())
    assert header.split() == ["session", "id", "started"]


def test_without_reasons_an_unreachable_session_is_still_told(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = _record(status="active", exit_reason=None, unreachable=True)
    _, row, _, *hint = _fitted(terminal, monkeypatch, 58, silent, _record())
    assert "  unreachable  " in row
    assert "reason" in hint[0]


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("outbox_recovered", "found later"),
        ("lease_expired", "not heard from"),
        ("process_gone", "process gone"),
        ("sighup", "sighup"),
        ("a_new_one", "a_new_one"),
    ],
)
def test_reasons_read_as_words(reason: str, words: str) -> None:
    assert table._with_reason(_record(status="crashed", exit_reason=reason)) == f"crashed ({words})"


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("start", "text"),
    [
        ("2026-01-02T03:04:05+00:00", "04:04"),
        ("2026-01-01T23:30:00+00:00", "00:30"),
        ("2026-01-01T22:30:00+00:00", "01-01 23:30"),
        ("2026-01-03T22:30:00+00:00", "01-03 23:30"),
        ("2025-12-31T22:30:00+00:00", "2025-12-31 23:30"),
    ],
)
def test_a_start_is_as_short_as_today_allows(berlin: None, start: str, text: str) -> None:
    assert table._started(start, datetime(2026, 1, 2, 12, tzinfo=UTC)) == text


def test_no_line_of_a_table_ends_in_blanks(terminal: Terminal) -> None:
    file = io.StringIO()
    for stream in (file, terminal):
        table.write_rows([_record(), _record(component="shop-with-a-long-name")], stream)
        table.write_record(_record(), stream)
        assert all(line == line.rstrip() for line in stream.getvalue().splitlines())


def test_columns_stand_below_their_titles(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = _record(username="渡辺", duration_seconds=timedelta(days=2).total_seconds())
    header, *rows = _fitted(terminal, monkeypatch, 160, wide, _record())
    for row, text in zip(rows, ("2d 00h", "1h 02m"), strict=True):
        assert cell_len(row.partition(text)[0]) == header.index("duration")


def test_a_long_value_of_one_session_goes_on_behind_an_indent(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    table.write_record(
        _record(metadata={"adapters": ["prefect", "llamaindex", "agno", "airflow", "dagster"]}), terminal
    )
    *_, first, second = _lines(terminal)
    assert first.endswith(",")
    assert second.startswith(" " * first.index("prefect"))
    assert max(len(first), len(second)) <= 60


def test_markup_in_values_is_text(terminal: Terminal) -> None:
    table.write_record(_record(username="[red]ada[/red]", hostname="\x1b[31m"), terminal)
    assert "[red]ada[/red]" in terminal.getvalue()
    assert "\\x1b[31m" in terminal.getvalue()


def test_one_session_has_readable_times_and_durations(terminal: Terminal) -> None:
    table.write_record(_record(), terminal)
    fields = dict(line.split(None, 1) for line in _lines(terminal) if line)
    assert fields["duration_seconds"] == "3720.000 (1h 02m)"
    assert fields["start_time"].startswith("2026-01-0")
    assert fields["metadata.note"] == "x" * 200


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, "ada"),
        ({"person": "ada", "person_evidence": "account"}, "ada"),
        ({"username": "root", "person": "ada", "person_evidence": "login"}, "ada (as root)"),
        ({"username": "root", "person": "alice", "person_evidence": "claimed"}, "root, says alice"),
        ({"username": "root", "person": "alice", "person_evidence": "asked"}, "root, says alice"),
        (
            {"username": "root", "person": "alice", "person_evidence": "of_a_later_version"},
            "root, says alice",
        ),
        (
            {
                "username": "root",
                "person": "ada",
                "person_evidence": "sudo",
                "person_also": [{"name": "alice", "evidence": "claimed"}],
            },
            "ada (as root), says alice",
        ),
        (
            {
                "username": "bob",
                "person": "ada",
                "person_evidence": "login",
                "person_also": [{"name": "bob", "evidence": "account"}],
            },
            "ada (as bob)",
        ),
        # An earlier emitter had a variable's word, and no word for it.
        ({"username": "root", "origin": {"sudo_user": "ada"}}, "root, says ada"),
        ({"username": "ada", "origin": {"sudo_user": "ada"}}, "ada"),
        ({"username": "deploy", "uid": 5003, "origin": {"sudo_user": "root"}}, "deploy"),
        ({"username": "root", "person": "\x1b[31mada", "person_evidence": "login"}, r"\x1b[31mada (as root)"),
    ],
)
def test_who_it_was_is_told_with_what_speaks_against_it(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], shown: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    table.write_rows([_record(**fields)], terminal)
    header, row = _lines(terminal)
    assert re.split(r" {2,}", header)[:4] == ["session id", "who", "component", "host"]
    assert re.split(r" {2,}", row)[1] == shown


def test_one_session_is_shown_with_how_each_fact_is_known(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    who = {"username": "root", "uid": 0, "person": "ada", "person_evidence": "sudo", "actor": "agent"}
    who |= {"person_also": [{"name": "eve", "evidence": "claimed"}]}
    origin = {"sudo_user": "ada", "real_uid": 0, "actor_hint": "CLAUDECODE"}
    table.write_record(_record(**who, agent="claude_code", origin=origin), terminal)
    told = dict(re.split(r" {2,}", line, maxsplit=1) for line in _lines(terminal))
    assert told["person_also"] == "eve (claimed)"
    assert told["person"] == "ada (sudo: the process that ran it)"
    assert told["username"] == "root (the account of the process's uid)"
    assert told["actor"] == "agent (a hint: CLAUDECODE is set)"
    assert told["origin.sudo_user"] == "ada (SUDO_USER)"
    assert told["origin.real_uid"] == "0 (the kernel)"
    earlier = Terminal()
    table.write_record(_record(person=None), earlier)
    told = dict(re.split(r" {2,}", line, maxsplit=1) for line in _lines(earlier))
    assert (told["username"], told["person"]) == ("ada (as its environment said)", "-")
