import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from oneiric.paths import user_paths
from oneiric.transport import Endpoint, call_tool
from session_buddy.access.callers import SCOPES, Caller, local_subject
from session_buddy.access.secret import load_secret
from session_buddy.access.tokens import verify
from session_buddy.cli.token import Scope
from session_buddy.host.layers import load_settings
from session_buddy.host.server_file import ServerInfo
from tests import forkserver
from tests.terminal import Terminal

Cli = Callable[..., Any]


def _caller(token: str) -> Caller:
    caller = verify(load_secret(load_settings(), user_paths(), lambda: None), token)
    assert caller is not None
    return caller


def test_scopes_are_those_of_the_rights_table() -> None:
    assert {scope.value for scope in Scope} == set(SCOPES)


def test_show_prints_a_token_of_this_user_and_nothing_else(cli: Cli) -> None:
    shown = cli("token", "show")
    assert shown.stderr == ""
    assert shown.stdout.count("\n") == 1
    caller = _caller(shown.stdout.strip())
    assert caller.subject == local_subject()
    assert caller.scopes == {"track", "read"}


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::", "[::1]")])
def test_on_a_terminal_show_tells_how_to_use_it(
    home: Path, port: int, monkeypatch: pytest.MonkeyPatch, host: str, shown: str
) -> None:
    monkeypatch.setenv("SESSION_BUDDY_HOST", host)
    child = Terminal(
        sys.executable, ["-P", "-m", "session_buddy", "token", "show"], encoding="utf-8", timeout=60
    )
    child.expect("mcpServers")
    child.expect_exact(f"http://{shown}:{port}/mcp")
    child.expect(pexpect.EOF)


def test_create_names_the_subject_and_its_scopes(cli: Cli) -> None:
    made = cli("token", "create", "--subject", "web1", "--scope", "track", "--scope", "admin", "--ttl", "12h")
    caller = _caller(made.stdout.strip())
    assert caller.subject == "web1"
    assert caller.scopes == {"track", "admin"}


def test_a_token_opens_the_tcp_door(cli: Cli, server: ServerInfo) -> None:
    token = cli("token", "show").stdout.strip()
    answer = call_tool(Endpoint(url=server.url, token=token), "health_check", {})
    assert answer["status"] == "ok"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--subject", "x"], "--scope"),
        (["--scope", "read"], "--subject"),
        (["--subject", "x", "--scope", "root"], "'track', 'read', 'admin'"),
        (["--subject", "x", "--scope", "read", "--ttl", "soon"], "12h, 30d or 52w"),
        (["--subject", "x", "--scope", "read", "--ttl", "0d"], "12h, 30d or 52w"),
    ],
)
def test_what_is_missing_or_wrong_is_named(cli: Cli, arguments: list[str], complaint: str) -> None:
    failed = cli("token", "create", *arguments)
    assert failed.returncode == 2
    assert complaint in failed.stderr.partition("Error: ")[2]
    assert "Value error" not in failed.stderr


def test_a_subject_that_is_not_allowed_is_one_line(cli: Cli) -> None:
    failed = cli("token", "create", "--subject", "a\nb", "--scope", "read")
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert "subject" in failed.stderr


@pytest.mark.parametrize(
    "secret", ["short", os.fsdecode(b"\xff" * 40), "-----BEGIN PUBLIC KEY-----" + "A" * 40]
)
def test_a_bad_secret_is_refused_with_how_to_make_one(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("SESSION_BUDDY_SECRET", secret)
    failed = cli("token", "create", "--subject", "web1", "--scope", "track")
    assert failed.returncode == 1
    assert "secrets.token_urlsafe(32)" in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_two_first_tokens_at_once_are_signed_with_one_secret(home: Path) -> None:
    command = [sys.executable, "-P", "-m", "session_buddy", "token", "show"]
    made = [forkserver.popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    for child in made:
        token, _ = child.communicate(timeout=60)
        assert _caller(token.strip()).subject == local_subject()
