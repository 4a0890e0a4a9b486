"""Timeline and Patterns: what they say is so, whatever is in the history."""

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx2 as httpx
import pytest

from session_buddy.access.tokens import issue
from session_buddy.server.page.draw.week import HOURS
from session_buddy.store import open_store
from tests import forkserver
from tests.samples import arrival, end_event, session_id_of, start_event
from tests.serverprocess import ServerProcess, environ_in

SECRET = "tests-only-" + uuid.uuid4().hex
HOSTILE: Final = "<script>alert(1)</script>\"' onload=x \u202e"
NOW: Final = datetime.now(UTC).replace(microsecond=0)
# Of the timeline: who, begun and ended so many minutes ago, how.
LATELY: Final[list[tuple[str, float, float | None, dict[str, Any]]]] = [
    ("ada", 300, None, {}),
    ("ada", 200, 100, {"exit_reason": "exit"}),
    ("bob", 250, 170, {"exit_reason": "exception", "status": "crashed", "exit_code": 1}),
    ("cleo", 240, 235, {"exit_reason": "lease_expired", "status": "crashed", "detected_by": "lease"}),
    (HOSTILE[:90], 90, 30, {"exit_reason": "exit"}),
]
# Of long ago, so many that each cannot be drawn: one an hour of a day.
CROWD: Final = 2100
LONG_AGO: Final = NOW - timedelta(days=200)


def events() -> Iterator[tuple[dict[str, Any], datetime]]:
    """Each with when it comes in."""
    for who, begun, ended, how in LATELY:
        at = NOW - timedelta(minutes=begun)
        raw = start_event(
            timestamp=at.isoformat(),
            user={"username": who, "home": ""},
            reason=HOSTILE if who != "ada" else None,
            hostname=HOSTILE if who == "bob" else "web1",
        )
        yield raw, at
        if ended is not None:
            last = NOW - timedelta(minutes=ended)
            yield end_event(session_id_of(raw)) | how | {"timestamp": last.isoformat()}, last
    for number in range(CROWD):
        at = LONG_AGO + timedelta(seconds=40 * number)
        raw = start_event(timestamp=at.isoformat(), user={"username": f"many{number % 3}", "home": ""})
        yield raw, at
        last = at + timedelta(minutes=30)
        yield end_event(session_id_of(raw)) | {"timestamp": last.isoformat()}, last


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("home")
    environ = environ_in(home, SESSION_BUDDY_SECRET=SECRET)
    path = home / "data" / "session-buddy" / "sessions.duckdb"
    path.parent.mkdir(parents=True)
    with closing(open_store(f"duckdb:///{path}")) as store:
        store.ingest([arrival(raw, at=at) for raw, at in events()])
    return environ


@pytest.fixture(scope="module")
def client(environ: dict[str, str]) -> Iterator[httpx.Client]:
    with ServerProcess(environ) as server:
        base = server.until_up().url.removesuffix("/mcp")
        headers = {"Authorization": f"Bearer {issue(SECRET, 'ann', ['read'], 600)}"}
        with httpx.Client(base_url=base, headers=headers, timeout=60) as client:
            yield client


def shown(client: httpx.Client, path: str, status: int = 200, **parameters: str) -> str:
    """One that is answered so; ``since`` is the parameter ``from``."""
    given = {"from" if name == "since" else name: value for name, value in parameters.items()}
    answer = client.get(path, params=given or None)
    assert answer.status_code == status, answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    require_harmless(answer.text)
    return answer.text


def require_harmless(text: str) -> None:
    """Nothing that the policy forbids, and nothing that somebody put in."""
    assert not re.search(r"\sstyle=|\son\w+=[\"']|<style|javascript:", text)
    assert all('src="/assets/' in tag for tag in re.findall(r"<script[^>]*>", text))


