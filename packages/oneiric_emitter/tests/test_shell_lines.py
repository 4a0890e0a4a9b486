"""What typed lines are: Python, IPython's own, or commands; judged by a real IPython."""

import ast
import atexit
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from oneiric.shell import ShellConfig
from oneiric.shell.commands import Command, Commands
from oneiric.shell.dispatch import Dispatcher
from oneiric.shell.prompt import Prompt, embedded
from tests.shells import install
from tests.terminal import Start

LEAVES = ("token", "workers", "orders", "list", "tim", "show-all")
TILL = Command("till", (), {name: Command(name) for name in LEAVES})


def by_ipython(cell: str) -> str:
    """What IPython's own transformers make of a cell."""
    return str(TransformerManager().transform_cell(cell))  # type: ignore[no-untyped-call]


def call(line: str) -> str:
    """What a cell has instead of a command."""
    return f"get_ipython().find_line_magic('cli')({line!r})\n"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prompt]:
    with pytest.MonkeyPatch.context() as patched:
        for name in ("HOME", "IPYTHONDIR"):
            patched.setenv(name, str(tmp_path_factory.mktemp("home")))
        with embedded({}, ShellConfig()) as prompt:
            Dispatcher(prompt, Commands([TILL])).install(completion=False)
            try:
                yield prompt
            finally:
                # At the exit of the tests its home is gone.
                atexit.unregister(prompt.atexit_operations)
                prompt.atexit_operations()  # type: ignore[no-untyped-call]


@pytest.fixture
def prompt(shell: Prompt) -> Iterator[Prompt]:
    before = list(shell.input_transformers_cleanup)
    shell.user_ns.clear()
    shell.user_ns.update({"rows": [3, 1], "token": None, "get_ipython": shell.get_ipython})
    yield shell
    shell.input_transformers_cleanup[:] = before


@pytest.mark.parametrize(
    "cell",
    [
        "token = %pwd",
        "token = !echo x",
        "workers = sorted(rows, key=lambda w: -w)",
        "orders = tim.time()",
        "orders = [w for w in rows",
        "orders += (",
        "orders: int",
        "orders = \\\n    tim.time()",
        "for orders in rows:\n    print(orders)",
        "token",
        "list(rows)",
        "list",
        "token # orders --all",
        "orders?",
        "?orders",
        "orders??",
        "%time orders",
        "!till orders --all",
        "%%bash\norders --all",
        "# orders --all",
        "import tim",
        "print('orders --all')",
        'text = """\norders --all\n"""',
        "text = '''\norders\n'''\norders --all",
        "print(1,\norders --all\n)\nlist --all",
        "print(1) +\norders - 2",
        "if False:\n    x = 1\n    orders --all 5\n",
        "for row in rows:\n    orders --all x y",
        "In [3]: token",
        ">>> token = 3",
        "",
    ],
)
def test_what_python_or_ipython_can_run_is_theirs(prompt: Prompt, cell: str) -> None:
    assert prompt.input_transformer_manager.transform_cell(cell) == by_ipython(cell)


@pytest.mark.parametrize(
    ("cell", "lines"),
    [
        ("orders", ["orders"]),
        ("  orders --all x\\ ", ["orders --all x\\ "]),
        ("list --all", ["list --all"]),
        ("list -l", ["list -l"]),
        ("token --since 7d", ["token --since 7d"]),
        ("show-all", ["show-all"]),
        ("orders --since 7d # those of a week", ["orders --since 7d # those of a week"]),
        (
            """orders --json '{"id"}' --filter {1+1} $rows""",
            ["""orders --json '{"id"}' --filter {1+1} $rows"""],
        ),
        ("orders|wc -l", ["orders|wc -l"]),
        ("till orders > all.txt && list", ["till orders > all.txt && list"]),
        ("orders --all\nlist --all", ["orders --all", "list --all"]),
        ("orders\norders", ["orders", "orders"]),
        ("orders --note 'first\nsecond'\nlist -l", ["orders --note 'first\nsecond'", "list -l"]),
        ("orders \\\n  --all", ["orders \\\n  --all"]),
        ("orders --at 12:", ["orders --at 12:"]),
        ("orders {", ["orders {"]),
        ("orders |\n  wc -l\nlist -l", ["orders |\n  wc -l", "list -l"]),
        ("orders a#b --note 'first\nlist'", ["orders a#b --note 'first\nlist'"]),
        ("orders - <<END\nlist --all\nEND\nlist -l", ["orders - <<END\nlist --all\nEND", "list -l"]),
        ("list > rows", ["list > rows"]),
    ],
)
def test_what_python_cannot_run_is_a_command(prompt: Prompt, cell: str, lines: list[str]) -> None:
    assert prompt.input_transformer_manager.transform_cell(cell) == "".join(map(call, lines))


