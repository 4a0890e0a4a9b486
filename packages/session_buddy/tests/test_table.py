import io
import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.cells import cell_len

from session_buddy.cli import detail, summary, table
from session_buddy.cli.columns import LIST, NOW, Layout, of_fields, since, sorted_by
from session_buddy.history.query import Clock, Query
from session_buddy.history.words import ending, idle

NOON = Clock(datetime(2026, 1, 2, 12, tzinfo=UTC), UTC)
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
        "idle_seconds": None,
        "duration_seconds": 3720.0,
        "username": "ada",
        "hostname": "db1",
        "reason": "OPS-7",
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


def _drawn(records: Sequence[Any], width: int | None = None, layout: Layout = LIST) -> list[str]:
    """The lines of a table on a terminal so wide, or in a file."""
    with pytest.MonkeyPatch.context() as patch:
        stream: io.StringIO = io.StringIO()
        if width:
            patch.setenv("TERM", "dumb")
            patch.setenv("NO_COLOR", "1")
            # Rich believes COLUMNS of such a terminal only beside LINES.
            patch.setenv("LINES", "25")
            patch.setenv("COLUMNS", str(width))
            stream = Terminal()
        table.write_rows(records, stream, layout, NOON)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def _titles(line: str) -> list[str]:
    return re.split(r" {2,}", line)


def test_a_wide_terminal_shows_everything_and_what_people_look_for_first() -> None:
    header, row = _drawn([_record()], 160)
    assert _titles(header) == ["who", "component", "host", "reason", "since", "status", "lasted", "session"]
    told = ["ada", "shop", "db1", "OPS-7", "03:04", "ended (exit)", "1h 02m", _record()["session_id"]]
    assert _titles(row) == told


def test_columns_that_say_nothing_or_the_same_of_all_are_left_out() -> None:
    (header, *_) = _drawn([_record(reason=None), _record(reason=None)], 200)
    assert not {"type", "reason", "idle"} & set(_titles(header))
    (header, *_) = _drawn([_record(session_type="repl"), _record(status="active")], 200)
    assert {"type", "reason", "idle"} <= set(_titles(header))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_a_narrow_terminal_has_eight_digits_of_ids_then_fewer_columns_and_says_which(width: int) -> None:
    long = _record(component="c" * 64, username="a-rather-long-account", reason="x" * 200, status="active")
    lines = _drawn([long, _record(status="crashed", exit_reason="outbox_recovered")], width)
    header, *rows = lines[:3]
    assert all(cell_len(line) <= width for line in lines)
    assert [row.rpartition("  ")[2] for row in rows] == ["1b9d6bcd"] * 2
    assert ("idle" in _titles(header)) == (width == 120)
    assert ("Too narrow for: " in "".join(lines[3:])) == (width < 120)


@pytest.mark.parametrize("layout", [LIST, NOW])
def test_who_it_was_is_the_last_to_leave(layout: Layout) -> None:
    live = _record(status="active", idle_seconds=190.0, username="a-rather-long-account")
    header, row, *_ = _drawn([live, _record()], 22, layout)
    assert _titles(header) == ["who", "session"]
    assert _titles(row) == ["a-rather-lo…", "1b9d6bcd"]


def test_who_is_in_and_why_is_cut_before_the_reason_leaves() -> None:
    long = _record(status="active", component="c" * 64, username="a-rather-long-account", reason="x" * 200)
    header, *_ = _drawn([long, _record(status="active")], 80, NOW)
    assert _titles(header) == ["who", "component", "host", "since", "idle", "reason", "session"]


@pytest.mark.parametrize(
    ("sort", "title"),
    [("duration", "lasted"), ("host", "host"), ("commands", "commands"), ("ended", "end time")],
)
def test_what_a_list_is_sorted_by_is_there_and_stays(sort: str, title: str) -> None:
    long = _record(component="c" * 64, username="a-rather-long-account", reason="x" * 200, commands=7)
    long |= {"end_time": "2026-01-02T04:06:05+00:00"}
    header, *_ = _drawn([long, _record() | {"commands": 1, "end_time": None}], 50, sorted_by(sort))
    assert {"who", title, "session"} <= set(_titles(header))
    assert sorted_by("started").columns == sorted_by("user").columns == [*LIST.columns]


