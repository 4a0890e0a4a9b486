"""Browsers that are signed in, and the links that do it: what each is good for, where, and for how long."""

import time

import pytest

from oneiric.paths import Paths
from session_buddy.access import browsers as module
from session_buddy.access.browsers import FRESH_SECONDS, LIFE_SECONDS, Browsers
from session_buddy.access.callers import Caller, Scope, local_caller
from session_buddy.access.keyring import GRACE_SECONDS, Keyring
from session_buddy.access.links import LIFE_SECONDS as LINK_SECONDS
from session_buddy.access.links import MOST, Links
from session_buddy.access.registry import Registry, revoked, rotated
from session_buddy.access.secret import OwnShelf, new_secret
from session_buddy.access.tokens import issue
from session_buddy.errors import ConfigurationError, Forbidden, TokenRefused, TooManySignIns, UnknownToken
from session_buddy.host.shelf import Shelf
from session_buddy.server.page.user_agent import name_of
from session_buddy.store import open_store
from tests.engines import PostgresDatabase

HERE, ELSEWHERE = "0b5b2c1e-aaaa", "1c6c3d2f-bbbb"
NOW = time.time()


def caller(*scopes: Scope, until: int | None = None) -> Caller:
    return Caller("ann", frozenset(scopes), until=until)


@pytest.fixture
def shelf(paths: Paths) -> Shelf:
    return OwnShelf(paths)


@pytest.fixture
def browsers(shelf: Shelf) -> Browsers:
    return Browsers(Keyring([], [shelf]), HERE)


def test_a_cookie_reads_for_twelve_hours_and_ends_sessions_for_ten_minutes(browsers: Browsers) -> None:
    cookie, seconds = browsers.sign_in(caller("track", "read"), "Firefox on Linux", NOW)
    assert (browsers.cookie, seconds) == ("session_buddy_0b5b2c1e", 12 * 3600)
    fresh = browsers.caller(cookie, NOW + FRESH_SECONDS - 1)
    assert fresh
    assert (fresh.subject, set(fresh.scopes)) == ("ann", {"track", "read"})
    stale = browsers.caller(cookie, NOW + FRESH_SECONDS + 1)
    assert stale
    assert stale.scopes == {"read"}
    with pytest.raises(Forbidden, match="`session-buddy dashboard` gives 10 more"):
        stale.require("ending", ("track", "read"))
    assert browsers.caller(cookie, NOW + LIFE_SECONDS + 1) is None


def test_a_cookie_allows_no_more_than_who_asked_may_and_for_no_longer(browsers: Browsers) -> None:
    for asks, scopes in (
        (caller("read"), {"read"}),
        (caller("admin"), {"track", "read"}),
        (local_caller(), {"track", "read"}),
    ):
        cookie, _ = browsers.sign_in(asks, "Firefox", NOW)
        signed_in = browsers.caller(cookie, NOW)
        assert signed_in
        assert (signed_in.subject, set(signed_in.scopes)) == (asks.subject, scopes)
    reader, _ = browsers.sign_in(caller("read"), "Firefox", NOW)
    later = browsers.caller(reader, NOW + FRESH_SECONDS + 1)
    # There is nothing that another link would give.
    assert later
    assert not later.limited
    short, seconds = browsers.sign_in(caller("read", until=int(NOW) + 90), "Firefox", NOW)
    assert seconds == 90
    assert browsers.caller(short, NOW + 91) is None


def test_a_cookie_is_no_token_a_token_no_cookie_and_neither_another_history_s(shelf: Shelf) -> None:
    ring = Keyring([], [shelf])
    here, elsewhere = Browsers(ring, HERE), Browsers(ring, ELSEWHERE)
    cookie, _ = here.sign_in(caller("track", "read"), "Firefox", NOW)
    with pytest.raises(TokenRefused, match="made for one browser and one history"):
        ring.judge(cookie)
    assert here.caller(issue(shelf.read()["secret"], "ann", ["read"], 600)) is None
    assert elsewhere.caller(cookie) is None
    assert here.caller(cookie[:-2]) is here.caller("") is here.caller("ü.x.y") is None
    assert elsewhere.cookie != here.cookie


