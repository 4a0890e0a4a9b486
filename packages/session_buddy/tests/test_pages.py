"""Pages: what they say of real sessions, of nothing and of what is wrong; hostile text stays text."""

import re
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import httpx2 as httpx
import pytest

from session_buddy.access.tokens import issue
from session_buddy.errors import InvalidQuery
from session_buddy.history.attention import IDLE_SECONDS, attention_first, concern, shared
from session_buddy.history.completion import offers
from session_buddy.history.keys import KEYS, NAMES
from session_buddy.history.query import Clock, Query
from session_buddy.history.words import MISSING
from session_buddy.server.page.asked_query import chips, wrong
from session_buddy.server.page.rows import COLOURS, face_of
from session_buddy.server.page.spark import WIDTH, sparks
from session_buddy.store import open_store
from tests.samples import arrival, end_event, heartbeat_event, session_id_of, start_event
from tests.serverprocess import ServerProcess, environ_in

SECRET = "tests-only-" + uuid.uuid4().hex
NOW = datetime.now(UTC)
CLOCK = Clock(NOW, UTC)
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}\u202e"


def ago(hours: float, **fields: Any) -> dict[str, Any]:
    """A start, so many hours ago."""
    return start_event(timestamp=(NOW - timedelta(hours=hours)).isoformat(), **fields)


def at(event: dict[str, Any], hours: float) -> dict[str, Any]:
    """An event, so many hours ago."""
    return event | {"timestamp": (NOW - timedelta(hours=hours)).isoformat()}


STARTS = {
    "root": ago(
        3, user={"username": "root", "uid": 0}, person={"name": "ada", "evidence": "sudo"}, reason="OPS-1"
    ),
    "bare": ago(2, user={"username": "root", "uid": 0}),
    "bob": ago(1, user={"username": "bob", "uid": 7}, reason="OPS-7", actor="agent", agent="codex"),
    "crashed": ago(5, user={"username": "eve", "uid": 8}, hostname="db1"),
    "hostile": ago(
        4,
        user={"username": HOSTILE, "home": HOSTILE, "uid": 9},
        hostname=HOSTILE,
        shell_type=HOSTILE,
        reason=HOSTILE,
        agent=HOSTILE,
        actor="agent",
        person={"name": HOSTILE, "evidence": "claimed", "also": [{"name": HOSTILE, "evidence": "asked"}]},
        environment={"python_version": HOSTILE, "platform": HOSTILE, "cwd": HOSTILE},
        metadata={HOSTILE: HOSTILE, "deep": {HOSTILE: [HOSTILE]}},
        origin={"tty": HOSTILE, "ssh_client": HOSTILE, "sudo_user": HOSTILE},
    ),
}
IDS = {name: session_id_of(start) for name, start in STARTS.items()}
STARTS["child"] = ago(0.9, parent_session_id=IDS["bob"], user={"username": "bob", "uid": 7})
IDS["child"] = session_id_of(STARTS["child"])


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server with these sessions."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "data" / "session-buddy"
    folder.mkdir(parents=True, mode=0o700)
    crash = end_event(IDS["crashed"], status="crashed", exit_reason="exception", exit_code=1)
    events = [*STARTS.values(), at(crash, 4.5), at(heartbeat_event(IDS["bob"], commands=3, errors=1), 0.5)]
    with closing(open_store(f"duckdb:///{folder / 'sessions.duckdb'}")) as store:
        store.ingest([arrival(event, "ann", at=NOW) for event in events])
    with ServerProcess(environ_in(home, SESSION_BUDDY_SECRET=SECRET)) as server:
        yield server.until_up().url.removesuffix("/mcp")


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    token = issue(SECRET, "ann", ["track", "read"], 600)
    with httpx.Client(base_url=address, timeout=60, headers={"Authorization": f"Bearer {token}"}) as client:
        yield client


def text(answer: httpx.Response) -> str:
    """What a page says, without its tags."""
    main = answer.text.partition("<main")[2].partition(">")[2]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", main)))


def test_now_says_who_is_in_and_what_needs_attention_first(client: httpx.Client) -> None:
    said = text(client.get("/"))
    assert "4 people are in 5 shells on 2 hosts" in said
    assert "1 shell as root without a reason" in said
    table = said.partition("Reason Last 24 hours")[2]
    assert table.index("root without a reason") < table.index("agent codex")
    assert "as root" in said
    assert said.partition("Ended badly in the last 24 hours")[2].split()[:4] == ["E", "eve", "shop", "on"]


def test_now_can_be_narrowed_and_widened_again(client: httpx.Client) -> None:
    assert "1 person is in 2 shells on 1 host" in text(client.get("/", params={"q": "user:bob"}))
    nobody = client.get("/", params={"q": "user:nobodyhere"})
    assert "Nobody is in" in text(nobody)
    assert 'href="/"' in nobody.text


