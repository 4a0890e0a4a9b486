"""Tables, logs and progress that components print."""

import io

from rich.console import Console

from oneiric.shell import BaseLogFormatter, BaseProgressFormatter, BaseTableFormatter, TableColumn


def console() -> Console:
    return Console(file=io.StringIO(), width=60, color_system=None)


def printed(target: Console) -> str:
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


def test_a_table_has_its_columns_and_empty_cells_for_missing_keys() -> None:
    target = console()
    columns = [TableColumn("Name"), TableColumn("State", width=8, justify="right", style="bold")]
    BaseTableFormatter(target).format_table(
        "Orders", columns, [{"Name": "a", "State": "open"}, {"Name": "b"}]
    )
    text = printed(target)
    assert "Orders" in text
    assert "open" in text
    assert "│ b    │" in text


def test_a_table_is_never_wider_than_asked() -> None:
    assert BaseTableFormatter(max_width=42).console.width <= 42


def test_logs_are_filtered_by_level_and_cut_to_their_tail() -> None:
    target = console()
    logs = [
        {"timestamp": "2026-01-02T03:04:05.678", "level": "ERROR", "message": "[red]first"},
        {"timestamp": "", "level": "INFO", "message": "second"},
        {"level": "ERROR", "message": "third"},
    ]
    BaseLogFormatter(target).format_logs(logs, level="ERROR", tail=2)
    assert printed(target) == "[2026-01-02T03:04:05] [ERROR] [red]first\n[] [ERROR] third\n"


def test_no_logs_are_said_to_be_none() -> None:
    target = console()
    BaseLogFormatter(target).format_logs([])
    assert printed(target) == "No logs to display\n"


def test_progress_shows_a_step_and_a_bar() -> None:
    target = console()
    formatter = BaseProgressFormatter(target)
    formatter.format_progress("copying [1/2]")
    with formatter.create_progress() as progress:
        progress.add_task("work", total=1, completed=1)
    assert "copying [1/2]" in printed(target)
    assert "work" in printed(target)
