"""Each test has a machine of its own."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from oneiric.paths import user_paths
from session_buddy.store import open_known
from tests.engines import new_database
from tests.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An isolated user; its server, if any, is stopped at the end."""
    world = World(tmp_path, forks=True)
    yield world
    world.stop_server()


@pytest.fixture(scope="module", params=["duckdb", "postgresql"])
def storage(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Where the history of a module's tests lies, as settings: in a file, or on the PostgreSQL server."""
    if request.param == "duckdb":
        yield {}
        return
    with closing(new_database(request.config)) as database:
        yield {"SESSION_BUDDY_STORAGE_URL": database.url.whole}


@pytest.fixture(params=["duckdb", "postgresql"])
def engine(request: pytest.FixtureRequest, world: World) -> Iterator[None]:
    """Where the world's history lies: in a file, or on the PostgreSQL server of this run."""
    if request.param == "duckdb":
        yield
        return
    with closing(new_database(request.config)) as database:
        world.move_to(database)
        # A server does that, and only a server; not each test begins with one.
        open_known(database.url, user_paths(world.environ)).close()
        yield
        world.stop_server()