def test_sessions_are_found_counted_and_sorted(client: httpx.Client) -> None:
    found = client.get("/sessions", params={"q": "user:bob -status:ended", "tz": "Europe/Berlin"})
    assert "2 sessions" in text(found)
    assert "2 open now" in text(found)
    assert "/sessions?q=user:bob&amp;tz=Europe/Berlin" in found.text  # the other chip is gone
    falling = client.get("/sessions", params={"sort": "duration"})
    assert 'aria-sort="descending"' in falling.text
    order = re.findall(r'<tr id="s-([^"]+)"', falling.text)
    assert order.index(IDS["root"]) < order.index(IDS["bob"]) < order.index(IDS["crashed"])
    assert "Nothing fits all of that" in text(client.get("/sessions", params={"q": "user:zoe"}))


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("status:active us", ["status:active user:"]),
        ("-user:bob,e", ["-user:bob,eve"]),
        # Names in which a character hides are not offered.
        ("host:", ["host:web1", "host:db1"]),
        ("at:", ["at:now", "at:today", "at:yesterday", "at:monday", 'at:"this week"', 'at:"last week"']),
        ('at:"this w', ['at:"this week"']),
        ("duration:>", ["duration:>10m", "duration:>1h", "duration:>8h"]),
        ("status:active ", [f"status:active {key}{'.' if key == 'metadata' else ':'}" for key in NAMES]),
        ("rollback", []),
        ('user:"open', []),
        ("nothing:", []),
    ],
)
def test_a_query_that_is_typed_goes_on(client: httpx.Client, typed: str, expected: list[str]) -> None:
    answer = client.get("/api/v1/complete", params={"query": typed})
    assert [one["query"] for one in answer.json()["completions"]] == expected


def test_an_id_goes_on_by_its_last_digits(client: httpx.Client) -> None:
    digits = IDS["bob"][-8:]
    answer = client.get("/api/v1/complete", params={"query": f"parent:{digits[:-1]}"})
    assert answer.json() == {"completions": [{"query": f"parent:{digits}", "tells": ""}]}


def test_each_example_of_a_value_can_be_read() -> None:
    for key in KEYS:
        for one in offers(f"{key.name}:"):
            assert Query.parse(one.text, clock=CLOCK).terms


def test_a_wrong_query_is_told_where_it_is_with_the_nearest(client: httpx.Client) -> None:
    answer = client.get("/sessions", params={"q": "user:ada stauts:crashed"})
    assert answer.status_code == 400
    assert "<code>user:ada <mark>stauts:</mark>crashed</code>" in answer.text
    assert 'href="/sessions?q=user:ada+status:crashed"' in answer.text
    assert 'value="user:ada stauts:crashed"' in answer.text


def test_a_session_has_its_evidence_its_events_and_what_is_around_it(client: httpx.Client) -> None:
    said = text(client.get(f"/sessions/{IDS['root']}"))
    assert "person ada sudo: the process that ran it" in said
    assert "account root the account of the process's uid" in said
    crashed = text(client.get(f"/sessions/{IDS['crashed']}"))
    assert "how exception, code 1 the shell said so itself" in crashed
    nested = client.get(f"/sessions/{IDS['bob']}").text
    assert f'href="/sessions/{IDS["child"]}"' in nested.partition("Started from, and within")[2]


def test_a_short_name_leads_to_the_whole(client: httpx.Client) -> None:
    answer = client.get(f"/sessions/{IDS['bob'][-8:]}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/sessions/{IDS['bob']}")


