"""Each test has a machine of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An isolated user; its server, if any, is stopped at the end."""
    world = World(tmp_path, forks=True)
    yield world
    world.stop_server()
