"""A history of sessions of all kinds, by chance, each as the store has it and as it is shown."""

import random
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from session_buddy.history.model import SessionRow
from session_buddy.history.record import SessionRecord
from session_buddy.store import Store, open_store
from tests.engines import PostgresDatabase
from tests.samples import MOMENT, arrival, end_event, heartbeat_event, session_id_of, start_event

NOW = MOMENT + timedelta(days=1)
USERS = ["ada", "bob", "root", "Ünal", "CORP\\dan", "o'brien", 'q"uote', "a,b", "x*y", "adam"]
HOSTS = ["web1", "web2", "db1.example", "WEB1", "straße", "İstanbul", "a b"]
COMPONENTS = ["shop", "mahavishnu", "my_app", "shop-2"]
REASONS = [None, "OPS-7", "OPS-77 rollback", "Rollback (OPS-7), again", "schema  change", "x:y", "ops-7"]
FOLDERS = ["/srv/Shop", "/home/ada", "", "/"]
VALUES: list[Any] = [
    "1.2",
    "prefect",
    ["prefect", "agno"],
    12,
    1.5,
    True,
    None,
    {"deep": "x"},
    "a\nb",
    "é",
    [],
]
TTYS = [None, "/dev/pts/1", "/dev/pts/12", "/dev/tty1"]
CLIENTS = [None, "10.0.0.1", "10.0.0.12", "fe80::1"]
ENDS: list[dict[str, Any]] = [
    {"exit_reason": "exit", "exit_code": 0},
    {"exit_reason": "eof"},
    {"exit_reason": "exception", "status": "crashed", "exit_code": 1},
    {
        "exit_reason": "sigterm",
        "status": "crashed",
        "exit_code": 143,
        "metadata": {"version": "9.9", "late": "Prefect"},
    },
    {"exit_reason": "process_gone", "status": "crashed", "detected_by": "liveness"},
    {"exit_reason": "lease_expired", "status": "crashed", "detected_by": "lease"},
    {"exit_reason": "exit", "activity": {"commands": 7, "errors": 2}},
]


class Session(NamedTuple):
    """A session as the store has it, and as it is shown."""

    row: SessionRow
    record: SessionRecord
    silent: bool

    @property
    def begin(self) -> datetime:
        start = datetime.fromisoformat(self.record["start_time"])
        received = self.row.received_at
        return received if self.record["clock_skew"] and received else start

    @property
    def end(self) -> datetime | None:
        if self.record["end_time"] is None:
            return None
        if self.record["clock_skew"]:
            return self.begin + timedelta(seconds=self.record["duration_seconds"])
        return datetime.fromisoformat(self.record["end_time"])


@contextmanager
def on_both_engines(
    events: list[dict[str, Any]], folder: Path, database: PostgresDatabase
) -> Iterator[tuple[Store, Store]]:
    """The same events in a DuckDB file and on PostgreSQL."""
    with (
        closing(open_store(f"duckdb:///{folder}/x.duckdb")) as one,
        closing(open_store(database.url)) as other,
    ):
        for store in (one, other):
            store.ingest([arrival(raw) for raw in events])
        yield one, other


def history(chance: random.Random, count: int) -> list[Any]:
    """Events of so many sessions, mixed."""
    events: list[dict[str, Any]] = []
    ids: list[str] = []
    for _ in range(count):
        after = chance.choice([chance.uniform(-86_400 * 3, 3600), chance.randint(0, 30), 86_400.0 * 400])
        raw = start_event(after, **someone(chance, ids))
        session = session_id_of(raw)
        ids.append(session)
        events.append(raw)
        lasted = chance.choice([chance.uniform(0, 90), chance.uniform(0, 90_000)])
        if chance.random() < 0.4:
            beat = heartbeat_event(
                session, after + lasted / 2, commands=chance.randint(0, 9), errors=chance.randint(0, 2)
            )
            if chance.random() < 0.5:
                beat["activity"]["last_activity"] = start_event(after + lasted / 3)["timestamp"]
            elapsed = chance.choice([None, lasted / 2, lasted / 2 + 100])
            events.append(beat | ({"elapsed_seconds": elapsed} if elapsed else {}))
        for _ in range(chance.choice([0, 1, 1, 2])):
            elapsed = chance.choice([None, lasted])
            end = end_event(session, after + lasted, **chance.choice(ENDS))
            events.append(end | ({"elapsed_seconds": elapsed} if elapsed else {}))
    return events


def someone(chance: random.Random, ids: list[str]) -> dict[str, Any]:
    """The fields of a start that queries look at."""
    metadata = {
        name: chance.choice(VALUES) for name in chance.sample(["version", "adapters", "x.y", "deep"], 2)
    }
    fields: dict[str, Any] = {
        "event_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "component_name": chance.choice(COMPONENTS),
        "session_type": chance.choice(["admin_shell", "repl"]),
        "shell_type": chance.choice(["ShopShell", "REPL"]),
        "hostname": chance.choice(HOSTS),
        "pid": chance.randint(1, 5000),
        "user": {"username": chance.choice(USERS), "home": "", "uid": chance.choice([None, 0, 1000])},
        "environment": {"cwd": chance.choice(FOLDERS)},
        "metadata": metadata,
        "reason": chance.choice(REASONS),
        "actor": chance.choice([None, "human", "agent"]),
        "agent": chance.choice([None, "Claude", "cline"]),
        "origin": {
            "tty": chance.choice(TTYS),
            "ssh_client": chance.choice(CLIENTS),
            "sudo_user": chance.choice([None, "ada"]),
        },
        "parent_session_id": chance.choice([None, None, *ids[-5:]]),
    }
    if chance.random() < 0.5:
        also = [{"name": chance.choice(USERS), "evidence": "claimed"}] if chance.random() < 0.5 else []
        fields["person"] = {"name": chance.choice(USERS), "evidence": "login", "also": also}
    return {name: value for name, value in fields.items() if value is not None}
