import re
from pathlib import Path
from typing import Any, get_args

from typer.main import get_command

from oneiric.contract import ExitReason
from session_buddy.access.callers import RIGHTS
from session_buddy.cli import app
from session_buddy.cli.render import ROW_FIELDS
from session_buddy.history.keys import STATUS_FILTERS
from session_buddy.history.statistics import GROUPS, MEASURES
from session_buddy.history.words import REASONS
from session_buddy.host.layers import FOLDER_KEYS
from session_buddy.host.settings import BackupSettings, Settings
from session_buddy.server.table import ROUTES

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def _commands(command: Any, name: str = "") -> dict[str, Any]:
    if hasattr(command, "commands"):
        return {
            path: leaf
            for part, inner in command.commands.items()
            for path, leaf in _commands(inner, f"{name} {part}".strip()).items()
        }
    return {name: command}


def test_the_page_has_everything_that_programs_can_ask_for() -> None:
    table = README.partition("## Programs")[2].partition("## ")[0]
    rows = re.findall(r"^\| `([A-Z]+ [^`]+)` \| ([^|]+) \|", table, re.MULTILINE)
    told = {asked: scopes.replace("`", "") for asked, scopes in rows}
    assert told == {str(one): "none" if one.needs is None else ", ".join(one.needs) for one in ROUTES}


def test_the_page_has_every_tool_with_the_scopes_that_it_takes() -> None:
    table = README.partition("## MCP clients")[2].partition("## ")[0]
    rows = re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", table, re.MULTILINE)
    told = {tool: scopes.replace("`", "") for tools, scopes in rows for tool in re.findall(r"`(\w+)`", tools)}
    assert told == {tool: ", ".join(scopes) or "none" for tool, scopes in RIGHTS.items()}


def test_the_page_has_every_command_with_its_options_and_no_other() -> None:
    commands = _commands(get_command(app))
    table = README.partition("## Commands")[2].partition("## ")[0]
    rows = re.findall(r"^\| `([a-z -]+?)(?: [A-Z]+)*` \|(.*)$", table, re.MULTILINE)
    assert {name.partition(" --")[0] for name, _ in rows} == set(commands)
    for name, command in commands.items():
        text = " ".join(f"{row} {rest}" for row, rest in rows if row.partition(" --")[0] == name)
        # Formats are said once for all, and restart takes what start takes.
        hidden = {"--help", "--format"} | (
            {"--host", "--port", "--db", "--log-level"} if name == "mcp restart" else set()
        )
        for option in (
            option
            for parameter in command.params
            if not getattr(parameter, "hidden", False)
            for option in parameter.opts
        ):
            assert option in text or option in hidden or not option.startswith("--"), f"{name} {option}"


def test_the_page_has_every_setting_with_its_variable_and_default() -> None:
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| `(SESSION_BUDDY_[A-Z_]+)` \|", README, re.MULTILINE))
    names = [name for name in Settings.model_fields if name != "backup"]
    names += [f"backup.{name}" for name in BackupSettings.model_fields]
    assert rows == {name: f"SESSION_BUDDY_{name.upper().replace('.', '__')}" for name in names}
    for name, field in BackupSettings.model_fields.items():
        assert re.search(rf"^\| `backup.{name}` .* `{field.default}`", README, re.MULTILINE)
    assert f"| `{Settings.model_fields['port'].default}` |" in README
    assert all(f"`{key}`" in README.partition("only `port`")[0] + "`port` `log_level`" for key in FOLDER_KEYS)


def test_the_page_has_every_metric_and_every_grouping() -> None:
    section = README.partition("## Statistics")[2].partition("## ")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \| `(.*?)` \| `(.*?)` \|$", section, re.MULTILINE)
    assert rows == [
        (name, one.tells, "`, `".join((*([one.by] if one.by else []), *one.within)), "`, `".join(one.columns))
        for name, one in MEASURES.items()
    ]
    assert f"`{'`, `'.join(GROUPS[:-1])}` or `{GROUPS[-1]}`" in section


def test_the_page_has_the_fields_of_a_row_in_order() -> None:
    assert "| " + " | ".join(f"`{name}`" for name in ROW_FIELDS) + " |" in README


def test_the_page_explains_every_state_and_every_reason() -> None:
    section = README.partition("## States and reasons")[2].partition("## ")[0]
    first_cells = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    explained = {name for cell in first_cells for name in re.findall(r"`([a-z_]+)`", cell)}
    assert explained == {*STATUS_FILTERS, *get_args(ExitReason)}
    for name, words in REASONS.items():
        assert f"| `{name}` | `{words}` |" in section
