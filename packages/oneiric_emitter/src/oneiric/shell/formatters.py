"""Tables, logs and progress for a component's own commands, printed with Rich."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.progress import Progress

    Row = Mapping[str, Any]

_LEVEL_STYLES = {"ERROR": "bold red", "WARNING": "bold yellow", "INFO": "blue", "DEBUG": "dim"}
_TO_THE_SECOND = 19


def _console(width: int | None = None) -> Console:
    from rich.console import Console

    own = Console()
    return own if width is None or own.width <= width else Console(width=width)


@dataclass(frozen=True)
class TableColumn:
    """One column: ``name`` is its title and its key in the rows."""

    name: str
    width: int | None = None
    justify: Literal["default", "left", "center", "right", "full"] = "left"
    style: str | None = None


class _Formatter:
    """Prints on a console, by default one that is no wider than the terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or _console()


class BaseTableFormatter(_Formatter):
    """Prints rows as a table of at most ``max_width`` columns, less in a narrower terminal."""

    def __init__(self, console: Console | None = None, max_width: int = 120) -> None:
        super().__init__(console or _console(max_width))

    def format_table(self, title: str, columns: Sequence[TableColumn], rows: Sequence[Row]) -> None:
        """Print ``rows``; a row without a column's key has an empty cell there."""
        from rich.table import Table

        table = Table(title=title)
        for column in columns:
            table.add_column(column.name, width=column.width, justify=column.justify, style=column.style)
        for row in rows:
            table.add_row(*(str(row.get(column.name, "")) for column in columns))
        self.console.print(table)


class BaseLogFormatter(_Formatter):
    """Prints log records, mappings with ``timestamp``, ``level`` and ``message``."""

    def format_logs(self, logs: Sequence[Row], level: str | None = None, tail: int = 50) -> None:
        """Print the last ``tail`` records, of one ``level`` only where given."""
        chosen = [log for log in logs if level in (None, log.get("level"))][-tail:]
        if not chosen:
            self.console.print("No logs to display")
        for log in chosen:
            when, grade = str(log.get("timestamp", ""))[:_TO_THE_SECOND], str(log.get("level", "INFO"))
            text = f"[{when}] [{grade}] {log.get('message', '')}"
            self.console.print(text, style=_LEVEL_STYLES.get(grade, ""), markup=False)


class BaseProgressFormatter(_Formatter):
    """Shows that work goes on."""

    def create_progress(self) -> Progress:
        """A spinner with a bar, to be used as a context manager."""
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        text = TextColumn("[progress.description]{task.description}")
        return Progress(SpinnerColumn(), text, BarColumn(), console=self.console)

    def format_progress(self, message: str) -> None:
        """Print one step."""
        self.console.print(f"⠋ {message}", style="dim", markup=False)