def told(text: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", text)))


def link(text: str, name: str) -> str:
    found = re.search(rf'<a href="([^"]+)"[^>]*>{re.escape(name)}</a>', text)
    assert found, name
    return unescape(found[1])


def bars(text: str) -> list[str]:
    return re.findall(r'<a href="/sessions/[^"]+"[^>]*><title>', text)


def test_each_session_is_a_bar_in_its_lane_and_leads_to_its_page(client: httpx.Client) -> None:
    text = shown(client, "/timeline")
    assert len(bars(text)) == len(LATELY)
    assert "5 sessions of 4 people" in told(text)
    assert re.findall(r'class="bar (\w+)', text.partition("legend")[0]).count("crashed") == 1
    assert text.count('class="cut"') - text.partition("legend")[2].count('class="cut"') == 1
    assert "ada: 2 sessions" in text
    assert "crashed: exception" in text
    assert "lost: not heard from" in text
    assert "\u202e" not in text
    assert "\\u202e" in text


@pytest.mark.parametrize(("by", "lanes"), [("host", 2), ("component", 1)])
def test_lanes_are_people_hosts_or_components(client: httpx.Client, by: str, lanes: int) -> None:
    text = shown(client, "/timeline", by=by)
    assert len(re.findall('class="back"', text)) == lanes
    narrowed = re.findall(r'<svg class="heads".*?</svg>', text, re.DOTALL)[0]
    assert f"{by}:" in unescape(narrowed)


def test_a_lane_leads_to_what_is_in_it(client: httpx.Client) -> None:
    heads = re.findall(r'<a href="([^"]+)"><title>', shown(client, "/timeline").partition('id="plot"')[0])
    found = [len(bars(shown(client, unescape(href)))) for href in heads]
    assert sorted(found) == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("minutes", "people"), [(180, {"ada", "bob"}), (237, {"ada", "bob", "cleo"}), (500, set())]
)
def test_who_was_in_at_a_moment_is_told_in_words_and_listed(
    client: httpx.Client, minutes: float, people: set[str]
) -> None:
    at = NOW - timedelta(minutes=minutes)
    text = shown(client, "/timeline", at=at.isoformat())
    assert f"Who was in at {at:%H:%M:%S}" in told(text)
    listed = re.findall(r'<td class="who"><a href="[^"]+">([^<]+)</a>', text)
    assert set(listed) == people
    said = "Nobody was in at that moment" if not people else f"{len(people)} people in {len(listed)} sessions"
    assert said in told(text)
    assert 'class="cursor"' in text


def test_every_way_to_move_is_an_address(client: httpx.Client) -> None:
    first = shown(client, "/timeline", q="user:ada", tz="Europe/Berlin")
    for name in ("earlier", "closer", "wider"):
        href = link(first, name)
        kept = parse_qs(urlsplit(href).query)
        assert (kept["q"], kept["tz"]) == (["user:ada"], ["Europe/Berlin"])
        shown(client, href)
    earlier = shown(client, link(first, "earlier"))
    again = link(earlier, "later")
    assert "span" in parse_qs(urlsplit(again).query)
    assert len(bars(shown(client, again))) == 2
    assert 'aria-disabled="true">later' in first


