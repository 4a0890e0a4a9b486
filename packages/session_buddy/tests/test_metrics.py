"""``/metrics``: what the page says, a server gives; what happens moves the numbers that it should."""

import asyncio
import fcntl
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2 as httpx
import promql_parser
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from oneiric.paths import user_paths
from oneiric.transport import CallRefused, Endpoint, call_tool
from session_buddy.access.callers import Scope
from session_buddy.access.tokens import issue
from session_buddy.intake.presence import Presence
from session_buddy.intake.writer import Writer
from session_buddy.server.metrics.families import FAMILIES
from session_buddy.server.metrics.gathering import Metrics
from session_buddy.server.register import Register
from session_buddy.store import open_store
from tests.engines import PostgresDatabase
from tests.samples import arrival, end_event, session_id_of, start_event
from tests.serverprocess import ServerProcess, environ_in, port_of

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = (ROOT / "docs" / "metrics.md").read_text()
SECRET: Final = "tests-only-" + uuid.uuid4().hex
CLOSED: Final = ("event", "cause", "outcome", "listener", "state")


class Told(NamedTuple):
    """A metric, as the page has it."""

    kind: str
    labels: tuple[str, ...]
    meaning: str


def table() -> dict[str, Told]:
    rows = re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \|(.*?)\| (.*) \|$", PAGE, re.MULTILINE)
    return {
        name: Told(kind, tuple(re.findall(r"`(\w+)`", labels)), what) for name, kind, labels, what in rows
    }


