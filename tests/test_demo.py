"""The sample history has what it promises; the hostile one comes in whole."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from session_buddy.history.query import Clock, Query
from session_buddy.store import Store, open_store
from tests import demo, hostile
from tests.demo_history import INCIDENT, history, take_in
from tests.samples import seeded

END = datetime(2026, 11, 27, 15, 40, tzinfo=UTC)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("demo")
    with closing(open_store(f"duckdb:///{folder}/x.duckdb")) as store:
        events = history(END, seeded(1), days=12).events
        assert take_in(store, events) == len(events)
        yield store


def count(store: Store, text: str) -> int:
    return store.count(Query.parse(text, clock=Clock(END, UTC))).sessions


@pytest.mark.parametrize(
    ("asked", "least"),
    [
        ("", 1500),
        ("status:active", 10),
        ("status:active user:root", 1),
        ("status:ended", 1000),
        ("status:crashed", 60),
        ("status:lost", 3),
        ("exit:sighup", 10),
        ("exit:exception", 10),
        ("actor:agent", 50),
        ("actor:automation", 30),
        ("user:deploy", 50),
        ("user:root", 50),
        ("reason:pairing", 50),
        (f'reason:"{INCIDENT}"', 11),
        (f'reason:"{INCIDENT}" exit:process_gone', 4),
        (f'reason:"{INCIDENT}" duration:>4h', 1),
        ("duration:>5h", 10),
        *((f"host:{host}", 100) for host in ("web1", "web2", "db1", "build1")),
        *((f"component:{name}", 100) for name in ("mahavishnu", "shop", "warehouse", "billing")),
    ],
)
def test_it_has_what_it_promises(store: Store, asked: str, least: int) -> None:
    assert count(store, asked) >= least


def test_people_are_known_in_every_way_and_work_by_day_and_night() -> None:
    starts = [
        event for event in history(END, seeded(1), days=12).events if event["event_type"] == "session_start"
    ]
    known = Counter(event.get("person", {}).get("evidence") for event in starts)
    assert set(known) == {None, "account", "sudo", "ssh_key", "claimed"}
    assert len({event["person"]["name"] for event in starts if "person" in event}) == 40
    assert len({event["timestamp"][11:13] for event in starts}) == 24
    weekend = [event for event in starts if datetime.fromisoformat(event["timestamp"]).weekday() >= 5]
    assert 0 < len(weekend) < len(starts) / 20


def test_the_same_seed_makes_the_same_history() -> None:
    one, same, other = (history(END, seeded(number), days=2).events for number in (1, 1, 2))
    assert one == same != other


def test_the_demo_runs_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if re.match("SESSION_BUDDY_|ONEIRIC_|XDG_", name)]:
        monkeypatch.delenv(name)
    # A test's own folder is too deep for a socket.
    with TemporaryDirectory() as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        demo.main(["--check", "--days", "1"])
        assert "Checked: a start and an end have come in" in capsys.readouterr().out
        assert not list(Path(folder).iterdir())


def test_a_hostile_history_comes_in_whole(tmp_path: Path) -> None:
    events = hostile.hostile(END)
    with closing(open_store(f"duckdb:///{tmp_path}/x.duckdb")) as store:
        assert take_in(store, events) == len(events)
        assert count(store, "") == len(hostile.TEXTS)
        assert count(store, "status:crashed") > 5
