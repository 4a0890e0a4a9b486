"""The timeline in a real browser, beside a page of plotly's with the same bars."""

import importlib
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

from playwright.sync_api import Browser, Response, sync_playwright

from benchmarks.measure import Effort, Row
from benchmarks.population import populate
from oneiric.compose import session_id_of
from oneiric.transport import Endpoint, call_tool
from session_buddy.history.bars import Bar
from session_buddy.history.query import Query
from session_buddy.history.timeline import Window
from session_buddy.store import open_store
from tests.samples import end_event, start_event
from tests.world import World

SIZES = (10, 1000, 10_000)
# Of the largest; the bars that are drawn of fewer cost a line of HTML each.
MOST_KILOBYTES, MOST_SECONDS = 100, 1.0
SPAN = timedelta(days=7)
VISITS = 30
# Once what a browser draws first is on the screen.
_SHOWN = """() => new Promise(done =>
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"""


class Taken(NamedTuple):
    """What a page took: bytes of all answers, how many there were, seconds until it was drawn."""

    size: int
    requests: int
    seconds: float


def rows(world: World, effort: Effort) -> Iterator[Row]:
    """Each size in turn, ours and theirs."""
    chromium = shutil.which("chromium")
    if chromium is None:
        yield Row("timeline in a browser", "there is no chromium here: apt-get install chromium")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for size in SIZES:
            yield from of_size(world, browser, size, effort)
        yield from live(world, browser)


def of_size(world: World, browser: Browser, size: int, effort: Effort) -> Iterator[Row]:
    """The rows of one size."""
    populate(world.database, size)
    bars = drawn(world)
    world.start_server()
    token = world.run("session-buddy", "token", "show").stdout.strip()
    address = f"http://127.0.0.1:{world.port}/timeline?span={SPAN.days}d"
    headers = {"Authorization": f"Bearer {token}"}
    ours = taken(browser, address, "#plot .sheet", headers, effort.rounds)
    world.stop_server()
    world.database.unlink()
    yield from told(f"timeline of {size:,} sessions", ours, judged=size == max(SIZES))
    page = plotly_page(bars, world.home / "plotly.html")
    if page is None:
        yield Row(f"the same {size:,} by plotly", "plotly is not installed: it is in the group `bench`")
    else:
        theirs = taken(browser, page.as_uri(), ".barlayer path", {}, effort.rounds)
        yield from told(f"the same {size:,} by plotly", theirs, judged=False)


def live(world: World, browser: Browser) -> Iterator[Row]:
    """How long after they happen starts and ends are seen in an open page, while others come and leave."""
    populate(world.database, max(SIZES))
    world.start_server()
    endpoint = world.endpoint
    token = world.run("session-buddy", "token", "show").stdout.strip()
    over, seen = Event(), list[float]()
    others = Thread(target=come_and_leave, args=(endpoint, over))
    others.start()
    with closing(browser.new_context(extra_http_headers={"Authorization": f"Bearer {token}"})) as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{world.port}/")
        page.locator("#live:not([hidden])").wait_for()
        for _ in range(VISITS):
            start = start_event(timestamp=datetime.now(UTC).isoformat())
            row = page.locator(f"#s-{session_id_of(start)}")
            for there in (True, False):
                happened = end_event(session_id_of(start), timestamp=datetime.now(UTC).isoformat())
                begun = time.monotonic()
                call_tool(endpoint, "track_events", {"events": [start if there else happened]}, 60)
                row.wait_for(state="attached" if there else "detached")
                seen.append(time.monotonic() - begun)
    over.set()
    others.join()
    world.stop_server()
    middle, most = statistics.median(seen), max(seen)
    shown = f"{middle * 1000:.0f} ms, at most {most * 1000:.0f} ms of {len(seen)}"
    yield Row(
        "a start or an end is seen in an open page", shown, f"≤ {MOST_SECONDS:g} s", most <= MOST_SECONDS
    )


def come_and_leave(endpoint: Endpoint, over: Event) -> None:
    """Somebody starts a session every fifth of a second, and ends it."""
    while not over.wait(0.2):
        start = start_event(timestamp=datetime.now(UTC).isoformat())
        end = end_event(session_id_of(start), timestamp=datetime.now(UTC).isoformat())
        call_tool(endpoint, "track_events", {"events": [start, end]}, 60)


def told(what: str, found: Taken, *, judged: bool) -> Iterator[Row]:
    """One page."""
    kilobytes = found.size / 1000
    figure = f"{kilobytes:,.0f} KB in {found.requests} requests"
    if judged:
        yield Row(what, figure, f"≤ {MOST_KILOBYTES} KB", kilobytes <= MOST_KILOBYTES)
    else:
        yield Row(what, figure)
    shown = f"{found.seconds * 1000:.0f} ms"
    if judged:
        yield Row(f"{what}: drawn", shown, f"≤ {MOST_SECONDS:g} s", found.seconds <= MOST_SECONDS)
    else:
        yield Row(f"{what}: drawn", shown)


def taken(browser: Browser, address: str, there: str, headers: dict[str, str], rounds: int) -> Taken:
    """What a page takes, by the median; each time in a browser that has seen nothing."""
    return _median([_once(browser, address, there, headers) for _ in range(rounds + 1)][1:])


def _once(browser: Browser, address: str, there: str, headers: dict[str, str]) -> Taken:
    context = browser.new_context(viewport={"width": 1360, "height": 900}, extra_http_headers=headers)
    with closing(context):
        page, answers = context.new_page(), list[Response]()
        page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 - it marks what it is given
        page.goto(address)
        page.locator(there).first.wait_for(state="attached")
        seconds = page.evaluate(_SHOWN) / 1000
        # A stream has no end. Sizes are those on the way, compressed; a file is as long as it is.
        whole = [
            one for one in answers if one.ok and "event-stream" not in one.headers.get("content-type", "")
        ]
        size = sum(one.request.sizes()["responseBodySize"] or len(one.body()) for one in whole)
        return Taken(size, len(answers), seconds)


def _median(found: list[Taken]) -> Taken:
    return Taken(found[-1].size, found[-1].requests, statistics.median(one.seconds for one in found))


def drawn(world: World) -> list[Bar]:
    """The bars that the timeline has, or counts."""
    now = datetime.now(UTC)
    with closing(open_store(f"duckdb:///{world.database}")) as store:
        return store.bars(Window(now - SPAN, now).of(Query(limit=max(SIZES))))


def plotly_page(bars: list[Bar], path: Path) -> Path | None:
    """The same bars as a page of plotly's, script included; ``None``: it is not installed."""
    try:
        figures: Any = importlib.import_module("plotly.graph_objects")
    except ImportError:
        return None
    now = datetime.now(UTC)
    length: Callable[[Bar], float] = lambda bar: ((bar.end or now) - bar.begin).total_seconds() * 1000  # noqa: E731
    traces = []
    for status in ("active", "ended"):
        some = [bar for bar in bars if bar.status == status]
        traces.append(
            figures.Bar(
                orientation="h",
                base=[bar.begin for bar in some],
                x=[length(bar) for bar in some],
                y=[bar.person for bar in some],
                name=status,
                text=[f"{bar.person} · {bar.component} on {bar.host}" for bar in some],
            )
        )
    figure = figures.Figure(traces)
    figure.update_layout(xaxis_type="date", barmode="overlay", height=900)
    figure.write_html(path, include_plotlyjs=True)
    return path
