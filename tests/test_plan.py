"""The user's test plan, run literally; see docs/test-plan.md."""

import pytest

from tests.plan import Findings, Plan
from tests.world import World

PHASES = {
    "Phase 1: Environment Setup": 4,
    "Phase 2: Session-Buddy MCP Server": 2,
    "Phase 3: Mahavishnu Shell Integration": 3,
    "Phase 4: Database Verification": 3,
    "Troubleshooting": 8,
}


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    world = World(tmp_path_factory.mktemp("plan"))
    try:
        return Plan(world).run()
    finally:
        world.stop_server()


@pytest.mark.xdist_group("plan")
@pytest.mark.parametrize(("phase", "steps"), PHASES.items())
def test_a_phase_of_the_plan_gives_what_it_expects(findings: Findings, phase: str, steps: int) -> None:
    found = findings.of(phase)
    assert [f"{step.command}\n{step.seen}" for step in found if not step.passed] == []
    assert len(found) == steps
