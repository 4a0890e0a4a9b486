"""The register, asked without a server around it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from oneiric import facts
from session_buddy.access.callers import Caller
from session_buddy.history.query import Query
from session_buddy.intake.accounts import Accounts
from session_buddy.intake.presence import Presence
from session_buddy.intake.writer import Writer
from session_buddy.server.register import Register
from session_buddy.store import open_store
from tests.samples import MOMENT, asked, heartbeat_event, session_id_of, start_event

ANN = Caller("ann", frozenset({"track", "read"}))


class Bench:
    """A register over a real store, with a clock that the test turns."""

    def __init__(self, path: Path) -> None:
        self.clock = 0.0
        self.store = open_store(f"duckdb:///{path}")
        presence = Presence()
        self.writer = Writer(self.store, presence, clock=lambda: self.clock)
        self._register = Register(
            self.store,
            self.writer,
            presence,
            accounts=Accounts({1: "ada"}.get, seconds=60),
            clock=lambda: self.clock,
            now=lambda: MOMENT,
        )
        self.session = self._register.answers.session

    def track(self, *events: object) -> None:
        answer = anyio.run(self._register.track, events, ANN)
        assert {result["status"] for result in answer["results"]} == {"stored"}

    def unreachable(self) -> list[str]:
        """Which sessions are so, by the filter as by what each record says of itself."""
        silent = anyio.run(self._register.answers.sessions, asked("status:unreachable"), ["*"])["sessions"]
        everyone = anyio.run(self._register.answers.sessions, Query(), ["*"])["sessions"]
        assert silent == [record for record in everyone if record["unreachable"]]
        return [record["session_id"] for record in silent]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path / "x.duckdb")
    yield opened
    opened.writer.close()
    opened.store.close()


@pytest.mark.parametrize("skew", [-86_400.0, 0.0, 86_400.0])
def test_a_session_is_unreachable_when_it_falls_silent_whatever_its_clock_says(
    bench: Bench, skew: float
) -> None:
    raw = start_event(skew)
    session = session_id_of(raw)
    bench.track(raw)
    bench.clock = 40
    assert bench.unreachable() == []
    bench.track(heartbeat_event(session, skew + 40))
    bench.clock = 80
    assert bench.unreachable() == []
    bench.clock = 85
    assert bench.unreachable() == [session]
    bench.track(heartbeat_event(session, skew + 85))
    assert bench.unreachable() == []


def test_an_account_that_the_shell_had_a_number_for_has_its_name(bench: Bench) -> None:
    here = facts.process(os.getpid())
    known: dict[str, Any] = {
        "user": {"username": "1", "uid": 1},
        "person": {"name": "1", "evidence": "account"},
    }
    raws = [start_event(process=here, **known), start_event(**known)]
    bench.track(*raws)
    found = [anyio.run(bench.session, session_id_of(raw))["session"] for raw in raws]
    # Of another host, it may be anybody.
    assert [(one["username"], one["person"]) for one in found] == [("ada", "ada"), ("1", "1")]
