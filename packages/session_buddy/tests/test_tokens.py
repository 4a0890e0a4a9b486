"""Who may do what."""

import base64
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from oneiric.paths import Paths
from session_buddy.access.callers import RIGHTS, SCOPES, Caller, local_caller, local_subject
from session_buddy.access.keyring import Keyring
from session_buddy.access.secret import own_secret
from session_buddy.access.tokens import issue
from session_buddy.errors import ConfigurationError, Forbidden, TokenRefused

SECRET = "s" * 40


def verify(secret: str, token: str) -> Caller | None:
    """Whom a token names to a server that has this secret."""
    try:
        return Keyring([secret]).judge(token)
    except TokenRefused:
        return None


def test_a_token_names_its_subject_and_scopes() -> None:
    caller = verify(SECRET, issue(SECRET, "ann", ["read", "track"], 60))
    assert caller
    assert caller == Caller("ann", frozenset({"read", "track"}), until=caller.until)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "nonsense",
        "a.b.c",
        "é.é.é",
        issue("t" * 40, "ann", ["read"], 60),
        issue(SECRET, "ann", ["read"], 60)[:-3] + "xxx",
        issue(SECRET, "ann", ["read"], 0.5),
    ],
    ids=["empty", "nonsense", "dots", "not ascii", "another secret", "altered", "expired"],
)
def test_what_is_not_ours_names_nobody(token: str) -> None:
    assert verify(SECRET, token) is None


def test_an_unsigned_token_names_nobody() -> None:
    header, claims, _ = issue(SECRET, "ann", ["admin"], 60).split(".")
    unsigned = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    assert verify(SECRET, f"{unsigned}.{claims}.") is None
    assert verify(SECRET, f"{header}.{claims}.") is None


@pytest.mark.parametrize(
    ("subject", "scopes", "ttl", "complaint"),
    [
        ("", ["read"], 60, "subject: '' is not valid: 1 to 100 printable"),
        ("x" * 101, ["read"], 60, "subject"),
        ("a\nb", ["read"], 60, "subject"),
        ("ann", [], 60, "scope: '' is not valid: one or more of track, read, admin"),
        ("ann", ["write"], 60, "scope: 'write'"),
        ("ann", ["read"], 0, "ttl: 0 seconds is not valid"),
    ],
)
def test_a_token_that_makes_no_sense_is_not_issued(
    subject: str, scopes: list[str], ttl: float, complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        issue(SECRET, subject, scopes, ttl)  # type: ignore[arg-type]


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("tool", RIGHTS)
def test_the_table_of_rights_decides(tool: str, scope: str) -> None:
    caller = Caller("ann", frozenset({scope}))  # type: ignore[arg-type]
    needed = " and ".join(RIGHTS[tool])
    if needed in {"", scope} or scope == "admin":
        caller.require(tool)
    else:
        with pytest.raises(Forbidden, match=f"{tool} needs a token with scope {needed}; this one"):
            caller.require(tool)


def test_a_tool_without_a_line_in_the_table_is_an_admins() -> None:
    with pytest.raises(Forbidden):
        Caller("ann", frozenset({"read", "track"})).require("drop_everything")


def test_this_user_may_do_everything() -> None:
    assert local_subject() == f"local:{os.geteuid()}@{os.uname().nodename}"
    assert local_caller().is_admin


# --- the secret


def test_the_secret_is_made_once_and_its_users_alone(paths: Paths) -> None:
    made = own_secret(paths)
    path = paths.config / "session-buddy" / "secret"
    assert len(made) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert own_secret(paths) == made
    assert [file.name for file in path.parent.iterdir()] == ["secret"]


def test_two_who_make_it_at_once_agree(paths: Paths) -> None:
    found: list[str] = []
    barrier = threading.Barrier(8)

    def load() -> None:
        barrier.wait()
        found.append(own_secret(paths))

    makers = [threading.Thread(target=load) for _ in range(8)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def prepared(paths: Paths, text: str, mode: int = 0o600) -> Path:
    path = paths.config / "session-buddy" / "secret"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_may_read_is_refused(paths: Paths, mode: int) -> None:
    prepared(paths, "x" * 40, mode)
    with pytest.raises(ConfigurationError, match="may be read by others"):
        own_secret(paths)


def test_a_short_secret_is_refused(paths: Paths) -> None:
    prepared(paths, "short")
    with pytest.raises(ConfigurationError, match=r"/secret: a secret has at least 32 characters: remove it"):
        own_secret(paths)


def test_a_secret_that_cannot_be_read_is_named(paths: Paths) -> None:
    (paths.config / "session-buddy" / "secret").mkdir(parents=True, mode=0o700)
    with pytest.raises(ConfigurationError, match=r"secret /.*/secret: .*; or set SESSION_BUDDY_SECRET"):
        own_secret(paths)
