"""What somebody does at the pages in Chromium, from the link to the sign-out, among 10,000 sessions."""

import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from oneiric.compose import session_id_of
from session_buddy.access.links import LIFE_SECONDS
from tests import forkserver
from tests.browser import chromium, visit
from tests.demo import Demo, demo, tell
from tests.samples import end_event, seeded, start_event
from tests.serverprocess import ServerProcess, port_of

pytestmark = pytest.mark.sampled
# So many have 10,000 sessions.
DAYS: Final = 60
_MOST_TABS: Final = 200


class Site:
    """A server on the sample history, and a browser.

    Attributes:
        url: of the server.
    """

    def __init__(self, begun: Demo, browser: Browser) -> None:
        self.url: Final = begun.info.url.removesuffix("/mcp")
        self.server = begun.server
        self._begun = begun
        self._browser = browser

    def link(self) -> str:
        """One that signs in."""
        command = [*forkserver.COMMAND, "dashboard", "--print-url"]
        return forkserver.run(command, env=self._begun.environ).stdout.strip()

    def started(self, name: str) -> dict[str, Any]:
        """The start of a session of somebody, which is told."""
        event = start_event(
            timestamp=datetime.now(UTC).isoformat(),
            user={"username": name, "home": f"/home/{name}"},
            reason="a visit",
        )
        tell(self._begun.info.endpoint, [event])
        return event

    def ended(self, start: dict[str, Any]) -> None:
        """Tell the end of that session."""
        end = end_event(session_id_of(start), timestamp=datetime.now(UTC).isoformat())
        tell(self._begun.info.endpoint, [end])

    def begin_again(self) -> None:
        """Start the server that was stopped, at its address."""
        port = str(port_of(self._begun.info))
        self.server = ServerProcess({**self._begun.environ, "SESSION_BUDDY_PORT": port})
        self.server.until_up()

    @contextmanager
    def visitor(self, **options: Any) -> Iterator[Page]:
        """Somebody who comes by a link, and is at the first page."""
        with visit(self._browser, self.url, **options) as page:
            page.goto(self.link())
            page.wait_for_url(f"{self.url}/")
            yield page

    def stranger(self) -> AbstractContextManager[Page]:
        """Somebody who comes without one."""
        return visit(self._browser, self.url)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, storage: dict[str, str]) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("home")
    with demo(home, datetime.now(UTC), seeded(1), DAYS, **storage) as begun, chromium(home) as browser:
        site = Site(begun, browser)
        yield site
        if site.server is not begun.server:
            site.server.stop()


def asked_of(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def status_of(page: Page, address: str) -> int:
    answer = page.goto(address)
    assert answer is not None
    return answer.status


def somebody() -> str:
    return f"visitor-{uuid.uuid4().hex[:8]}"


def test_a_visit_from_the_link_to_the_sign_out(site: Site) -> None:
    name = somebody()
    with site.visitor() as page:
        expect(page.locator("#live")).to_have_text("live")
        start = site.started(name)
        row = page.locator("table.now tr", has_text=name)
        expect(row).to_contain_text("a visit")
        # What is open is told apart from what has come to pass: the row goes, the sentence counts anew.
        other = site.started(somebody())
        expect(page.locator(f"#s-{session_id_of(other)}")).to_be_visible()
        site.ended(other)
        expect(page.locator(f"#s-{session_id_of(other)}")).to_have_count(0)

        search = page.get_by_label("Query")
        search.fill(f"user:{name} status:active")
        search.press("Enter")
        expect(page.locator(".chip")).to_have_count(2)
        expect(page.locator("table.sessions tbody tr")).to_have_count(1)
        page.get_by_label(f"without user:{name}").click()
        expect(page.locator(".chip")).to_have_count(1)
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.locator("h1")).to_have_text(re.compile(name))
        page.locator("#end summary").click()
        page.get_by_label("Why").fill("the visit is over")
        page.get_by_label("Only the history is changed").check()
        page.get_by_role("button", name="End it").click()
        expect(page.locator(".events .ended")).to_contain_text("by operator")
        expect(page.locator("main")).to_contain_text("the visit is over")
        assert page.url.endswith(session_id_of(start))

        page.locator("summary[aria-label^='Signed in as']").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.locator("h1")).to_have_text("You are signed out")
        page.go_back()
        expect(page.locator("h1")).to_have_text("You are not signed in")


