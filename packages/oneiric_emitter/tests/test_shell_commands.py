"""Command trees, and what a typed line means in them."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from oneiric.shell.commands import Command, Commands, can_run, discover, find_program
from tests.shells import install

STATUS = Command("status", ("--wide",))
BUDDY = Command(
    "buddy", ("--version",), {"mcp": Command("mcp", (), {"status": STATUS}), "list-sessions": STATUS}
)
SHOP = Command("shop", (), {"orders": Command("orders", ("--since", "--state")), "mcp": Command("mcp")})

Install = Callable[[str, str], Path]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution that this process finds."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda name, code: install(tmp_path, name, code)


def test_commands_are_counted_not_groups() -> None:
    assert len(BUDDY) == 2
    assert len(Commands([BUDDY, SHOP])) == 4
    assert repr(Commands([BUDDY, SHOP])) == "<Commands(buddy=2, shop=2)>"


def test_a_program_without_commands_is_there_all_the_same() -> None:
    assert Command("empty")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("buddy mcp status", "buddy mcp status"),
        ("buddy", "buddy"),
        ("list-sessions --limit 5", "buddy list-sessions --limit 5"),
        ("  orders --since 'two days'", "shop orders --since 'two days'"),
        ("mcp status", "buddy mcp status"),
        ("shop mcp", "shop mcp"),
        ("orders|wc", "shop orders|wc"),
        ("orders>all.txt", "shop orders>all.txt"),
        ("orders '{1+1}' $HOME && buddy", "shop orders '{1+1}' $HOME && buddy"),
        ("orders '=x' --since=7d", "shop orders '=x' --since=7d"),
        ("orders(1)", None),
        ("orders.all", None),
        ("orders = tim.", None),
        ("orders += (", None),
        ("orders //= tim", None),
        ("print(1)", None),
        ("", None),
    ],
)
def test_a_line_is_a_command_or_nothing(line: str, command: str | None) -> None:
    assert Commands([BUDDY, SHOP]).for_shell(line) == command


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("o", ["orders"]),
        ("sh", ["shop"]),
        ("list-s", ["list-sessions"]),
        ("mcp ", ["status"]),
        ("mcp st", ["status"]),
        ("buddy mcp  s", ["status"]),
        ("buddy mcp status --w", ["--wide"]),
        ("orders --s", ["--since", "--state"]),
        ("shop o", ["orders"]),
        ("print st", []),
        ("zzz", []),
    ],
)
def test_tab_completes_commands_and_their_options(line: str, words: list[str]) -> None:
    assert Commands([BUDDY, SHOP]).completions(line) == words


@pytest.mark.parametrize(
    ("line", "python"),
    [
        ("list-sessions", False),
        ("mcp status", False),
        ("verify", False),
        ("orders --since 1", False),
        ("orders", True),
        ("orders - 1", True),
        ("verify = 1", True),
        ("verify = tim.time()", True),
        ("verify += 1", True),
        ("verify: int", True),
        ("del verify", True),
        ("# verify", True),
        ("[verify for verify in orders]", True),
        ("sorted(orders, key=lambda verify: -verify)", True),
        ("sorted(orders, key=lambda one: verify)", False),
        ("[one for one in verify]", False),
        ("{one: two for one, two in zip(orders, orders) if one}", True),
        ("(verify := 3) + verify", True),
        ("print(len(orders))", True),
        ("list --all", False),
        ("orders --all", False),
        ("list", True),
        ("list(map(len, orders))", True),
        ("await orders", True),
        ("verify \0", False),
    ],
)
def test_python_wins_where_it_knows_every_name(line: str, python: bool) -> None:  # noqa: FBT001 - a table of cases
    assert can_run(line, {"orders": 3}) is python


def test_the_tree_of_an_installed_program_is_read_from_it(installed: Install) -> None:
    installed(
        "shopdemo",
        """
import typer
app = typer.Typer()
group = typer.Typer()
app.add_typer(group, name="cart")
@app.command()
def list_orders(since: str = "", limit: int = 3): pass
@app.command(hidden=True)
def secret(): pass
@group.command()
def show(): pass
main = app
""",
    )
    tree = discover("shopdemo")
    assert tree is not None
    assert sorted(tree.children) == ["cart", "list-orders"]
    assert tree.at(["list-orders"]).options == ("--since", "--limit")
    assert len(tree) == 2


def test_a_program_that_is_not_installed_has_no_tree() -> None:
    assert discover("no-such-program-anywhere") is None


@pytest.mark.parametrize("code", ["raise RuntimeError('broken')", "def main(): pass"])
def test_a_program_that_cannot_be_read_has_no_tree(installed: Install, code: str) -> None:
    name = f"broken{abs(hash(code)) % 10**6}"
    installed(name, code)
    assert discover(name) is None


def test_a_program_is_found_beside_the_interpreter_first() -> None:
    beside = Path(sys.executable).parent / "pytest"
    assert find_program("pytest") == str(beside)
    assert find_program("sh").endswith("/sh")
    assert find_program("no-such-program-anywhere") == "no-such-program-anywhere"
