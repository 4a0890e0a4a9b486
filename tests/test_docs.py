"""What the documents say is so."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from oneiric import contract, identity
from oneiric.events import Origin
from oneiric.shell.commands import discover
from oneiric.visible import INVISIBLE
from session_buddy.history.query import Clock, Query
from session_buddy.history.words import EVIDENCE_TEXTS
from tests import query_page, screens, transcript
from tests.world import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("packages/*/README.md")])
SOURCES = sorted(ROOT.glob("packages/*/src/**/*.py"))
VARIABLE = re.compile(r"\b(?:ONEIRIC|SESSION_BUDDY|MAHAVISHNU)_[A-Z_]*[A-Z]\b")


def names(pages: list[Path]) -> set[str]:
    return {name for page in pages for name in VARIABLE.findall(page.read_text())}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "packages/mahavishnu_shell/README.md"])
def test_the_banner_shown_counts_as_the_shell_does(page: str) -> None:
    trees = [tree for program in ("mahavishnu", "session-buddy") if (tree := discover(program))]
    from oneiric.shell.commands import Commands

    counted = str(len(Commands(trees)))
    assert re.findall(r"Enabled \((\d+) commands\)", (ROOT / page).read_text()) == [counted]


def test_every_variable_of_the_emitter_is_documented() -> None:
    emitter = [path for path in SOURCES if "oneiric_emitter" in str(path)]
    page = names([ROOT / "packages" / "oneiric_emitter" / "README.md"])
    assert names(emitter) - page - {"SESSION_BUDDY_ALLOWED_HOSTS"} == set()


def test_the_page_on_identity_has_each_evidence_and_each_source() -> None:
    page = (ROOT / "docs" / "identity.md").read_text()
    people = page.partition("## The person")[2].partition("## Where from")[0]
    told = re.findall(r"^\| `(\w+)` \| [A-Z]", people, flags=re.MULTILINE)
    assert tuple(told) == contract.PROOFS + contract.WORDS
    assert {name for name in Origin.model_fields if f"`{name}`" not in page} == set()
    assert {name for name in identity.CLAIMS + identity.FULL_NAMES if f"`{name}`" not in people} == set()
    assert set(EVIDENCE_TEXTS) == set(told)


def test_no_page_invents_a_variable() -> None:
    from session_buddy.host.settings import Settings

    settings = {f"SESSION_BUDDY_{name.upper()}" for name in Settings.model_fields}
    known = names(SOURCES) | settings | {"SESSION_BUDDY_PATH"}
    own = [page for page in PAGES if page.name not in {"test-plan.md", "e2e-report.md"}]
    unknown = {name for name in names(own) - known if not name.startswith("MAHAVISHNU_")}
    assert unknown == set()


def test_the_page_on_queries_is_what_the_parser_s_tables_make() -> None:
    made = query_page.page()
    assert (ROOT / "docs" / "query.md").read_text() == made, "./dev report makes it anew"
    for query in (*query_page.examples(), *re.findall(r"^user:.*$", made, flags=re.MULTILINE)):
        assert Query.parse(query, clock=Clock(query_page.NOW, query_page.NOW.tzinfo)).terms


def test_the_page_of_screens_is_what_the_commands_draw() -> None:
    assert (ROOT / "docs" / "screens.md").read_text() == screens.page(), "./dev report makes it anew"


def test_the_page_of_agents_is_what_a_client_asks_and_gets() -> None:
    assert (ROOT / "docs" / "agents.md").read_text() == transcript.page(), "./dev report makes it anew"


@pytest.mark.parametrize("events", [screens.three, screens.many, screens.hostile])
def test_on_no_terminal_a_line_is_too_long_or_anything_acts_or_hides(events: Callable[[], Any]) -> None:
    with screens.history(events()) as store:
        drawn = [draw(store, width) for width in range(48, 201, 8) for draw in (screens.listed, screens.who)]
        drawn += [screens.counts(store, width) for width in range(48, 201, 8)]
        drawn += [screens.shown(store, row, 80) for row in screens.rows(store, limit=8)]
    for screen in drawn:
        for line in screen.text.splitlines():
            whole = max(map(cell_len, line.split()), default=0)
            assert cell_len(line) <= screen.width or whole > screen.width - 20, (screen.command, line)
            assert line.isprintable()
            assert not INVISIBLE.search(line)


def section(title: str) -> str:
    """A part of the architecture page."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_each_step_of_the_way_of_an_event_names_files_that_are_there() -> None:
    steps = re.split(r"\n\d\. ", section("The way of an event"))[1:]
    assert len(steps) == 8
    there = {"/".join(path.parts[path.parts.index("src") + 1 :]) for path in SOURCES}
    for step in steps:
        named = set(re.findall(r"`((?:oneiric|session_buddy)/[\w/]+\.py)`", step))
        assert named, step
        assert named <= there


def test_the_map_of_rooms_names_every_module() -> None:
    rooms = section("Rooms")
    rows = dict(re.findall(r"^\| `(\w+)/` \| (.*) \|$", rooms, flags=re.MULTILINE))
    for path in SOURCES:
        package, *folders = path.parent.parts[path.parent.parts.index("src") + 1 :]
        listed = rows[folders[0]] if package == "session_buddy" and folders else rooms
        if not path.stem.startswith("__"):
            assert re.search(rf"\b{path.stem}\b", listed), path


def test_few_modules_stand_outside_the_rooms() -> None:
    root = ROOT / "packages" / "session_buddy" / "src" / "session_buddy"
    assert len(list(root.glob("*.py"))) <= 8


def test_no_module_is_over_four_hundred_lines() -> None:
    assert {
        path: len(path.read_text().splitlines()) for path in SOURCES if path.read_text().count("\n") > 400
    } == {}
