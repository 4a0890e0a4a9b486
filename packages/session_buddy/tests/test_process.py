import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oneiric.paths import Paths
from session_buddy.errors import ServerFailed
from session_buddy.host import process
from session_buddy.host.server_file import ServerInfo


@pytest.fixture
def listener(paths: Paths) -> Iterator[ServerInfo]:
    """A socket that listens where ``server.json`` says, and answers nothing."""
    paths.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths.server_file.parent.mkdir(mode=0o700, parents=True)
    info = ServerInfo(
        socket=paths.socket,
        url="http://127.0.0.1:9/mcp",
        pid=os.getpid(),
        version="0",
        database="",
        started_at="",
        log="here.log",
    )
    facts = {name: getattr(info, name) for name in ("url", "pid", "version", "database", "started_at", "log")}
    paths.server_file.write_text(json.dumps({**facts, "socket": str(paths.socket)}))
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(paths.socket))
        door.listen()
        yield info


def test_a_server_runs_if_somebody_listens_at_its_socket(listener: ServerInfo, paths: Paths) -> None:
    assert process.running(paths) == listener
    paths.socket.unlink()
    assert process.running(paths) is None
    assert process.wait_running(paths, 0.0) is None


def test_a_killed_servers_file_is_not_believed_of_its_successor(
    listener: ServerInfo, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = paths.server_file.read_bytes()
    paths.server_file.write_bytes(now.replace(b'"database": ""', b'"database": "of the killed one"'))
    ask = process.listener

    def ask_while_it_begins(socket: Path) -> int | None:
        # Between the two looks at the file, where nothing outside can be timed.
        paths.server_file.write_bytes(now)
        return ask(socket)

    monkeypatch.setattr(process, "listener", ask_while_it_begins)
    assert process.running(paths) == listener


def test_a_server_that_takes_no_more_connections_runs_and_does_not_answer(
    listener: ServerInfo, paths: Paths, crowd: Callable[[Path], None]
) -> None:
    paths.socket.unlink()
    crowd(paths.socket)
    assert process.running(paths) == listener
    with pytest.raises(ServerFailed, match="mcp stop --force"):
        process.require_answer(listener)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's socket")
def test_another_users_socket_is_no_server(listener: ServerInfo, paths: Paths) -> None:
    os.chown(paths.socket, 12345, 12345)
    assert process.running(paths) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"socket": 3}'])
def test_a_torn_server_file_means_that_none_runs(listener: ServerInfo, paths: Paths, content: str) -> None:
    paths.server_file.write_text(content)
    assert process.running(paths) is None


def test_the_server_of_another_start_is_told_from_a_new_one(server: ServerInfo, paths: Paths) -> None:
    assert process.start_background(paths, {"port": 0}) == (server, False)


def test_a_server_that_leaves_at_once_says_why(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BUDDY_SECRET", "short")
    with pytest.raises(ServerFailed, match="SESSION_BUDDY_SECRET") as failed:
        process.start_background(paths, {"port": 0, "host": None})
    assert "\n" not in str(failed.value)
    assert not str(failed.value).startswith("Error")


def test_a_server_that_does_not_answer_in_time_is_stopped(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "START_SECONDS", 0.0)
    with pytest.raises(ServerFailed, match="--background"):
        process.start_background(paths, {"port": 0})
