"""The script ``dev``, which sets a checkout up."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.world import ROOT, World

NOT_COPIED = shutil.ignore_patterns(".git", ".venv*", "__pycache__", ".*_cache", ".coverage*", "logs")


def test_a_checkout_that_was_moved_sets_itself_up_again(
    world: World, tmp_path: Path, size: Callable[[int, int], int]
) -> None:
    if not size(0, 1):
        pytest.skip("it sets up twice, half a minute: with --all")
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(ROOT, first, ignore=NOT_COPIED)
    environ = {**os.environ, **world.environ, "PATH": os.environ["PATH"]}
    environ.setdefault("UV_CACHE_DIR", str(Path("~/.cache/uv").expanduser()))
    # Not measured: these are other files.
    environ.pop("COVERAGE_PROCESS_CONFIG", None)
    options: dict[str, Any] = {"env": environ, "input": "exit()\n", "stdin": None, "timeout": 280}
    for folder in (first, second):
        done = world.run("./dev", "shell", cwd=folder, **options)
        assert "Session Tracking: " in done.stdout
        if folder is first:
            first.rename(second)
    assert len(world.sessions()) == 2
