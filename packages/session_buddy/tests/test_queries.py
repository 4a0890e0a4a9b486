"""Any query finds the same on DuckDB, on PostgreSQL and by a filter in Python that looks at each session."""

import random
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from session_buddy.history.keys import KEYS
from session_buddy.history.query import SORTS, Clock, Query
from session_buddy.history.record import to_record
from session_buddy.store import open_store
from tests.engines import PostgresDatabase
from tests.query_page import examples
from tests.random_history import (
    CLIENTS,
    COMPONENTS,
    FOLDERS,
    HOSTS,
    NOW,
    REASONS,
    TTYS,
    USERS,
    Session,
    history,
    on_both_engines,
)
from tests.samples import MOMENT, arrival, seeded

WORDS = [
    "OPS",
    "ops-7",
    "WEB",
    "strasse",
    "STRASSE",
    "i̇stanbul",
    "ünal",
    "prefect",
    "12",
    "srv/shop",
    "a b",
    "10.0",
    "zz",
]
Predicate = Callable[[Session], bool]
Asked = tuple[str, Predicate]


# --- queries, each with what it means


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def pattern(chance: random.Random, pool: list[Any]) -> tuple[str, Callable[[str | None], bool]]:
    """A text to look for, whole or a part, and whether a text is meant."""
    text = chance.choice([one for one in pool if one])
    match chance.randrange(6):
        case 0:
            part = text[: chance.randint(1, len(text))]
            return f"{quoted(part)}*", lambda value: value is not None and value.startswith(part)
        case 1:
            part = text[chance.randrange(len(text)) :]
            return f"*{quoted(part)}", lambda value: value is not None and value.endswith(part)
        case 2:
            part = text[1:3]
            return (f"*{quoted(part)}*" if part else "*"), lambda value: value is not None and part in value
        case 3:
            return "*", lambda value: value is not None
    return quoted(text), lambda value: value == text


def of_texts(
    chance: random.Random, key: str, pool: list[Any], texts: Callable[[Session], list[Any]]
) -> Asked:
    values = [pattern(chance, pool) for _ in range(chance.choice([1, 1, 2]))]
    written = ",".join(text for text, _ in values)
    return f"{key}:{written}", lambda one: any(fits(text) for text in texts(one) for _, fits in values)


def compared(
    chance: random.Random, low: float, high: float, form: str
) -> tuple[str, Callable[[float], bool]]:
    a, b = sorted(round(chance.uniform(low, high)) for _ in range(2))
    match chance.randrange(5):
        case 0:
            return f">{form % a}", lambda value: value > a
        case 1:
            return f"<{form % b}", lambda value: value < b
        case 2:
            return f">={form % a}", lambda value: value >= a
        case 3:
            return f"<={form % b}", lambda value: value <= b
    return f"{form % a}..{form % b}", lambda value: a <= value <= b


def of_number(
    chance: random.Random, key: str, high: float, form: str, number: Callable[[Session], float | None]
) -> Asked:
    text, fits = compared(chance, 0, high, form)

    def means(one: Session) -> bool:
        value = number(one)
        return value is not None and fits(value)

    return f"{key}:{text}", means


def of_time(chance: random.Random, key: str, time: Callable[[Session], datetime | None]) -> Asked:
    at = MOMENT + timedelta(seconds=round(chance.uniform(-86_400 * 3, 90_000)))
    iso = at.isoformat()
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    forms: list[tuple[str, Callable[[datetime], bool]]] = [
        (f">{iso}", lambda one: one > at),
        (f"<{iso}", lambda one: one < at),
        (f">={iso}", lambda one: one >= at),
        (f"<={iso}", lambda one: one <= at),
        (f"{day:%Y-%m-%d}", lambda one: day <= one < day + timedelta(days=1)),
        (f">{day:%Y-%m-%d}", lambda one: one >= day + timedelta(days=1)),
        (f"{day:%Y-%m-%d}..{iso}", lambda one: day <= one <= at),
    ]
    text, fits = chance.choice(forms)

    def means(one: Session) -> bool:
        found = time(one)
        return found is not None and fits(found)

    return f'{key}:"{text}"', means


def of_overlap(chance: random.Random) -> Asked:
    begin = MOMENT + timedelta(seconds=round(chance.uniform(-86_400 * 3, 90_000)))
    end = begin + timedelta(seconds=chance.choice([0, 60, 7200]))
    text = begin.isoformat() if begin == end else f"{begin.isoformat()}..{end.isoformat()}"
    return f'at:"{text}"', lambda one: one.begin <= end and (one.end is None or one.end >= begin)


def people(one: Session) -> list[str | None]:
    record = one.record
    sudo = (record["origin"] or {}).get("sudo_user")
    return [record["username"], record["person"], sudo, *(also["name"] for also in record["person_also"])]


def person(chance: random.Random) -> Asked:
    # Of those whom weaker evidence names, the beginning or all of a name.
    text = chance.choice(USERS)
    return f"user:{quoted(text)}", lambda one: text in people(one)


