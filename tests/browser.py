"""Chromium for tests of pages: one browser, whose pages reach the loopback alone and complain aloud.

As long as a browser is open, no other event loop runs in its thread. So it is a fixture of a module, and one
module has all tests that need one: it takes a second of a core to start.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no types
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

Theme = Literal["light", "dark"]
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")
WIDE: Final = 1360
NARROW: Final = 390
# The narrowest that a reader who enlarges four times still has (WCAG 1.4.10).
NARROWEST: Final = 320
_HEIGHT: Final = 900
_OURS: Final = "127.0.0.1"
# Nobody listens there.
_NOWHERE: Final = "http://127.0.0.1:9"
_SECONDS: Final = 30
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium(home: Path) -> Iterator[Browser]:
    """The browser, at home in ``home``; what is not the loopback it is sent to a proxy that is not there."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    assert program is not None, "chromium is missing: ./dev test installs it where it may"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            # In a sandbox root gets none. What is written to /dev/shm is more than a container has.
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
            proxy={"server": _NOWHERE, "bypass": _OURS},
            env={"HOME": str(home), "LANG": "C.UTF-8"},
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(browser: Browser, base_url: str, token: str | None = None, **options: Any) -> Iterator[Page]:
    """A page of a context of its own, for somebody with this token; ``options`` are those of a context.

    Raises:
        AssertionError: at its end: something was an error, broke the policy, or asked another server.
    """
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    given = {
        "base_url": base_url,
        "extra_http_headers": headers,
        "viewport": {"width": WIDE, "height": _HEIGHT},
        "reduced_motion": "reduce",
        "locale": "en-GB",
        "timezone_id": "UTC",
    }
    context = browser.new_context(**(given | options))
    try:
        context.set_default_timeout(_SECONDS * 1000)
        page, complaints = context.new_page(), _complaints(context)
        yield page
        assert not complaints, complaints
    finally:
        context.close()


def _complaints(context: BrowserContext) -> list[str]:
    """What goes wrong from now on. What a page answers with (401, 404) is a matter of its test."""
    found: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        # A broken policy is one of them.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            found.append(f"{message.type}: {message.text}")

    def look(request: Request) -> None:
        if urlsplit(request.url).hostname not in (_OURS, None):
            found.append(f"another server was asked: {request.url}")

    context.on("console", hear)
    context.on("request", look)
    context.on("weberror", lambda error: found.append(f"exception: {error.error}"))
    return found


def findings(page: Page, themes: Sequence[Theme] = THEMES) -> list[str]:
    """What axe finds wrong with a page, a line each: in which theme, the rule, its help, where."""
    # Of the second theme only what colours can change; and only what is wrong is described, or it takes three
    # times as long.
    asked: dict[str, Any] = {"resultTypes": ["violations"]}
    found: list[str] = []
    for theme in themes:
        page.emulate_media(color_scheme=theme)
        for one in Axe().run(page, options=asked).response["violations"]:
            where = ", ".join(str(node["target"]) for node in one["nodes"])
            found.append(f"{theme}: {one['id']}: {one['help']}: {where}")
        asked["runOnly"] = ["color-contrast"]
    return found


def overhang(page: Page, width: int = NARROWEST) -> int:
    """By how many pixels a page is wider than a window so wide."""
    page.set_viewport_size({"width": width, "height": _HEIGHT})
    wider: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wider
