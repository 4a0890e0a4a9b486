"""The log."""

import logging
import os
from asyncio import CancelledError
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from starlette.requests import ClientDisconnect

from oneiric.paths import Paths
from session_buddy.errors import ConfigurationError
from session_buddy.host.log import log_file, set_up_logging


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configured = structlog.get_config()
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:], root.level = handlers, level
    for name in ("fastmcp", "mcp", "uvicorn.error", "asyncio"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.configure(**configured)


def test_the_log_lies_in_the_state_folder(paths: Paths, home: Path) -> None:
    assert log_file(paths) == home / ".local/state/session-buddy/session-buddy.log"


def test_in_a_checkout_it_lies_in_logs(paths: Paths, home: Path) -> None:
    project = home / "packages" / "session_buddy" / "pyproject.toml"
    project.parent.mkdir(parents=True)
    project.touch()
    assert log_file(paths) == home / "logs" / "session-buddy.log"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("part", [".", "packages/session_buddy/pyproject.toml", "logs"])
def test_a_checkout_that_another_user_has_a_hand_in_gets_no_log(paths: Paths, home: Path, part: str) -> None:
    project = home / "packages" / "session_buddy" / "pyproject.toml"
    project.parent.mkdir(parents=True)
    project.touch()
    (home / "elsewhere").mkdir()
    (home / "logs").symlink_to("elsewhere")
    assert log_file(paths) == home / "logs" / "session-buddy.log"
    os.chown(home / part, 12345, 12345, follow_symlinks=False)
    assert log_file(paths) == paths.state / "session-buddy" / "session-buddy.log"


def test_a_link_is_not_followed(home: Path) -> None:
    letter = home / "letter.txt"
    letter.write_text("Dear Ada")
    (home / "x.log").symlink_to(letter)
    with pytest.raises(ConfigurationError, match=r"log /.*/x\.log: is a link.*remove it"):
        set_up_logging(home / "x.log", "info")
    assert letter.read_text() == "Dear Ada"


def test_ours_and_others_records_go_there_one_a_line(home: Path) -> None:
    path = home / "logs" / "x.log"
    set_up_logging(path, "info")
    structlog.stdlib.get_logger("ours").info("taken", session_id="shop-1", count=2)
    logging.getLogger("theirs").warning("careful with %s", "that")
    logging.getLogger("theirs").debug("chatter")
    logging.getLogger("fastmcp.server").warning("chatter")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    first, second = path.read_text().splitlines()
    assert "level=info logger=ours event=taken session_id=shop-1 count=2" in first
    assert 'level=warning logger=theirs event="careful with that"' in second


def test_a_traceback_is_kept(home: Path) -> None:
    path = home / "x.log"
    set_up_logging(path, "info")
    try:
        int("odd")
    except ValueError:
        structlog.stdlib.get_logger("ours").exception("what now")
    assert "ValueError: invalid literal" in path.read_text()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ClientDisconnect(), False),
        (CancelledError(), False),
        (ExceptionGroup("both", [ClientDisconnect(), ClientDisconnect()]), False),
        (ExceptionGroup("both", [ClientDisconnect(), ValueError("odd")]), True),
    ],
)
def test_somebody_who_hangs_up_is_not_told(home: Path, error: BaseException, told: bool) -> None:  # noqa: FBT001
    path = home / "x.log"
    set_up_logging(path, "info")
    logging.getLogger("theirs").error("it went wrong", exc_info=error)
    assert ("it went wrong" in path.read_text()) is told


def test_the_file_rotates(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("session_buddy.host.log.MAX_BYTES", 500)
    set_up_logging(home / "x.log", "info")
    for number in range(100):
        structlog.stdlib.get_logger("ours").info("one of many", number=number)
    assert sorted(file.name for file in home.glob("x.log*")) == ["x.log", "x.log.1", "x.log.2", "x.log.3"]


def test_a_log_that_cannot_be_written_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"log /proc/nowhere/x\.log: "):
        set_up_logging(Path("/proc/nowhere/x.log"), "info")
