import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pexpect
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from oneiric.paths import user_paths
from oneiric.transport import Endpoint, call_tool, page
from session_buddy.access.callers import SCOPES, Caller, local_subject
from session_buddy.access.keyring import Keyring
from session_buddy.access.secret import own_secret
from session_buddy.access.tokens import read
from session_buddy.cli.token import Scope
from session_buddy.host.server_file import ServerInfo
from tests import forkserver
from tests.terminal import Terminal, printed

Cli = Callable[..., Any]


def _caller(token: str) -> Caller:
    return Keyring([own_secret(user_paths())]).judge(token)


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
        (
            ["--subject", "x", "--scope", "read", "--ttl", "soon"],
            "ttl: 'soon' is not valid: a length such as",
        ),
        (["--subject", "x", "--scope", "read", "--ttl", "0d"], "12h, 30d or 52w"),
        # The list could not show when it expires.
        (["--subject", "x", "--scope", "read", "--ttl", "999999w"], "12h, 30d or 52w"),
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


# --- those that were made


@pytest.fixture
def web1(cli: Cli) -> str:
    made: str = cli("token", "create", "--subject", "web1", "--scope", "track", "--name", "laptop").stdout
    return made.strip()


def listed(cli: Cli) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cli("token", "list", "--format", "json").stdout)
    return found


def test_show_prints_the_same_token_until_it_is_revoked(cli: Cli) -> None:
    first = cli("token", "show").stdout
    assert cli("token", "show").stdout == first
    (one,) = listed(cli)
    assert (one["subject"], one["scopes"], one["name"]) == (local_subject(), "track read", "token show")
    cli("token", "revoke", one["id"])
    assert cli("token", "show").stdout != first


def test_the_list_has_what_was_made_and_no_token(cli: Cli, web1: str, home: Path) -> None:
    cli("token", "create", "--subject", "alice", "--scope", "read", "--ttl", "1s")
    alice, first = listed(cli)
    assert (first["subject"], first["scopes"], first["name"], first["state"]) == (
        "web1",
        "track",
        "laptop",
        "valid",
    )
    assert first["id"] == read_id(web1)
    while listed(cli)[0]["state"] == "valid":
        pass
    assert listed(cli)[0]["state"] == "expired"
    rows = cli("token", "list").stdout
    assert rows.splitlines()[1].split("\t") == [
        first[name] or "-" for name in ("id", "subject", "scopes", "name", "made_at", "expires_at", "state")
    ] + ["-"]
    assert cli("token", "list", "-f", "csv").stdout.startswith("id,subject,scopes,name,made_at,expires_at,")
    assert [json.loads(line) for line in cli("token", "list", "-f", "ndjson").stdout.splitlines()] == listed(
        cli
    )
    said = printed("token", "list")
    assert "id        subject  scopes  name    made" in said
    assert f"{alice['id'][:8]}  alice    read    -       " in said
    assert first["id"] not in said
    kept = home / ".config" / "session-buddy" / "tokens.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert web1.rpartition(".")[2] not in kept.read_text() + rows + said


def read_id(token: str) -> str:
    claims = read(own_secret(user_paths()), token)
    assert claims is not None
    return claims.id


def test_a_token_is_revoked_by_a_beginning_of_its_id_and_once(cli: Cli, web1: str) -> None:
    number = read_id(web1)
    done = cli("token", "revoke", number[:5])
    assert (done.returncode, done.stdout) == (0, f"Revoked {number[:8]} of web1 (laptop)\n")
    again = cli("token", "revoke", number)
    assert (again.returncode, again.stdout) == (0, f"{number[:8]} of web1 (laptop) was revoked already\n")
    assert listed(cli)[0]["state"] == "revoked"
    assert cli("token", "revoke", "--subject", "web1").stdout == "web1 has no token that is good.\n"


def test_a_token_that_is_in_no_list_is_revoked_by_itself(
    cli: Cli, home: Path, server: ServerInfo, shell: Callable[..., str]
) -> None:
    # As earlier versions made it: its header does not say which secret signed it.
    secret = own_secret(user_paths())
    claims = {"iss": "session-buddy", "sub": "old", "scope": "read", "iat": 1, "exp": 2**33, "jti": "ab" * 8}
    token = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(secret))
    far = Endpoint(url=server.url, token=token)
    status, begun = page(far, "/api/v1/changes")
    assert status == 200
    target = f"/api/v1/changes?wait=25&place={json.loads(begun)['place']}"
    waiting = ThreadPoolExecutor().submit(page, far, target, None, 60)
    (home / "token").write_text(token)
    with (home / "token").open() as file:
        assert cli("token", "revoke", "-", stdin=file).stdout == "Revoked abababab of old\n"
    while (answer := page(far, "/api/v1/changes"))[0] != 401:
        pass
    # Who has waited since before is told nothing any more.
    shell()
    assert waiting.result(60)[0] == 403
    assert b"the token abababab of old was revoked at 2" in answer[1]
    (home / "token").write_text("e.f.g")
    with (home / "token").open() as file:
        refused = cli("token", "revoke", "-", stdin=file)
    assert refused.stderr == (
        "Error: what standard input has is no token that a secret in use here has signed\n"
    )


def test_what_cannot_be_revoked_is_one_line_without_a_token(cli: Cli, web1: str) -> None:
    number = read_id(web1)
    for code, arguments, said in (
        (1, ["laptpo"], f"no token 'laptpo'; the nearest: {number[:8]} (laptop)"),
        (1, ["--subject", "wbe1"], "no token of 'wbe1'; the nearest: web1"),
        (1, [number, "zzzzzzzz"], "no token 'zzzzzzzz'; session-buddy token list has them"),
        (2, ["--subject", "web1"], "Revoke 1 token of web1? Confirm it on a terminal, or with --yes"),
        (2, [], "token revoke: '' is not valid: ids, or --subject, one of the two"),
        (2, [web1], "a token itself is read from standard input: session-buddy token revoke -"),
        (2, [web1, "--subject", "web1"], "a token itself is read from standard input: session-buddy token"),
    ):
        refused = cli("token", "revoke", *arguments, stdin=subprocess.DEVNULL)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (code, "", 1), arguments
        assert said in refused.stderr
        assert web1 not in refused.stderr
    assert listed(cli)[0]["state"] == "valid"


def test_a_file_that_cannot_be_written_is_one_line(
    cli: Cli, web1: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / ".config" / "session-buddy"
    (folder / "tokens.json").unlink()
    (folder / "tokens.json").mkdir()
    for arguments in (["revoke", "x"], ["list"], ["rotate"], ["create", "--subject", "x", "--scope", "read"]):
        refused = cli("token", *arguments)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert "tokens.json" in refused.stderr
    # A configured secret signs all the same.
    monkeypatch.setenv("SESSION_BUDDY_SECRET", "x" * 32)
    made = cli("token", "create", "--subject", "x", "--scope", "read")
    assert (made.returncode, made.stdout.count("\n")) == (0, 1)
    assert "This token is in no list" in made.stderr
    assert web1 not in made.stderr
    (folder / "tokens.json").rmdir()
    assert "says what tokens are signed with: put another one there" in cli("token", "rotate").stderr