class Scrape:
    """What a scrape gave."""

    def __init__(self, text: str) -> None:
        self.families = {
            one.name + ("_total" if one.type == "counter" else ""): one
            for one in text_string_to_metric_families(text)
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        found = [
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None


class Server:
    """A server, asked by callers with tokens."""

    def __init__(self, process: ServerProcess) -> None:
        self.info = process.until_up()
        self.outbox = user_paths(process.environ).outbox
        self.database = Path(self.info.database.removeprefix("duckdb:///"))
        self.client = httpx.Client(base_url=self.info.url.removesuffix("/mcp"), timeout=60)

    def headers(self, *scopes: Scope, ttl: float = 600) -> dict[str, str]:
        return {"Authorization": f"Bearer {issue(SECRET, 'ann', scopes, ttl)}"}

    def scrape(self) -> Scrape:
        answer = self.client.get("/metrics", headers=self.headers("read"))
        answer.raise_for_status()
        return Scrape(answer.text)

    def call(self, tool: str, arguments: dict[str, Any], subject: str = "ann") -> dict[str, Any]:
        token = issue(SECRET, subject, ["track", "read"], 600)
        return call_tool(Endpoint(url=self.info.url, token=token), tool, arguments, 60)

    def start(self, **changes: Any) -> dict[str, Any]:
        event = start_event(timestamp=datetime.now(UTC).isoformat(), **changes)
        self.call("track_session_start", event)
        return event

    def until(self, true: Callable[[Scrape], bool]) -> Scrape:
        while not true(found := self.scrape()):
            time.sleep(0.1)
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environ = environ_in(
        tmp_path_factory.mktemp("home"), SESSION_BUDDY_SECRET=SECRET, SESSION_BUDDY_HEARTBEAT_SECONDS="1"
    )
    with ServerProcess(environ) as process:
        server = Server(process)
        with server.client:
            # Nothing that a test does to the database comes into its way.
            server.until(lambda found: found("session_buddy_backups") == 1)
            yield server


def risen(before: Scrape, after: Scrape, name: str, **labels: str) -> float:
    return (after(name, **labels) or 0) - (before(name, **labels) or 0)


# --- the page, the dashboard and the rules


def test_the_page_has_every_metric_with_its_meaning() -> None:
    told = {name: one for name, one in table().items() if not name.startswith("process_")}
    assert told == {one.name: Told(one.kind, one.labels, one.tells) for one in FAMILIES}


def expressions() -> list[tuple[str, str]]:
    rules = yaml.safe_load((ROOT / "docs" / "grafana" / "alerts.yaml").read_text())
    alerts = [(one["alert"], one["expr"]) for group in rules["groups"] for one in group["rules"]]
    shown = [(panel["title"], one["expr"]) for panel in dashboard()["panels"] for one in panel["targets"]]
    return [*alerts, *shown]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs" / "grafana" / "session-buddy.json").read_text())
    return found


def names_in(expression: str) -> list[tuple[str, set[str]]]:
    """The metrics of an expression, each with the labels that it is chosen by; Grafana's words filled in."""
    filled = expression.replace("$__rate_interval", "5m").replace("$instance", ".*")
    found: list[tuple[str, set[str]]] = []

    def visit(part: Any) -> None:
        if isinstance(part, promql_parser.VectorSelector):
            found.append((str(part.name), {one.name for one in part.matchers.matchers}))

    promql_parser.walk(promql_parser.parse(filled), visit)
    return found


def samples() -> dict[str, set[str]]:
    """What each sample is called, with its labels."""
    found = {"up": set[str]()}
    for name, one in table().items():
        if one.kind == "histogram":
            found |= {f"{name}_{part}": set(one.labels) for part in ("sum", "count")}
        found[f"{name}_bucket" if one.kind == "histogram" else name] = {*one.labels}
    return {name: {*labels, "job", "instance"} for name, labels in found.items()}


@pytest.mark.parametrize(("what", "expression"), expressions())
def test_each_expression_asks_for_metrics_that_there_are(what: str, expression: str) -> None:
    known = samples()
    asked = names_in(expression)
    assert asked, what
    assert [(name, labels) for name, labels in asked if not labels <= known.get(name, set())] == []


def test_the_page_has_every_alert_and_each_says_what_to_do() -> None:
    rules = yaml.safe_load((ROOT / "docs" / "grafana" / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert re.findall(r"^\| `(SessionBuddy\w+)` \|", PAGE, re.MULTILINE) == [one["alert"] for one in rules]
    for rule in rules:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert "session-buddy " in rule["annotations"]["description"]
        assert "{{ $labels.instance }}" in rule["annotations"]["summary"]


def test_the_dashboard_is_whole() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == len({panel["title"] for panel in panels})
    variables = {one["name"] for one in dashboard()["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard()))) - {"__rate_interval", "__all"} == variables
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_the_page_s_scrape_configuration_names_the_job_of_rules_and_dashboard() -> None:
    (configuration,) = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    (job,) = configuration["scrape_configs"]
    asked = [expression for _, expression in expressions()]
    assert {name for one in asked for name in re.findall(r'job="([^"]*)"', one)} == {job["job_name"]}


def test_each_metric_is_looked_at_below() -> None:
    below = Path(__file__).read_text().partition("# --- a server\n")[2]
    assert [one.name for one in FAMILIES if one.name not in below] == []


# --- a server


def test_a_session_counts_when_it_starts_and_when_it_ends(server: Server) -> None:
    before = server.scrape()
    session = session_id_of(server.start())
    started = server.scrape()
    for name in ("session_buddy_sessions_started_total", "session_start_total", "active_sessions"):
        assert risen(before, started, name) == 1
    assert risen(before, started, "session_buddy_sessions_active") == 1
    assert risen(before, started, "session_buddy_event_delay_seconds_count", event="start") == 1
    assert risen(before, started, "session_buddy_event_delay_seconds_bucket", event="start", le="10.0") == 1
    assert risen(before, started, "session_buddy_commit_duration_seconds_count") == 1
    assert risen(before, started, "session_buddy_commit_events_sum") == 1
    answered = {"call": "track_session_start", "outcome": "answered"}
    assert risen(before, started, "session_buddy_calls_total", **answered) == 1
    end = end_event(session, timestamp=(datetime.now(UTC) + timedelta(seconds=20)).isoformat())
    server.call("track_session_end", end)
    ended = server.scrape()
    how = {"status": "ended", "exit_reason": "exit"}
    assert risen(started, ended, "session_buddy_sessions_ended_total", **how) == 1
    assert risen(started, ended, "session_end_total") == 1
    assert risen(started, ended, "session_buddy_sessions_active") == -1
    for name in ("session_duration_seconds", "session_buddy_session_duration_seconds"):
        assert [risen(started, ended, f"{name}_bucket", le=le) for le in ("10.0", "60.0")] == [0, 1]
        assert risen(started, ended, f"{name}_sum") > 20


def test_who_is_silent_is_unreachable(server: Server) -> None:
    server.start()
    server.until(lambda found: found("session_buddy_sessions_unreachable") != 0)


def test_events_that_are_refused_count_by_cause(server: Server) -> None:
    before = server.scrape()
    with pytest.raises(CallRefused):
        server.call("track_session_start", start_event(hostname=None))
    event = start_event()
    server.call("track_events", {"events": [event, event | {"pid": 0}, {"event_type": "x"}]})
    with pytest.raises(CallRefused, match="may not speak for it"):
        server.call("track_session_end", end_event(session_id_of(event)), "bob")
    with pytest.raises(CallRefused, match="501 in one call"):
        server.call("track_events", {"events": [event] * 501})
    gone = server.start(user={"username": "gone", "home": "/"})
    wanted = {"user": "gone", "force": True}
    server.client.post("/api/v1/deletions", json=wanted, headers=server.headers("admin")).raise_for_status()
    with pytest.raises(CallRefused, match="was deleted"):
        server.call("track_session_start", gone)
    with pytest.raises(CallRefused, match="no tool 'drop'"):
        server.call("drop", {})
    after = server.scrape()
    causes = {"invalid": 3, "forbidden": 1, "too_large": 501, "deleted": 1}
    for cause, number in causes.items():
        assert risen(before, after, "session_buddy_events_refused_total", cause=cause) == number, cause
    calls = {"track_session_start": 2, "track_session_end": 1, "track_events": 1, "unknown": 1}
    for call, number in calls.items():
        refused = risen(before, after, "session_buddy_calls_total", call=call, outcome="refused")
        assert refused == number, call


def test_requests_without_a_valid_token_count_by_what_they_showed(server: Server) -> None:
    before = server.scrape()
    good = server.headers("read")["Authorization"]
    expired = server.headers("read", ttl=0.001)
    time.sleep(0.002)
    for shown in (
        {},
        {"Authorization": good.replace("Bearer", "Basic")},
        {"Authorization": "Bearer x"},
        expired,
    ):
        assert server.client.get("/metrics", headers=shown).status_code == 401
    after = server.scrape()
    for cause, number in {"missing": 2, "unknown": 1, "expired": 1}.items():
        assert risen(before, after, "session_buddy_tokens_refused_total", cause=cause) == number, cause
    route = {"call": "GET /metrics", "outcome": "refused"}
    assert risen(before, after, "session_buddy_calls_total", **route) == 4


def test_connections_count_while_they_are_open(server: Server) -> None:
    def open_at(listener: str, number: int) -> Callable[[Scrape], bool]:
        return lambda now: now("session_buddy_http_connections", listener=listener) == number

    # The client's own.
    server.until(open_at("tcp", 1))
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", port_of(server.info))))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.connect(os.fspath(server.info.socket))
        server.until(open_at("tcp", 4))
        server.until(open_at("unix", 1))
    server.until(open_at("tcp", 1))


def test_a_database_that_is_away_is_neither_readable_nor_writable(server: Server) -> None:
    server.start()
    before = server.scrape()
    away = server.database.with_suffix(".away")
    server.database.rename(away)
    with pytest.raises(CallRefused, match="was removed or exchanged"):
        server.start()
    down = server.scrape()
    away.rename(server.database)
    for name in ("session_buddy_database_readable", "session_buddy_database_writable"):
        assert (before(name), down(name)) == (1, 0)
    assert risen(before, down, "session_buddy_write_failures_total") >= 1
    failed = {"call": "track_session_start", "outcome": "failed"}
    assert risen(before, down, "session_buddy_calls_total", **failed) == 1
    assert [down(one) for one in ("active_sessions", "session_buddy_database_size_bytes")] == [None, None]
    server.start()
    again = server.scrape()
    assert again("session_buddy_database_readable") == again("session_buddy_database_writable") == 1
    assert risen(before, again, "session_buddy_database_size_bytes") > 0


def test_journals_count_by_what_they_wait_for(server: Server) -> None:
    live, waits = session_id_of(server.start()), session_id_of(start_event())
    named = [f"{live}.jsonl", f"{waits}.jsonl", f"{waits}.to-01234567.jsonl"]
    places = [server.outbox / one for one in [*named, f"rejected/{live}.jsonl", f"corrupt/{live}.jsonl"]]
    before = server.scrape()
    with ExitStack() as stack:
        for place in places:
            place.parent.mkdir(parents=True, exist_ok=True)
            # As their shells hold them, so that no sweep takes them away.
            fcntl.flock(stack.enter_context(place.open("w")), fcntl.LOCK_EX)
            os.utime(place, (time.time() - 1000,) * 2)
        after = server.scrape()
        for state in ("live", "waiting", "elsewhere", "rejected", "corrupt"):
            assert risen(before, after, "session_buddy_outbox_journals", state=state) == 1, state
        assert 1000 <= (after("session_buddy_outbox_oldest_seconds") or 0) < 1100
        for place in places:
            place.unlink()
    assert server.scrape()("session_buddy_outbox_oldest_seconds") == 0


def test_backups_tell_when_the_last_was_made(server: Server) -> None:
    for path in (server.database.parent / "backups").glob("*.duckdb"):
        path.unlink()
    none = server.scrape()
    assert (none("session_buddy_backups"), none("session_buddy_last_backup_timestamp_seconds")) == (0, 0)
    server.client.post("/api/v1/backups", json={}, headers=server.headers("admin")).raise_for_status()
    one = server.scrape()
    assert one("session_buddy_backups") == 1
    assert abs(time.time() - (one("session_buddy_last_backup_timestamp_seconds") or 0)) < 60


def test_what_a_server_gives_is_what_the_page_says(server: Server) -> None:
    found = server.scrape().families
    labels = {
        name: {one for sample in family.samples for one in sample.labels} for name, family in found.items()
    }
    given = {name: (family.type, labels[name] - {"le"}) for name, family in found.items()}
    assert given == {name: (one.kind, set(one.labels)) for name, one in table().items()}
    explained = set(re.findall(r"`(\w+)`", PAGE.partition("| label | value | is |")[2]))
    values = {
        sample.labels.get(name) for family in found.values() for sample in family.samples for name in CLOSED
    }
    assert values - {None} <= explained


def test_openmetrics_is_told_to_who_asks_for_it(server: Server) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    answers = [
        server.client.get("/metrics", headers=server.headers("read") | {"Accept": accepted})
        for accepted in (accept, "*/*", "text/plain;version=x")
    ]
    assert [one.headers["content-type"].partition("; charset")[0] for one in answers] == [
        "application/openmetrics-text; version=1.0.0",
        *["text/plain; version=0.0.4"] * 2,
    ]
    asked, plain, _ = (answer.text for answer in answers)
    read: Any = openmetrics
    assert {one.name for one in read(asked)} == {one.name for one in text_string_to_metric_families(plain)}


def test_a_history_on_postgresql_is_measured_too(database: PostgresDatabase, tmp_path: Path) -> None:
    presence = Presence()
    with closing(open_store(database.url)) as store, Writer(store, presence) as writer:
        metrics = Metrics(
            register=Register(store, writer, presence),
            tally=writer.tally,
            presence=presence,
            tokens_refused={},
            backups=None,
            outbox=tmp_path,
            engine="postgresql",
        )
        writer.ingest([arrival(start_event())])
        text, _ = asyncio.run(metrics.scrape(""))
    found = Scrape(text.decode())
    assert found("session_buddy_build_info", engine="postgresql") == found("active_sessions") == 1
    assert (found("session_buddy_database_size_bytes") or 0) > 0
    assert table().keys() - found.families.keys() == {
        "session_buddy_backups",
        "session_buddy_last_backup_timestamp_seconds",
    }
