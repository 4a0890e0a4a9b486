"""The page of screens, docs/screens.md: what the commands draw of histories that are always the same."""

import io
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from session_buddy.cli import charts, detail, summary, table
from session_buddy.cli.columns import LIST, NOW
from session_buddy.history.around import answer
from session_buddy.history.counted import counted
from session_buddy.history.model import SessionRow
from session_buddy.history.query import DEFAULT_LIMIT, Clock, Query
from session_buddy.history.record import SessionRecord, to_record
from session_buddy.history.statistics import Statistics
from session_buddy.store import Store, open_store
from tests.samples import arrival, end_event, heartbeat_event, seeded, session_id_of, start_event

Event = dict[str, Any]

DRAWN: Final = Clock(datetime(2026, 1, 2, 16, 30, tzinfo=UTC), UTC)
# Who was not heard of for so long counts as unreachable.
_SILENT: Final = timedelta(hours=2)
_PEOPLE: Final = ("ada", "bob", "carol", "deploy", "eve")
_COMPONENTS: Final = ("shop", "mahavishnu", "bank")
_REASONS: Final = (None, "OPS-7: stuck workflow", "nightly rollback of the staging database", "INC-2291")
_SUMS: Final = (
    ("sessions", "person", 80),
    ("duration", "component", 120),
    ("concurrency", "day", 60),
    ("endings", "none", 80),
    ("peak-hours", "none", 80),
)
_ENDS: Final[tuple[Event, ...]] = (
    {},
    {"exit_reason": "eof"},
    {"exit_reason": "sighup", "exit_code": 129},
    {"exit_reason": "process_gone", "status": "crashed", "detected_by": "liveness"},
    {"exit_reason": "lease_expired", "status": "crashed", "detected_by": "lease"},
    {"exit_reason": "outbox_recovered", "status": "crashed", "detected_by": "outbox"},
)
_HEAD: Final = """\
# Screens

*This page is drawn by the commands' own code, of histories that are always the same: `./dev report`.*

What a terminal has no room for becomes less in this order: ids become their last eight digits, long texts are
cut, the status becomes one word, columns leave, which is said, and texts are cut further. A column in which
nothing stands of anybody is not there at all. Nothing that people write acts on a terminal, or hides there.
"""


class Screen(NamedTuple):
    """What a command draws on a terminal so wide."""

    command: str
    width: int
    text: str


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for title, drawn in screens().items():
        parts.append(f"## {title}\n")
        parts += [f"{one.width} columns:\n\n```console\n$ {one.command}\n{one.text}```\n" for one in drawn]
    return "\n".join(parts)


def screens() -> dict[str, list[Screen]]:
    """All screens, by what they show."""
    with history(three()) as store:
        few = [listed(store, width) for width in (60, 80, 120, 200)]
        root = next(row for row in rows(store) if row.username == "root")
        one = [shown(store, root, 80)]
    with history(many()) as store:
        first = [listed(store, width, 8) for width in (80, 200)]
        people = [who(store, width) for width in (80, 120)]
        sums = [counts(store, width, metric, by) for metric, by, width in _SUMS]
    with history(hostile()) as store:
        strange = [draw(store, width) for draw in (listed, who) for width in (60, 80, 120)]
    with history([]) as store:
        nothing = [listed(store, 80), who(store, 80)]
    return {
        "Three sessions": few,
        "Three hundred": first,
        "Who is in": people,
        "One session": one,
        "Statistics": sums,
        "Long and hostile names": strange,
        "Nothing": nothing,
    }


@contextmanager
def history(events: Sequence[Event]) -> Iterator[Store]:
    """A database that holds these events; each came in a second later."""
    with TemporaryDirectory() as folder, closing(open_store(f"duckdb:///{folder}/sessions.duckdb")) as store:
        came = [datetime.fromisoformat(event["timestamp"]) + timedelta(seconds=1) for event in events]
        store.ingest([arrival(event, at=at) for event, at in zip(events, came, strict=True)])
        yield store


def rows(store: Store, text: str = "", limit: int = DEFAULT_LIMIT) -> list[SessionRow]:
    """The sessions that a query finds."""
    return store.select(_query(text, limit))


def listed(store: Store, width: int, limit: int = DEFAULT_LIMIT) -> Screen:
    """The screen of ``list-sessions``."""
    records = _told(rows(store, limit=limit))
    counted = store.count(_query())

    def draw(stream: _Terminal) -> None:
        if records:
            table.write_rows(records, stream, LIST, DRAWN)
        stream.write(summary.of_list(len(records), counted.sessions, counted.active, _query(), DRAWN) + "\n")

    option = f" --limit {limit}" * (limit != DEFAULT_LIMIT)
    return _drawn(f"session-buddy list-sessions{option} --utc", width, draw)


def who(store: Store, width: int) -> Screen:
    """The screen of ``who``."""
    records = _told(rows(store, "status:active"))

    def draw(stream: _Terminal) -> None:
        if records:
            table.write_rows(records, stream, NOW, DRAWN)
        stream.writelines(
            f"{line}\n" for line in summary.of_people(records, _query("status:active"), DRAWN, width)
        )

    return _drawn("session-buddy who --utc", width, draw)


def counts(store: Store, width: int, metric: str = "duration", by: str = "person") -> Screen:
    """The screen of ``analytics``."""
    asked = Statistics.parse(now=DRAWN.now, metric=metric, by=by, period="14d")
    found = counted(asked, store.measured(asked))

    def draw(stream: _Terminal) -> None:
        if found["rows"]:
            charts.write(found, asked, stream)
        stream.writelines(f"{line}\n" for line in summary.of_statistics(found, asked, DRAWN, width))

    grouped = f" --by {by}" * (by != "none")
    return _drawn(f"session-buddy analytics --metric {metric}{grouped} --period 14d --utc", width, draw)