@pytest.mark.parametrize("kind", ["file", "postgresql"])
def test_servers_of_one_history_know_each_others_browsers(
    kind: str, paths: Paths, request: pytest.FixtureRequest
) -> None:
    shelf: Shelf = OwnShelf(paths)
    if kind == "postgresql":
        database = request.getfixturevalue("database")
        assert isinstance(database, PostgresDatabase)
        store = open_store(database.url)
        request.addfinalizer(store.close)
        assert store.keys
        shelf = store.keys
    first, second = (Browsers(Keyring([], [shelf]), HERE) for _ in range(2))
    cookie, _ = first.sign_in(caller("read"), "Firefox on Linux", NOW - 3600)
    known = second.caller(cookie)
    assert known
    assert known.browser
    second._keyring.look()
    (one,) = second.of("ann", NOW)
    assert (one.id, one.name, one.seen is not None) == (known.browser, "Firefox on Linux", True)
    with pytest.raises(UnknownToken):
        second.sign_out(known.browser, "bob", NOW)
    second.sign_out(known.browser, "ann", NOW)
    assert (second.caller(cookie), second.of("ann", NOW)) == (None, [])
    first._keyring.look()
    assert first.caller(cookie) is None
    # What has expired leaves the list with the next, so it does not grow for good.
    first.sign_in(caller("read"), "Chrome", NOW + LIFE_SECONDS)
    assert [one.name for one in Registry.of(shelf.read()).tokens] == ["browser: Chrome"]


def test_a_cookie_of_an_earlier_secret_is_good_for_one_more_hour(shelf: Shelf, browsers: Browsers) -> None:
    cookie, _ = browsers.sign_in(caller("track", "read"), "Firefox", NOW)
    shelf.change(lambda texts: rotated(texts, new_secret(), at_once=False))
    browsers._keyring.look()
    assert browsers.caller(cookie, NOW)
    assert browsers.caller(cookie, time.time() + GRACE_SECONDS) is None
    shelf.change(lambda texts: rotated(texts, new_secret(), at_once=True))
    browsers._keyring.look()
    assert browsers.caller(cookie, NOW) is None


def test_token_revoke_signs_out(shelf: Shelf, browsers: Browsers) -> None:
    cookie, _ = browsers.sign_in(caller("read"), "Firefox", NOW)
    shelf.change(lambda texts: revoked(texts, Registry.of(texts).tokens))
    browsers._keyring.look()
    assert browsers.caller(cookie) is None


def test_too_many_sign_ins_are_refused_and_other_subjects_are_not(
    browsers: Browsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    for _ in range(2):
        browsers.sign_in(caller("read"), "Firefox", NOW)
    with pytest.raises(TooManySignIns, match="2 browsers were signed in as ann within 12 hours"):
        browsers.sign_in(caller("read"), "Firefox", NOW)
    assert browsers.sign_in(Caller("bob", frozenset({"read"})), "Firefox", NOW)
    assert browsers.sign_in(caller("read"), "Firefox", NOW + LIFE_SECONDS)


def test_where_nothing_can_be_listed_nobody_is_signed_in() -> None:
    with pytest.raises(ConfigurationError, match="tokens cannot be listed"):
        Browsers(Keyring(["s" * 40]), HERE).sign_in(caller("read"), "Firefox", NOW)


def test_a_link_is_good_once_within_a_minute_and_cannot_be_guessed() -> None:
    links = Links("http://127.0.0.1:8678")

    def give(subject: str = "ann", now: float = NOW) -> str:
        return links.give(subject, lambda: caller("read"), now, over_tls=False)

    first, second = give(), give()
    assert first != second
    assert min(len(first), len(second)) >= 43
    found = links.take(first, NOW + LINK_SECONDS - 1)
    assert found
    assert found.subject == "ann"
    assert links.take(first, NOW + 1) is None
    assert links.take(second, NOW + LINK_SECONDS) is None
    assert links.take(second[:-1], NOW) is links.take("", NOW) is None
    # Nobody can have a server keep any number of them, or push out another's.
    other, mine = give("bob"), [give() for _ in range(MOST + 3)]
    assert [bool(links.take(one, NOW)) for one in (other, *mine)] == [True, *[False] * 3, *[True] * MOST]
    give()
    give(now=NOW + LINK_SECONDS)
    assert repr(links) == "<Links given=1>"


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605 Version/26.0 Safari/605.1.15",
            "Safari on macOS",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537 Chrome/140.0.0.0 Mobile Safari/537",
            "Chrome on Android",
        ),
        ("<script>", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_browser_is_called_by_what_it_says_of_itself(said: str, name: str) -> None:
    assert name_of(said) == name
