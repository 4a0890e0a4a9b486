"""What can go wrong is said in a line."""

import pytest

from tests.troubles import TROUBLES, Trouble, provoke
from tests.world import World


@pytest.mark.parametrize("trouble", TROUBLES, ids=[trouble.problem for trouble in TROUBLES])
def test_a_problem_is_said_in_a_line(trouble: Trouble, world: World) -> None:
    step = provoke(trouble, world)
    assert step.passed, step.seen
    errors = [line for line in step.seen.splitlines() if line.startswith("Error")]
    assert len(errors) <= 1