def test_the_timeline_of_all_sessions_is_moved_by_mouse_and_by_keys(site: Site) -> None:
    with site.visitor() as page:
        page.goto("/timeline?span=60d")
        # Too many for bars: how many were in, which the database counts.
        expect(page.locator("#plot .much").first).to_be_attached()
        (number,) = re.findall(r"([\d,]+) sessions", page.locator(".said .sub").inner_text())
        assert int(number.replace(",", "")) >= 10_000
        page.get_by_role("link", name="24h", exact=True).click()
        expect(page.locator("h1")).to_have_text("The last 24 hours")
        heading, plot = page.locator("h1"), page.locator("#plot")
        box = plot.bounding_box()
        assert box
        left, top = box["x"], box["y"] + 20
        page.mouse.click(left + box["width"] / 4, top)
        expect(heading).to_contain_text("Who was in at")
        at = datetime.fromisoformat(asked_of(page)["at"][0])
        assert abs(at - (datetime.now(UTC) - timedelta(hours=18))) < timedelta(minutes=5)
        page.keyboard.press("Shift+ArrowLeft")
        page.wait_for_url(lambda url: parse_qs(urlsplit(url).query)["at"] != [f"{at:%Y-%m-%dT%H:%M:%SZ}"])
        assert datetime.fromisoformat(asked_of(page)["at"][0]) < at
        page.keyboard.press("Escape")
        expect(heading).to_have_text("The last 24 hours")
        page.mouse.move(left + 200, top)
        page.mouse.down()
        page.mouse.move(left + 500, top, steps=4)
        page.mouse.up()
        page.wait_for_url(re.compile("from="))
        expect(heading).not_to_have_text("The last 24 hours")
        page.keyboard.press("ArrowRight")
        page.wait_for_url(re.compile("span="))
        page.keyboard.press("-")
        expect(heading).to_have_text("The last 2d 00h")
        page.mouse.move(left + 900, top)
        page.keyboard.down("Control")
        page.mouse.wheel(0, -400)
        page.keyboard.up("Control")
        page.wait_for_url(re.compile("from="))
        page.go_back()
        expect(heading).to_have_text("The last 24 hours")


def test_a_link_is_good_once_and_for_a_minute(site: Site, size: Callable[[int, int], int]) -> None:
    used, expired = site.link(), site.link()
    asked = time.monotonic()
    with site.stranger() as page:
        page.goto(used)
        page.wait_for_url(f"{site.url}/")
        with site.stranger() as other:
            assert status_of(other, used) == HTTPStatus.GONE
            expect(other.locator("main")).to_contain_text("session-buddy dashboard")
            assert status_of(other, "/") == HTTPStatus.UNAUTHORIZED
        if size(0, 1):
            time.sleep(max(0, asked + LIFE_SECONDS - time.monotonic()))
            assert status_of(page, expired) == HTTPStatus.GONE


def test_a_page_that_is_open_lives_through_a_restart_of_the_server(site: Site) -> None:
    name = somebody()
    with site.visitor() as page:
        live = page.locator("#live")
        expect(live).to_have_text("live")
        site.server.stop()
        expect(live).to_have_text("offline")
        site.begin_again()
        start = site.started(name)
        expect(page.locator(f"#s-{session_id_of(start)}")).to_contain_text(name)
        expect(live).to_have_text("live")


def test_without_a_script_links_and_forms_do_the_same(site: Site) -> None:
    name = somebody()
    with site.visitor(java_script_enabled=False) as page:
        site.started(name)
        page.get_by_label("Query").fill(f"user:{name}")
        page.get_by_label("Query").press("Enter")
        page.get_by_role("link", name=name, exact=True).click()
        page.locator("#end summary").click()
        page.get_by_label("Only the history is changed").check()
        page.get_by_role("button", name="End it").click()
        expect(page.locator(".events .ended")).to_contain_text("by operator")
        page.get_by_role("link", name="On the timeline").click()
        page.get_by_role("link", name="wider").click()
        page.get_by_role("textbox", name="Who was in at").fill("3h ago")
        page.get_by_role("button", name="Ask").click()
        expect(page.locator("h1")).to_contain_text("Who was in at")
        assert "at" in asked_of(page)
        page.locator("summary[aria-label^='Signed in as']").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.locator("h1")).to_have_text("You are signed out")


def test_by_the_keyboard_alone(site: Site) -> None:
    name = somebody()
    with site.visitor() as page:
        site.started(name)
        reach(page, page.get_by_text("Skip to the content"), "Enter")
        assert page.evaluate("document.activeElement.id") == "content"
        page.keyboard.press("/")
        page.keyboard.type(f"user:{name}")
        page.keyboard.press("Enter")
        reach(page, page.get_by_role("link", name=name, exact=True), "Enter")
        reach(page, page.locator("#end summary"), "Enter")
        reach(page, page.get_by_label("Only the history is changed"), "Space")
        reach(page, page.get_by_role("button", name="End it"), "Enter")
        expect(page.locator(".events .ended")).to_contain_text("by operator")
        reach(page, page.get_by_role("link", name="Timeline", exact=True), "Enter")
        expect(page.locator("h1")).to_have_text("The last 24 hours")
        page.wait_for_load_state()
        wider = "The last 2d 00h"
        for key, said in {"-": wider, "Shift+ArrowLeft": "Who was in at", "Escape": wider}.items():
            page.keyboard.press(key)
            expect(page.locator("h1")).to_contain_text(said)
        reach(page, page.locator("summary[aria-label^='Signed in as']"), "Enter")
        page.keyboard.press("Escape")
        assert page.get_by_role("button", name="Sign out").is_hidden()
        page.keyboard.press("Enter")
        reach(page, page.get_by_role("button", name="Sign out"), "Enter")
        expect(page.locator("h1")).to_have_text("You are signed out")


def reach(page: Page, wanted: Locator, key: str) -> None:
    """Press Tab until that has the focus, which can be seen, and then a key."""
    wanted.wait_for()
    for _ in range(_MOST_TABS):
        page.keyboard.press("Tab")
        if wanted.evaluate("one => one === document.activeElement"):
            assert wanted.evaluate("one => getComputedStyle(one).outlineStyle") != "none"
            page.keyboard.press(key)
            return
    raise AssertionError(f"Tab does not lead to {wanted}")
