"""The two doors."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from session_buddy.access.callers import local_subject
from session_buddy.access.keyring import Keyring
from session_buddy.access.tokens import issue
from session_buddy.errors import AlreadyRunning, ConfigurationError, PortTaken
from session_buddy.server.gate import MAX_BODY_BYTES, Authenticator, Gate
from session_buddy.server.listeners import open_tcp, open_unix

SECRET = "s" * 40
SOCKET = Path("/run/x.sock")


class Application:
    """Keeps what reaches it."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.messages: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, _send: Any) -> None:
        self.headers = scope.get("headers", [])
        while scope["type"] == "http":
            self.messages.append(await receive())
            if not self.messages[-1].get("more_body"):
                return


def pass_through(
    server: tuple[str, int | None] | None,
    headers: list[tuple[bytes, bytes]],
    chunks: list[bytes] = [b""],  # noqa: B006 - not changed
    client: tuple[str, int] | None = None,
) -> tuple[Application, list[Any]]:
    """Send one request through the doors; returns the application behind them and what was answered."""
    application = Application()
    sent: list[Any] = []
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks) - 1}
        for number, chunk in enumerate(chunks)
    ]

    async def receive() -> Any:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "server": server, "client": client, "headers": headers, "path": "/mcp"}
    anyio.run(Gate(application, "local-token"), scope, receive, send)
    return application, sent


def test_a_request_through_the_socket_is_this_users() -> None:
    application, _ = pass_through((str(SOCKET), None), [(b"authorization", b"Bearer x"), (b"host", b"h")])
    assert application.headers == [(b"host", b"h"), (b"authorization", b"Bearer local-token")]


@pytest.mark.parametrize("server", [("127.0.0.1", 8678), (str(SOCKET), 8678), None])
def test_nothing_else_is_even_with_no_peer_to_be_seen(server: tuple[str, int | None] | None) -> None:
    headers = [(b"authorization", b"Bearer x")]
    assert pass_through(server, headers)[0].headers == headers


def test_a_body_that_says_it_is_too_long_is_refused() -> None:
    length = str(MAX_BODY_BYTES + 1).encode()
    application, sent = pass_through(("127.0.0.1", 1), [(b"content-length", length)])
    assert sent[0]["status"] == 413
    assert application.messages == []


def test_what_is_no_request_passes() -> None:
    application = Application()
    doors: Any = Gate(application, "t")
    anyio.run(doors, {"type": "lifespan"}, None, None)
    assert application.messages == []


# --- who is known


def test_the_doorkeeper_knows_tokens_and_its_own_text() -> None:
    keeper = Authenticator(Keyring([SECRET]))

    def subject(token: str) -> str | None:
        caller = anyio.run(keeper.verify_token, token)
        return caller.client_id if caller else None

    assert subject(issue(SECRET, "ann", ["read"], 60)) == "ann"
    assert subject(keeper.local_token) == local_subject()
    assert subject(Authenticator(Keyring([SECRET])).local_token) is None
    assert subject("\ud800") is None


# --- opening


def test_a_port_that_is_taken_names_who_has_it() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(
            PortTaken, match=f"port {port} is taken by pid {os.getpid()} .*SESSION_BUDDY_PORT"
        ):
            open_tcp("127.0.0.1", port)


def test_any_free_port_is_found() -> None:
    with open_tcp("localhost", 0) as door:
        assert door.getsockname()[1] > 0


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_a_host_that_is_not_this_machines_is_named(host: str) -> None:
    with pytest.raises(ConfigurationError, match=f"host: '{host}' is not valid: .*SESSION_BUDDY_HOST"):
        open_tcp(host, 0)


def test_the_sockets_folder_is_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o777)
    with open_unix(folder / "x.sock"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "x.sock").stat().st_mode) == 0o600


def test_a_socket_that_nobody_answers_is_replaced_and_one_that_is_answered_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    open_unix(path).close()
    assert path.exists()
    with open_unix(path), pytest.raises(AlreadyRunning):
        open_unix(path)


def test_a_socket_at_which_too_many_wait_is_not_replaced(home: Path, crowd: Callable[[Path], None]) -> None:
    crowd(path := home / "x.sock")
    with pytest.raises(AlreadyRunning):
        open_unix(path)
    assert path.exists()


def foreign(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 12345)


def a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.rmdir()
    folder.touch()


@pytest.mark.parametrize("trouble", [foreign, a_file])
def test_a_folder_that_is_not_ours_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    trouble(folder, monkeypatch)
    with pytest.raises(ConfigurationError, match="socket"):
        open_unix(folder / "x.sock")