def shown(store: Store, row: SessionRow, width: int) -> Screen:
    """The screen of ``show-session``."""
    told = answer(row, store.around, _told)
    command = f"session-buddy show-session {row.session_id[-8:]} --utc"
    return _drawn(command, width, lambda stream: detail.write_session(told, stream, DRAWN))


def three() -> list[Event]:
    """A session, one that was started from it as root, and one that was killed the day before."""
    outer = start(1, 75, component_name="mahavishnu", shell_type="MahavishnuShell")
    outer |= {"reason": "OPS-7: stuck workflow", "origin": {"tty": "/dev/pts/3", "ssh_client": "10.0.0.5"}}
    inner = start(2, 28, "root", 0, parent_session_id=session_id_of(outer), reason="OPS-7: clear the queue")
    inner["person"] = {"name": "ada", "evidence": "sudo"}
    inner["origin"] = {"tty": "/dev/pts/3", "sudo_user": "ada", "real_uid": 0}
    failed = end(inner, 6.4, exit_reason="exception", status="crashed", exit_code=1)
    failed["activity"] = {"commands": 12, "errors": 2, "last_activity": failed["timestamp"]}
    bob = start(3, 1500, "bob", hostname="db1")
    killed = end(bob, 1490, exit_reason="process_gone", status="crashed", detected_by="liveness")
    return [outer, beat(outer, 3.2), inner, failed, bob, killed]


def many() -> list[Event]:
    """Three hundred sessions, one an hour; some of the newest are active."""
    chance = seeded(300)
    return [event for number in range(300) for event in _one_of_many(number, 11 + 60 * number, chance.choice)]


def _one_of_many(number: int, minutes: float, choice: Callable[[Sequence[Any]], Any]) -> Iterator[Event]:
    event = start(number, minutes, choice(_PEOPLE), component_name=choice(_COMPONENTS))
    event |= {"hostname": f"web{choice(range(1, 12))}", "session_type": choice(("admin_shell", "repl"))}
    event["origin"] = {"tty": f"/dev/pts/{number % 7}", "ssh_client": f"10.0.0.{choice(range(2, 20))}"}
    event["reason"] = choice(_REASONS)
    if number == 2:
        event |= {"actor": "agent", "agent": "claude_code"}
    yield event
    if number in (0, 2, 3):
        yield beat(event, number * 12.5)
    elif number != 6:
        yield end(event, minutes - choice(range(1, 55)), **choice(_ENDS))


def hostile() -> list[Event]:
    """Names and reasons that would break a line, or act on a terminal, or hide."""
    return [
        start(1, 5, component_name="a" * 64, reason="the component has 64 letters"),
        start(
            2, 10, "渡辺直美渡辺直美渡辺直美", hostname="データベース", reason="サーバーの再起動を確認する"
        ),
        start(3, 15, "👩\u200d🚀 zoë", hostname="🖥️-1", reason="🚀 deploy, then ❤️ and 👍🏽"),
        start(4, 20, "nimda\u202eada", reason="right to \u2066left\u2069 \u202egnp.exe"),
        start(5, 25, "eve", hostname="\x1b]0;owned\x07web1", reason="\x1b[2J\x1b[31mred\x1b[0m\x9b5A"),
        start(6, 30, "mallory", reason="a tab\there\nsession  root  a second line\r\x08"),
        start(7, 35, "שירה", reason="תיקון [bold]OPS-7[/bold]"),
        start(8, 40, "zalgo\u0301\u0302\u0303\u0301\u0302\u0303", reason="x" * 200),
    ]


def start(number: int, minutes: float, user: str = "ada", uid: int = 1000, **changes: Any) -> Event:
    """A start so many minutes ago; its id is always the same."""
    event_id = uuid.UUID(int=seeded(number).getrandbits(128), version=4)
    account = {"username": user, "uid": uid, "home": ""}
    return start_event(event_id=str(event_id), timestamp=_ago(minutes), user=account, **changes)


def end(of: Event, minutes: float, **changes: Any) -> Event:
    """Its end so many minutes ago."""
    return end_event(session_id_of(of), event_id=of["event_id"], timestamp=_ago(minutes), **changes)


def beat(of: Event, idle_minutes: float) -> Event:
    """A sign of life, just now, of a session in which nothing was done for so many minutes."""
    did: Event = {"commands": 4, "errors": 1, "last_activity": _ago(idle_minutes)}
    return heartbeat_event(session_id_of(of), **did) | {"timestamp": _ago(0)}


def _ago(minutes: float) -> str:
    return (DRAWN.now - timedelta(minutes=minutes)).isoformat()


def _query(text: str = "", limit: int = DEFAULT_LIMIT) -> Query:
    return Query.parse(text, clock=Clock(DRAWN.now, UTC), limit=limit)


def _told(rows: Sequence[SessionRow]) -> list[SessionRecord]:
    """As a server tells it, which hears of heartbeats and of commands that run."""
    return [
        to_record(
            row,
            DRAWN.now,
            silent=DRAWN.now - (row.last_seen or DRAWN.now) > _SILENT,
            busy=row.last_activity == DRAWN.now,
        )
        for row in rows
    ]


def _drawn(command: str, width: int, draw: Callable[[_Terminal], None]) -> Screen:
    # Rich believes COLUMNS of such a terminal only beside LINES.
    environ = {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": str(width), "LINES": "25"}
    stream = _Terminal()
    with patch.dict(os.environ, environ):
        draw(stream)
    return Screen(command, width, stream.getvalue())


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