def test_a_window_that_ends_now_goes_on_and_another_does_not(client: httpx.Client) -> None:
    moments = [(NOW - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ") for hours in (5, 3)]
    text = shown(client, "/timeline", since=moments[0], to=moments[1])
    numbers = re.search(r'data-begin="(\d+)" data-end="(\d+)"', text)
    assert numbers
    assert [datetime.fromtimestamp(int(one) / 1000, UTC) for one in numbers.groups()] == [
        datetime.fromisoformat(one) for one in moments
    ]
    assert len(bars(text)) == 4


def test_more_than_bars_can_show_are_counted_by_the_database(client: httpx.Client) -> None:
    begin, end = (f"{LONG_AGO + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}" for hours in (-1, 25))
    text = shown(client, "/timeline", since=begin, to=end)
    assert (len(bars(text)), text.count('<path class="much"') - 1) == (0, 3)
    assert f"{CROWD:,} sessions of 3 people" in told(text)
    assert f"many0: {CROWD // 3:,} sessions, at most " in unescape(text)
    assert link(text, f"and {CROWD - 12:,} more").startswith("/sessions?q=at:")


@pytest.mark.parametrize(
    ("path", "parameters", "said"),
    [
        ("/timeline", {"by": "hots"}, "one of host, "),
        ("/timeline", {"span": "2x"}, "span: '2x' is not valid"),
        ("/timeline", {"span": "1s"}, "from 10s to 3660d"),
        ("/timeline", {"from": "tomorrow"}, "from: 'tomorrow' is not valid"),
        ("/timeline", {"from": "2h ago", "to": "3h ago"}, "before `to`"),
        ("/timeline", {"at": "2999-01-01"}, "not ahead"),
        ("/timeline", {"at": HOSTILE}, "is not valid"),
        ("/timeline", {"q": "usr:ada"}, "the nearest is user"),
        ("/timeline", {"tz": "Nowhere"}, "a name such as Europe/Berlin"),
        ("/timeline", {"lanes": "0"}, "lanes"),
        ("/timeline", {"nothing": "x"}, "nothing"),
        ("/patterns", {"period": "x"}, "period: 'x' is not valid"),
        ("/patterns", {"period": "1m"}, "from 1h to 3660d"),
        ("/patterns", {"q": '"'}, "closes it"),
    ],
)
def test_what_is_mistyped_is_a_page_that_says_what_is_allowed(
    client: httpx.Client, path: str, parameters: dict[str, str], said: str
) -> None:
    assert said in told(shown(client, path, 400, **parameters))


@pytest.mark.parametrize("path", ["/timeline", "/patterns"])
def test_where_there_is_nothing_the_page_says_so_and_leads_on(client: httpx.Client, path: str) -> None:
    text = shown(client, path, q="user:nobody").partition("<main")[2]
    assert "<svg" not in text
    assert "fits the query" in told(text)
    assert f'href="{path}"' in text


# --- Patterns


def analytics(environ: dict[str, str], *options: str) -> dict[str, Any]:
    """What the command says of the same history."""
    command = [*forkserver.COMMAND, "analytics", "--period", "30d", "--utc", "--format", "json", *options]
    done = forkserver.run(command, env=environ)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def shares(text: str, title: str) -> dict[str, int]:
    section = text.partition(f"<h2>{title}</h2>")[2].partition("</section>")[0]
    rows = re.findall(r'title="([^"]+)">.*?<td class="number">([\d,]+)', section, re.DOTALL)
    return {unescape(name): int(number.replace(",", "")) for name, number in rows}


def test_the_numbers_are_those_of_analytics(client: httpx.Client, environ: dict[str, str]) -> None:
    text = shown(client, "/patterns")
    endings = analytics(environ, "--metric", "endings")["rows"]
    assert sorted(shares(text, "How they ended").values()) == sorted(row["sessions"] for row in endings)
    (users,) = analytics(environ, "--metric", "users", "--by", "none")["rows"]
    assert re.search(rf"people {users['users']}\b", told(text))
    people = analytics(environ, "--metric", "sessions", "--by", "person")["rows"]
    assert sorted(shares(text, "Most active people").values()) == sorted(row["sessions"] for row in people)
    hours = {
        (row["weekday"], row["hour"]): row["sessions"]
        for row in analytics(environ, "--metric", "peak-hours")["rows"]
    }
    table = re.findall(r'<th scope="row">(\w+)</th>((?:<td>[^<]+</td>)+)', text)
    drawn = {
        (day.lower(), hour): int(number)
        for day, cells in table
        for hour, number in enumerate(re.findall("<td>([^<]+)</td>", cells))
        if number != "·"
    }
    assert (len(table), drawn) == (7, hours)
    assert text.count('class="step0"') == 7 * HOURS - len(hours)
    peak = max(row["peak"] for row in analytics(environ, "--metric", "concurrency", "--by", "day")["rows"])
    assert f"At most {peak} at once" in told(text)
    assert len(bars(shown(client, link(text, "see who")))) >= peak
    assert sum(shares(text, "How long they last").values()) == users["sessions"]


def test_what_is_clicked_means_the_sessions_that_were_counted(client: httpx.Client) -> None:
    text = shown(client, "/patterns")
    links = re.findall(r'<a href="(/sessions[^"]+)"[^>]*>(?:<title>([^<]+)|([^<]+)</a>)', text)
    assert len(links) > 8
    section = {**shares(text, "How they ended"), **shares(text, "How long they last")}
    for href, cell, name in links:
        query = parse_qs(urlsplit(unescape(href)).query)["q"][0]
        wanted = int(re.findall(r"(\d+) session", cell)[0]) if cell else section[unescape(name)]
        found = client.get("/api/v1/export", params={"query": query})
        assert found.headers["x-sessions"] == str(wanted), query


def test_the_script_and_the_style_are_served(client: httpx.Client) -> None:
    for path in re.findall(r'(?:src|href)="(/assets/[^"]+)"', shown(client, "/timeline")):
        assert client.get(path).status_code == 200
