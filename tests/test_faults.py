"""Nothing that was acknowledged is lost, and nothing is there twice."""

from collections.abc import Callable

import pytest

from tests.faults import kill_rounds, storm, waiting
from tests.world import World

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.sampled]
Size = Callable[[int, int], int]


def test_a_storm_of_shells_while_the_server_is_killed_and_started_again(world: World, size: Size) -> None:
    shells = size(24, 100)
    found = storm(world, shells, kills=size(2, 5))
    assert (found.starts, found.ends, found.sessions) == (shells, shells, shells)
    assert found.distinct == 2 * shells
    assert waiting(world) == 0


def test_a_server_killed_under_load_keeps_what_it_acknowledged(world: World, size: Size) -> None:
    rounds = size(4, 20)
    load, found = kill_rounds(world, rounds, seed=7)
    assert len(load.acknowledged) >= 20 * rounds
    assert load.acknowledged <= found.ids
    assert found.distinct == found.starts
