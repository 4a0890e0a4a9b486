"""Which tokens a server takes: registered, revoked, of earlier secrets."""

import json
import stat
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from oneiric.paths import Paths
from session_buddy.access import keyring as keyrings
from session_buddy.access.callers import local_subject
from session_buddy.access.keyring import GRACE_SECONDS, Keyring, keyring_of
from session_buddy.access.own import own_token
from session_buddy.access.registry import Registry, find, kept, revoked, rotated
from session_buddy.access.secret import OwnShelf, new_secret, own_secret
from session_buddy.access.tokens import issue, kid_of, named_kid, read
from session_buddy.errors import AmbiguousToken, ConfigurationError, Forbidden, TokenRefused, UnknownToken
from session_buddy.host.settings import Settings
from session_buddy.host.shelf import Shelf
from session_buddy.store import open_store
from tests.engines import PostgresDatabase

YEAR = 365 * 86400


@pytest.fixture(params=["file", "postgresql"])
def shelf(request: pytest.FixtureRequest, paths: Paths) -> Iterator[Shelf]:
    """Where a secret stands, each kind."""
    if request.param == "file":
        yield OwnShelf(paths)
        return
    database = request.getfixturevalue("database")
    assert isinstance(database, PostgresDatabase)
    with closing(open_store(database.url)) as store:
        assert store.keys
        yield store.keys


def made(shelf: Shelf, *scopes: str, name: str = "laptop", ttl: float = YEAR) -> str:
    secret = shelf.read()["secret"]
    token = issue(secret, "ann", scopes or ["track", "read"], ttl)  # type: ignore[arg-type]
    shelf.change(lambda _: kept(secret, token, name))
    return token


def test_what_is_kept_of_a_token_is_not_the_token(shelf: Shelf) -> None:
    before = shelf.stamp()
    token = made(shelf)
    assert shelf.stamp() != before
    (one,) = Registry.of(shelf.read()).tokens
    assert (one.subject, one.scopes, one.name) == ("ann", ["track", "read"], "laptop")
    assert named_kid(token) == one.kid == kid_of(shelf.read()["secret"])
    assert token not in "".join(shelf.read().values())
    assert token.rpartition(".")[2] not in "".join(shelf.read().values())


def test_a_revoked_token_is_refused_and_says_so(shelf: Shelf) -> None:
    token, other = made(shelf), made(shelf)
    ring = Keyring([], [shelf])
    claims = read(shelf.read()["secret"], token)
    assert claims
    assert ring.judge(token).subject == "ann"
    shelf.change(lambda texts: revoked(texts, Registry.of(texts).named([claims.id])))
    ring.look()
    with pytest.raises(TokenRefused, match=f"^the token {claims.id[:8]} of ann was revoked at 2") as refused:
        ring.judge(token)
    assert token not in str(refused.value)
    assert refused.value.cause == "revoked"
    assert ring.judge(other).subject == "ann"


def test_tokens_of_an_earlier_secret_report_and_read_for_an_hour_more(shelf: Shelf) -> None:
    token, readers, admins = made(shelf), made(shelf, "read"), made(shelf, "admin")
    ring = Keyring([], [shelf])
    shelf.change(lambda texts: rotated(texts, new_secret(), at_once=False))
    ring.look()
    now = time.time()
    assert ring.judge(token).scopes == {"track", "read"}
    later = ring.judge(token, now + GRACE_SECONDS + 1)
    assert later.scopes == ring.judge(admins, now + GRACE_SECONDS + 1).scopes == {"track"}
    later.require("track_events")
    with pytest.raises(Forbidden, match="an earlier secret made it, and may only report"):
        later.require("list_sessions")
    assert ring.judge(readers, now + GRACE_SECONDS + 1).scopes == set()
    ring.look()
    with pytest.raises(TokenRefused, match="expired at"):
        ring.judge(token, now + YEAR + 1)
    # Twice, and at once: neither the first nor the second counts any more.
    shelf.change(lambda texts: rotated(texts, new_secret(), at_once=True))
    ring.look()
    for one in (token, readers, admins):
        with pytest.raises(TokenRefused, match="made by an earlier secret, whose tokens are refused") as gone:
            ring.judge(one)
        assert gone.value.cause == "replaced"
    assert {one.state([], now) for one in Registry.of(shelf.read()).tokens} == {"revoked"}
    assert ring.judge(made(shelf)).subject == "ann"