def test_one_long_component_does_not_push_the_rest_out() -> None:
    header, first, second = _drawn([_record(component="c" * 64), _record()], 100)
    assert _titles(header) == ["who", "component", "host", "reason", "since", "status", "lasted", "session"]
    assert re.search(r"  c{10,}…  db1  ", first)
    assert "  shop  " in second


def test_a_file_gets_a_table_of_any_width() -> None:
    [_, row] = _drawn([_record(session_id=LONG_ID, component="c" * 64)])
    assert LONG_ID in row


def test_a_name_is_cut_at_a_cell_s_border() -> None:
    header, first, _ = _drawn([_record(username="字" * 50), _record()], 120)
    assert header.endswith("session")
    assert re.search("^字{10,}…  ", first)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"idle_seconds": None}, "unknown"),
        ({"idle_seconds": 12.0}, "<30s"),
        ({"idle_seconds": 42.0}, "42s"),
        ({"status": "ended"}, "-"),
    ],
)
def test_live_sessions_tell_how_long_they_are_idle(fields: dict[str, Any], text: str) -> None:
    assert idle(_record(status="active") | fields) == text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"status": "active", "exit_reason": None}, "active"),
        ({"status": "active", "exit_reason": None, "unreachable": True}, "unreachable"),
        ({"exit_reason": None}, "ended"),
        ({"status": "crashed", "exit_reason": "outbox_recovered"}, "crashed (found later)"),
        ({"status": "lost", "exit_reason": "lease_expired"}, "lost (not heard from)"),
        ({"status": "crashed", "exit_reason": "process_gone"}, "crashed (process gone)"),
        ({"exit_reason": "sighup", "exit_code": 129}, "ended (sighup, code 129)"),
        ({"exit_reason": "a_new_one"}, "ended (a_new_one)"),
    ],
)
def test_how_it_ended_reads_as_words(fields: dict[str, Any], words: str) -> None:
    assert ending(_record(**fields)) == words


def test_no_character_of_a_value_acts_on_a_terminal() -> None:
    hostile = "a\x1b[31mb\tc\nd\x9bg\u202eh\u2028i\ud800"
    fields = ("username", "component", "hostname", "reason", "session_type", "exit_reason")
    record = _record(**dict.fromkeys(fields, hostile), origin={"tty": hostile, "ssh_client": hostile})
    for layout in (LIST, NOW, of_fields(["who", "reason", "origin"])):
        for line in _drawn([record, _record()], 300, layout):
            assert line.isprintable()
            line.encode()


def test_who_is_in_now_has_columns_of_its_own() -> None:
    ada = _record(status="active", idle_seconds=190.0, origin={"tty": "/dev/pts/3", "ssh_client": "10.0.0.5"})
    header, row = _drawn([ada], 160, NOW)
    assert _titles(header) == ["who", "component", "host", "since", "idle", "from", "reason", "session"]
    assert _titles(row)[4:7] == ["3m 10s", "10.0.0.5 pts/3", "OPS-7"]


def test_chosen_columns_stand_in_their_order_with_times_and_lengths_to_read() -> None:
    chosen = of_fields(["duration_seconds", "start_time", "who", "metadata"])
    header, row = _drawn([_record(metadata={"a": 1})], 40, chosen)
    assert _titles(header) == ["duration seconds", "start time", "who", "metadata"]
    assert _titles(row) == ["1h 02m", "03:04", "ada", '{"a": 1}']


def test_chosen_columns_tell_who_it_was_as_it_was_told_and_long_texts_are_cut_but_no_id() -> None:
    record = {"who": "ada (as root)", "session_id": LONG_ID, "reason": "x" * 200, "commands": 2**53}
    _, row = _drawn([record], 80, of_fields(list(record)))
    assert _titles(row) == ["ada (as root)", LONG_ID, "x" * 15 + "…", str(2**53)]


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
def test_a_time_is_as_short_as_today_allows(berlin: None, start: str, text: str) -> None:
    assert since(start, Clock(NOON.now)) == text
    assert since("2026-01-02T03:04:05+00:00", NOON) == "03:04"


def test_no_line_of_a_table_ends_in_blanks(terminal: Terminal) -> None:
    for stream in (io.StringIO(), terminal):
        table.write_rows([_record(), _record(component="shop-with-a-long-name")], stream, LIST, NOON)
        detail.write_fields(_record(), stream, NOON)
        assert all(line == line.rstrip() for line in stream.getvalue().splitlines())