def words_of(reason: str | None) -> list[str]:
    return re.split(r"[^\w-]+", reason or "")


def of_reason(chance: random.Random) -> Asked:
    word = chance.choice([word for reason in REASONS for word in words_of(reason) if word])
    if chance.random() < 0.4:
        return f"reason:{word[:3]}*", lambda one: any(
            part.startswith(word[:3]) for part in words_of(one.record["reason"])
        )
    return f"reason:{word}", lambda one: word in words_of(one.record["reason"])


def leaves(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)
    elif isinstance(value, bool):
        yield str(value).lower()
    elif value is not None:
        yield str(value)


def of_word(chance: random.Random) -> Asked:
    word = chance.choice(WORDS)

    def means(one: Session) -> bool:
        record, origin = one.record, one.record["origin"] or {}
        names = ("hostname", "component", "agent", "reason", "cwd")
        told = [*people(one), *(record[name] for name in names), origin.get("tty"), origin.get("ssh_client")]  # type: ignore[literal-required]
        return any(
            word.casefold() in text.casefold() for text in (*told, *leaves(record["metadata"])) if text
        )

    return (quoted(word) if " " in word else word), means


def of_metadata(chance: random.Random) -> Asked:
    name = chance.choice(["version", "adapters", '"x.y"', "deep", "deep.deep", "late"])
    text = chance.choice(["1.2", "prefect", "agno", "12", "1.5", "true", "x", "é", "9.9"])

    def value_of(one: Session) -> Any:
        metadata: Any = one.record["metadata"]
        for part in [name.strip('"')] if '"' in name else name.split("."):
            metadata = metadata.get(part) if isinstance(metadata, dict) else None
        return metadata

    def means(one: Session) -> bool:
        value = value_of(one)
        return (
            text in value
            if isinstance(value, list)
            else [text] == list(leaves(value)) and not isinstance(value, dict)
        )

    if chance.random() < 0.2:
        return f"metadata.{name}:*", lambda one: value_of(one) is not None
    return f"metadata.{name}:{text}", means


def of_id(chance: random.Random, key: str, sessions: list[Session]) -> Asked:
    field = "session_id" if key == "id" else "parent_session_id"
    of = chance.choice(sessions).record["session_id"]
    text = chance.choice([of, of[-8:], of[:10], of[-8:-4], of[-8:].upper()])

    def means(one: Session) -> bool:
        value: str | None = one.record[field]  # type: ignore[literal-required]
        return value is not None and (value.startswith(text) or value[-8:].startswith(text.lower()))

    return f"{key}:{text}", means


def field(name: str) -> Callable[[Session], list[Any]]:
    return lambda one: [one.record[name]]  # type: ignore[literal-required]


def origin(name: str) -> Callable[[Session], list[Any]]:
    return lambda one: [(one.record["origin"] or {}).get(name)]


def asks(chance: random.Random, sessions: list[Session]) -> dict[str, Callable[[], Asked]]:
    """What may be asked of each key."""

    def one_of(key: str, name: str, values: list[str]) -> Asked:
        wanted = chance.sample(values, 2)
        return f"{key}:{','.join(wanted)}", lambda one: one.record[name] in wanted

    def status() -> Asked:
        wanted = chance.sample(["active", "ended", "crashed", "lost", "unreachable"], 2)
        return (
            f"status:{','.join(wanted)}",
            lambda one: (
                one.record["status"] in wanted or ("unreachable" in wanted and one.silent and one.end is None)
            ),
        )

    def exit_() -> Asked:
        return chance.choice(
            [
                one_of("exit", "exit_reason", ["exit", "eof", "exception", "process_gone", "lease_expired"]),
                of_number(chance, "exit", 150, "%d", lambda one: one.record["exit_code"]),
            ]
        )

    return {
        "user": lambda: person(chance),
        "account": lambda: of_texts(chance, "account", USERS, field("username")),
        "uid": lambda: of_number(chance, "uid", 1000, "%d", lambda one: one.record["uid"]),
        "host": lambda: of_texts(chance, "host", HOSTS, field("hostname")),
        "component": lambda: of_texts(chance, "component", COMPONENTS, field("component")),
        "type": lambda: of_texts(chance, "type", ["admin_shell", "repl"], field("session_type")),
        "folder": lambda: of_texts(chance, "folder", FOLDERS, field("cwd")),
        "pid": lambda: of_number(chance, "pid", 5000, "%d", lambda one: one.record["pid"]),
        "shell": lambda: of_texts(chance, "shell", ["ShopShell", "REPL"], field("shell_type")),
        "status": status,
        "exit": exit_,
        "actor": lambda: one_of("actor", "actor", ["human", "agent", "automation"]),
        "agent": lambda: of_texts(chance, "agent", ["Claude", "cline"], field("agent")),
        "reason": lambda: of_reason(chance),
        "parent": lambda: of_id(chance, "parent", sessions),
        "id": lambda: of_id(chance, "id", sessions),
        "tty": lambda: of_texts(chance, "tty", TTYS, origin("tty")),
        "from": lambda: of_texts(chance, "from", CLIENTS, origin("ssh_client")),
        "duration": lambda: of_number(
            chance, "duration", 90_000, "%ds", lambda one: one.record["duration_seconds"]
        ),
        "idle": lambda: of_number(chance, "idle", 200_000, "%ds", lambda one: one.record["idle_seconds"]),
        "commands": lambda: of_number(chance, "commands", 9, "%d", lambda one: one.record["commands"]),
        "errors": lambda: of_number(chance, "errors", 2, "%d", lambda one: one.record["errors"]),
        "started": lambda: of_time(chance, "started", lambda one: one.begin),
        "ended": lambda: of_time(chance, "ended", lambda one: one.end),
        "at": lambda: of_overlap(chance),
        "metadata.KEY": lambda: of_metadata(chance),
        "": lambda: of_word(chance),
    }