def test_whoever_is_killed_in_a_rotation_leaves_the_secret_as_it_was(paths: Paths) -> None:
    shelf = OwnShelf(paths)
    token, secret = made(shelf), own_secret(paths)
    with suppress(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        whole = Path.replace

        def killed(draft: Path, target: Path) -> Path:
            if target.name == "secret":
                raise KeyboardInterrupt
            return whole(draft, target)

        patch.setattr(Path, "replace", killed)
        shelf.change(lambda texts: rotated(texts, new_secret(), at_once=True))
    assert own_secret(paths) == secret
    ring = Keyring([], [shelf])
    with pytest.raises(TokenRefused, match="revoked"):
        ring.judge(token)
    assert ring.judge(issue(secret, "bob", ["read"], 60)).scopes == {"read"}
    assert sorted(file.name for file in (paths.config / "session-buddy").iterdir()) == [
        ".tokens.lock",
        "secret",
        "tokens.json",
    ]


def test_what_cannot_be_read_leaves_what_was_known(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keyrings, "_LOOK_SECONDS", 0.01)
    shelf = OwnShelf(paths)
    token, file = made(shelf), paths.config / "session-buddy" / "tokens.json"
    with closing(keyring_of(Settings(), paths, None)) as ring:
        whole = file.read_text()
        file.write_text("{")
        while "what was known counts" not in caplog.text:
            time.sleep(0.01)
        assert ring.judge(token).subject == "ann"
        file.write_text(whole)
        shelf.change(lambda texts: revoked(texts, Registry.of(texts).tokens))
        while "revoked=0" in repr(ring):
            time.sleep(0.01)
    assert caplog.text.count("what was known counts") == 1
    file.write_text("{")
    with pytest.raises(ConfigurationError, match=r"tokens.json is damaged"):
        keyring_of(Settings(), paths, None)
    file.write_text(whole)
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"tokens.json may be read by others: chmod 600"):
        shelf.read()


def test_a_token_is_found_by_a_beginning_of_its_id() -> None:
    secret = "s" * 40
    texts = {"secret": secret}
    for number in range(2):
        text = kept(secret, issue(secret, "ann", ["read"], 60), f"name{number}")
        (record,) = (json.loads(one) for one in text.values())
        texts[f"token:{number}"] = json.dumps(record | {"id": f"abcdef0{number}12345678"})
    tokens = Registry.of(texts).tokens
    assert find("ABCDEF01", tokens).id == "abcdef0112345678"
    with pytest.raises(AmbiguousToken, match="'abc' fits several tokens: abcdef0012345678, abcdef0112345678"):
        find("abc", tokens)
    for typed, nearest in (("abcdeg01", "abcdef01"), ("nam0", r"abcdef00 \(name0\)")):
        with pytest.raises(UnknownToken, match=f"no token '{typed}'; the nearest: .*{nearest}"):
            find(typed, tokens)
    with pytest.raises(ConfigurationError, match="damaged at 'token:0'"):
        Registry.of(texts | {"token:0": "{}"})
    with pytest.raises(ConfigurationError, match="it has no secret"):
        Registry.of({})
    # A later version may say more.
    later = json.dumps(json.loads(texts["token:0"]) | {"more": 1})
    assert Registry.of(texts | {"token:0": later}).tokens[0] == tokens[0]
    assert repr(Registry.of(texts)) == "<Registry earlier=0 tokens=2>"


# --- this user's own


def test_the_own_token_is_the_same_until_it_ends_soon(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    token = own_token()
    assert own_token() == token
    file = paths.config / "session-buddy" / "token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # Of another machine with the same home.
    with pytest.MonkeyPatch.context() as patch:
        for module in ("own", "tokens"):
            patch.setattr(f"session_buddy.access.{module}.local_subject", lambda: "local:1@elsewhere")
        assert own_token() == own_token() != token
    assert own_token() == token
    claims = read(own_secret(paths), token)
    assert claims
    assert claims.subject == local_subject()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + YEAR - 29 * 86400)
    renewed = own_token()
    assert renewed == own_token() != token
    assert len(file.read_text().split()) == 2


@pytest.mark.parametrize("at_once", [True, False])
def test_the_own_token_is_another_after_it_was_revoked_or_rotated(paths: Paths, *, at_once: bool) -> None:
    shelf, first = OwnShelf(paths), own_token()
    shelf.change(lambda texts: revoked(texts, Registry.of(texts).tokens))
    second = own_token()
    assert second != first
    shelf.change(lambda texts: rotated(texts, new_secret(), at_once=at_once))
    assert own_token() not in {first, second}