def test_what_is_wrong_is_a_page_that_says_what_to_do(client: httpx.Client, address: str) -> None:
    missing = client.get("/sessions/shop-20200101-000000-00000000")
    assert (missing.status_code, "It is not there" in missing.text) == (404, True)
    for path, status, said in (
        ("/nowhere<b>", 404, "There is no /nowhere<b> here"),
        ("/sign-out", 405, "takes POST"),
    ):
        browser = client.get(path, headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert (browser.status_code, said in text(browser)) == (status, True)
        assert 'href="/"' in browser.text.partition("<main")[2]
        program = client.get(path)
        assert (program.status_code, program.headers["content-type"]) == (status, "application/problem+json")
    nobody = httpx.get(f"{address}/")
    assert (nobody.status_code, "session-buddy dashboard" in nobody.text) == (401, True)
    assert 'name="q"' not in nobody.text
    for given in ({"tz": "Nowhere/Land"}, {"q": "stauts:active"}):
        told = client.get("/", params=given, follow_redirects=True)
        assert (told.status_code, "That query cannot be read" in told.text) == (400, True)


@pytest.mark.parametrize("path", ["/", "/sessions", "/sessions/{id}", "/sessions?q={said}", "/?q={said}"])
def test_hostile_text_is_text_wherever_it_stands(client: httpx.Client, path: str) -> None:
    name, _, query = path.format(id=IDS["hostile"], said=f'user:"{HOSTILE[:8]}"*').partition("?q=")
    answer = client.get(name, params={"q": query} if query else {})
    assert answer.status_code == 200
    assert "&lt;script&gt;" in answer.text
    for acting in ("<script>alert", "<img src=x", "\u202e", ">49<", "style=", "onerror=alert(2)>"):
        assert acting not in answer.text
    assert answer.text.count("<script") == 1
    assert "script-src 'self'" in answer.headers["content-security-policy"]


def test_a_session_is_ended_by_its_form_once_somebody_agrees(client: httpx.Client) -> None:
    page = f"/sessions/{IDS['child']}"
    assert f'action="{page}/end"' in client.get(page).text
    assert client.post(f"{page}/end", data={"reason": "rebuilt"}).status_code == 400
    done = client.post(f"{page}/end", data={"reason": "rebuilt", "agreed": "true"})
    assert (done.status_code, done.headers["location"]) == (303, page)
    after = client.get(page)
    assert "ann ended it in the history: rebuilt" in text(after)
    assert "/end" not in after.text
    again = client.post(f"{page}/end", data={"agreed": "true"})
    assert (again.status_code, "has ended already" in text(again)) == (409, True)


def test_only_the_idle_the_silent_and_root_without_a_reason_need_attention() -> None:
    calm = {"unreachable": False, "idle_seconds": IDLE_SECONDS - 1, "username": "ada", "reason": None}
    assert concern(calm) == ""
    assert concern(calm | {"unreachable": True}) == "not heard from"
    assert concern(calm | {"idle_seconds": float(IDLE_SECONDS)}) == "idle for 4h 00m"
    assert concern(calm | {"username": "root", "idle_seconds": None}) == "root without a reason"
    assert concern(calm | {"username": "root", "reason": "OPS-7"}) == ""
    idle = [calm | {"idle_seconds": seconds, "pid": seconds} for seconds in (0, 20_000, 5, 30_000)]
    assert [one["pid"] for one in attention_first(idle)] == [30_000, 20_000, 0, 5]


def test_a_component_is_shared_by_people_not_by_sessions() -> None:
    here = {"component": "shop", "hostname": "web1"}
    alone = [{**here, "username": "ada"}, {**here, "username": "ada"}]
    assert shared(alone) == []
    assert shared([*alone, {**here, "username": "bob"}])[0].people == ("ada", "bob")


def test_each_chip_is_a_term_as_it_was_typed_and_leaves_the_others() -> None:
    typed = 'user:ada  -status:active "schema change" started:>7d'
    found = chips(typed, Query.parse(typed, clock=CLOCK))
    assert [one.text for one in found] == ["user:ada", "-status:active", '"schema change"', "started:>7d"]
    assert found[1].without == 'user:ada "schema change" started:>7d'


@pytest.mark.parametrize(
    ("typed", "part", "better"),
    [
        ("user:ada hots:web1", "hots:", "user:ada host:web1"),
        ("status:crshed", "crshed", "status:crashed"),
        ('reason:"open', '"open', ""),
    ],
)
def test_what_is_wrong_with_a_query_is_a_part_of_it(typed: str, part: str, better: str) -> None:
    with pytest.raises(InvalidQuery) as raised:
        Query.parse(typed, clock=CLOCK)
    found = wrong(typed, raised.value)
    assert found.before + found.part + found.behind == typed
    assert (found.part, found.better) == (part, better)


def test_a_face_is_the_same_in_a_record_and_in_short() -> None:
    record = {"username": "root", "person": "ada", "person_evidence": "sudo", "uid": 0, "actor": "human"}
    full, short = face_of(record), face_of({"who": "ada (as root)"})
    assert full == short
    assert 1 <= full.colour <= COLOURS
    assert face_of({"username": MISSING, "uid": 1}).letter == "?"


def test_a_day_is_drawn_within_its_line() -> None:
    def one(begin: float, end: float | None, status: str) -> dict[str, Any]:
        times = [
            None if hours is None else (NOW - timedelta(hours=hours)).isoformat() for hours in (begin, end)
        ]
        return {"username": "ada", "start_time": times[0], "end_time": times[1], "status": status}

    drawn = sparks([one(99, 12, "ended"), one(1, None, "active"), one(0.01, 0.01, "crashed")], NOW)["ada"]
    assert drawn.label == "3 sessions in the last 24 hours, 1 ended badly"
    assert all(bar.x >= 0 and bar.width > 0 and bar.x + bar.width <= WIDTH + 0.1 for bar in drawn.bars)
    assert drawn.bars[0] == (0.0, WIDTH / 2, "ended")