def test_every_key_is_asked_for() -> None:
    assert {*asks(seeded(1), [])} == {"", *(key.name for key in KEYS)}


def test_any_query_finds_the_same_on_each_engine_and_by_hand(
    tmp_path: Path, database: PostgresDatabase, size: Callable[[int, int], int]
) -> None:
    chance = seeded(20261128)
    events = history(chance, size(150, 1000))
    clock = Clock(NOW, UTC)
    with on_both_engines(events, tmp_path, database) as (one, other):
        rows = one.select(Query(limit=10_000))
        assert other.select(Query(limit=10_000)) == rows
        silent = frozenset(row.session_id for row in rows if row.status == "active" and chance.random() < 0.5)
        busy = frozenset(row.session_id for row in rows if row.status == "active" and chance.random() < 0.2)
        sessions = [
            Session(row, to_record(row, NOW, busy=row.session_id in busy), row.session_id in silent)
            for row in rows
        ]
        sessions.sort(key=lambda one: (one.begin, one.record["session_id"]), reverse=True)
        made = asks(chance, sessions)
        found_some = set()
        for _ in range(size(150, 1000)):
            terms = [
                (key, *made[key](), chance.random() < 0.3)
                for key in chance.choices(list(made), k=chance.choice([1, 1, 2, 3]))
            ]
            text = " ".join(f"{'-' * negated}{term}" for _, term, _, negated in terms)
            expected = [
                one.record["session_id"]
                for one in sessions
                if all(means(one) is not negated for _, _, means, negated in terms)
            ]
            query = replace(Query.parse(text, clock=clock), limit=10_000, silent=silent, busy=busy)
            assert Query.parse(str(query), clock=clock).terms == query.terms, text
            for store in (one, other):
                assert [row.session_id for row in store.select(query)] == expected, text
                active = sum(
                    one.record["status"] == "active"
                    for one in sessions
                    if one.record["session_id"] in expected
                )
                assert store.count(query) == (len(expected), active), text
            if 0 < len(expected) < len(sessions):
                found_some |= {key for key, *_ in terms}
        for text in examples():
            query = Query.parse(text, clock=clock, limit=1000)
            assert one.select(query) == other.select(query), text
        # Not vacuous: of each key something was found, and something was not.
        assert found_some == set(made)


# --- order


ORDERS: dict[str, Callable[[Session], Any]] = {
    "started": lambda one: one.begin,
    "ended": lambda one: one.end,
    "duration": lambda one: one.record["duration_seconds"],
    "idle": lambda one: one.record["idle_seconds"],
    "commands": lambda one: one.record["commands"],
    "errors": lambda one: one.record["errors"],
    "user": lambda one: one.record["person"] or one.record["username"],
    "component": lambda one: one.record["component"],
    "host": lambda one: one.record["hostname"],
    "status": lambda one: one.record["status"],
}


@pytest.mark.parametrize("reverse", [False, True])
def test_any_order_is_the_same_on_each_engine(
    tmp_path: Path,
    database: PostgresDatabase,
    reverse: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    with (
        closing(open_store(f"duckdb:///{tmp_path}/x.duckdb")) as one,
        closing(open_store(database.url)) as other,
    ):
        events = [arrival(raw) for raw in history(seeded(7), 60)]
        for store in (one, other):
            store.ingest(events)
        sessions = [Session(row, to_record(row, NOW), silent=False) for row in one.select(Query(limit=1000))]
        for sort in SORTS:
            largest_first = sort not in ("user", "component", "host", "status")
            newest = sorted(
                sessions, key=lambda one: (one.begin, one.record["session_id"]), reverse=not reverse
            )
            known = [one for one in newest if ORDERS[sort](one) is not None]
            unknown = [one for one in newest if ORDERS[sort](one) is None]
            known.sort(key=ORDERS[sort], reverse=largest_first is not reverse)
            expected = [one.record["session_id"] for one in (*known, *unknown)]
            query = Query.parse(clock=Clock(NOW, UTC), sort=sort, reverse=reverse, limit=1000)
            for store in (one, other):
                assert [row.session_id for row in store.select(query)] == expected, sort