def test_columns_stand_below_their_titles() -> None:
    wide = _record(username="渡辺", duration_seconds=timedelta(days=2).total_seconds())
    header, *rows = _drawn([wide, _record()], 160)
    for row, text in zip(rows, ("2d 00h", "1h 02m"), strict=True):
        assert cell_len(row.partition(text)[0]) == header.index("lasted")


def test_a_long_value_of_one_session_goes_on_behind_an_indent(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    adapters = ["prefect", "llamaindex", "agno", "airflow", "dagster"]
    detail.write_fields(_record(metadata={"adapters": adapters}), terminal, NOON)
    *_, first, second = _lines(terminal)
    assert first.endswith(",")
    assert second.startswith(" " * first.index("prefect"))
    assert max(len(first), len(second)) <= 60


def test_no_line_of_one_session_is_wider_than_the_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    outer = _whole(username="渡辺 直美 " * 5, hostname="データ ベース " * 5, reason="サーバー の " * 20)
    inner = _whole(session_id="shop-20260102-040405-2b9d6bcd", parent_session_id=outer["session_id"])
    inner |= {"username": "an account of many words that do not fit", "status": "active", "exit_reason": None}
    detail.write_session({"session": inner | {"busy": True}, "ancestors": [outer]}, terminal, NOON)
    lines = _lines(terminal)
    assert max(map(cell_len, lines)) <= 60
    at = next(at for at, line in enumerate(lines) if "└─ 2b9d6bcd" in line)
    assert lines[at + 1].startswith(" " * lines[at].index("2b9d6bcd"))
    assert any(line.endswith(", for 1h 02m; busy") for line in lines)


def _whole(**changes: Any) -> dict[str, Any]:
    """A record with all that the first lines of one session tell."""
    unknown = ("end_time", "parent_session_id", "commands", "errors", "cwd", "metadata")
    return _record(shell_type="ShopShell", pid=4321, **dict.fromkeys(unknown)) | changes


def test_a_person_in_several_accounts_is_one_of_few_that_are_named() -> None:
    root = _record(username="root", person="ada", person_evidence="sudo", actor="agent", agent="cline")
    assert [*summary.of_people([_record(), root], Query(), NOON, 80)] == [
        "1 person in 2 sessions; times in UTC"
    ]
    records = [_record(username=name) for name in ("ada", "bob", "carol", "dan", "eve")]
    assert [*summary.of_people(records[:4], Query(), NOON, 80)][
        1
    ] == "shop is shared by ada, bob, carol and dan"
    told = [*summary.of_people([root, *records], Query(), NOON, 30)]
    assert told[1:] == ["shop is shared by ada, bob,", "carol and 2 others"]


def test_markup_in_values_is_text(terminal: Terminal) -> None:
    detail.write_fields(_record(username="[red]ada[/red]", hostname="\x1b[31m"), terminal, NOON)
    assert "[red]ada[/red]" in terminal.getvalue()
    assert "\\x1b[31m" in terminal.getvalue()


def test_one_session_has_readable_times_and_durations(terminal: Terminal) -> None:
    detail.write_fields(_record(), terminal, NOON)
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
def test_who_it_was_is_told_with_what_speaks_against_it(fields: dict[str, Any], shown: str) -> None:
    _, row = _drawn([_record(**fields)], 200)
    assert _titles(row)[0] == shown


def test_one_session_is_shown_with_how_each_fact_is_known(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    who = {"username": "root", "uid": 0, "person": "ada", "person_evidence": "sudo", "actor": "agent"}
    who |= {"person_also": [{"name": "eve", "evidence": "claimed"}]}
    origin = {"sudo_user": "ada", "real_uid": 0, "actor_hint": "CLAUDECODE"}
    detail.write_fields(_record(**who, agent="claude_code", origin=origin), terminal, NOON)
    told = dict(re.split(r" {2,}", line, maxsplit=1) for line in _lines(terminal))
    assert told["person_also"] == "eve (claimed)"
    assert told["person"] == "ada (sudo: the process that ran it)"
    assert told["username"] == "root (the account of the process's uid)"
    assert told["actor"] == "agent (a hint: CLAUDECODE is set)"
    assert told["origin.sudo_user"] == "ada (SUDO_USER)"
    assert told["origin.real_uid"] == "0 (the kernel)"
    earlier = Terminal()
    detail.write_fields(_record(person=None), earlier, NOON)
    told = dict(re.split(r" {2,}", line, maxsplit=1) for line in _lines(earlier))
    assert (told["username"], told["person"]) == ("ada (as its environment said)", "-")