@pytest.mark.parametrize(
    ("python", "line"),
    [("n = 1\n", "show-all"), ("import os\n", "orders"), ("for r in rows:\n    print(r)\n", "list --all")],
)
def test_a_command_behind_python_is_one(prompt: Prompt, python: str, line: str) -> None:
    assert prompt.input_transformer_manager.transform_cell(python + line) == python + call(line)
    bound = "orders = 2\norders - 1\n"
    assert prompt.input_transformer_manager.transform_cell(bound) == bound


def test_python_and_commands_may_stand_in_one_cell(prompt: Prompt) -> None:
    cell = "a = 1\norders --limit 2\nprint(\n    a)\n"
    expected = f"a = 1\n{call('orders --limit 2')}print(\n    a)\n"
    assert prompt.input_transformer_manager.transform_cell(cell) == expected


def test_what_another_transformer_makes_python_is_python(prompt: Prompt) -> None:
    def shout(lines: list[str]) -> list[str]:
        return [line.replace("orders now!", "print('ORDERS')") for line in lines]

    prompt.input_transformers_cleanup.append(shout)
    assert prompt.input_transformer_manager.transform_cell("orders now!") == "print('ORDERS')\n"
    assert prompt.input_transformer_manager.transform_cell("orders now") == call("orders now")


@pytest.mark.parametrize(
    ("begun", "status"),
    [
        ("orders = (", "incomplete"),
        ("orders = \\", "incomplete"),
        ("workers = sorted(rows,", "incomplete"),
        ("token = '''", "incomplete"),
        ("for orders in rows:", "incomplete"),
        ("orders --all\nfor row in rows:", "incomplete"),
        ("orders (", "incomplete"),
        ("orders --since 7d", "complete"),
        ("orders --at 12:", "complete"),
        ("orders {", "complete"),
        ("orders --note a#b", "complete"),
        ("orders # it's a note", "complete"),
        ("orders &", "complete"),
        ("orders < in.txt", "complete"),
        ("orders it's", "incomplete"),
        ("orders a#b --note 'first", "incomplete"),
        ("orders a#b --note 'first\nsecond'", "complete"),
        ('orders "a \\" b', "incomplete"),
        ("orders \\", "incomplete"),
        ("orders --all |", "incomplete"),
        ("orders --all |\n  wc -l", "complete"),
        ("orders && ", "incomplete"),
        ("orders --from - <<END\nit's", "incomplete"),
        ("orders --from - <<END\nit's\nEND", "complete"),
        ("orders --from - <<END\nE", "incomplete"),
        ("orders --from - <<\\E-F\nit's\nE-F", "complete"),
        ("orders --all\nfor row in rows:\n    print(row)", "incomplete"),
        ("orders\n" + "+".join(["1"] * 1500), "complete"),
    ],
)
def test_who_writes_on_is_waited_for(prompt: Prompt, begun: str, status: str) -> None:
    assert prompt.check_complete(begun)[0] == status


NAMES = st.sampled_from(["token", "workers", "orders", "list", "rows", "len", "nope"])
VALUES = st.recursive(
    NAMES | st.integers(0, 9).map(str) | st.just("'text'"),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("({0[0]}, {0[1]})".format),
        inner.map("[{0} for one in [1]]".format),
        inner.map("(lambda one: {0})(2)".format),
        st.tuples(NAMES, inner).map("[{0[0]} for {0[0]} in [{0[1]}]]".format),
        inner.map("{{'key': {0}}}".format),
    ),
    max_leaves=4,
)
WORDS = st.lists(
    st.sampled_from(
        ["--all", "-l", "--since", "7d", "web1", "'two words'", "{1+1}", "$HOME", "> out", "| wc", "token"]
    ),
    max_size=3,
)
CELLS = st.one_of(
    st.tuples(st.sampled_from(LEAVES), WORDS).map(lambda both: " ".join([both[0], *both[1]])),
    st.tuples(NAMES, VALUES).map("{0[0]} = {0[1]}".format),
    VALUES,
    NAMES.map("{0} = %pwd".format),
    NAMES.map("{0} = !echo x".format),
    NAMES.map("{0}?".format),
    st.tuples(NAMES, VALUES).map("{0[0]}, {0[1]}".format),
)


