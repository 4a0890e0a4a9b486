"""Session records as tables for people: they fit the terminal, and a session id is never cut."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from session_buddy.cli.text import (
    MISSING,
    Record,
    flatten,
    hanging,
    human_duration,
    local,
    local_time,
    shown,
)
from session_buddy.history.record import who

_GAP: Final = 2
_ANY: Final = 10_000
# A longer cell would push other columns out of a terminal; session ids are never cut.
_CUT: Final = 30
_ID: Final = "session id"
_TITLES: Final = (_ID, "who", "component", "host", "type", "status", "started", "duration", "idle")
# On a narrow terminal first the reasons leave, then columns in this order: the id itself tells
# the component, and since when is what a list is for.
_LEAVING: Final = ("type", "component", "idle", "duration", "host", "who", "status", "started")
_COLOURS: Final = {"active": "green", "crashed": "red", "lost": "yellow", "unreachable": "yellow"}
_TIMES: Final = ("start_time", "end_time", "last_seen", "last_activity")
# The contract's words that tell little by themselves; the package's README explains both.
_REASONS: Final = {
    "outbox_recovered": "found later",
    "process_gone": "process gone",
    "lease_expired": "not heard from",
}
EVIDENCE_TEXTS: Final = {
    "login": "login: the kernel's login uid",
    "sudo": "sudo: the process that ran it",
    "account": "account: one person's own",
    "ssh_key": "ssh_key: the certificate, as sshd wrote it",
    "asked": "asked: by that person's word",
    "claimed": "claimed: a variable says so",
}
_SOURCES: Final = {
    "username": "the account of the process's uid",
    "actor": "as the shell was told",
    "origin.tty": "its standard input",
    "origin.ssh_client": "SSH_CONNECTION",
    "origin.sudo_user": "SUDO_USER",
    "origin.real_uid": "the kernel",
    "origin.login_uid": "the kernel",
    "origin.login_name": "the account file",
    "origin.ssh_key": "SSH_USER_AUTH",
    "origin.ssh_certificate": "SSH_USER_AUTH",
}
# Activity comes with heartbeats, 15 s apart at the least: what is below says nothing.
_IDLE_SECONDS: Final = 30

Row = Mapping[str, str]


def write_rows(records: Sequence[Record], stream: TextIO) -> None:
    """Write a table of sessions: as many columns as the width of ``stream``'s terminal holds."""
    now = datetime.now(UTC)
    console = _console(stream)
    rows: list[Row] = [_row(record, now) for record in records]
    if _needed(_widths(rows)) > console.width:
        rows = [{**{title: _cut(text) for title, text in row.items()}, _ID: row[_ID]} for row in rows]
    titles, hidden = _fit(_widths(rows), console.width)
    told = [{**row, "status": _with_reason(record)} for row, record in zip(rows, records, strict=True)]
    if "status" in titles and told != rows:
        if _needed({title: _widths(told)[title] for title in titles}) <= console.width:
            rows = list(told)
        else:
            hidden = ["reason", *hidden]
    _print(console, rows, titles)
    if hidden:
        line = f"Too narrow for: {', '.join(hidden)}; session-buddy show-session ID shows all of one"
        console.print(Text("\n".join(hanging(line, 0, console.width)), style="dim"), soft_wrap=True)


def write_record(record: Record, stream: TextIO) -> None:
    """Write one session, a field a line; long values go on below, but no word of theirs, no id, is cut."""
    fields = [
        (shown(key), _told(key, value) + _evidence(key, value, record)) for key, value in flatten(record)
    ]
    console = _console(stream)
    indent = max(cell_len(key) for key, _ in fields) + _GAP
    for key, value in fields:
        text = "\n".join(hanging(value, indent, console.width))
        line = Text.assemble((key.ljust(indent), "bold"), (text, _style(key, value)))
        console.print(line, soft_wrap=True)


def _console(stream: TextIO) -> Console:
    """A terminal has its width; a file takes lines of any length."""
    return Console(file=stream, highlight=False, width=None if stream.isatty() else _ANY)


