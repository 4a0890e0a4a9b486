"""The user's test plan, run literally; see docs/test-plan.md."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.engines import new_database
from tests.plan import Findings, Plan
from tests.world import World

PHASES = {
    "Phase 1: Environment Setup": 4,
    "Phase 2: Session-Buddy MCP Server": 2,
    "Phase 3: Mahavishnu Shell Integration": 3,
    "Phase 4: Database Verification": 3,
    "Troubleshooting": 8,
}


@pytest.fixture(scope="module", params=["duckdb", "postgresql"])
def findings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Findings]:
    world = World(tmp_path_factory.mktemp("plan"))
    with ExitStack() as stack:
        if request.param == "postgresql":
            world.move_to(stack.enter_context(closing(new_database(request.config))))
        stack.callback(world.stop_server)
        yield Plan(world).run()


@pytest.mark.xdist_group("plan")
@pytest.mark.parametrize(("phase", "steps"), PHASES.items())
def test_a_phase_of_the_plan_gives_what_it_expects(findings: Findings, phase: str, steps: int) -> None:
    found = findings.of(phase)
    assert [f"{step.command}\n{step.seen}" for step in found if not step.passed] == []
    assert len(found) == steps