class Runs:
    """Stands for IPython in cells that are only tried: it takes every call, and gives itself."""

    def __call__(self, *_: object) -> "Runs":
        return self

    def __getattr__(self, name: str) -> "Runs":
        return self


def fails_by(cell: str, namespace: dict[str, Any]) -> type[Exception] | None:
    """How a cell fails that IPython's own transformers have read; every part of these cells is run."""
    try:
        exec(by_ipython(cell), {"get_ipython": Runs(), **namespace})  # noqa: S102 - see CELLS
    except Exception as error:  # noqa: BLE001 - that is the answer
        return type(error)
    return None


def binds(cell: str) -> bool:
    """Whether a cell is Python that no command looks like."""
    try:
        return any(not isinstance(one, ast.Expr) for one in ast.parse(by_ipython(cell)).body)
    except SyntaxError:
        return False


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cell=CELLS, defined=st.sets(st.sampled_from(["token", "workers", "orders", "list", "rows"])))
def test_whoever_judges_python_wins(prompt: Prompt, cell: str, defined: set[str]) -> None:
    namespace = dict.fromkeys(defined, 5)
    prompt.user_ns.clear()
    prompt.user_ns.update(namespace, get_ipython=prompt.get_ipython)
    made = prompt.input_transformer_manager.transform_cell(cell)
    failure = fails_by(cell, namespace)
    if failure is None or binds(cell):
        assert made == by_ipython(cell)
    elif failure in (SyntaxError, NameError) and cell.split(" ", maxsplit=1)[0] in LEAVES:
        assert made == call(cell)


SHELL = """
import sys
from oneiric.shell import AdminShell, ShellConfig
class TillShell(AdminShell):
    def _build_namespace(self):
        super()._build_namespace()
        self.namespace["rows"] = [3, 1]
TillShell(1, ShellConfig(cli_preprocessing_enabled=True)).start()
"""
PROGRAM = """
import json, sys
import typer
app = typer.Typer()
for name in ("orders", "list", "workers"):
    app.command(name, context_settings={"ignore_unknown_options": True})(lambda words=None: None)
def main():
    print("ARGV", json.dumps(sys.argv[1:]))
main.app = app
"""


def test_at_a_real_prompt(start: Start, tmp_path: Path) -> None:
    path = f"{install(tmp_path, 'till', PROGRAM)}{os.pathsep}{os.environ['PATH']}"
    child = start(SHELL, PYTHONPATH=str(tmp_path), PATH=path, SHELL="/bin/sh", PLACE="a b")

    def typed(line: str, *answers: str) -> None:
        child.send(f"\x1b[200~{line}\x1b[201~\r" if "\n" in line else f"{line}\r")
        for answer in answers:
            child.expect_exact(answer)

    def argv(*words: str) -> str:
        return f"ARGV {json.dumps(words)}"

    child.expect("In .*1")
    typed("workers = sorted(rows, key=lambda w: -w); print(workers[0] * 111)", "333")
    typed("orders = tim.time()", "NameError")
    typed("order --all", "NameError", "There is no command order; did you mean orders?")
    typed("order = rows(order_)", "NameError", "In ")
    assert "did you mean" not in (child.before or "")
    typed("list --all", argv("list", "--all"))
    typed(
        """orders --json '{"id"}' --filter {1+1}""", argv("orders", "--json", '{"id"}', "--filter", "{1+1}")
    )
    typed('orders "$PLACE" x\\ y', argv("orders", "a b", "x y"))
    typed("orders one\nlist two", argv("orders", "one"), argv("list", "two"))
    typed("orders --all | tr a-z A-Z && echo do''ne", 'ARGV ["ORDERS", "--ALL"]', "done")
    typed("orders --at 12:", argv("orders", "--at", "12:"))
    typed("orders 'one")
    typed("two'", argv("orders", "one\ntwo"))
    typed("orders > all.txt", "In ")
    typed("print('exit', _exit_code)", "exit 0")
    child.send("exit()\r")
    child.expect(pexpect.EOF)
    assert (tmp_path / "all.txt").read_text() == argv("orders") + "\n"
