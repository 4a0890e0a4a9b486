"""Nothing that was acknowledged is lost, and nothing is there twice."""

from tests.faults import kill_rounds, storm, waiting
from tests.world import World


def test_a_storm_of_shells_while_the_server_is_killed_and_started_five_times(world: World) -> None:
    found = storm(world, shells=100, kills=5)
    assert (found.starts, found.ends, found.sessions) == (100, 100, 100)
    assert found.distinct == 200
    assert waiting(world) == 0


def test_a_server_killed_under_load_keeps_what_it_acknowledged(world: World) -> None:
    load, found = kill_rounds(world, rounds=20, seed=7)
    assert len(load.acknowledged) >= 20 * 20
    assert load.acknowledged <= found.ids
    assert found.distinct == found.starts
