"""The pictures of the pages, docs/images/: on the sample history as it is at a time that is always the same.

The server's clock shows that time (libfaketime), and so does the browser's.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import Page

from tests.browser import NARROW, WIDE, chromium, visit
from tests.demo import demo
from tests.demo_history import DAYS, INCIDENT
from tests.samples import seeded
from tests.world import PROGRAMS

END: Final = datetime(2026, 11, 27, 15, 40, tzinfo=UTC)
# By the picture's name; {session} is the one that repaired what the incident broke.
PAGES: Final = {
    "now": "/",
    "timeline": "/timeline",
    "patterns": "/patterns",
    "sessions": "/sessions",
    "session": "/sessions/{session}",
}
MOST_BYTES: Final = 150_000
_HEIGHT: Final = 820


class Way(NamedTuple):
    """In which way a page is shown."""

    name: str
    width: int
    media: dict[str, Any]


_WAYS: Final = (
    Way("light", WIDE, {"color_scheme": "light"}),
    Way("dark", WIDE, {"color_scheme": "dark"}),
    Way("narrow", NARROW, {"color_scheme": "light"}),
    Way("print", 794, {"color_scheme": "light", "media": "print"}),  # A4 at 96 dots an inch
)


@contextmanager
def site(home: Path) -> Iterator[tuple[str, str, str]]:
    """The sample history's server at :data:`END`; its address, a token, and the session of the pictures."""
    clock = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if clock is None:
        sys.exit("libfaketime is missing, so each picture would show another time: apt-get install faketime")
    settings = {
        "LD_PRELOAD": str(clock),
        "FAKETIME": f"{END:%Y-%m-%d %H:%M:%S}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "TZ": "UTC",
    }
    with demo(home, END, seeded(1), DAYS, **settings) as begun:

        def said(*words: str) -> str:
            program = (str(PROGRAMS / "session-buddy"), *words)
            return subprocess.check_output(program, env=begun.environ, text=True).strip()

        token = said("token", "create", "--subject", "pictures", "--scope", "read")
        query = f'reason:"{INCIDENT}" duration:>4h'
        [repair] = json.loads(said("list-sessions", query, "--format", "json"))
        yield begun.info.url.removesuffix("/mcp"), token, repair["session_id"]


def take(page: Page, name: str, folder: Path) -> None:
    """Pictures of the page that is shown, in all ways."""
    for way in _WAYS:
        page.set_viewport_size({"width": way.width, "height": _HEIGHT})
        page.emulate_media(**{"media": "screen", **way.media})
        file = folder / f"{name}-{way.name}.png"
        page.screenshot(path=file, animations="disabled")
        size = file.stat().st_size
        print(f"{file} {size / 1000:.0f} kB" + " TOO LARGE" * (size > MOST_BYTES))


def main(folder: Path) -> None:
    """Take all pictures of the pages that there are."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory() as home,
        site(Path(home)) as (url, token, session),
        chromium(Path(home)) as browser,
    ):
        for name, path in PAGES.items():
            with visit(browser, url, token) as page:
                page.clock.set_fixed_time(END)
                answer = page.goto(path.format(session=session))
                if answer is None or answer.status == HTTPStatus.NOT_FOUND:
                    print(f"{path}: there is no such page")
                    continue
                # The stream is open, which the header then says.
                page.locator("#live:not([hidden])").wait_for()
                take(page, name, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