def _print(console: Console, rows: Sequence[Row], titles: Sequence[str]) -> None:
    widths = _widths(rows)
    console.print(_line([(title, widths[title], "bold") for title in titles]), soft_wrap=True)
    for row in rows:
        cells = [(row[title], widths[title], _style(title, row[title])) for title in titles]
        console.print(_line(cells), soft_wrap=True)


def _line(cells: Sequence[tuple[str, int, str]]) -> Text:
    """Texts, each padded to its width and in its style; nothing behind the last."""
    line = Text()
    for text, width, style in cells:
        line.append(text, style)
        line.append(" " * (width + _GAP - cell_len(text)))
    line.rstrip()
    return line


def _row(record: Record, now: datetime) -> Row:
    return {
        _ID: shown(record["session_id"]),
        "who": shown(who(record)),
        "component": shown(record["component"]),
        "host": shown(record.get("hostname")),
        "type": shown(record.get("session_type")),
        "status": "unreachable" if record.get("unreachable") else shown(record["status"]),
        "started": _started(record["start_time"], now),
        "duration": human_duration(record.get("duration_seconds") or 0.0),
        "idle": _idle(record, now),
    }


def _with_reason(record: Record) -> str:
    reason = record.get("exit_reason")
    detail = "unreachable" if record.get("unreachable") else _REASONS.get(reason or "", reason)
    return f"{shown(record['status'])} ({shown(detail)})" if detail else shown(record["status"])


def _started(iso: str, now: datetime) -> str:
    """A start in local time, as short as today allows: no date today, no year this year."""
    start, today = local(iso), now.astimezone()
    if start.date() == today.date():
        return local_time(iso, "%H:%M")
    return local_time(iso, "%m-%d %H:%M" if start.year == today.year else "%Y-%m-%d %H:%M")


def _idle(record: Record, now: datetime) -> str:
    if record["status"] != "active":
        return MISSING
    since = datetime.fromisoformat(record.get("last_activity") or record["start_time"])
    # Clocks of two machines differ: nobody was idle for longer than the session lasts.
    idle = min((now - since).total_seconds(), record.get("duration_seconds") or 0.0)
    return human_duration(idle) if idle >= _IDLE_SECONDS else f"<{_IDLE_SECONDS}s"


def _style(title: str, text: str) -> str:
    return _COLOURS.get(text.partition(" ")[0], "") if title == "status" else ""


def _widths(rows: Sequence[Row]) -> dict[str, int]:
    return {title: max([cell_len(title), *(cell_len(row[title]) for row in rows)]) for title in _TITLES}


def _cut(text: str) -> str:
    return text if cell_len(text) <= _CUT else set_cell_size(text, _CUT - 1) + "…"


def _needed(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _fit(widths: Mapping[str, int], width: int) -> tuple[list[str], list[str]]:
    """The titles that fit into ``width`` cells, and those that had to leave."""
    left = dict(widths)
    hidden = []
    for title in _LEAVING:
        if _needed(left) <= width:
            break
        del left[title]
        hidden.append(title)
    return list(left), hidden


def _evidence(key: str, value: object, record: Record) -> str:
    """Behind a fact that says who it was: how it is known."""
    origin = record.get("origin") or {}
    known = _SOURCES.get(key)
    match key:
        case "person":
            word = record.get("person_evidence") or ""
            known = EVIDENCE_TEXTS.get(word, word)
        case "username" if record.get("uid") is None:
            known = "as its environment said"
        case "actor" | "agent" if hint := origin.get("actor_hint"):
            known = f"a hint: {hint} is set"
    return f" ({shown(known)})" if known and value is not None else ""


def _told(key: str, value: object) -> str:
    if key in _TIMES and isinstance(value, str):
        return local_time(value)
    if key == "person_also" and isinstance(value, list) and value:
        return shown([f"{one['name']} ({one['evidence']})" for one in value])
    if key == "duration_seconds" and isinstance(value, int | float):
        return f"{value:.3f} ({human_duration(value)})"
    return shown(value)
