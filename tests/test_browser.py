"""The pages in a real browser: whoever adds one adds a line to :data:`PAGES`."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, NamedTuple

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, Error, Page

from oneiric.compose import session_id_of
from oneiric.transport import Endpoint
from session_buddy.access.tokens import issue
from session_buddy.server.page import html
from tests.browser import NARROWEST, THEMES, Theme, chromium, findings, overhang, visit
from tests.demo import demo, tell
from tests.hostile import MARK, hostile
from tests.samples import seeded

pytestmark = pytest.mark.sampled
SECRET: Final = "tests-only-" + uuid.uuid4().hex
# Each is looked at on a sample history with hostile sessions in it, of which {session} is one.
PAGES: Final = ("/", "/timeline?at=1h+ago", "/patterns", "/sessions", "/sessions/{session}")
# What the hostile texts would be if one were taken for a part of the page.
_LISTEN: Final = """() => new Promise(done => {
    window.heard = [];
    const stream = new EventSource("/api/v1/stream");
    stream.addEventListener("changes", (event) => heard.push(...JSON.parse(event.data).changes));
    stream.addEventListener("hello", done);
})"""
HANDLERS: Final = (
    "[src=x], [onerror], [onload], [onmouseover], [onfocus], [autofocus], a[href^='javascript:']"
)


class Site(NamedTuple):
    """A server on the sample history, and who looks at it.

    Attributes:
        url: of the server.
        token: lets one read.
        browser: for all tests here.
        session: a hostile one.
        endpoint: of the server.
    """

    url: str
    token: str
    browser: Browser
    session: str
    endpoint: Endpoint

    def pages(self) -> list[str]:
        """Those of the table that this server has."""
        paths = [page.format(session=self.session) for page in PAGES]
        with httpx.Client(base_url=self.url, timeout=60) as client:
            return [path for path in paths if client.get(path).status_code != HTTPStatus.NOT_FOUND]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, storage: dict[str, str]) -> Iterator[Site]:
    home, now = tmp_path_factory.mktemp("home"), datetime.now(UTC)
    settings = {"SESSION_BUDDY_SECRET": SECRET} | storage
    with demo(home, now, seeded(1), 2, **settings) as begun, chromium(home) as browser:
        events = hostile(now)
        tell(begun.info.endpoint, events)
        token = issue(SECRET, "ann", ["read"], 600)
        yield Site(
            begun.info.url.removesuffix("/mcp"),
            token,
            browser,
            session_id_of(events[-1]),
            begun.info.endpoint,
        )


@contextmanager
def refused(site: Site) -> Iterator[Page]:
    """The page of a 401 as the server sends it, at an address of the server."""
    said = html.refusal(HTTPStatus.UNAUTHORIZED, "the token was revoked")
    with visit(site.browser, site.url) as page:
        page.route(
            "**/refused",
            lambda route: route.fulfill(body=said.body, status=said.status_code, headers=dict(said.headers)),
        )
        page.goto("/refused")
        yield page


def test_who_is_not_signed_in_is_told_so(site: Site) -> None:
    with refused(site) as page:
        assert page.title() == "You are not signed in · Session-Buddy"
        assert page.get_by_text("session-buddy dashboard").is_visible()
        assert looked_at(page) == []


def test_a_script_that_is_not_ours_does_not_run(site: Site) -> None:
    with pytest.raises(AssertionError, match="Content Security Policy"):
        attack(site)


def attack(site: Site) -> None:
    with refused(site) as page:
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {text: 'x = 1'}))"
        )
        page.evaluate("document.body.setAttribute('onclick', 'x = 1'); document.body.click()")
        assert page.evaluate("typeof x") == "undefined"


def test_other_servers_are_not_reached(site: Site) -> None:
    with (
        pytest.raises(AssertionError, match="another server was asked"),
        visit(site.browser, site.url) as page,
        pytest.raises(Error, match="ERR_PROXY_CONNECTION_FAILED"),
    ):
        page.goto("http://192.0.2.1/")


def test_a_hostile_text_in_the_stream_is_a_text(site: Site) -> None:
    with visit(site.browser, site.url, site.token) as page:
        page.goto("/")
        page.evaluate(_LISTEN)
        started = [one for one in hostile(datetime.now(UTC)) if one["event_type"] == "session_start"]
        tell(site.endpoint, started)
        page.wait_for_function("number => heard.length >= number", arg=len(started))
        heard = page.evaluate("heard.map(({ session }) => [session.session_id, session.reason])")
        assert {tuple(one) for one in heard} >= {(session_id_of(one), one["reason"]) for one in started}
        assert page.evaluate(f"typeof {MARK}") == "undefined"


def test_every_page_is_for_everybody_and_no_session_acts_in_it(
    site: Site, subtests: pytest.Subtests, size: Callable[[int, int], int]
) -> None:
    # What colours can change in the second theme is looked at in full runs.
    themes = THEMES[: size(1, 2)]
    for path in site.pages():
        with subtests.test(path), visit(site.browser, site.url, site.token) as page:
            answer = page.goto(path)
            assert answer is not None
            assert answer.status == HTTPStatus.OK
            assert page.get_by_role("heading", level=1).count() == 1
            assert page.evaluate(f"typeof {MARK}") == "undefined"
            assert page.locator(HANDLERS).count() == 0
            assert looked_at(page, themes) == []
            page.context.set_extra_http_headers({})
            page.reload()
            assert page.title() == "You are not signed in · Session-Buddy"


def test_the_query_line_goes_on_as_one_types(site: Site) -> None:
    with visit(site.browser, site.url, site.token) as page:
        page.goto("/sessions")
        line, offered = page.get_by_role("combobox", name="Query"), page.locator("#keys option")
        line.press_sequentially("user:eve status:c")
        page.locator("#keys option[value='user:eve status:crashed']").wait_for(state="attached")
        assert offered.count() == 1
        line.fill("-component:")
        page.locator("#keys option[value='-component:mahavishnu']").wait_for(state="attached")


def looked_at(page: Page, themes: Sequence[Theme] = THEMES) -> list[str]:
    """What is wrong with how a page looks: in both themes, and in the narrowest window."""
    wider = overhang(page)
    return findings(page, themes) + [f"it is {wider} pixels wider than a window of {NARROWEST}"] * bool(wider)
